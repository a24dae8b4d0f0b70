"""Slices that are unlike the others."""

from __future__ import annotations

import numpy as np
import pytest
from vemctl_denoise.evenness import measure, uneven_slices
from vemctl_denoise.method import METHOD
from vemctl_denoise.train_options import TrainOptions

from vemctl.samples import em_pair

SELF_SUPERVISED = TrainOptions(self_supervised=True)


def stack(*noise: float, size: int = 160) -> np.ndarray:
    """Return smooth structures with as much noise in each slice, 8 bit."""
    y, x = np.mgrid[:size, :size] / 12
    clean = 128 + 40 * np.sin(y) * np.cos(x)
    rng = np.random.default_rng(0)
    spread = np.reshape(noise, (-1, 1, 1))
    noisy = clean + spread * rng.standard_normal((len(noise), size, size))
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("sigma", [2, 5, 20])
def test_noise_is_measured_among_structures(sigma: float) -> None:
    """To a few per cent, although the structures are far stronger than the noise."""
    noise, mean, spread = measure(stack(sigma)[0])
    assert noise == pytest.approx(sigma, rel=0.05)
    assert mean == pytest.approx(128, abs=1)
    assert spread > 20


def test_even_slices_are_left_alone() -> None:
    """The same noise in all slices, also of synthetic tissue whose structures come and go."""
    assert uneven_slices(iter(stack(*[20] * 12))) == []
    assert uneven_slices(em_pair((16, 192, 192)).noisy) == []


def test_slices_with_other_noise_are_named() -> None:
    """More and less, by how much."""
    found = uneven_slices(stack(20, 20, 26, 20, 20, 15, 20))
    assert [each.index for each in found] == [2, 5]
    assert found[0].noise == pytest.approx(0.3, abs=0.05)
    assert found[1].noise == pytest.approx(-0.25, abs=0.05)
    assert "slice 2 (noise +" in str(found[0])


def test_slices_of_other_brightness_are_named() -> None:
    """In standard deviations of the grey values, whatever the type."""
    volume = stack(*[20] * 6).astype(np.uint16)
    volume[4] += 20
    (found,) = uneven_slices(volume)
    assert found.index == 4
    assert found.brightness == pytest.approx(20 / volume[0].std(), rel=0.1)
    assert str(found).startswith("slice 4 (brightness +0.")


@pytest.mark.parametrize("shape", [(0, 8, 8), (3, 1, 1), (3, 2, 5), (4, 8, 8)])
def test_no_size_is_too_small(shape: tuple[int, int, int]) -> None:
    """Volumes without slices, without texture and without a neighbourhood are even."""
    assert uneven_slices(np.zeros(shape, np.uint8)) == []


def test_a_blank_slice_is_named() -> None:
    """A missing section has no noise."""
    volume = stack(*[20] * 6)
    volume[3] = 128
    assert [each.index for each in uneven_slices(volume)] == [3]


def test_warnings_name_volume_and_slices(array_patches) -> None:
    """Each volume in a sentence; a supervised training, which may learn of it, gets none."""
    even, uneven = stack(*[20] * 5), stack(20, 20, 30, 20, 20)
    patches = array_patches(noisy=[even, uneven])
    (warning,) = METHOD.data_warnings(SELF_SUPERVISED, patches)
    assert warning.startswith("noisy volume 2: 1 of 5 slices looked at are unlike the others: ")
    assert "slice 2 (noise +" in warning
    assert METHOD.data_warnings(TrainOptions(supervised=True), patches) == ()


def test_a_large_volume_is_looked_at_in_places(array_patches) -> None:
    """Runs of slices from its first to its last, of the middle of the plane; numbers are right."""
    volume = np.zeros((1000, 8, 600), np.uint8)
    rng = np.random.default_rng(0)
    volume[:] = rng.integers(0, 50, (8, 600))
    volume[999] = rng.integers(0, 250, (8, 600))
    patches = array_patches(noisy=[volume])
    (warning,) = METHOD.data_warnings(SELF_SUPERVISED, patches)
    assert "1 of 256 slices" in warning
    assert "slice 999 (" in warning
    assert len(patches.reads) == 16
    assert patches.reads[0][2:] == ((0, 0, 44), (16, 8, 512))


def test_the_slices_of_a_short_volume_are_looked_at_once(array_patches) -> None:
    """Runs that overlap count no slice twice."""
    patches = array_patches(noisy=[stack(*[20] * 18, 30, size=128)])
    (warning,) = METHOD.data_warnings(SELF_SUPERVISED, patches)
    assert "1 of 19 slices" in warning
    assert "slice 18 (" in warning
