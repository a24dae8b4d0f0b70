"""Volumes seen through a window or a filter; nothing is read before it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vemctl.volumes.volume import Array, Header, Region, Volume, check_region


class View:
    """Another volume, looked at differently.

    Parameters
    ----------
    header : Header
        Of what is seen.
    volume : Volume
    origin : (z, y, x)
        Where the view begins in `volume`.
    change : callable, optional
        Applied to every block.
    """

    def __init__(
        self,
        header: Header,
        volume: Volume,
        *,
        origin: tuple[int, int, int] = (0, 0, 0),
        change: Callable[[Array], Array] | None = None,
    ) -> None:
        self.header = header
        self.volume = volume
        self.origin = origin
        self.change = change

    def read(self, region: Region, *, channel: int = 0, timepoint: int = 0) -> Array:
        """Read a region of the view: see `Volume.read`."""
        check_region(region, self.header.shape)
        z, y, x = (
            slice(along.start + start, along.stop + start)
            for along, start in zip(region, self.origin, strict=True)
        )
        block = self.volume.read((z, y, x), channel=channel, timepoint=timepoint)
        return block if self.change is None else self.change(block)

    def close(self) -> None:
        """Release the files of the volume."""
        self.volume.close()


def crop(volume: Volume, region: Region) -> Volume:
    """See a part of a volume as a volume.

    Parameters
    ----------
    volume : Volume
    region : Region
        Inside it.

    Returns
    -------
    Volume
        Its translation is that of its own first voxel; without one the volume's counts as 0.
    """
    header = volume.header
    check_region(region, header.shape)
    z, y, x = (along.stop - along.start for along in region)
    origin = (region[0].start, region[1].start, region[2].start)
    translation = header.translation
    if header.voxel_size is not None:
        before = translation or (0.0, 0.0, 0.0)
        tz, ty, tx = (
            t + start * size
            for t, start, size in zip(before, origin, header.voxel_size, strict=True)
        )
        translation = (tz, ty, tx)
    return View(replace(header, shape=(z, y, x), translation=translation), volume, origin=origin)


class InTime:
    """Another volume, read at a time point so many before or after the one that is asked for.

    Parameters
    ----------
    volume : Volume
    offset : int
        Time points; beyond the ends the first or the last is read.
    """

    def __init__(self, volume: Volume, offset: int) -> None:
        self.header = volume.header
        self._volume = volume
        self._offset = offset

    def read(self, region: Region, *, channel: int = 0, timepoint: int = 0) -> Array:
        """Read a region: see `Volume.read`."""
        last = (self.header.num_timepoints or 1) - 1
        shifted = min(max(timepoint + self._offset, 0), last)
        return self._volume.read(region, channel=channel, timepoint=shifted)

    def close(self) -> None:
        """Release the files of the volume."""
        self._volume.close()


def in_time(volume: Volume, offset: int) -> Volume:
    """See a volume so many time points before or after."""
    return InTime(volume, offset) if offset else volume


def replace_nonfinite(volume: Volume) -> Volume:
    """See NaN as 0 and infinity as the largest number of the dtype; integers stay as they are.

    Parameters
    ----------
    volume : Volume
    """
    if volume.header.dtype.kind != "f":
        return volume
    return View(volume.header, volume, change=_replace)


def _replace(block: Array) -> Array:
    changed: Array = np.nan_to_num(block, copy=False)
    return changed
