"""By what a real poor image is compared with a made one. Imports no torch.

Neither needs the same field of view: the power spectrum, in rings, and the variance of what is left
where all straight structures are removed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

FIRST_RING = 2
"""Rings of lower frequency are mere brightness."""
BLOCK = 16
"""Edge of a block in which the remainder is measured."""
TO_DEVIATION = 0.6745
"""Median of the absolute value of a standard normal number."""
FLOOR = 1e-6
"""Power that 8-bit rounding has anyway, added to all that is compared."""


@dataclass(frozen=True)
class Measured:
    """What images are compared by.

    Attributes
    ----------
    spectrum : ndarray, (rings,)
        See `spectrum`.
    remainder : float
        See `remainder`.
    """

    spectrum: Doubles
    remainder: float


def _rings(tile: int) -> npt.NDArray[np.intp]:
    """Return in which ring each coefficient of a real Fourier transform lies."""
    y, x = np.fft.fftfreq(tile)[:, None], np.fft.rfftfreq(tile)
    rings = np.rint(np.hypot(y, x) * tile).astype(np.intp)
    return np.asarray(np.maximum(rings - FIRST_RING, -1))


def ring_weights(tile: int) -> Doubles:
    """Return which share of the coefficients each ring has."""
    rings = _rings(tile)
    counts = np.bincount(rings[rings >= 0])
    return np.asarray(counts / counts.sum())


def spectrum(image: Doubles, tile: int) -> Doubles:
    """Return the mean power in rings of frequency; that of white noise is its variance.

    Parameters
    ----------
    image : ndarray, (y, x)
    tile : int
        Edge of the tiles that it is averaged over, which overlap by half and fade to their edges.

    Returns
    -------
    ndarray, (rings,)
        From low to high frequencies, with weights that `ring_weights` returns.
    """
    window = np.hanning(tile + 1)[:-1]
    weights = np.outer(window, window)
    weights /= np.sqrt(np.mean(weights**2)) * tile
    starts = [
        np.linspace(0, side - tile, 1 + -(-2 * (side - tile) // tile)).astype(int)
        for side in image.shape
    ]
    views = np.lib.stride_tricks.sliding_window_view(image, (tile, tile))
    power = np.zeros((tile, tile // 2 + 1))
    for y in starts[0]:
        tiles = views[y, starts[1]]
        tiles = (tiles - tiles.mean(axis=(1, 2), keepdims=True)) * weights
        power += np.sum(np.abs(np.fft.rfft2(tiles)) ** 2, axis=0)
    rings = _rings(tile)
    inside = rings >= 0
    counts = np.bincount(rings[inside]) * len(starts[0]) * len(starts[1])
    return np.asarray(np.bincount(rings[inside], power[inside]) / counts + FLOOR)


def remainder(image: Doubles) -> float:
    """Return the variance of what is left where straight structures are removed.

    Of each block it is that of the middle half of its pixels, so that few on a structure do not
    count. That of white noise is its variance.
    """
    left = np.diff(np.diff(image, 2, axis=0), 2, axis=1) / 6
    y, x = (side // BLOCK for side in left.shape)
    blocks = left[: y * BLOCK, : x * BLOCK].reshape(y, BLOCK, x, BLOCK).swapaxes(1, 2)
    middle = np.median(np.abs(blocks).reshape(y * x, -1), axis=1)
    return float(np.mean(middle**2) / TO_DEVIATION**2 + FLOOR)
