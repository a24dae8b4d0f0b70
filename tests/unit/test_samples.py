"""Synthetic volumes: determined by their seed, and like what they stand for."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from vemctl.samples import SyntheticPair, add_noise, em_pair, synthetic_em

SHAPE = (6, 96, 112)


def psnr(result, truth):
    """Return the peak signal-to-noise ratio in dB."""
    return 10 * np.log10(255.0**2 / np.mean((result.astype(float) - truth) ** 2))


def test_same_seed_same_bytes():
    """The seed determines truth and noise; another seed is other tissue."""
    first, again, other = em_pair(SHAPE, 3), em_pair(SHAPE, 3), em_pair(SHAPE, 4)
    assert first.truth.tobytes() == again.truth.tobytes()
    assert first.noisy.tobytes() == again.noisy.tobytes()
    assert np.mean(first.truth != other.truth) > 0.5


def test_pair_is_what_its_parts_give():
    """A pair holds 8-bit volumes of one shape, the voxel size, and cannot be changed."""
    pair = em_pair(SHAPE, 3)
    assert pair.truth.dtype == pair.noisy.dtype == np.uint8
    assert pair.truth.shape == pair.noisy.shape == SHAPE
    assert pair.voxel_size_nm == (50.0, 10.0, 10.0)
    np.testing.assert_array_equal(pair.truth, synthetic_em(SHAPE, 3))
    np.testing.assert_array_equal(pair.noisy, add_noise(pair.truth, 3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        pair.truth = pair.noisy
    assert isinstance(pair, SyntheticPair)


def test_noise_is_that_of_a_fast_scan():
    """The defaults give 16 to 19 dB, without a shift of the mean; more electrons are cleaner."""
    pair = em_pair(SHAPE, 5)
    assert 16 < psnr(pair.noisy, pair.truth) < 19
    assert abs(pair.noisy.mean() - pair.truth.mean()) < 2
    assert psnr(add_noise(pair.truth, electrons=500.0), pair.truth) > 20
    np.testing.assert_array_equal(
        add_noise(np.zeros(SHAPE, np.uint8), read_noise=0.0), np.zeros(SHAPE, np.uint8)
    )


def test_looks_like_tissue():
    """Most is bright cytoplasm, some is dark membrane, and slices go on in their neighbours."""
    truth = synthetic_em((8, 160, 160), 7).astype(float)
    assert 0.05 < np.mean(truth < 90) < 0.40
    assert 0.40 < np.mean(truth > 130) < 0.90

    def correlation(first, second):
        return np.corrcoef(first.ravel(), second.ravel())[0, 1]

    near = np.mean([correlation(truth[z], truth[z + 1]) for z in range(7)])
    far = np.mean([correlation(truth[z], truth[z + 6]) for z in range(2)])
    assert near > 0.55
    assert near > far + 0.2


def test_finer_sections_change_less():
    """The thinner the sections, the more alike are neighbouring slices."""

    def change(step_nm):
        truth = synthetic_em((5, 96, 96), 2, voxel_size_nm=(step_nm, 10.0, 10.0)).astype(float)
        return np.mean(np.abs(np.diff(truth, axis=0)))

    assert change(20.0) < change(50.0)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 300), (30, 9, 7)])
def test_any_shape(shape):
    """Thin, small and single-voxel volumes are painted too."""
    assert em_pair(shape, 1).noisy.shape == shape


@pytest.mark.parametrize("shape", [(0, 4, 4), (4, 4)])
def test_refuses_shapes_that_are_none(shape):
    """An empty or flat shape is refused with its value."""
    with pytest.raises(ValueError, match="three positive numbers"):
        synthetic_em(shape)


@pytest.mark.parametrize("options", [{"electrons": 0.0}, {"read_noise": -0.1}])
def test_refuses_impossible_noise(options):
    """No electrons, or negative noise, are refused."""
    with pytest.raises(ValueError, match="expected electrons > 0"):
        add_noise(np.zeros((1, 2, 2), np.uint8), **options)


def test_imports_no_torch():
    """A fresh process that imports the samples has not loaded torch."""
    code = "import sys, vemctl.samples; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
