"""Values of any kind as gray: what is black, what is white, and how large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
Gray = npt.NDArray[np.uint8]
Range = tuple[float, float]

PERCENTILES = (0.5, 99.5)
UNLIKE = 4.0
"""Times the range of the other, from which on two groups of images are not shown alike."""
ALIKE = 0.2
"""Of both ranges together, which both must cover to be shown alike."""
BACKGROUND = 18
"""Gray around pictures: they are seen to end where they are black themselves."""
SAMPLED = 2**22
"""Values of an image from which percentiles are taken, spread evenly; all, up to so many."""
EDGE_OF_A_PIXEL = 1e-6
"""How much a size may be off before it counts as one pixel less."""


def contrast(
    *images: Values, percentiles: tuple[float, float] = PERCENTILES
) -> tuple[float, float]:
    """Return which value is black and which is white, for all of these images.

    Parameters
    ----------
    *images : ndarray
        Of any shape and real type; NaN and infinity do not count.
    percentiles : (float, float)
        Of all values together.

    Returns
    -------
    low, high : float
        ``high > low``. Where the percentiles are equal, the smallest and the largest value; around
        the value of constant images, which is a middle gray then; 0 and 1 without any value.
    """
    found = percentile_range(*images, percentiles=percentiles)
    if found is not None:
        return found
    extremes = [(values.min(), values.max()) for values in map(_finite, images) if values.size]
    if not extremes:
        return 0.0, 1.0
    low, high = float(min(low for low, _ in extremes)), float(max(high for _, high in extremes))
    if high > low:
        return low, high
    half = max(0.5, 1e-6 * abs(low))
    return low - half, high + half


def contrasts(first: Sequence[Values], other: Sequence[Values]) -> tuple[Range, Range]:
    """Return which value is black and which is white, for two groups of images to be compared.

    Parameters
    ----------
    first, other : sequence of ndarray
        As in `contrast`.

    Returns
    -------
    first, other : (low, high)
        One contrast for both, if it shows what is in either; else each its own: where one has
        more than `UNLIKE` times the range of the other, or they hardly overlap.
    """
    own, its = contrast(*first), contrast(*other)
    narrow, wide = sorted(high - low for low, high in (own, its))
    shared = min(own[1], its[1]) - max(own[0], its[0])
    both = max(own[1], its[1]) - min(own[0], its[0])
    if wide > UNLIKE * narrow or shared < ALIKE * both:
        return own, its
    together = contrast(*first, *other)
    return together, together


def percentile_range(
    *images: Values, percentiles: tuple[float, float] = PERCENTILES
) -> tuple[float, float] | None:
    """Return two percentiles of all finite values of images; None unless they differ.

    Parameters
    ----------
    *images : ndarray
        Of any shape and real type.
    percentiles : (float, float)
    """
    values = np.concatenate([np.empty(0), *(_finite(_sampled(image)) for image in images)])
    if not values.size:
        return None
    low, high = np.percentile(values, percentiles)
    return (float(low), float(high)) if high > low else None


def to_gray(values: Values, low: float, high: float) -> Gray:
    """Return values as gray.

    Parameters
    ----------
    values : ndarray, (y, x)
        NaN is black, as is what is below `low`.
    low, high : float
        What is black and what is white, ``high > low``.

    Returns
    -------
    ndarray, (y, x), uint8
    """
    shown = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    shown = np.clip(shown, low, high)
    gray: Gray = np.round((shown - low) / (high - low) * 255).astype(np.uint8)
    return gray


def grown(gray: Gray, height: int, width: int) -> Gray:
    """Return an image of the size given, in which this one is as large as fits, in the middle.

    Parameters
    ----------
    gray : ndarray, (y, x), uint8
        Its pixels are repeated, or left out where it is larger.
    height, width : int

    Returns
    -------
    ndarray, (height, width), uint8
    """
    scale = min(height / gray.shape[0], width / gray.shape[1])
    rows, columns = (max(1, int(length * scale + EDGE_OF_A_PIXEL)) for length in gray.shape)
    nearest = [
        (np.arange(new) * old // new) for new, old in zip((rows, columns), gray.shape, strict=True)
    ]
    canvas = np.full((height, width), BACKGROUND, np.uint8)
    y, x = (height - rows) // 2, (width - columns) // 2
    canvas[y : y + rows, x : x + columns] = gray[np.ix_(*nearest)]
    return canvas


def _finite(image: Values) -> npt.NDArray[np.float64]:
    values = np.asarray(image, np.float64).ravel()
    finite: npt.NDArray[np.float64] = values[np.isfinite(values)]
    return finite


def _sampled(image: Values) -> Values:
    """Return every so many-th value; an odd number of them, so that no column is preferred."""
    step = -(-image.size // SAMPLED)
    return image.ravel()[:: step + (step % 2 == 0)]
