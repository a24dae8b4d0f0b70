"""Images in other sizes: averaged where they get smaller, pixels repeated where they grow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
Double = npt.NDArray[np.float64]
Size = tuple[int, int]
ROUNDING = 1e-6
"""Of a pixel."""


class Binned:
    """An image that comes in blocks, of which each bin of pixels becomes one.

    Parameters
    ----------
    shape : (rows, columns)
        Of the image.
    factors : (rows, columns)
        Pixels of a bin; those at the end may have fewer.
    keep : {"mean", "maximum"}
        Means of bins with a NaN are NaN; the maximum passes over it.
    """

    def __init__(self, shape: Size, factors: Size, keep: str = "mean") -> None:
        self._shape = shape
        self._factors = factors
        self._join: np.ufunc = {"mean": np.add, "maximum": np.fmax}[keep]
        bins = [-(-length // factor) for length, factor in zip(shape, factors, strict=True)]
        self._bins: Double = np.full(bins, 0.0 if keep == "mean" else math.nan)

    def add(self, block: Values, start: Size) -> None:
        """Take a block into account, which begins at `start` of the image."""
        places = []
        with np.errstate(invalid="ignore", over="ignore"):  # of infinite values
            for axis, (first, factor) in enumerate(zip(start, self._factors, strict=True)):
                last = first + block.shape[axis] - 1
                places.append(slice(first // factor, last // factor + 1))
                if factor > 1:
                    block = self._binned(block, axis, first, factor)
            target = self._bins[tuple(places)]
            self._join(target, block, out=target)

    def _binned(self, block: Values, axis: int, first: int, factor: int) -> Values:
        """Join along an axis; whole bins at once, which is much faster than `reduceat`."""
        kind = np.float64 if self._join is np.add else block.dtype
        length = block.shape[axis]
        head = min(-first % factor, length)
        body = (length - head) // factor * factor
        cuts = [(0, head, 1), (head, head + body, body // factor), (head + body, length, 1)]
        parts = []
        for begin, end, bins in cuts:
            if begin < end:
                index = [slice(None)] * axis + [slice(begin, end)]
                part = block[tuple(index)]
                sides = [*part.shape[:axis], bins, (end - begin) // bins, *part.shape[axis + 1 :]]
                parts.append(self._join.reduce(part.reshape(sides), axis=axis + 1, dtype=kind))
        return np.concatenate(parts, axis)

    def result(self) -> Double:
        """Return the bins, once all blocks were added."""
        if self._join is np.fmax:
            return self._bins
        counts = [
            np.minimum(factor, length - np.arange(0, length, factor))
            for length, factor in zip(self._shape, self._factors, strict=True)
        ]
        means: Double = self._bins / np.outer(*counts)
        return means


def resampled(image: Double, windows: tuple[tuple[float, float], ...], size: Size) -> Double:
    """Return a part of an image in another size.

    Parameters
    ----------
    image : ndarray, (rows, columns)
    windows : ((start, stop), (start, stop))
        The part, in pixels along rows and columns; what is beyond the ends repeats them.
    size : (rows, columns)

    Returns
    -------
    ndarray
        Along an axis that gets shorter, the mean of what a pixel covers; else the pixel in its
        middle.
    """
    for axis, ((start, stop), length) in enumerate(zip(windows, size, strict=True)):
        image = _along(image, axis, start, stop, length)
    return image


def _along(image: Double, axis: int, start: float, stop: float, length: int) -> Double:
    step = (stop - start) / length
    last = image.shape[axis] - 1
    if step <= 1 + ROUNDING:
        middles = np.floor(start + (np.arange(length) + 0.5) * step + ROUNDING)
        nearest: Double = image.take(np.clip(middles.astype(np.int64), 0, last), axis)
        return nearest
    edges = start + np.arange(length + 1) * step
    first = np.floor(edges[:-1] + ROUNDING)
    shape = [-1 if each == axis else 1 for each in range(image.ndim)]
    total: Double = np.zeros([length if each == axis else n for each, n in enumerate(image.shape)])
    for offset in range(math.ceil(step) + 1):
        pixel = first + offset
        covered = np.minimum(edges[1:], pixel + 1) - np.maximum(edges[:-1], pixel)
        weights = (np.where(covered > ROUNDING, covered, 0) / step).reshape(shape)
        values = image.take(np.clip(pixel.astype(np.int64), 0, last), axis)
        total += weights * np.where(weights > 0, values, 0)  # NaN beside a pixel stays there
    return total
