"""Samples of a training: the published preparation, and what is drawn."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
from parity import load_fixture
from vemctl_denoise.samples import (
    NoisySampler,
    PairSampler,
    check_patch,
    emulate_fast_slow,
    split_diagonally,
    validation_depth,
)

from vemctl.errors import OptionError
from vemctl.plugin import Orientation


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    """Return the fixture of the preparation."""
    return load_fixture("denoise_emulation")[1]


def rng(seed: int = 0) -> np.random.Generator:
    """Return a generator."""
    return np.random.default_rng(seed)


def noise(*shape: int, seed: int = 0, dtype: str = "uint8") -> np.ndarray:
    """Return random grey values."""
    return rng(seed).integers(0, 256, shape).astype(dtype)


def test_pairs_are_prepared_as_published(arrays, array_patches) -> None:
    """With and without the emulation, to the last bit."""
    volumes = array_patches(fast=[arrays["fast"]], slow=[arrays["slow"]])
    emulated = PairSampler((5, 20, 28)).draw_validation(volumes, rng(), 0)
    plain = PairSampler((5, 40, 56), emulate=False).draw_validation(volumes, rng(), 0)
    for name, sample in (("emulated", emulated), ("plain", plain)):
        for part in ("source", "target"):
            np.testing.assert_array_equal(sample[part], arrays[f"{name}_{part}"])
            assert sample[part].dtype == np.float32


def test_single_scans_are_split_as_published(arrays, array_patches) -> None:
    """Both outcomes of the coin, and what is validated on, to the last bit."""
    patch = arrays["fast"].astype(np.float32) / 255
    for main, name in ((True, "split_true"), (False, "split_false")):
        source, target = split_diagonally(patch, main=main)
        np.testing.assert_array_equal(source, arrays[f"{name}_source"])
        np.testing.assert_array_equal(target, arrays[f"{name}_target"])
    sampler = NoisySampler((5, 20, 28), validation_depth=5)
    sample = sampler.draw_validation(array_patches(noisy=[arrays["fast"]]), rng(), 0)
    for part in ("source", "target"):
        np.testing.assert_array_equal(sample[part], arrays[f"selfsup_val_{part}"])


@pytest.mark.parametrize("emulate", [True, False])
def test_pairs_stay_registered(emulate: bool, array_patches) -> None:
    """Source and target are from one place of both scans, and turned alike."""
    slow = noise(9, 40, 44).astype(np.float32) / 255
    volumes = array_patches(fast=[slow, slow + 1], slow=[slow, slow + 1])
    sampler = PairSampler((3, 8, 8), emulate=emulate)
    for seed in range(20):
        sample = sampler.draw(volumes, rng(seed), 0)
        (_, *one), (_, *other) = volumes.reads[-2:]
        assert one == other
        assert sample["source"].shape == sample["target"].shape == (1, 3, 8, 8)
        if not emulate:
            np.testing.assert_array_equal(sample["source"], sample["target"])
    assert {read[1] for read in volumes.reads} == {0, 1}


def test_slow_slices_are_at_both_ends() -> None:
    """The first and last slice of the source are slow, the target never has the source's pixels."""
    fast, slow = np.zeros((4, 8, 8), np.float32), np.ones((4, 8, 8), np.float32)
    slow[:, 0::2, 0::2] = 5
    source, target = emulate_fast_slow(fast, slow)
    assert source[0].min() == source[-1].min() == 5
    assert not source[1:-1].any()
    np.testing.assert_allclose(target, 1)


def test_a_sample_of_one_scan_is_made_of_its_neighbours(array_patches) -> None:
    """Source and target are diagonal neighbours, whatever the turn, and never the same pixel."""
    volume = np.arange(9 * 40 * 44, dtype=np.float32).reshape(9, 40, 44)
    sampler = NoisySampler((3, 8, 8))
    assert sampler.patch == (3, 16, 16)
    for seed in range(20):
        sample = sampler.draw(array_patches(noisy=[volume]), rng(seed), 0)
        difference = np.abs(sample["target"] - sample["source"])
        assert set(np.unique(difference)) <= {43, 45}


