"""Maximum intensity projections, a slab at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from vemctl.pictures.resampling import Binned, resampled
from vemctl.quality.field_of_view import AXES, Field
from vemctl.quality.orthoslices import ACROSS, Plane, side_of, size_of
from vemctl.quality.strips import Side
from vemctl.volumes.volume import Array, Region, Triple

MOST_VOXELS = 2**28
"""Of the level that is projected, if the pyramid has a coarser one that shows as much."""
SLAB = 2**24
"""Voxels that are read at once, about."""


def _no_progress(done: int, total: int) -> None:
    """Tell nobody."""


def read_projections(
    field: Field,
    axes: Sequence[str],
    pixel: float,
    sizes: Sequence[tuple[int, int]] | None = None,
    progress: Callable[[int, int], None] = _no_progress,
) -> tuple[Plane, ...]:
    """Project a field of view along axes: the largest value on the way, which is no NaN.

    Parameters
    ----------
    field : Field
    axes : sequence of {"z", "y", "x"}
    pixel : float
        Length of a pixel, as of `vemctl.quality.orthoslices.pixel_of`.
    sizes : sequence of (rows, columns), optional
        Pixels, if they are known.
    progress : callable
        Called with voxels read, and of how many.

    Returns
    -------
    tuple of Plane
        Of the finest level of at most `MOST_VOXELS` voxels, but none that is coarser than the
        pixels where there is a finer one. Where several voxels share a pixel, it has the largest
        of each whole number of them; what remains is averaged.
    """
    levels = field.levels
    level = projected_level(field, pixel)
    sides = [side_of(field, level, axis) for axis in range(3)]
    sizes = sizes or [size_of(field, axis, pixel) for axis in axes]
    joined = [_bins(sides, axis, size) for axis, size in zip(axes, sizes, strict=True)]
    total, done = math.prod(side.length for side in sides), 0
    progress(done, total)
    for region in _slabs(sides, levels.chunk_shape(level)):
        block = levels.read(level, region)
        starts = [part.start - side.first for part, side in zip(region, sides, strict=True)]
        for axis, (bins, _) in zip(axes, joined, strict=True):
            down, right = (AXES.index(each) for each in ACROSS[axis])
            bins.add(_largest(block, AXES.index(axis)), (starts[down], starts[right]))
        done += block.size
        progress(done, total)
    planes = []
    for axis, size, (bins, factors) in zip(axes, sizes, joined, strict=True):
        windows = tuple(
            sides[AXES.index(each)].window(factor)
            for each, factor in zip(ACROSS[axis], factors, strict=True)
        )
        planes.append(
            Plane(
                values=resampled(bins.result(), windows, size),
                axis=axis,
                position=None,
                pixel_size=(pixel, pixel) if field.is_nm else None,
                level=level,
                averaged=levels.ratios[level],
            )
        )
    return tuple(planes)


def projected_level(field: Field, pixel: float) -> int:
    """Return the level of the pyramid that `read_projections` reads.

    Parameters
    ----------
    field : Field
    pixel : float
    """
    z, y, x = (pixel / step for step in field.step)
    coarsest = field.levels.coarsest((z, y, x))
    small = (
        level for level in range(coarsest) if math.prod(field.levels.shape(level)) <= MOST_VOXELS
    )
    return next(small, coarsest)


def _bins(
    sides: Sequence[Side], axis: str, size: tuple[int, int]
) -> tuple[Binned, tuple[int, int]]:
    rows, columns = (sides[AXES.index(each)].length for each in ACROSS[axis])
    factors = (max(1, rows // size[0]), max(1, columns // size[1]))
    return Binned((rows, columns), factors, "maximum"), factors


def _largest(block: Array, axis: int) -> Array:
    largest: Array = (np.fmax if block.dtype.kind == "f" else np.maximum).reduce(block, axis=axis)
    return largest


def _slabs(sides: Sequence[Side], chunk: Triple) -> list[Region]:
    """Cut at borders of chunks, such that a part has about `SLAB` voxels."""
    size = list(chunk)
    for axis in (2, 1, 0):
        size[axis] *= max(1, min(SLAB // math.prod(size), -(-sides[axis].last // size[axis])))
    cuts = []
    for side, step in zip(sides, size, strict=True):
        inner = range(side.first - side.first % step + step, side.last, step)
        cuts.append([slice(a, b) for a, b in itertools.pairwise([side.first, *inner, side.last])])
    return [(z, y, x) for z, y, x in itertools.product(*cuts)]
