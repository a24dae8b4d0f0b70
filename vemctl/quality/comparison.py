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
from vemctl.quality.agreement import Moments
from vemctl.quality.similarity import SLICES, similarity_map
from vemctl.quality.windows import UNIFORM

Image = npt.NDArray[Any]
Double = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

LOW, HIGH = 0.1, 99.9
"""Percentiles of the true image that become 0 and 1."""
SSIM_WINDOW = len(UNIFORM.weights)
"""Pixels along each axis; weighted alike, with the covariance of the sample, as published."""


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


def scores_after_normalising(truth: Image, prediction: Image, mask: Mask | None = None) -> Scores:
    """Return how alike two slices are after `norm_minmse`, as the published evaluation of pssr.

    Parameters
    ----------
    truth, prediction : ndarray, (y, x)
        Of any type and scale.
    mask : ndarray of bool, (y, x), optional
        What is counted; the windows of the similarity may reach beyond it, but only over pixels
        that are numbers. By default everything.

    Returns
    -------
    Scores
        Not a number where the true slice has no contrast, for then nothing tells a good prediction
        from a bad one, or where a counted pixel is not finite. A prediction without contrast is
        scored as the mean of the true slice.

    Raises
    ------
    InputError
        The slices are not of one shape, not planes, or smaller than the window of 7 x 7 pixels.
    """
    _check(truth, prediction, mask, SSIM_WINDOW)
    where = ... if mask is None else mask
    if not all(np.isfinite(image[where]).all() for image in (truth, prediction)):
        return Scores(math.nan, math.nan)
    truth, prediction = norm_minmse(truth, prediction, mask)
    if not truth[where].any():
        return Scores(math.nan, math.nan)
    similarity = similarity_map(
        truth[np.newaxis], prediction[np.newaxis], data_range=1, axes=SLICES, window=UNIFORM
    )[0]
    if mask is not None:
        halo = slice(UNIFORM.halo, -UNIFORM.halo)
        similarity = similarity[mask[halo, halo]]
        similarity = similarity[np.isfinite(similarity)]
    return Scores(
        Moments.of(truth, prediction, mask).psnr(1),
        float(similarity.mean()) if similarity.size else math.nan,
    )


def norm_minmse(truth: Image, prediction: Image, mask: Mask | None = None) -> tuple[Double, Double]:
    """Bring two slices to one scale, on which their mean squared difference is least.

    Parameters
    ----------
    truth, prediction : ndarray, (y, x)
        Of any type and scale.
    mask : ndarray of bool, (y, x), optional
        What the scales are found from. By default everything.

    Returns
    -------
    truth : ndarray, (y, x), float64
        `normalise_percentiles` of it, less its mean; 0 everywhere if it has no contrast.
    prediction : ndarray, (y, x), float64
        Less its mean, times its sample covariance with the true slice over its population
        variance, as published; 0 everywhere if it is constant or the true slice has no contrast.
        Outside the mask, infinite pixels become NaN in both.

    Raises
    ------
    InputError
        The slices are not of one shape, or not planes.
    """
    _check(truth, prediction, mask)
    if mask is not None and not mask.any():
        return np.zeros(truth.shape), np.zeros(truth.shape)
    where = ... if mask is None else mask
    normal = normalise_percentiles(truth, mask=mask)
    normal -= normal[where].mean()
    scaled = prediction.astype(np.float64)
    if mask is not None:  # infinity times 0 would warn
        normal[np.isinf(normal)] = math.nan
        scaled[np.isinf(scaled)] = math.nan
    counted = scaled[where]
    if counted.min() == counted.max():  # what the mean leaves of it is rounding
        scaled[~np.isnan(scaled)] = 0
    else:
        scaled -= counted.mean()
        counted = scaled[where]
        covariance = np.vdot(counted, normal[where]) / (counted.size - 1)
        scaled *= covariance / np.mean(counted**2)
    return normal, scaled


def normalise_percentiles(
    image: Image, low: float = LOW, high: float = HIGH, *, mask: Mask | None = None
) -> Double:
    """Map two percentiles of an image to 0 and 1; what is beyond them is not clipped.

    Parameters
    ----------
    image : ndarray, any shape and type
    low, high : float
        In percent.
    mask : ndarray of bool, the same shape, optional
        What the percentiles are of. By default everything.

    Returns
    -------
    ndarray, float64
        0 everywhere where the two percentiles are equal: the image has no contrast between them.
    """
    values = image.astype(np.float64)
    bottom, top = np.percentile(values if mask is None else values[mask], (low, high))
    if bottom == top:
        return np.zeros(image.shape)
    values -= bottom
    values /= top - bottom
    return values


def _check(truth: Image, prediction: Image, mask: Mask | None, smallest: int = 1) -> None:
    """Refuse what cannot be compared."""
    for other in (prediction, mask):
        if other is not None and truth.shape != other.shape:
            raise InputError(
                f"images of the shapes {truth.shape} and {other.shape} cannot be compared; "
                "expected one shape, so crop or resample one of them"
            )
    if truth.ndim != 2 or min(truth.shape) < smallest:
        raise InputError(
            f"images of the shape {truth.shape} cannot be compared; expected single slices (y, x) "
            f"of at least {smallest} x {smallest} pixels"
        )