def test_every_orientation_is_drawn() -> None:
    """Eight flips and four turns; half turns only where the plane is not square."""
    generator = rng()
    square = {Orientation.drawn(generator, square=True) for _ in range(1000)}
    other = {Orientation.drawn(generator, square=False) for _ in range(1000)}
    assert len(square) == 32
    assert len(other) == 16
    assert {orientation.turns for orientation in other} == {0, 2}


def test_samples_have_one_shape(array_patches) -> None:
    """Also where the plane is not square, so that they can be stacked."""
    volumes = array_patches(noisy=[noise(6, 40, 40)])
    sampler = NoisySampler((2, 4, 8))
    shapes = {sampler.draw(volumes, rng(seed), 0)["source"].shape for seed in range(20)}
    assert shapes == {(1, 2, 4, 8)}


def test_the_seed_alone_decides(array_patches) -> None:
    """The same generator gives the same sample, also from a copy in another process."""
    volumes = array_patches(noisy=[noise(12, 40, 40)])
    sampler = NoisySampler((9, 8, 8), validation_depth=9)
    copy = pickle.loads(pickle.dumps(sampler))
    for draw in ("draw", "draw_validation"):
        one, same = (getattr(each, draw)(volumes, rng(3), 0) for each in (sampler, copy))
        other = getattr(sampler, draw)(volumes, rng(4), 0)
        for part in ("source", "target"):
            np.testing.assert_array_equal(one[part], same[part])
            assert not np.array_equal(one[part], other[part])


@pytest.mark.parametrize(
    ("dtype", "factor", "low", "high"),
    [("uint16", 257, None, None), ("float32", 1 / 255, None, None), ("int16", 1, 0, 255)],
)
def test_every_type_becomes_the_same(dtype, factor, low, high, array_patches) -> None:
    """Integers by their maximum, floats as they are, or by what is given."""
    volume = noise(3, 16, 16)
    expected = PairSampler((3, 8, 8)).draw_validation(
        array_patches(fast=[volume], slow=[volume]), rng(), 0
    )
    other = (volume.astype(np.float64) * factor).astype(dtype)
    sample = PairSampler((3, 8, 8), low, high).draw_validation(
        array_patches(fast=[other], slow=[other]), rng(), 0
    )
    np.testing.assert_allclose(sample["source"], expected["source"], atol=1e-6)
    np.testing.assert_allclose(sample["target"], expected["target"], atol=1e-6)


def test_the_volume_may_be_just_as_large_as_a_patch(array_patches) -> None:
    """The only position is drawn, where the published program fails."""
    sample = NoisySampler((3, 8, 8)).draw(array_patches(noisy=[noise(3, 16, 16)]), rng(), 0)
    assert sample["source"].shape == (1, 3, 8, 8)


@pytest.mark.parametrize(
    ("slices", "patch", "depth"), [(1000, 9, 32), (200, 9, 20), (40, 9, 9), (5, 5, 5)]
)
def test_validation_is_as_deep_as_what_is_kept_for_it(slices: int, patch: int, depth: int) -> None:
    """The published 32 slices where there are as many, at least a patch."""
    assert validation_depth(slices, patch) == depth
    assert NoisySampler((patch, 8, 8), validation_depth=depth).validation_patch == (depth, 16, 16)


def test_a_patch_that_the_network_cannot_see_is_refused() -> None:
    """Planes must be multiples of four."""
    assert check_patch((3, 4, 8)) == (3, 4, 8)
    with pytest.raises(OptionError, match=r"--patch 5,126,128: expected multiples of 4"):
        check_patch((5, 126, 128))


def test_what_workers_copy_needs_no_torch() -> None:
    """Samplers are imported in worker processes, where torch would only take memory."""
    import subprocess

    program = "import sys, vemctl_denoise.samples, vemctl_denoise.data, vemctl_denoise.evenness"
    program += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
