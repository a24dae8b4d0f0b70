"""The common part of all readers: a stored array with named axes becomes a volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from vemctl.errors import InputError, VemctlError
from vemctl.remote_path import RemotePath
from vemctl.volumes.axes import check_dtype
from vemctl.volumes.volume import (
    Array,
    Header,
    Region,
    Triple,
    VoxelSize,
    check_region,
    show_region,
)

Index = tuple[slice | int, ...]


class Source(Protocol):
    """What stores the voxels: sliced like a NumPy array, from any thread."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes in stored order."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """As stored, in any byte order."""

    def __getitem__(self, index: Any, /) -> Any:
        """Read integers and slices."""


class MappedFile:
    """An uncompressed array in a file.

    It is mapped anew for each read: pages that stay mapped would count as memory of the process,
    which must not grow with the volume.

    Parameters
    ----------
    path : Path
    dtype : numpy.dtype
        As stored.
    shape : tuple of int
    offset : int
        Bytes before the first voxel.
    order : {"C", "F"}
    """

    def __init__(
        self,
        path: Path,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        *,
        offset: int,
        order: Literal["C", "F"] = "C",
    ) -> None:
        self.path = path
        self.dtype = dtype
        self.shape = shape
        self.offset = offset
        self.order: Literal["C", "F"] = order

    def __getitem__(self, index: Index, /) -> Array:
        """Read a copy of the part at `index`."""
        mapped: Array = np.memmap(
            self.path, self.dtype, "r", self.offset, self.shape, order=self.order
        )
        return np.array(mapped[index])


class ArrayVolume:
    """A volume in a stored array.

    Parameters
    ----------
    header : Header
    source : Source
        With the axes of the header, in that order.
    close : callable, optional
        Releases files.
    """

    def __init__(
        self, header: Header, source: Source, *, close: Callable[[], None] | None = None
    ) -> None:
        self.header = header
        self.source = source
        self._close = close

    def read(self, region: Region, *, channel: int = 0, timepoint: int = 0) -> Array:
        """Read a region of one channel at one time point.

        Parameters
        ----------
        region : Region
            Slices along (z, y, x), inside the volume.
        channel, timepoint : int
            0 where the volume has no such axis.

        Returns
        -------
        ndarray, (z, y, x)
            Of the header's dtype, contiguous, the caller's own.

        Raises
        ------
        InputError
            The file is damaged there.
        """
        header = self.header
        check_region(region, header.shape)
        for index, size in ((channel, header.num_channels), (timepoint, header.num_timepoints)):
            if not 0 <= index < (size or 1):
                raise ValueError(f"channel {channel}, time point {timepoint}: not in {header.path}")
        where: dict[str, slice | int] = dict(zip("zyx", region, strict=True))
        where |= {"c": channel, "t": timepoint}
        try:
            block = np.asarray(self.source[tuple(where[axis] for axis in header.axes)])
        except (VemctlError, MemoryError):
            raise
        except Exception as error:  # each decoder has its own kinds of exception
            reason = " ".join(str(error).split()) or type(error).__name__
            cure = "the data are damaged or unreadable there: copy or export them again"
            if isinstance(error, OSError) and isinstance(header.path, RemotePath):
                reason = error.strerror or reason
                cure = "check the connection and run the same command again"
            raise InputError(
                f"{header.path}: cannot read {show_region(region)}"
                f"{f', channel {channel}' if header.num_channels else ''}"
                f"{f', time point {timepoint}' if header.num_timepoints else ''}: {reason}; {cure}"
            ) from error
        spatial = [axis for axis in header.axes if axis in "zyx"]
        if "z" not in spatial:
            spatial.insert(0, "z")
            block = block[np.newaxis]
        block = block.transpose([spatial.index(axis) for axis in "zyx"])
        return np.ascontiguousarray(block, dtype=header.dtype)

    def close(self) -> None:
        """Release files."""
        if self._close is not None:
            self._close()


def make_header(
    path: Path,
    kind: str,
    axes: str,
    source: Source,
    *,
    chunks: Sequence[int] | None = None,
    voxel_size: VoxelSize | None = None,
    translation: VoxelSize | None = None,
    level: int = 0,
    num_levels: int = 1,
) -> Header:
    """Describe a stored array.

    Parameters
    ----------
    path : Path
    kind : str
        Format for people.
    axes : str
        One letter per axis of `source`.
    source : Source
    chunks : sequence of int, optional
        In stored order; without, single planes.
    voxel_size, translation : (z, y, x), optional
        Nanometres.
    level, num_levels : int
        Of a pyramid.

    Raises
    ------
    InputError
        The values are no real numbers.
    """
    sizes = dict(zip(axes, source.shape, strict=True))
    shape = (sizes.get("z", 1), sizes["y"], sizes["x"])
    chunk_shape: Triple = (1, shape[1], shape[2])
    if chunks is not None:
        chunk = dict(zip(axes, chunks, strict=True))
        chunk_shape = (
            min(chunk.get("z", 1), shape[0]),
            min(chunk["y"], shape[1]),
            min(chunk["x"], shape[2]),
        )
    return Header(
        path=path,
        format=kind,
        axes=axes,
        shape=shape,
        num_channels=sizes.get("c"),
        num_timepoints=sizes.get("t"),
        dtype=check_dtype(path, np.dtype(source.dtype)),
        voxel_size=voxel_size,
        chunk_shape=chunk_shape,
        num_levels=num_levels,
        level=level,
        translation=translation,
    )
