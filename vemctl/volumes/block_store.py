"""The finest level of an OME-Zarr image, filled in any order and by whole files."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from vemctl.durable import output_errors, remove_tree
from vemctl.errors import InputError, OutputError, VemctlError
from vemctl.remote_path import RemotePath
from vemctl.volumes.ome_metadata import UNFINISHED, write_multiscale
from vemctl.volumes.stored_array import create_array, create_group, open_array, open_group
from vemctl.volumes.unfinished import told_apart
from vemctl.volumes.unit_files import checksum, unit_path
from vemctl.volumes.unit_listing import missing_units
from vemctl.volumes.volume import Array, Layout, Region, Triple, check_region, show_region

__all__ = ["UNFINISHED", "BlockStore"]


class BlockStore:
    """An OME-Zarr image whose finest level is being written, one file (unit) after the other.

    A unit is a shard in OME-Zarr 0.5 and a chunk in 0.4, of one channel at one time point. Units
    may be written by any thread or process, in any order, but never one unit by two at a time.
    Each is whole or absent at every moment, and its bytes depend only on its voxels.

    Parameters
    ----------
    folder : Path
        Of the group; the finest level is the array ``0`` in it.
    layout : Layout
        Of the level.
    level : int
        0 but while a pyramid is being built.

    Attributes
    ----------
    folder : Path
    layout : Layout
    level : int
    unit_shape : (z, y, x)
        Voxels.
    has_pyramid : bool
        Whether there may be lower levels.
    """

    def __init__(self, folder: Path, layout: Layout, *, level: int = 0) -> None:
        self.folder = folder
        self.layout = layout
        self.level = level
        self.unit_shape: Triple = layout.shard_shape
        self.has_pyramid = True
        self._array = open_array(folder / str(level), layout)

    @classmethod
    def create(cls, folder: Path, layout: Layout, *, name: str = "image") -> BlockStore:
        """Make an empty image.

        Parameters
        ----------
        folder : Path
            Must not exist yet.
        layout : Layout
        name : str
            Of the image in its metadata.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        metadata = write_multiscale(layout, [(1, 1, 1)], name)
        with output_errors(folder):
            create_group(folder, layout, metadata | {UNFINISHED: layout.to_json()})
        return cls.add_level(folder, layout, 0)

    @classmethod
    def add_level(cls, folder: Path, layout: Layout, level: int) -> BlockStore:
        """Make the empty array of one level; its metadata in the group are the caller's part.

        Parameters
        ----------
        folder : Path
            Of the group.
        layout : Layout
            Of the level.
        level : int
        """
        with output_errors(folder):
            create_array(folder / str(level), layout)
        return cls(folder, layout, level=level)

    @classmethod
    def open(cls, folder: Path) -> BlockStore:
        """Open an image that `create` made and nobody finished.

        Parameters
        ----------
        folder : Path

        Raises
        ------
        InputError
            There is none.
        OutputError
            It cannot be looked at.
        """
        try:
            with told_apart(folder):
                group = open_group(folder)
                described: Any = group.attrs[UNFINISHED]
                return cls(folder, Layout.from_json(described))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{folder}: no unfinished volume is here ({error}); start again with --overwrite"
            ) from error

    def units(self, region: Region) -> list[Region]:
        """List the units that a region consists of, in C order.

        Parameters
        ----------
        region : Region
            Whole units, clipped at the volume's end.
        """
        check_region(region, self.layout.shape)
        starts = []
        for along, unit, size in zip(region, self.unit_shape, self.layout.shape, strict=True):
            if along.start % unit or (along.stop % unit and along.stop != size):
                raise ValueError(f"{show_region(region)}: no whole units of {self.unit_shape}")
            starts.append(range(along.start, along.stop, unit))
        return [
            (
                slice(z, min(z + self.unit_shape[0], region[0].stop)),
                slice(y, min(y + self.unit_shape[1], region[1].stop)),
                slice(x, min(x + self.unit_shape[2], region[2].stop)),
            )
            for z, y, x in itertools.product(*starts)
        ]

    def write(self, region: Region, data: Array, *, channel: int = 0, timepoint: int = 0) -> str:
        """Write whole units; when this returns they are on the disk.

        Parameters
        ----------
        region : Region
            Whole units, clipped at the volume's end.
        data : ndarray, (z, y, x)
            Of the layout's dtype and the region's shape.
        channel, timepoint : int

        Returns
        -------
        str
            The `checksum` of the region.

        Raises
        ------
        OutputError
            The disk is full or refuses.
        """
        units = self.units(region)
        expected = tuple(along.stop - along.start for along in region)
        if data.shape != expected or data.dtype != self.layout.dtype:
            raise ValueError(
                f"{data.dtype} block of shape {data.shape}: expected {self.layout.dtype} of "
                f"{expected}"
            )
        with output_errors(self.folder):
            if self.level == 0:
                self._drop_pyramid()
            for unit in units:
                # a torn file of an earlier run must not be read and completed
                self.unit_path(unit, channel, timepoint).unlink(missing_ok=True)
                part = tuple(
                    slice(along.start - whole.start, along.stop - whole.start)
                    for along, whole in zip(unit, region, strict=True)
                )
                block = data[part] if "z" in self.layout.axes else data[part][0]
                self._array[self._index(unit, channel, timepoint)] = block
        checksum = self.checksum(region, channel, timepoint)
        if checksum is None:
            raise RuntimeError(f"{self.folder}: {show_region(region)} was written but is not there")
        return checksum

    def first_missing(self) -> str | None:
        """Name a unit that was never written; None if all are there."""
        for unit, channel, timepoint in missing_units(self):
            return f"{show_region(unit)}, channel {channel}, time point {timepoint}"
        return None

    def read(self, region: Region, channel: int = 0, timepoint: int = 0) -> Array:
        """Read any region; what is not written yet is 0.

        Parameters
        ----------
        region : Region
        channel, timepoint : int

        Returns
        -------
        ndarray, (z, y, x)

        Raises
        ------
        InputError
            What is written there is damaged.
        """
        check_region(region, self.layout.shape)
        try:
            block = np.asarray(self._array[self._index(region, channel, timepoint)])
        except (VemctlError, MemoryError):
            raise
        except Exception as error:  # each decoder has its own kinds of exception
            raise InputError(
                f"{self.folder}: cannot read back {show_region(region)} ({error}); run the same "
                "command with --resume, which writes damaged blocks again"
            ) from error
        return block if "z" in self.layout.axes else block[np.newaxis]

    def checksum(self, region: Region, channel: int = 0, timepoint: int = 0) -> str | None:
        """Compute the checksum of the files of a region from the disk.

        Parameters
        ----------
        region : Region
            Whole units.
        channel, timepoint : int

        Returns
        -------
        str or None
            BLAKE2b in hexadecimal over the digests of the files in C order; None if one is missing.

        Raises
        ------
        OutputError
            One is there and cannot be read.
        """
        units = self.units(region)
        try:
            found = checksum(self.unit_path(unit, channel, timepoint) for unit in units)
        except OSError as error:
            raise OutputError(
                f"{self.folder}: cannot read back {show_region(region)} "
                f"({error.strerror or error}); mend that and run the same command with --resume"
            ) from error
        return None if found is None else found.hex()

    def unit_path(self, unit: Region, channel: int = 0, timepoint: int = 0) -> Path:
        """Name the file of one unit."""
        return unit_path(self.folder, self.level, self.layout, unit, channel, timepoint)

    def _index(self, region: Region, channel: int, timepoint: int) -> tuple[slice | int, ...]:
        return tuple(self.layout.along_axes(region, channel, timepoint))

    def _drop_pyramid(self) -> None:
        """Lower levels that were made before this write would show what is no longer there."""
        if not self.has_pyramid:
            return
        for level in itertools.count(1):
            folder = self.folder / str(level)
            if not folder.is_dir():
                break
            remove_tree(folder)
        # asked once only where it is a request to a server
        self.has_pyramid = not isinstance(self.folder, RemotePath)
