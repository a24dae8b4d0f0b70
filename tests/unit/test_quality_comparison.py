"""Metrics of restored images against the published ones, and on images that are hard to judge."""

from __future__ import annotations

import math

import numpy as np
import pytest
from parity import load_fixture
from skimage.metrics import structural_similarity

from vemctl.errors import InputError
from vemctl.quality.comparison import (
    Scores,
    norm_minmse,
    normalise_percentiles,
    scores_after_normalising,
)

TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """Return slices and what the published evaluation made of them."""
    return load_fixture("pssr_metrics")[1]


def images(shape: tuple[int, int] = (30, 40)) -> tuple[np.ndarray, np.ndarray]:
    """Return an image and a noisy copy, in [0, 1]."""
    rng = np.random.default_rng(0)
    truth = rng.random(shape)
    return truth, np.clip(truth + 0.1 * rng.standard_normal(shape), 0, 1)


@pytest.mark.parametrize(
    ("name", "truth", "prediction"),
    [
        ("pred", "gt_norm", "pred_norm"),
        ("pred", "gt_norm_plain", "pred_norm_plain"),
        ("bilinear", "gt_norm_bilinear", "bilinear_norm"),
    ],
)
def test_slices_are_brought_to_the_published_scale(
    arrays, name: str, truth: str, prediction: str
) -> None:
    """Whether or not the published program maps the prediction to 2 x + 100 before."""
    found = norm_minmse(arrays["gt"], arrays[name])
    assert all(image.dtype == np.float64 for image in found)
    np.testing.assert_allclose(found[0], arrays[truth], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(found[1], arrays[prediction], rtol=0, atol=TOLERANCE)


def test_scores_are_the_published_ones(arrays) -> None:
    """PSNR and SSIM of a prediction, and of the bilinear baseline."""
    found = [scores_after_normalising(arrays["gt"], arrays[name]) for name in ("pred", "bilinear")]
    np.testing.assert_allclose(
        [value for each in found for value in (each.psnr, each.ssim)],
        arrays["scores"],
        rtol=0,
        atol=TOLERANCE,
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float16, np.bool_])
def test_scale_and_type_make_no_difference(dtype: type) -> None:
    """Neither of the true image nor of the prediction."""
    scale = 1.9 if dtype is np.bool_ else 50
    truth, prediction = ((scale * image // 1).astype(dtype) for image in images())
    scores = scores_after_normalising(truth, prediction)
    moved = scores_after_normalising(
        3.0 * truth.astype(np.float64) - 7, 0.1 * prediction.astype(np.float64) + 1000
    )
    assert moved.psnr == pytest.approx(scores.psnr, abs=1e-6)
    assert moved.ssim == pytest.approx(scores.ssim, abs=1e-6)


def test_inputs_stay_as_they_are() -> None:
    """Also those that are of the type that is computed in."""
    truth, prediction = images()
    copies = truth.copy(), prediction.copy()
    scores_after_normalising(truth, prediction)
    np.testing.assert_array_equal(truth, copies[0])
    np.testing.assert_array_equal(prediction, copies[1])


def test_percentiles_become_0_and_1() -> None:
    """Values beyond them stay beyond."""
    image = np.arange(1001, dtype=np.uint16).reshape(7, 143)
    normal = normalise_percentiles(image, 10, 90)
    assert normal[0, 0] == pytest.approx(-0.125)
    assert normal.ravel()[[100, 500, 900]] == pytest.approx([0, 0.5, 1])
    assert normal.max() == pytest.approx(1.125)


def test_a_true_slice_without_contrast_has_no_scores() -> None:
    """It becomes 0, the prediction too, and nothing is divided by 0."""
    truth, prediction = np.full((20, 20), 7, np.uint8), images((20, 20))[1]
    for image in norm_minmse(truth, prediction):
        np.testing.assert_array_equal(image, 0)
    scores = scores_after_normalising(truth, prediction)
    assert math.isnan(scores.psnr)
    assert math.isnan(scores.ssim)


def test_a_single_bright_pixel_is_no_contrast() -> None:
    """It is beyond the percentiles, so that they are equal."""
    truth = np.zeros((50, 50), np.float32)
    truth[3, 4] = 1
    np.testing.assert_array_equal(normalise_percentiles(truth), 0)
    assert math.isnan(scores_after_normalising(truth, truth).psnr)


def test_a_constant_prediction_is_the_mean() -> None:
    """Whatever its value, its error is the variance of the true slice."""
    truth = images()[0]
    for value in (0, 0.1, 1e6):
        prediction = np.full(truth.shape, value)
        normal, scaled = norm_minmse(truth, prediction)
        np.testing.assert_array_equal(scaled, 0)
        expected = -10 * math.log10(normal.var())
        assert scores_after_normalising(truth, prediction).psnr == pytest.approx(expected)


def test_an_equal_prediction_is_nearly_perfect() -> None:
    """But for the published ratio of a sample covariance to a population variance."""
    truth = images()[0]
    scores = scores_after_normalising(truth, truth)
    normal = norm_minmse(truth, truth)[0]
    assert scores.ssim == pytest.approx(1, abs=1e-5)
    assert scores.psnr == pytest.approx(-10 * math.log10(normal.var() / (truth.size - 1) ** 2))


def test_values_that_are_no_numbers_have_no_scores() -> None:
    """In either slice."""
    truth, prediction = images()
    for image in (truth, prediction):
        broken = image.copy()
        broken[5, 5] = math.nan
        pair = (broken, prediction) if image is truth else (truth, broken)
        scores = scores_after_normalising(*pair)
        assert isinstance(scores, Scores)
        assert math.isnan(scores.psnr)
        assert math.isnan(scores.ssim)


@pytest.mark.parametrize("metric", [norm_minmse, scores_after_normalising])
def test_slices_of_different_shape_are_refused(metric) -> None:
    """They are not broadcast, and volumes are no slices."""
    with pytest.raises(InputError, match=r"\(8, 9\) and \(1, 9\).*crop") as caught:
        metric(np.zeros((8, 9)), np.zeros((1, 9)))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"\(2, 8, 9\).*single slices"):
        metric(np.zeros((2, 8, 9)), np.zeros((2, 8, 9)))
    with pytest.raises(InputError, match=r"\(0, 9\).*single slices"):
        metric(np.zeros((0, 9)), np.zeros((0, 9)))


def test_slices_smaller_than_the_window_are_refused() -> None:
    """With how large they must be."""
    with pytest.raises(InputError, match="at least 7 x 7"):
        scores_after_normalising(np.zeros((6, 9)), np.zeros((6, 9)))


def test_a_single_pixel_has_no_contrast() -> None:
    """It is its own mean."""
    one, other = np.full((1, 1), 0.5), np.full((1, 1), 0.4)
    assert all(image == 0 for image in norm_minmse(one, other))


def test_similarity_is_that_of_scikit_image() -> None:
    """With its default window, of the slices on their common scale."""
    truth, prediction = images()
    expected = structural_similarity(*norm_minmse(truth, prediction), data_range=1)
    found = scores_after_normalising(truth, prediction).ssim
    assert found == pytest.approx(expected, abs=1e-12)


def mask_of(shape: tuple[int, int]) -> np.ndarray:
    """Return a mask with a straight and a ragged part."""
    mask = np.random.default_rng(1).random(shape) < 0.8
    mask[:, : shape[1] // 3] = False
    return mask


def test_a_mask_of_everything_changes_nothing() -> None:
    """Not even the last digit."""
    truth, prediction = images()
    masked = scores_after_normalising(truth, prediction, np.ones(truth.shape, bool))
    whole = scores_after_normalising(truth, prediction)
    assert masked.psnr == pytest.approx(whole.psnr, abs=1e-12)
    assert masked.ssim == pytest.approx(whole.ssim, abs=1e-12)


def test_only_masked_pixels_are_counted() -> None:
    """For the scale, the error and the mean similarity; windows see what is around them."""
    truth, prediction = images()
    mask = mask_of(truth.shape)
    truth[~mask] += 3  # would move the percentiles
    chosen, other = truth[mask], prediction[mask]
    low, high = np.percentile(chosen, (0.1, 99.9))
    normal = (truth - low) / (high - low) - ((chosen - low) / (high - low)).mean()
    factor = np.cov(other, normal[mask])[0, 1] / other.var()
    scaled = factor * (prediction - other.mean())
    scores = scores_after_normalising(truth, prediction, mask)
    error = np.mean((normal - scaled)[mask] ** 2)
    assert scores.psnr == pytest.approx(-10 * math.log10(error), abs=1e-9)
    full = structural_similarity(normal, scaled, data_range=1, full=True)[1]
    fits = mask[3:-3, 3:-3]
    assert scores.ssim == pytest.approx(full[3:-3, 3:-3][fits].mean(), abs=1e-9)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_may_lie_outside_the_mask(value: float) -> None:
    """It costs the windows that touch it, no others."""
    truth, prediction = images()
    mask = np.ones(truth.shape, bool)
    mask[10, 12] = False
    broken = prediction.copy()
    broken[10, 12] = value
    scores = scores_after_normalising(truth, broken, mask)
    assert scores.psnr == scores_after_normalising(truth, prediction, mask).psnr
    far = mask.copy()
    far[7:14, 9:16] = False
    normal, scaled = norm_minmse(truth, prediction, mask)
    full = structural_similarity(normal, scaled, data_range=1, full=True)[1]
    expected = full[3:-3, 3:-3][far[3:-3, 3:-3]].mean()
    assert scores.ssim == pytest.approx(expected, abs=1e-9)
    constant = np.where(mask, 0.5, value)
    flat = scores_after_normalising(truth, constant, mask)
    assert flat.psnr == pytest.approx(-10 * math.log10(normal[mask].var()))


def test_a_mask_without_contrast_has_no_scores() -> None:
    """Nor has an empty one; one without a window that fits has no similarity only."""
    truth, prediction = images()
    mask = np.zeros(truth.shape, bool)
    for pixels in range(2):
        mask[5, 5] = pixels
        scores = scores_after_normalising(truth, prediction, mask)
        assert math.isnan(scores.psnr)
        assert math.isnan(scores.ssim)
    mask[:3] = True
    mask[5, 5] = False
    scores = scores_after_normalising(truth, prediction, mask)
    assert scores.psnr > 0
    assert math.isnan(scores.ssim)


def test_a_mask_of_another_shape_is_refused() -> None:
    """With both shapes."""
    with pytest.raises(InputError, match=r"\(8, 9\) and \(9, 8\)"):
        scores_after_normalising(np.zeros((8, 9)), np.zeros((8, 9)), np.ones((9, 8), bool))
