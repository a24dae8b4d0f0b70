"""Where tiles meet in a result: the only places where tiling can leave seams.

A border is an output position `p` along an axis, between the voxels ``p - 1`` and ``p``, on whose
two sides different tiles contribute: cropped tiles meet there, and blended ones begin or end.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from vemctl.errors import InputError, OptionError
from vemctl.plugin import Footprint, Triple
from vemctl.tiles.grid import AxisGrid, TileGrid, tile_grid

Borders = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Along z, y, x: positions in output voxels, inside the volume, ascending, each once."""


def borders(grid: TileGrid) -> Borders:
    """Return where the set of contributing tiles changes.

    Parameters
    ----------
    grid : TileGrid

    Returns
    -------
    Borders
        Where another tile takes over if tiles are cropped, else where cores begin and end.
    """
    z, y, x = (_along(axis, owned=grid.owned) for axis in grid.axes)
    return z, y, x


def borders_of(tiling: Mapping[str, Any], shape: Triple | None = None) -> Borders | None:
    """Return the borders in an output of vemctl, from what it says of its tiling.

    Parameters
    ----------
    tiling : mapping
        As recorded with the output.
    shape : (z, y, x), optional
        Input voxels; by default those that were recorded.

    Returns
    -------
    Borders or None
        None where an older output does not say enough.

    Raises
    ------
    InputError
        What was recorded is no tiling, or none of a volume of `shape`.
    """
    if "footprint" not in tiling or (shape is None and "shape" not in tiling):
        return None
    footprint = _footprint(tiling)
    try:
        return borders(tile_grid(_triple(shape or tiling["shape"]), footprint))
    except (OptionError, ValueError) as error:
        raise _unreadable(error) from None


def period_of(tiling: Mapping[str, Any]) -> Triple:
    """Return after how many output voxels upsampling repeats its pattern, along (z, y, x).

    Parameters
    ----------
    tiling : mapping
        As recorded with the output; an older one, which says nothing of it, has 1 everywhere.

    Raises
    ------
    InputError
        What was recorded is no tiling.
    """
    if "footprint" not in tiling:
        return 1, 1, 1
    z, y, x = (part.numerator for part in _footprint(tiling).scale)
    return z, y, x


def borders_of_step(shape: Triple, step: Triple) -> Borders:
    """Return the borders of a result whose tiles start at every multiple of a step.

    Parameters
    ----------
    shape : (z, y, x)
        Voxels of the result.
    step : (z, y, x)
        Voxels of the result from tile to tile; 0 where an axis was not cut.

    Raises
    ------
    OptionError
        A step is negative.
    """
    if min(step) < 0:
        raise OptionError(
            f"tiles every {','.join(map(str, step))} voxels (z,y,x): expected whole numbers, 0 for "
            "an axis that was not cut"
        )
    z, y, x = (tuple(range(s, n, s)) if s else () for n, s in zip(shape, step, strict=True))
    return z, y, x


def _along(axis: AxisGrid, *, owned: bool) -> tuple[int, ...]:
    """Return the borders along one axis."""
    ranges = axis.owned_range if owned else axis.output_range
    found = set(chain.from_iterable(ranges(k) for k in range(axis.num_tiles)))
    return tuple(sorted(p for p in found if 0 < p < axis.output_size))


def _footprint(tiling: Mapping[str, Any]) -> Footprint:
    """Return the footprint of a record.

    Raises
    ------
    InputError
        It is none.
    """
    try:
        return Footprint.from_json(tiling["footprint"])
    except ValueError as error:
        raise _unreadable(error) from None


def _unreadable(error: Exception) -> InputError:
    return InputError(
        f"the recorded tiling cannot be laid again ({error}); expected what vemctl writes beside "
        "its outputs: leave the output's provenance as it was written"
    )


def _triple(shape: Any) -> Triple:
    """Return a recorded shape.

    Raises
    ------
    ValueError
        It is not three sizes.
    """
    if not isinstance(shape, list | tuple) or len(shape) != 3:
        raise ValueError(f"shape: {shape!r}, expected three whole numbers")
    if any(type(size) is not int or size < 1 for size in shape):
        raise ValueError(f"shape: {shape!r}, expected whole numbers above 0")
    z, y, x = shape
    return z, y, x
