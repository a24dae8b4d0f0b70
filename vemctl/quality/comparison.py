"""How alike a restored image is to the true one, whatever brightness and contrast it came with.

A restoration is free to choose its grey values, and metrics that compare values would judge that
choice. So both images are brought to one scale first: the true one between two of its percentiles,
the restored one by the straight line that fits the true one best.

Source: the specification of the published evaluation of pssr, section 6.4. The idea is that of
CARE (Weigert et al., "Content-aware image restoration: pushing the limits of fluorescence
microscopy", Nature Methods 15, 2018). Everything is computed in double precision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.errors import InputError

Image = npt.NDArray[Any]
Double = npt.NDArray[np.float64]

LOW, HIGH = 0.1, 99.9
"""Percentiles of the true image that become 0 and 1."""
SSIM_WINDOW = 7


@dataclass(frozen=True)
class Scores:
    """How alike two images are.

    Attributes
    ----------
    psnr : float
        Peak signal-to-noise ratio in decibels.
    ssim : float
        Mean structural similarity, 1 at most.
    """

    psnr: float
    ssim: float


def scores_after_normalising(truth: Image, prediction: Image) -> Scores:
    """Return how alike two slices are after `norm_minmse`, as the published evaluation of pssr.

    Parameters
    ----------
    truth, prediction : ndarray, (y, x)
        Of any type and scale.

    Returns
    -------
    Scores
        Not a number where the true slice has no contrast, for then nothing tells a good prediction
        from a bad one. A prediction without contrast is scored as the mean of the true slice.

    Raises
    ------
    InputError
        The slices are not of one shape, not planes, or smaller than the window of `ssim`.
    """
    _check(truth, prediction, SSIM_WINDOW)
    truth, prediction = norm_minmse(truth, prediction)
    if not truth.any():
        return Scores(math.nan, math.nan)
    return Scores(psnr(truth, prediction), ssim(truth, prediction))


def norm_minmse(truth: Image, prediction: Image) -> tuple[Double, Double]:
    """Bring two slices to one scale, on which their mean squared difference is least.

    Parameters
    ----------
    truth, prediction : ndarray, (y, x)
        Of any type and scale.

    Returns
    -------
    truth : ndarray, (y, x), float64
        `normalise_percentiles` of it, less its mean; 0 everywhere if it has no contrast.
    prediction : ndarray, (y, x), float64
        Less its mean, times its sample covariance with the true slice over its population
        variance, as published; 0 everywhere if it is constant or the true slice has no contrast.

    Raises
    ------
    InputError
        The slices are not of one shape, or not planes.
    """
    _check(truth, prediction)
    normal = normalise_percentiles(truth)
    normal -= normal.mean()
    if prediction.min() == prediction.max():  # what the mean leaves of it is rounding
        return normal, np.zeros(prediction.shape)
    scaled = prediction.astype(np.float64)
    scaled -= scaled.mean()
    covariance = np.vdot(scaled, normal) / (scaled.size - 1)
    scaled *= covariance / np.mean(scaled**2)
    return normal, scaled


def normalise_percentiles(image: Image, low: float = LOW, high: float = HIGH) -> Double:
    """Map two percentiles of an image to 0 and 1; what is beyond them is not clipped.

    Parameters
    ----------
    image : ndarray, any shape and type
    low, high : float
        In percent.

    Returns
    -------
    ndarray, float64
        0 everywhere where the two percentiles are equal: the image has no contrast between them.
    """
    values = image.astype(np.float64)
    bottom, top = np.percentile(values, (low, high))
    if bottom == top:
        return np.zeros(image.shape)
    values -= bottom
    values /= top - bottom
    return values


def psnr(truth: Image, prediction: Image, *, data_range: float = 1.0) -> float:
    """Return the peak signal-to-noise ratio in decibels; infinite for equal images.

    Parameters
    ----------
    truth, prediction : ndarray, (y, x)
    data_range : float
        From the smallest possible value to the largest.

    Raises
    ------
    InputError
        The images are not of one shape, or not planes.
    """
    _check(truth, prediction)
    error = float(np.mean((truth.astype(np.float64) - prediction.astype(np.float64)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(data_range**2 / error)


def ssim(truth: Image, prediction: Image, *, data_range: float = 1.0) -> float:
    """Return the mean structural similarity: uniform windows of 7 x 7, sample covariance.

    Two constant images differ in brightness only; equal ones have 1.

    Parameters
    ----------
    truth, prediction : ndarray, (y, x)
    data_range : float
        From the smallest possible value to the largest.

    Raises
    ------
    InputError
        The images are not of one shape, not planes, or smaller than the window.
    """
    from skimage.metrics import structural_similarity

    _check(truth, prediction, SSIM_WINDOW)
    similarity: float = structural_similarity(  # type: ignore[no-untyped-call]
        truth.astype(np.float64),
        prediction.astype(np.float64),
        win_size=SSIM_WINDOW,
        data_range=data_range,
        gaussian_weights=False,
        use_sample_covariance=True,
    )
    return float(similarity)


def _check(truth: Image, prediction: Image, smallest: int = 1) -> None:
    """Refuse what cannot be compared."""
    if truth.shape != prediction.shape:
        raise InputError(
            f"images of the shapes {truth.shape} and {prediction.shape} cannot be compared; "
            "expected one shape, so crop or resample one of them"
        )
    if truth.ndim != 2 or min(truth.shape) < smallest:
        raise InputError(
            f"images of the shape {truth.shape} cannot be compared; expected single slices (y, x) "
            f"of at least {smallest} x {smallest} pixels"
        )
