"""Scaling down by four, and up again, as the published programs do. Imports no torch.

Source: the specification, sections 6.3, 7 and 12 (2, 3).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl_pssr.architecture import SCALE

SMALLEST_SCALED = 3
"""Pixels along an axis; of fewer, none would be left."""

Image = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]


def zoom(image: Image, factor: float = 1 / SCALE) -> Image:
    """Interpolate linearly between pixels, corners on corners, without smoothing before.

    Parameters
    ----------
    image : ndarray, (y, x)
        Of any type.
    factor : float
        1/4 for the poor image of a good one, 4 for its enlargement.

    Returns
    -------
    ndarray, (round(factor y), round(factor x))
        Of the type of `image`; integers are rounded to the nearest. Pixel i of n' is read at
        ``i (n - 1) / (n' - 1)``.

    Raises
    ------
    ValueError
        Nothing would be left of the image.
    """
    from scipy import ndimage

    for length in image.shape:
        _scaled(length, factor)
    # The last place may, by rounding, lie behind the last pixel: scipy would call it black.
    zoomed: Image = ndimage.zoom(image, factor, order=1, mode="nearest")
    return zoomed


def mean_of_middle(image: Image) -> Image:
    """Return the mean of the four middle pixels of every sixteen, (4 y, 4 x) -> (y, x).

    A pixel of the result is in the middle of those that it stands for, as in a real scan.
    """
    image = image.astype(np.float32, copy=False)
    middle: Image = image[1::4, 1::4] + image[1::4, 2::4] + image[2::4, 1::4] + image[2::4, 2::4]
    return middle / 4


def rescale(image: Image) -> Doubles:
    """Smooth, then interpolate linearly between pixels, edges on edges.

    Parameters
    ----------
    image : ndarray, (y, x)
        Floats, or 8 bit, of which the smoothing truncates to 8 bit after each axis, as in the
        original.

    Returns
    -------
    ndarray of float64, (round(y / 4), round(x / 4))
        In the units of `image`. Along an axis that shrinks ``f``-fold the Gaussian has a standard
        deviation of ``(f - 1) / 2``, and pixel i is read at ``f (i + 1/2) - 1/2``.

    Raises
    ------
    ValueError
        Nothing would be left of the image.
    """
    from scipy import ndimage

    factors = [length / _scaled(length, 1 / SCALE) for length in image.shape]
    sigmas = [(factor - 1) / 2 for factor in factors]
    smooth = ndimage.gaussian_filter(image, sigmas, mode="mirror")
    (top, down), (left, right) = (
        _neighbours(length, factor) for length, factor in zip(image.shape, factors, strict=True)
    )
    # Along x first, and only in the rows that are needed: the rounding of the original.
    rows = [_between(smooth[index], left, right) for index in (top, top + 1)]
    scaled: Doubles = rows[0] * (1 - down)[:, None] + rows[1] * down[:, None]
    return np.clip(scaled, smooth.min(), smooth.max())


def _scaled(length: int, factor: float) -> int:
    scaled = round(length * factor)
    if scaled < 1:
        raise ValueError(f"expected at least {SMALLEST_SCALED} pixels along y and x, got {length}")
    return scaled


def _neighbours(length: int, factor: float) -> tuple[npt.NDArray[Any], Doubles]:
    """Return the pixels before the places that are read, and how far these lie behind them."""
    places = factor * (np.arange(round(length / factor)) + 0.5) - 0.5
    before = np.minimum(places.astype(np.intp), length - 2)
    return before, np.asarray(places - before, np.float64)


def _between(rows: Image, before: npt.NDArray[np.intp], behind: Doubles) -> Doubles:
    blended: Doubles = rows[:, before] * (1 - behind) + rows[:, before + 1] * behind
    return blended
