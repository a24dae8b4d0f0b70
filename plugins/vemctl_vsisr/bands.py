"""Where a canvas of a rotated plane is not empty, and bands of rows that cover it.

Distances are of pixels along an axis, as far as square kernels see. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vemctl_vsisr.canvases import Shape, rotation_map
from vemctl_vsisr.proportions import enlarged_size

Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

EDGE = 1e-6
"""Pixels outside of a plane that still count as inside, for sums are rounded."""
PIXELS = 2**15
"""The most of a band, unless it is of few rows, so that its maps stay in a processor's caches."""
LEAST_ROWS, MOST_ROWS = 8, 128
"""Of a band."""
PIXELS_PER_CALL = 256
"""That could be computed while the layers of a band are called."""


class Band(NamedTuple):
    """A rectangle of pixels: from the first row and column to before the last."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def pixels(self) -> int:
        """How many there are."""
        return (self.bottom - self.top) * (self.right - self.left)

    def pixels_with_margin(self, margin: int) -> int:
        """Return how many there are with a margin on each side, wherever the canvas ends."""
        return (self.bottom - self.top + 2 * margin) * (self.right - self.left + 2 * margin)

    def grown(self, margin: int, shape: Shape) -> Band:
        """Return it with a margin on each side, as far as that lies on the canvas."""
        height, width = shape
        return Band(
            max(self.top - margin, 0),
            min(self.bottom + margin, height),
            max(self.left - margin, 0),
            min(self.right + margin, width),
        )

    def source(self, shape: Shape) -> Band:
        """Return what an enlarged band is interpolated from, and some pixels beside it.

        It begins where enlarged pixels lie to their neighbours as at the canvas' begin, and far
        enough away that the repeated edge of a cut is not seen.

        Parameters
        ----------
        shape : (int, int)
            Of the canvas that is enlarged.
        """
        height, width = shape
        return Band(
            2 * (max(0, self.top - 3) // 3),
            min(height, 2 * self.bottom // 3 + 2),
            2 * (max(0, self.left - 3) // 3),
            min(width, 2 * self.right // 3 + 2),
        )


class Region(NamedTuple):
    """Pixels of a canvas, of each row one run.

    Attributes
    ----------
    starts, stops : ndarray, (rows,)
        The first column, and the one behind the last. Where there is none, the canvas' width and 0.
    width : int
        Columns of the canvas.
    """

    starts: Integers
    stops: Integers
    width: int

    @property
    def shape(self) -> Shape:
        """Of the canvas, (y, x)."""
        return len(self.starts), self.width

    def dilated(self, margin: int) -> Region:
        """Return it with all pixels that are no further away than `margin`."""
        height = len(self.starts)
        starts, stops = np.full(height, self.width), np.zeros(height, np.int64)
        for offset in range(-margin, margin + 1):
            to, of = slice(max(offset, 0), height + min(offset, 0)), slice(max(-offset, 0), None)
            count = to.stop - max(offset, 0)
            if count > 0:
                np.minimum(starts[to], self.starts[of][:count], out=starts[to])
                np.maximum(stops[to], self.stops[of][:count], out=stops[to])
        some = stops > 0
        return Region(
            np.where(some, np.maximum(starts - margin, 0), self.width),
            np.where(some, np.minimum(stops + margin, self.width), 0),
            self.width,
        )

    def enlarged(self) -> Region:
        """Return the pixels of an enlarged canvas that are interpolated from any of its pixels."""
        height, width = enlarged_size(*self.shape)
        before, behind = interpolated_from(height, len(self.starts))
        starts = np.minimum(self.starts[before], self.starts[behind])
        stops = np.maximum(self.stops[before], self.stops[behind])
        some = stops > 0
        # The inverse of what `interpolated_from` says, for the first column and the last.
        first, last = (6 * starts - 2) // 4, (3 * stops + 2) // 2
        return Region(
            np.where(some, np.maximum(first, 0), width),
            np.where(some, np.minimum(last, width), 0),
            width,
        )


def interpolated_from(length: int, source_length: int) -> tuple[Integers, Integers]:
    """Return the two pixels that each pixel of an enlarged line lies between."""
    # (o + 0.5) / 1.5 - 0.5 in whole numbers, rounded down.
    before = (4 * np.arange(length) - 1) // 6
    last = source_length - 1
    return np.clip(before, 0, last), np.clip(before + 1, 0, last)


def content(plane: Shape, angle_degrees: float) -> Region:
    """Return where the canvas of a rotated plane is not empty.

    Parameters
    ----------
    plane : (int, int)
        Shape of the plane, (y, x).
    angle_degrees : float
    """
    matrix, offset, (rows, columns) = rotation_map(plane, angle_degrees, reshape=True)
    i, j = np.arange(rows)[:, None], np.arange(columns)
    inside = np.ones((rows, columns), np.bool_)
    for row, start, length in zip(matrix, offset, plane, strict=True):
        place = row[0] * i + row[1] * j + start
        inside &= (place >= -EDGE) & (place <= length - 1 + EDGE)
    some = inside.any(axis=1)
    return Region(
        np.where(some, inside.argmax(axis=1), columns),
        np.where(some, columns - inside[:, ::-1].argmax(axis=1), 0),
        columns,
    )


def bands_of(region: Region, most_pixels: int = PIXELS) -> tuple[Band, ...]:
    """Return bands that cover a region, one above the other, with the least to compute.

    Of two convolutions the first must compute one pixel more on each side. So low bands repeat
    much of their neighbours, while high ones go far beyond the region where its sides are slanted.

    Parameters
    ----------
    region : Region
    most_pixels : int
        Of a band that has more than `LEAST_ROWS` rows.
    """
    height = len(region.starts)
    costs, begins = np.zeros(height + 1), np.zeros(height + 1, np.int64)
    for end in range(1, height + 1):
        if region.stops[end - 1] == 0:
            costs[end], begins[end] = costs[end - 1], end - 1
            continue
        first = max(0, end - MOST_ROWS)
        left = np.minimum.accumulate(region.starts[first:end][::-1])
        right = np.maximum.accumulate(region.stops[first:end][::-1])
        rows, columns = np.arange(1, end - first + 1), right - left
        pixels = rows * columns
        cost = (pixels + (rows + 2) * (columns + 2)) / 2 + PIXELS_PER_CALL
        cost[(pixels > most_pixels) & (rows > LEAST_ROWS)] = math.inf
        cost += costs[end - rows]
        best = int(cost.argmin())
        costs[end], begins[end] = cost[best], end - 1 - best
    found, end = [], height
    while end > 0:
        begin = int(begins[end])
        if region.stops[end - 1] > 0:
            left, right = region.starts[begin:end].min(), region.stops[begin:end].max()
            found.append(Band(begin, end, int(left), int(right)))
        end = begin
    return tuple(reversed(found))


def mask_of(bands: Sequence[Band], shape: Shape) -> Mask:
    """Return which pixels of a canvas lie in any of the bands."""
    mask = np.zeros(shape, np.bool_)
    for top, bottom, left, right in bands:
        mask[top:bottom, left:right] = True
    return mask
