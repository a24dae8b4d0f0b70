"""Planes across a volume, as large as they are shown, whatever the size of the volume."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vemctl.errors import OptionError
from vemctl.pictures.resampling import Binned, resampled
from vemctl.quality.field_of_view import AXES, Field
from vemctl.quality.levels import Ratios
from vemctl.quality.strips import Side, chosen_rows, strips
from vemctl.volumes.volume import Triple

ACROSS = {"z": "yx", "y": "zx", "x": "zy"}
"""What runs down and what runs to the right in a plane, by the axis that it is perpendicular to."""
THICKEST = 32
"""A plane may be the mean of so many at most, as a part of the volume's depth..."""
ALWAYS_THICK = 4
"""... but of so many in any case."""


@dataclass(frozen=True)
class Plane:
    """A plane of a volume, or a projection along an axis, as it is shown.

    Attributes
    ----------
    values : ndarray, (rows, columns), float64
        Of square pixels, so that proportions are true: rows are y, or z; columns are x, or y in a
        plane perpendicular to x.
    axis : {"z", "y", "x"}
        To which the plane is perpendicular.
    position : int, optional
        Voxels of level 0 along that axis; None for a projection.
    pixel_size : (row, column), optional
        Nanometres; None where the voxel size is unknown.
    level : int
        Of the pyramid, which was read.
    averaged : (z, y, x)
        Voxels of level 0 of which that level's voxels are the means.
    rows_read : int, optional
        If only so many, spread evenly, were read, since reading all would take too long.
    """

    values: npt.NDArray[np.float64]
    axis: str
    position: int | None
    pixel_size: tuple[float, float] | None
    level: int
    averaged: Ratios
    rows_read: int | None = None


def positions_of(field: Field, positions: Mapping[str, int] | None = None) -> list[tuple[str, int]]:
    """Return axes and voxels of planes: those asked for, or those through the middle.

    Parameters
    ----------
    field : Field
    positions : mapping of axis to int, optional

    Raises
    ------
    OptionError
        A plane is not in the volume.
    """
    header = field.levels.header
    if positions is None:
        return [(axis, field.middle(axis)) for axis in shown_axes(header.shape)]
    for axis, position in positions.items():
        if axis not in AXES:
            raise OptionError(f"plane {axis}={position}: expected z, y or x, such as z=12")
        count = header.shape[AXES.index(axis)]
        if not 0 <= position < count:
            raise OptionError(
                f"plane {axis}={position}: {header.path} has {count} voxels along {axis}; "
                f"expected 0 to {count - 1}"
            )
    return list(positions.items())


def shown_axes(shape: Triple) -> str:
    """Return to which axes planes are perpendicular that show a volume."""
    return AXES if shape[0] > 1 else "z"


def pixel_of(
    fields: Sequence[Field], axes: Iterable[str], longest_edge: int, *, enlarge: bool = False
) -> float:
    """Return how long a pixel is, such that planes have one scale and fit.

    Parameters
    ----------
    fields : sequence of Field
        Of the same lengths.
    axes : iterable of str
        To which the planes are perpendicular.
    longest_edge : int
        Pixels.
    enlarge : bool
        Whether voxels of a small volume become squares of pixels; else none is larger than one.

    Returns
    -------
    float
        In the fields' unit.
    """
    across = {each for axis in axes for each in ACROSS[axis]}
    finest = min(field.step[AXES.index(axis)] for field in fields for axis in across)
    pixel = max(fields[0].length(axis) for axis in across) / longest_edge
    if pixel >= finest:
        return pixel
    return finest / int(finest / pixel) if enlarge else finest


def read_plane(
    field: Field, axis: str, position: int, pixel: float, size: tuple[int, int] | None = None
) -> Plane:
    """Read one plane of a field of view.

    Parameters
    ----------
    field : Field
    axis : {"z", "y", "x"}
    position : int
        Voxels of level 0, inside the volume.
    pixel : float
        Length of a pixel, as of `pixel_of`.
    size : (rows, columns), optional
        Pixels, if they are known.
    """
    levels = field.levels
    level = _level(field, axis, pixel)
    normal, (down, right) = AXES.index(axis), (AXES.index(each) for each in ACROSS[axis])
    place = int((position + 0.5) / levels.ratios[level][normal])
    place = min(place, levels.shape(level)[normal] - 1)
    size = size or size_of(field, axis, pixel)
    rows, columns = (side_of(field, level, each) for each in (down, right))
    chosen = chosen_rows(levels, level, normal, (rows, columns), size[0])
    shape = (rows.length if chosen is None else len(chosen), columns.length)
    # What is a fraction of a pixel is left to `resampled`, which keeps it exact.
    factors = [max(1, int(n / wanted)) for n, wanted in zip(shape, size, strict=True)]
    bins = Binned(shape, (factors[0], factors[1]))
    region = [slice(place, place + 1)] * 3
    for part, start in strips(levels, level, normal, (rows, columns), chosen):
        region[down], region[right] = part
        block = levels.read(level, (region[0], region[1], region[2]))
        bins.add(np.squeeze(block, normal), start)
    windows = [side.window(factor) for side, factor in zip((rows, columns), factors, strict=True)]
    if chosen is not None:
        windows[0] = (0, len(chosen) / factors[0])
    return Plane(
        values=resampled(bins.result(), (windows[0], windows[1]), size),
        axis=axis,
        position=position,
        pixel_size=(pixel, pixel) if field.is_nm else None,
        level=level,
        averaged=levels.ratios[level],
        rows_read=None if chosen is None else len(chosen),
    )


def read_pair(
    first: Field, other: Field, axis: str, position: int, pixel: float
) -> tuple[Plane, Plane]:
    """Read one plane of two fields of view that show the same, in one size.

    Parameters
    ----------
    first, other : Field
    axis : {"z", "y", "x"}
    position : int
        Voxels of level 0 of the first.
    pixel : float
    """
    plane = read_plane(first, axis, position, pixel)
    like = other.position_like(axis, first, position)
    return plane, read_plane(other, axis, like, pixel, size_of(first, axis, pixel))


def size_of(field: Field, axis: str, pixel: float) -> tuple[int, int]:
    """Return how many pixels down and to the right a plane of a field has."""
    down, right = (max(1, round(field.length(each) / pixel)) for each in ACROSS[axis])
    return down, right


def _level(field: Field, axis: str, pixel: float) -> int:
    """Return the coarsest level with a voxel per pixel that shows planes one by one."""
    z, y, x = (pixel / step for step in field.step)
    most = [z, y, x]
    normal = AXES.index(axis)
    depth = field.levels.shape(0)[normal]
    most[normal] = min(most[normal], max(ALWAYS_THICK, depth / THICKEST))
    return field.levels.coarsest((most[0], most[1], most[2]))


def side_of(field: Field, level: int, axis: int) -> Side:
    """Return what a field shows along an axis, in voxels of a level."""
    ratio = field.levels.ratios[level][axis]
    start, stop = field.window[axis]
    return Side.around(start / ratio, stop / ratio, field.levels.shape(level)[axis])
