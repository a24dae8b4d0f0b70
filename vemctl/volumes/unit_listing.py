"""Which units of an image have been written, by what is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vemctl import object_store
from vemctl.remote_path import RemotePath
from vemctl.volumes.volume import Region

if TYPE_CHECKING:
    from vemctl.volumes.block_store import BlockStore


def missing_units(store: BlockStore) -> Iterator[tuple[Region, int, int]]:
    """Find the units of all channels and time points that are not there.

    Parameters
    ----------
    store : BlockStore

    Yields
    ------
    (Region, channel, timepoint)
        Ordered by time point, channel, z, y, x.

    Raises
    ------
    OSError
        It cannot be looked at.
    """
    for place in np.argwhere(~present_units(store)):
        timepoint, channel, *start = (int(index) for index in place)
        z, y, x = (
            slice(index * unit, min((index + 1) * unit, size))
            for index, unit, size in zip(start, store.unit_shape, store.layout.shape, strict=True)
        )
        yield (z, y, x), channel, timepoint


def present_units(store: BlockStore) -> npt.NDArray[np.bool_]:
    """Tell of every unit whether it is there.

    In an object store they are listed, a thousand a request.

    Parameters
    ----------
    store : BlockStore

    Returns
    -------
    ndarray of bool, (t, c, z, y, x)
        Units along each axis.
    """
    layout = store.layout
    counts = [-(-n // unit) for n, unit in zip(layout.shape, store.unit_shape, strict=True)]
    found = np.zeros((layout.num_timepoints or 1, layout.num_channels or 1, *counts), np.bool_)
    if isinstance(store.folder, RemotePath):
        for index in _listed(store, store.folder):
            if len(index) == 5 and all(i < n for i, n in zip(index, found.shape, strict=True)):
                found[index] = True
        return found
    for timepoint, channel, *place in np.ndindex(found.shape):
        z, y, x = (
            slice(index * unit, (index + 1) * unit)
            for index, unit in zip(place, store.unit_shape, strict=True)
        )
        path = store.unit_path((z, y, x), channel, timepoint)
        found[(timepoint, channel, *place)] = path.exists()
    return found


def _listed(store: BlockStore, folder: RemotePath) -> Iterator[tuple[int, ...]]:
    """Read the (t, c, z, y, x) of units from the keys of what is there."""
    start = f"{(folder / str(store.level)).place.key}/"
    axes = store.layout.axes
    if store.layout.ome_zarr == "0.5":
        start += "c/"
    for key, _size in object_store.below((folder / str(store.level)).place):
        parts = key.removeprefix(start).split("/")
        if key.startswith(start) and len(parts) == len(axes) and all(map(str.isdecimal, parts)):
            places = dict(zip(axes, map(int, parts), strict=True))
            yield tuple(places.get(axis, 0) for axis in "tczyx")
