"""The rotation into the frame of the coverslip, against the published program's."""

from __future__ import annotations

import numpy as np
import pytest
from parity import load_fixture
from vemctl_rldfn.rotating import Rotation, mround


def whole(rotation: Rotation, stack: np.ndarray) -> np.ndarray:
    """Rotate a stack at once."""
    return by_slabs(rotation, stack, stack.shape[2])


def by_slabs(rotation: Rotation, stack: np.ndarray, columns: int) -> np.ndarray:
    """Rotate a stack column by column, from what is needed of it alone."""
    width = stack.shape[2]
    made = []
    for first in range(0, width, columns):
        end = min(first + columns, width)
        low, high = rotation.columns(first, end)
        made.append(rotation.apply(stack[:, :, low:high], first, end))
    return np.concatenate(made, axis=2)


@pytest.mark.parametrize("case", ["c0", "c1", "c2"])
def test_stacks_are_rotated_as_published(case: str) -> None:
    """Sizes, the middle that is kept, and its values, with zeros where a rotation is smaller."""
    spec, arrays, _ = load_fixture("rldfn_rotate")
    told = spec["params"]["cases"][case]
    stack = arrays["volume"].transpose(2, 0, 1)
    rotation = Rotation(
        stack.shape, tilt=told["tilt_deg"], angle=told["angle_x_deg"], ratio=told["z_ratio"]
    )
    y, x, z = told["full_size"]
    assert rotation.full == (z, y, x)
    y, x, z = told["crop_start"]
    assert rotation.start == (z, y, x)
    expected = arrays[f"{case}_cropped"].transpose(2, 0, 1)
    assert expected.any()
    np.testing.assert_allclose(whole(rotation, stack), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", ["c0", "c1", "c2"])
def test_the_middle_is_that_of_the_published_program(case: str) -> None:
    """Which was run for all that a rotation makes; its border, as far as rounded, is left out."""
    spec, arrays, _ = load_fixture("rldfn_rotate")
    told = spec["params"]["cases"][case]
    stack = arrays["volume"].transpose(2, 0, 1)
    rotation = Rotation(
        stack.shape, tilt=told["tilt_deg"], angle=told["angle_x_deg"], ratio=told["z_ratio"]
    )
    middle = tuple(slice(s, s + n) for s, n in zip(rotation.start, stack.shape, strict=True))
    full, mask = (arrays[f"{case}_{name}"].transpose(2, 0, 1) for name in ("rotated", "mask"))
    inside = mask[middle]
    assert inside.mean() > 0.9
    np.testing.assert_allclose(
        whole(rotation, stack)[inside], full[middle][inside], rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("angle", [0.0, 0.7, -12.0])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "float16", "float32"])
def test_slabs_have_the_numbers_of_the_whole(angle: float, dtype: str) -> None:
    """To the last bit, though each is made of a box that begins elsewhere."""
    rng = np.random.default_rng(1)
    stack = rng.integers(0, 256, (17, 23, 41)).astype(dtype)
    rotation = Rotation(stack.shape, tilt=31.5, angle=angle, ratio=1.5)
    expected = whole(rotation, stack)
    assert expected.dtype == np.float64
    assert expected.any()
    for columns in (1, 7, 16):
        np.testing.assert_array_equal(by_slabs(rotation, stack, columns), expected)


def test_both_ways_agree() -> None:
    """Planes that are alike are rotated by a matrix: as by interpolation in three dimensions."""
    stack = np.random.default_rng(2).normal(size=(15, 30, 12))
    rotation = Rotation(stack.shape, tilt=-25, angle=0, ratio=1.3)
    plain = whole(rotation, stack)
    rotation._sin = 1e-300
    assert plain.any()
    np.testing.assert_allclose(whole(rotation, stack), plain, rtol=0, atol=1e-12)


def test_several_threads_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planes are made side by side."""
    stack = np.random.default_rng(3).integers(0, 999, (12, 20, 30)).astype(np.uint16)
    rotation = Rotation(stack.shape, tilt=30.8, angle=0.5, ratio=1.5)
    made = []
    for threads in ("1", "3", ""):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        made.append(whole(rotation, stack))
    np.testing.assert_array_equal(made[0], made[1])
    np.testing.assert_array_equal(made[0], made[2])


def test_nothing_moves_without_tilt() -> None:
    """A stack of cubic voxels in the frame of the coverslip stays as it is."""
    stack = np.random.default_rng(4).integers(0, 999, (9, 12, 14)).astype(np.uint16)
    np.testing.assert_array_equal(
        whole(Rotation((9, 12, 14), tilt=0, angle=0, ratio=1), stack), stack
    )


def test_a_flat_stack_is_surrounded_by_zeros() -> None:
    """Where the published program stops with an error, for it rotates to fewer rows."""
    stack = np.ones((4, 60, 8))
    rotation = Rotation(stack.shape, tilt=31.5, angle=0.4, ratio=1.5)
    assert rotation.start[1] < 0
    made = whole(rotation, stack)
    assert made.shape == stack.shape
    assert not made[:, :2].any()
    assert made[:, 30].any()


def test_memory_of_a_slab_is_told() -> None:
    """The result, what it is made of, and more where the mirror is askew."""
    plain, askew = (Rotation((150, 2048, 2048), tilt=31.5, angle=f, ratio=1.5) for f in (0.0, 0.9))
    voxels = 150 * 2048 * 100
    assert 8 * voxels < plain.memory(100, 2) < 25 * voxels
    assert 8 * voxels < askew.memory(100, 2) < 25 * voxels


@pytest.mark.parametrize(
    ("value", "expected"), [(2.5, 3), (-2.5, -3), (2.49, 2), (-0.5, -1), (0.0, 0), (-0.4, 0)]
)
def test_halves_are_rounded_away_from_zero(value: float, expected: int) -> None:
    """As the published program rounds."""
    assert mround(value) == expected
