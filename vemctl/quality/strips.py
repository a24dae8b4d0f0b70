"""In what parts a plane is read: chunks once each, little at a time, and not all if it is huge."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vemctl.quality.levels import Levels

PART = 2**22
"""Pixels that are read at once, about."""
LARGEST_CHUNK = 2**28
"""Bytes of a chunk up to which it is read at once, since its decoder decodes it at once."""
MOST_BYTES = 2**32
"""Of the chunks of a plane, uncompressed; of more, only some rows are read."""
FEWEST_ROWS = 64
"""That are read even so."""
ROUNDING = 1e-6

Part = tuple[slice, slice]


@dataclass(frozen=True)
class Side:
    """One side of a plane, in voxels of a level.

    Attributes
    ----------
    start, stop : float
        What is shown.
    first, last : int
        What is read for it: from `first` up to, without, `last`.
    """

    start: float
    stop: float
    first: int
    last: int

    @classmethod
    def around(cls, start: float, stop: float, count: int) -> Side:
        """Return the side that shows a part of an axis of so many voxels."""
        first = min(max(math.floor(start + ROUNDING), 0), count - 1)
        last = min(max(math.ceil(stop - ROUNDING), first + 1), count)
        return cls(start, stop, first, last)

    @property
    def length(self) -> int:
        """Voxels that are read."""
        return self.last - self.first

    def window(self, factor: int) -> tuple[float, float]:
        """Return what is shown, in bins of so many voxels from `first` on."""
        return (self.start - self.first) / factor, (self.stop - self.first) / factor


def chosen_rows(
    levels: Levels,
    level: int,
    normal: int,
    sides: tuple[Side, Side],
    wanted: int,
    most_bytes: int = MOST_BYTES,
) -> list[int] | None:
    """Return which rows of a plane are read where all would take too long; None for all.

    Parameters
    ----------
    levels : Levels
    level : int
    normal : int
        Axis to which the plane is perpendicular.
    sides : (rows, columns)
    wanted : int
        Rows of the picture, of which each needs but one.
    most_bytes : int
        Of chunks, uncompressed.
    """
    chunk = levels.chunk_shape(level)
    rows, columns = (each for axis, each in enumerate(chunk) if axis != normal)
    layers, stacks = (
        -(-side.last // size) - side.first // size
        for side, size in zip(sides, (rows, columns), strict=True)
    )
    cost = layers * stacks * math.prod(chunk) * levels.header.dtype.itemsize
    if cost <= most_bytes:
        return None
    count = min(max(FEWEST_ROWS, layers * most_bytes // cost), wanted)
    if count >= layers:
        return None
    first, length = sides[0].first, sides[0].length
    return [first + int((number + 0.5) * length / count) for number in range(count)]


def strips(
    levels: Levels,
    level: int,
    normal: int,
    sides: tuple[Side, Side],
    chosen: Sequence[int] | None = None,
) -> Iterator[tuple[Part, tuple[int, int]]]:
    """Yield the parts in which a plane is read, and where each lies in what is read.

    Parameters
    ----------
    levels : Levels
    level : int
    normal : int
        Axis to which the plane is perpendicular.
    sides : (rows, columns)
    chosen : sequence of int, optional
        Rows, if not all are read.

    Yields
    ------
    part : (slice, slice)
        Rows and columns, in voxels of the level; no chunk lies in two parts.
    start : (row, column)
        Of the image of all that is read.
    """
    chunk = levels.chunk_shape(level)
    high, wide = (each for axis, each in enumerate(chunk) if axis != normal)
    if math.prod(chunk) * levels.header.dtype.itemsize > LARGEST_CHUNK:
        high = 1
    rows, columns = sides
    width = wide * max(1, PART // (high * wide))
    height = high * max(1, PART // (high * min(width, columns.length)))
    if chosen is None:
        downwards = [(part, part.start - rows.first) for part in _cut(rows, height)]
    else:
        downwards = [(slice(row, row + 1), number) for number, row in enumerate(chosen)]
    for down, row in downwards:
        for right in _cut(columns, width):
            yield (down, right), (row, right.start - columns.first)


def _cut(side: Side, step: int) -> Iterator[slice]:
    """Cut a side at the multiples of a step."""
    start = side.first
    while start < side.last:
        stop = min(start - start % step + step, side.last)
        yield slice(start, stop)
        start = stop
