"""Structural similarity against scikit-image and pytorch-msssim, in whatever parts."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from vemctl.errors import OptionError
from vemctl.quality import similarity
from vemctl.quality.similarity import HALO, SLICES, VOLUME, similarity_map, similarity_parts
from vemctl.quality.windows import GAUSSIAN, UNIFORM

SHAPE = (14, 30, 37)


def volumes(
    dtype: str, offset: float = 0.0, spread: float = 50.0, shape: tuple[int, int, int] = SHAPE
) -> tuple[np.ndarray, np.ndarray]:
    """Return noise around an offset, and a noisier copy."""
    rng = np.random.default_rng(0)
    truth = offset + spread * rng.standard_normal(shape)
    prediction = truth + 0.5 * spread * rng.standard_normal(shape)
    return truth.astype(dtype), prediction.astype(dtype)


def reference(
    truth: np.ndarray, prediction: np.ndarray, data_range: float
) -> tuple[np.ndarray, float]:
    """Return the map and the mean of scikit-image, computed in double precision."""
    mean, full = structural_similarity(
        truth.astype(np.float64),
        prediction.astype(np.float64),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=data_range,
        full=True,
    )
    return full[(slice(HALO, -HALO),) * truth.ndim], mean


CASES = [
    ("uint8", 128, 20, 255),
    ("uint16", 40000, 50, 65535),
    ("uint16", 40000, 50, 400),
    ("int16", -200, 100, 1000),
    ("uint32", 3e9, 1e6, 2.0**32),
    ("float16", 0, 1, 4),
    ("float32", 0.5, 0.1, 1),
    (">f4", 0.5, 0.1, 1),
    ("float64", 1e5, 1e4, 1e5),
]


@pytest.mark.parametrize(("dtype", "offset", "spread", "data_range"), CASES)
def test_slices_are_those_of_scikit_image(dtype, offset, spread, data_range) -> None:
    """Voxel by voxel, whatever type and offset."""
    truth, prediction = volumes(dtype, offset, spread)
    found = similarity_map(truth, prediction, data_range=data_range, axes=SLICES)
    assert found.dtype == np.float64
    for plane, *pair in zip(found, truth, prediction, strict=True):
        expected, mean = reference(*pair, data_range)
        np.testing.assert_allclose(plane, expected, rtol=0, atol=1e-9)
        assert plane.mean() == pytest.approx(mean, abs=1e-9)


@pytest.mark.parametrize(("dtype", "offset", "spread", "data_range"), CASES)
def test_volumes_are_those_of_scikit_image(dtype, offset, spread, data_range) -> None:
    """Voxel by voxel, whatever type and offset."""
    truth, prediction = volumes(dtype, offset, spread)
    found = similarity_map(truth, prediction, data_range=data_range, axes=VOLUME)
    expected, mean = reference(truth, prediction, data_range)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    assert found.mean() == pytest.approx(mean, abs=1e-9)


def test_uniform_windows_are_those_of_scikit_image() -> None:
    """With the covariance of the sample, its default."""
    truth, prediction = volumes("float64", 1, 0.3)
    flat = similarity_map(truth, prediction, data_range=2, axes=SLICES, window=UNIFORM)
    for plane, *pair in zip(flat, truth, prediction, strict=True):
        full = structural_similarity(*pair, data_range=2, full=True)[1]
        np.testing.assert_allclose(plane, full[3:-3, 3:-3], rtol=0, atol=1e-9)
    solid = similarity_map(truth, prediction, data_range=2, axes=VOLUME, window=UNIFORM)
    full = structural_similarity(truth, prediction, data_range=2, full=True)[1]
    np.testing.assert_allclose(solid, full[3:-3, 3:-3, 3:-3], rtol=0, atol=1e-9)


@pytest.mark.parametrize("axes", [SLICES, VOLUME])
def test_means_are_those_of_pytorch_msssim(axes) -> None:
    """Which computes in single precision."""
    msssim = pytest.importorskip("pytorch_msssim")
    torch = pytest.importorskip("torch")
    truth, prediction = (np.clip(v, 0, 255) for v in volumes("float32", 128, 40))
    tensors = [torch.from_numpy(each[None, None]) for each in (truth, prediction)]
    if axes == SLICES:
        tensors = [each[0, 0][:, None] for each in tensors]
    expected = msssim.ssim(*tensors, data_range=255, win_size=11, win_sigma=1.5, size_average=True)
    found = similarity_map(truth, prediction, data_range=255, axes=axes).mean()
    assert found == pytest.approx(float(expected), abs=1e-5)


@settings(max_examples=12, deadline=None)
@given(
    part=st.integers(1, 40_000),
    depth=st.integers(1, 20),
    band=st.integers(6, 50),
    axes=st.sampled_from([SLICES, VOLUME]),
)
def test_parts_make_no_difference(part: int, depth: int, band: int, axes) -> None:
    """However small they are."""
    truth, prediction = volumes("uint16", 40000)
    whole = similarity_map(truth, prediction, data_range=400, axes=axes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "PART", part)
        patch.setattr(similarity, "DEPTH", depth)
        patch.setattr(similarity, "BAND", band)
        cut = similarity_map(truth, prediction, data_range=400, axes=axes)
    np.testing.assert_allclose(cut, whole, rtol=0, atol=1e-12)


def test_only_what_is_asked_for_is_yielded() -> None:
    """Each voxel once, with the whole arrays as its context, and none that windows do not fit."""
    truth, prediction = volumes("uint8", 128)
    within = (slice(0, 8), slice(9, 20), slice(12, 37))
    for axes in (SLICES, VOLUME):
        halo = [HALO if axis in axes else 0 for axis in range(3)]
        whole = np.full(SHAPE, math.nan)
        inside = tuple(slice(h, n - h) for h, n in zip(halo, SHAPE, strict=True))
        whole[inside] = similarity_map(truth, prediction, data_range=255, axes=axes)
        asked = np.full(SHAPE, math.nan)
        for kind, region, values in similarity_parts(
            truth, prediction, data_range=255, within=within
        ):
            if kind == axes:
                assert np.isnan(asked[region]).all()
                asked[region] = values
        np.testing.assert_allclose(asked[within], whole[within], rtol=0, atol=1e-12)
        asked[within] = math.nan
        assert np.isnan(asked).all()


@pytest.mark.parametrize("axes", [SLICES, VOLUME])
def test_equal_volumes_have_1(axes) -> None:
    """Of whatever type and offset, constant ones too."""
    for volume in (
        volumes("uint8", 128)[0],
        volumes("float64", 1e6)[0],
        np.full(SHAPE, 0.1),
        np.ones(SHAPE, bool),
        np.zeros(SHAPE, np.uint16),
    ):
        found = similarity_map(volume, volume.copy(), data_range=1, axes=axes)
        np.testing.assert_allclose(found, 1, rtol=0, atol=1e-12)


def test_constant_volumes_differ_in_brightness() -> None:
    """The formula without deviations."""
    found = similarity_map(np.full(SHAPE, 0.3), np.full(SHAPE, 0.5), data_range=1, axes=VOLUME)
    expected = (2 * 0.3 * 0.5 + 1e-4) / (0.3**2 + 0.5**2 + 1e-4)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_a_common_scale_makes_no_difference() -> None:
    """If the data range has it too."""
    truth, prediction = volumes("float64", 3)
    one = similarity_map(truth, prediction, data_range=200, axes=VOLUME)
    large = similarity_map(truth * 1e6, prediction * 1e6, data_range=2e8, axes=VOLUME)
    np.testing.assert_allclose(large, one, rtol=0, atol=1e-12)


def test_large_offsets_cost_no_digits() -> None:
    """The similarity of one window, around 3e9, is that computed without any rounding."""
    truth, prediction = volumes("uint32", 3e9, 50, (11, 11, 11))
    found = similarity_map(truth, prediction, data_range=200, axes=VOLUME)
    line = [Fraction(weight) for weight in GAUSSIAN.weights]
    total = sum(line)
    weights = [a * b * c / total**3 for a in line for b in line for c in line]
    pairs = [
        (weight, Fraction(int(one)), Fraction(int(other)))
        for weight, one, other in zip(weights, truth.flat, prediction.flat, strict=True)
    ]
    mean = sum(weight * one for weight, one, _ in pairs)
    other_mean = sum(weight * other for weight, _, other in pairs)
    variance = sum(weight * (one - mean) ** 2 for weight, one, _ in pairs)
    other_variance = sum(weight * (other - other_mean) ** 2 for weight, _, other in pairs)
    covariance = sum(weight * (one - mean) * (other - other_mean) for weight, one, other in pairs)
    c1, c2 = Fraction(2) ** 2, Fraction(6) ** 2
    expected = (2 * mean * other_mean + c1) * (2 * covariance + c2)
    expected /= (mean**2 + other_mean**2 + c1) * (variance + other_variance + c2)
    assert found.item() == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("axes", [SLICES, VOLUME])
def test_windows_that_touch_no_numbers_are_none(axes, value: float) -> None:
    """In either volume; all others are as they would be."""
    truth, prediction = volumes("float32", 100)
    whole = similarity_map(truth, prediction, data_range=255, axes=axes)
    expected = whole.copy()
    truth[7, 15, 8] = prediction[6, 2, 30] = value
    # The map starts at the voxel of the halo, so that its windows start at the voxel 0.
    for place in ((7, 15, 8), (6, 2, 30)):
        touched = [slice(max(0, at - 2 * HALO), at + 1) for at in place]
        if axes == SLICES:
            touched[0] = slice(place[0], place[0] + 1)
        expected[tuple(touched)] = math.nan
    found = similarity_map(truth, prediction, data_range=255, axes=axes)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert np.isnan(found).any()


def test_volumes_of_no_numbers_have_no_similarity() -> None:
    """And nothing warns."""
    nothing = np.full(SHAPE, math.nan, np.float32)
    found = similarity_map(nothing, nothing, data_range=1, axes=VOLUME)
    assert np.isnan(found).all()


@pytest.mark.parametrize("shape", [(10, 30, 30), (30, 10, 30), (30, 30, 1)])
def test_axes_shorter_than_the_window_have_an_empty_map(shape) -> None:
    """Slices mind the two axes of theirs only."""
    one = np.ones(shape, np.uint8)
    assert similarity_map(one, one, data_range=255, axes=VOLUME).size == 0
    flat = similarity_map(one, one, data_range=255, axes=SLICES)
    assert flat.shape == (shape[0], max(0, shape[1] - 10), max(0, shape[2] - 10))


@pytest.mark.parametrize("data_range", [0, -1, math.nan, math.inf])
def test_a_range_that_is_none_is_refused(data_range: float) -> None:
    """In one line with what is expected."""
    with pytest.raises(OptionError, match=r"data range .* such as 255") as caught:
        similarity_map(np.ones(SHAPE), np.ones(SHAPE), data_range=data_range, axes=SLICES)
    assert "\n" not in str(caught.value)
