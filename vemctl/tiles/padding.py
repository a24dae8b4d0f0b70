"""Cut a tile out of what was read, making up the voxels beyond the volume."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vemctl.plugin import PaddingName, Place
from vemctl.tiles.grid import Region

NUMPY_MODE: dict[PaddingName, Literal["reflect", "edge", "constant"]] = {
    "reflect": "reflect",
    "edge": "edge",
    "zero": "constant",
}


def cut_tile(
    values: npt.NDArray[Any], source: Region, place: Place, padding: PaddingName
) -> npt.NDArray[np.float32]:
    """Return the tile at `place`, halo included, out of the region `source` that was read.

    Parameters
    ----------
    values : ndarray, (z, y, x)
        The voxels of `source`, which holds every voxel of the tile that the volume has.
    source : Region
        Input voxels.
    place : Place
    padding : {"reflect", "edge", "zero", "clip"}
        reflect does not repeat the edge, and reflects again where the volume is short;
        an axis of one voxel is repeated.

    Returns
    -------
    ndarray, (z, y, x) float32
    """
    return np.ascontiguousarray(cut_stored(values, source, place, padding), dtype=np.float32)


def cut_stored(
    values: npt.NDArray[Any], source: Region, place: Place, padding: PaddingName
) -> npt.NDArray[Any]:
    """Return the tile of `cut_tile` in the type in which it was read; a view where it can be.

    Parameters
    ----------
    values, source, place, padding
        As for `cut_tile`.
    """
    inside, outside = [], []
    for start, core, low, high, part in zip(
        place.start, place.core, place.halo_low, place.halo_high, source, strict=True
    ):
        first, end = start - low, start + core + high
        low_missing, high_missing = max(0, part.start - first), max(0, end - part.stop)
        inside.append(slice(first + low_missing - part.start, end - high_missing - part.start))
        outside.append((low_missing, high_missing))
    tile = values[tuple(inside)]
    if any(low or high for low, high in outside):
        if padding == "reflect":
            tile = _reflect(tile, outside)
        else:
            tile = np.pad(tile, outside, mode=NUMPY_MODE[padding])
    return tile


def _reflect(tile: npt.NDArray[Any], outside: list[tuple[int, int]]) -> npt.NDArray[Any]:
    single = [ends if n == 1 else (0, 0) for n, ends in zip(tile.shape, outside, strict=True)]
    longer = [ends if n > 1 else (0, 0) for n, ends in zip(tile.shape, outside, strict=True)]
    return np.pad(np.pad(tile, single, mode="edge"), longer, mode="reflect")
