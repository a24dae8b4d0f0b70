"""Whether the places where tiles meet can be told from the rest of a volume.

Three things are measured at every position along an axis, that is for every pair of planes:

- *jump*: how much voxels differ across it, on average without sign, beyond the slope there. It
  notices detail that does not continue, and sharpness that changes.
- *step*: how much one side of a face is brighter than the other. A face is the part of a position
  that belongs to one pair of tiles; averaging over it takes the noise away, so that steps are
  found which are far smaller than noise.
- *line*: how much a face is brighter or darker than what is on both sides of it, for tiles whose
  own ends are wrong draw lines rather than steps.

What is measured where tiles meet is divided by what is measured near by where none do, so that 1
is no seam. How far it may be from 1 by chance is not assumed but taken from the other positions:
how much each of these differs from its own neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.quality.seam_score import AXES, AxisSeams, SeamScore
from vemctl.quality.seam_sums import AxisSums, judge
from vemctl.volumes.volume import Region, Triple

BEFORE, AFTER = 3, 2
"""Planes that are needed below and above the voxel at a position."""
CHUNK_VOXELS = 2**20
"""What is converted at once."""

Array = npt.NDArray[Any]
Double = npt.NDArray[np.float64]


class Seams:
    """Takes note of a volume, slab by slab, and tells whether tiles can be seen in it.

    Time points may be added one after the other. Only the planes of one slab are held, and of
    every face that a slab has cut its sums, until the rest of it comes.

    Parameters
    ----------
    borders : three sequences of int
        Where tiles meet along z, y and x: ascending, between the voxels ``p - 1`` and ``p``.
    shape : (z, y, x)
        Of the volume.
    period : (z, y, x)
        After how many voxels a pattern repeats that the volume has anyway: the scale of a result
        that was upsampled. Powers of two up to 4 are allowed for without being told.
    """

    margin = max(BEFORE, AFTER)
    """Voxels around a slab that must be given with it, or positions at its ends are left out."""

    def __init__(
        self, borders: Sequence[Sequence[int]], shape: Triple, period: Triple = (1, 1, 1)
    ) -> None:
        self._axes = [
            _AlongAxis(axis, borders, shape, period[axis])
            for axis in range(3)
            if len(borders[axis])
        ]

    def add(self, region: Region, values: Array, counted: Region | None = None) -> None:
        """Take note of a slab.

        Parameters
        ----------
        region : Region
            Voxels of the volume.
        values : ndarray, (z, y, x)
            Of that region.
        counted : Region, optional
            The part of it that is looked at, in voxels of the volume; the rest is context. With
            `margin` voxels of context, as far as the volume goes, the result does not depend on
            how the volume was cut into slabs. By default all of it, without context.
        """
        for along in self._axes:
            along.add(region, values, region if counted is None else counted)

    def result(self) -> SeamScore | None:
        """Return what was found; None if no border could be compared with its neighbours."""
        axes = [found for along in self._axes if (found := along.result()) is not None]
        return SeamScore(tuple(axes)) if axes else None


class _AlongAxis:
    """What is measured along one axis.

    Parameters
    ----------
    axis : int
    borders : three sequences of int
    shape : (z, y, x)
    period : int
    """

    def __init__(
        self, axis: int, borders: Sequence[Sequence[int]], shape: Triple, period: int
    ) -> None:
        self._axis, self._period = axis, period
        self._first, self._second = (other for other in range(3) if other != axis)
        self._ends = [
            np.unique([0, *(int(p) for p in each if 0 < p < size), size])
            for each, size in zip(borders, shape, strict=True)
        ]
        self._sums = AxisSums(shape[axis])
        # Faces that slabs have cut, by their tiles: steps, lines and area at each position.
        self._pending: dict[Triple, Double] = {}

    def add(self, region: Region, values: Array, counted: Region) -> None:
        """Take note of a slab."""
        own = region[self._axis]
        start = max(counted[self._axis].start, own.start + BEFORE)
        stop = min(counted[self._axis].stop, own.stop - AFTER)
        if start >= stop:
            return
        seen = list(counted)
        seen[self._axis] = slice(start - BEFORE, stop + AFTER)
        part = values[tuple(_shifted(s, r.start) for s, r in zip(seen, region, strict=True))]
        for row, rows in self._cells(self._first, counted[self._first]):
            columns = list(self._cells(self._second, counted[self._second]))
            means = self._measure(
                start,
                part,
                _shifted(rows, counted[self._first].start),
                [_shifted(each, counted[self._second].start) for _, each in columns],
            )
            for (column, each), mean in zip(columns, means, strict=True):
                area = (rows.stop - rows.start) * (each.stop - each.start)
                self._keep(start, (row, column), area, mean)

    def result(self) -> AxisSeams | None:
        """Return the seams along the axis; of faces that were not seen whole, what was seen."""
        sums = self._sums.copy()
        for (tile, _, _), face in self._pending.items():
            sums.add_face(int(self._ends[self._axis][tile]), face)
        inside = self._ends[self._axis][1:-1].tolist()
        return judge(sums, inside, AXES[self._axis], self._period)

    def _cells(self, axis: int, seen: slice) -> Iterator[tuple[int, slice]]:
        """Yield the tiles along an axis that were seen, and which of their voxels."""
        ends = self._ends[axis]
        tile = int(np.searchsorted(ends, seen.start, "right")) - 1
        while tile < len(ends) - 1 and ends[tile] < seen.stop:
            low, high = int(ends[tile]), int(ends[tile + 1])
            yield tile, slice(max(low, seen.start), min(high, seen.stop))
            tile += 1

    def _measure(self, start: int, part: Array, rows: slice, cells: list[slice]) -> Double:
        """Add the jumps of one row of tiles, and return the mean plane values of each.

        Returns
        -------
        ndarray, (tiles, planes)
            Not a number where a plane has no finite voxel.
        """
        sums, counts = np.zeros((2, len(cells), part.shape[self._axis]))
        others = (self._first, self._second)
        step = max(1, CHUNK_VOXELS * part.shape[self._first] // part.size)
        for first in range(rows.start, rows.stop, step):
            chunk = _floats(part[_along(self._first, first, min(first + step, rows.stop))])
            finite = np.isfinite(chunk)
            whole = bool(finite.all())
            self._add_jumps(start, chunk, whole=whole)
            chunk = chunk if whole else np.where(finite, chunk, 0)
            for number, cell in enumerate(cells):
                where = _along(self._second, cell.start, cell.stop)
                sums[number] += chunk[where].sum(axis=others, dtype=np.float64)
                counts[number] += finite[where].sum(axis=others)
        means: Double = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
        return means

    def _add_jumps(self, start: int, chunk: Array, *, whole: bool) -> None:
        """Add the jumps at the positions from `start` on."""
        with np.errstate(invalid="ignore", over="ignore"):
            steps = np.diff(chunk, axis=self._axis)
            below, here, above = (steps[_along(self._axis, n, n - 4)] for n in (1, 2, 3))
            jumps = np.abs(here - (below + above) / 2)
        others = (self._first, self._second)
        positions = jumps.shape[self._axis]
        counts: Any = jumps.size // positions
        if not whole:
            finite = np.isfinite(jumps)
            counts, jumps = finite.sum(axis=others), np.where(finite, jumps, 0)
        where = slice(start, start + positions)
        self._sums.voxels[where] += counts
        self._sums.jumps[where] += jumps.sum(axis=others, dtype=np.float64)

    def _keep(self, start: int, tile: tuple[int, int], area: int, mean: Double) -> None:
        """Take note of faces of one row of tiles, or of what was seen of them.

        Parameters
        ----------
        start : int
            The first position.
        tile : (int, int)
            Which row, by its tiles along the two other axes.
        area : int
            Voxels of each face.
        mean : ndarray, (planes,)
            From three planes below the first position to two above the last.
        """
        around = np.lib.stride_tricks.sliding_window_view(mean, BEFORE + 1 + AFTER)
        known = np.isfinite(around).all(axis=1)
        a, b, c, d, e, f = np.where(known, around.T, 0) * area  # d is the plane at the position
        face = np.array([1.5 * (d - c) - (e - b) / 2, (c + d - a - f) / 2, known * float(area)])
        ends, size = self._ends[self._axis], self._sums.voxels.size
        whole = math.prod(
            int(self._ends[axis][number + 1] - self._ends[axis][number])
            for axis, number in zip((self._first, self._second), tile, strict=True)
        )
        if area == whole:
            self._sums.add_face(start, face)
            return
        for number, seen in self._cells(self._axis, slice(start, start + face.shape[1])):
            low, high = int(ends[number]), int(ends[number + 1])
            key = (number, *tile)
            kept = self._pending.setdefault(key, np.zeros((3, high - low)))
            kept[:, _shifted(seen, low)] += face[:, _shifted(seen, start)]
            complete = kept[2, max(0, BEFORE - low) : min(high, size - AFTER) - low]
            if complete.min(initial=whole) >= whole:
                self._sums.add_face(low, self._pending.pop(key))


def _along(axis: int, start: int, stop: int) -> tuple[slice, slice, slice]:
    """Return the index of a part along one axis."""
    where = [slice(None)] * 3
    where[axis] = slice(start, stop)
    return where[0], where[1], where[2]


def _shifted(part: slice, origin: int) -> slice:
    return slice(part.start - origin, part.stop - origin)


def _floats(values: Array) -> Array:
    """Return values as floats that are exact enough for their differences."""
    narrow = values.dtype.itemsize <= 2 or values.dtype == np.float32
    return values.astype(np.float32 if narrow else np.float64, copy=False)
