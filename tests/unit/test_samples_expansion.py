"""Synthetic pairs of expansion microscopy and EM: grouped by grey, ambiguous voxel by voxel."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from vemctl.samples import LightAndEM, light_and_em

SHAPE = (8, 128, 144)


@pytest.fixture(scope="module", params=[0, 1, 2])
def pair(request):
    """Return volumes that are large enough for all kinds of structures."""
    return light_and_em((8, 192, 192), request.param)


def correlation(first, second):
    """Return Pearson's coefficient over all voxels."""
    return np.corrcoef(first.ravel().astype(float), second.ravel().astype(float))[0, 1]


def is_middle(em):
    """Return where EM is neither dark nor bright."""
    return (em >= 120) & (em <= 160)


def test_same_seed_same_bytes():
    """The seed determines both volumes; another seed is other tissue."""
    first, again, other = (light_and_em(SHAPE, seed) for seed in (3, 3, 4))
    assert first.lm.tobytes() == again.lm.tobytes()
    assert first.em.tobytes() == again.em.tobytes()
    assert abs(correlation(first.em, other.em)) < 0.2
    assert abs(correlation(first.lm, other.lm)) < 0.2


def test_volumes_of_one_shape():
    """A pair holds 8-bit volumes of one shape, the voxel size, and cannot be changed."""
    pair = light_and_em(SHAPE, 3)
    assert isinstance(pair, LightAndEM)
    assert pair.lm.dtype == pair.em.dtype == np.uint8
    assert pair.lm.shape == pair.em.shape == SHAPE
    assert pair.voxel_size_nm == (12.5, 10.0, 10.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        pair.lm = pair.em


def test_bright_is_middle_and_dark_is_not(pair):
    """Nearly all bright LM is middle grey in EM, and nearly all dark LM is dark or bright there."""
    bright = pair.lm > 110
    assert np.mean(is_middle(pair.em[bright])) > 0.94
    assert np.mean(~is_middle(pair.em[~bright])) > 0.94


def test_dark_is_ambiguous(pair):
    """Dark LM is dark EM as well as bright EM, each in a large share, and of the same LM grey."""
    dark = pair.em[pair.lm < 110]
    assert 0.3 < np.mean(dark < 120) < 0.8
    assert 0.15 < np.mean(dark > 160) < 0.6
    core = ndimage.minimum_filter(pair.em < 75, (1, 3, 3))
    greys = [np.median(pair.lm[pair.em > 190]), np.median(pair.lm[core])]
    assert abs(greys[0] - greys[1]) < 12


def test_raw_correlation_is_weak(pair):
    """LM taken for EM correlates weakly."""
    assert abs(correlation(pair.lm, pair.em)) < 0.3


def test_surroundings_tell_dark_from_bright(pair):
    """A rule that knows how thick membranes are makes EM of LM; none is hidden from LM."""
    smooth = ndimage.gaussian_filter(pair.lm.astype(np.float32), (0.3, 0.6, 0.6))
    bright = smooth > 110
    depth = ndimage.distance_transform_edt(~bright, sampling=(1.25, 1.0, 1.0))
    virtual = np.where(bright, 140, np.where(depth > 5.0, 205, 60))
    assert correlation(virtual, pair.em) > 0.9


def test_structures_continue_over_slices(pair):
    """Neighbouring slices are alike, and more so than distant ones."""
    near = np.mean([correlation(pair.em[z], pair.em[z + 1]) for z in range(7)])
    far = np.mean([correlation(pair.em[z], pair.em[z + 6]) for z in range(2)])
    assert near > 0.8
    assert near > far + 0.1


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 300), (30, 9, 7)])
def test_any_shape(shape):
    """Thin, small and single-voxel volumes are painted too."""
    pair = light_and_em(shape, 1)
    assert pair.lm.shape == pair.em.shape == shape


@pytest.mark.parametrize("shape", [(0, 4, 4), (4, 4)])
def test_refuses_shapes_that_are_none(shape):
    """An empty or flat shape is refused with its value."""
    with pytest.raises(ValueError, match="three positive numbers"):
        light_and_em(shape)
