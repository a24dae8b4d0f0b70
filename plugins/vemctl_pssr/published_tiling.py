"""The tiles of the published program, and the blur over its seams. Imports no torch.

The published program cuts the enlarged plane into squares; neighbours share `overlap` pixels, and
nothing is shifted at the far border, where tiles are padded with zeros (the specification, 6.3).
Here any part of a plane is made from just the tiles that it takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

STRIP = 5
"""Pixels before and behind a seam that are blurred."""
SIGMA = 1.0
RADIUS = 4
"""Of the blur, which reaches four times its width."""
OVERLAP = 0.05
SMALLEST = 16
Floats = npt.NDArray[np.float32]
Span = tuple[int, int]


def published_overlap(size: int) -> int:
    """Return the overlap of tiles of `size` enlarged pixels: 5 %, rounded down to even."""
    return int(size * OVERLAP // 2 * 2)


@dataclass(frozen=True)
class TileAxis:
    """Tiles along one axis of the enlarged plane, in its pixels.

    Attributes
    ----------
    length : int
        Of the plane.
    size : int
        Of a tile.
    overlap : int
        Even.
    """

    length: int
    size: int
    overlap: int

    @property
    def step(self) -> int:
        """From tile to tile."""
        return self.size - self.overlap

    @property
    def count(self) -> int:
        """How many tiles there are; the last may write nothing."""
        return -(-self.length // self.step)

    def owned(self, k: int) -> Span:
        """Return first and end of the pixels that are those of tile `k` in the end."""
        half = self.overlap // 2
        first = 0 if k == 0 else k * self.step + half
        end = self.length if k == self.count - 1 else (k + 1) * self.step + half
        return min(first, self.length), min(end, self.length)

    def owners(self, span: Span) -> range:
        """Return the tiles to which the pixels of `span` belong."""
        half = self.overlap // 2
        first, last = (
            min(max((pixel - half) // self.step, 0), self.count - 1)
            for pixel in (span[0], span[1] - 1)
        )
        return range(first, last + 1)

    def strips(self, span: Span) -> list[Span]:
        """Return the strips about seams that touch `span`, cut at the plane's border."""
        half = self.overlap // 2
        reach = (span[0] - half - STRIP) // self.step, (span[1] - half + STRIP) // self.step + 1
        found = []
        for k in range(max(1, reach[0]), min(self.count, reach[1] + 1)):
            seam = k * self.step + half
            strip = max(0, seam - STRIP), min(self.length, seam + STRIP)
            if strip[0] < strip[1] and strip[0] < span[1] and strip[1] > span[0]:
                found.append(strip)
        return found

    def with_strips(self, span: Span) -> Span:
        """Return `span` with all of every strip that touches it."""
        ends = [span, *self.strips(span)]
        return min(first for first, _ in ends), max(end for _, end in ends)

    def wider(self, span: Span) -> Span:
        """Return `span` with what the blur sees beside it."""
        return max(0, span[0] - RADIUS), min(self.length, span[1] + RADIUS)


@dataclass(frozen=True)
class Part:
    """What a part of the enlarged plane is made of.

    Attributes
    ----------
    wanted : two (first, end)
        Rows and columns.
    mixed : two (first, end)
        Those in which seams across are blurred after seams along were.
    raw : two (first, end)
        Those that are taken from tiles.
    """

    wanted: tuple[Span, Span]
    mixed: tuple[Span, Span]
    raw: tuple[Span, Span]


def part_of(rows: TileAxis, columns: TileAxis, wanted: tuple[Span, Span]) -> Part:
    """Return what it takes to make rows and columns of the enlarged plane."""
    mixed_rows, mixed_columns = rows.with_strips(wanted[0]), columns.wider(wanted[1])
    raw = rows.wider(mixed_rows), columns.with_strips(mixed_columns)
    return Part(wanted, (mixed_rows, mixed_columns), raw)


def blur_seams(raw: Floats, rows: TileAxis, columns: TileAxis, part: Part) -> Floats:
    """Return the wanted part of the plane, its seams blurred: first columns, then rows.

    Each strip is blurred by itself, as if there were nothing beside it.

    Parameters
    ----------
    raw : ndarray, (rows, columns)
        ``part.raw`` as the tiles have it; is changed.
    rows, columns : TileAxis
    part : Part
    """
    from scipy.ndimage import gaussian_filter

    (top, _), (left, _) = part.raw
    for first, end in columns.strips(part.mixed[1]):
        strip = raw[:, first - left : end - left]
        strip[...] = gaussian_filter(strip, SIGMA, mode="nearest", truncate=RADIUS)
    for first, end in rows.strips(part.mixed[0]):
        strip = raw[first - top : end - top]
        strip[...] = gaussian_filter(strip, SIGMA, mode="nearest", truncate=RADIUS)
    (row, row_end), (column, column_end) = part.wanted
    return raw[row - top : row_end - top, column - left : column_end - left]


def macro_core(size: int, overlap: int, scale: int, wanted: int) -> int:
    """Return how many input pixels are made at a time, such that the fewest tiles are made twice.

    Parameters
    ----------
    size, overlap : int
        Of tiles, in enlarged pixels.
    scale : int
        Enlarged pixels per input pixel.
    wanted : int
        Enlarged pixels, about which it should be.
    """
    step = size - overlap
    whole = scale // math.gcd(step, scale)
    return max(whole, wanted // step // whole * whole) * step // scale


def macro_halo(size: int, scale: int) -> int:
    """Return how many input pixels beside its own a part of a plane may need."""
    return -(-(size + 2 * (STRIP + RADIUS)) // scale) + 2
