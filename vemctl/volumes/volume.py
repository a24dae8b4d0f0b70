"""What a volume is: a three-dimensional image, perhaps with channels and time points, on disk."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Triple = tuple[int, int, int]
Region = tuple[slice, slice, slice]
"""Slices along (z, y, x) with explicit, in-range start and stop and no step."""
VoxelSize = tuple[float, float, float]
"""Nanometres along (z, y, x)."""
AXES = "tczyx"
"""Every axis that a volume may have, in the order of OME-Zarr."""

T = TypeVar("T")


def is_subsequence(word: str, whole: str) -> bool:
    """Tell whether the letters of `word` come in `whole`, once each and in that order."""
    letters = iter(whole)
    return all(letter in letters for letter in word)


def check_region(region: Region, shape: Triple) -> None:
    """Raise ValueError, a bug of the caller, unless `region` lies in a volume of `shape`.

    Parameters
    ----------
    region : Region
    shape : (z, y, x)
        Voxels.
    """
    for along, size in zip(region, shape, strict=True):
        if along.step not in (None, 1) or not 0 <= along.start < along.stop <= size:
            raise ValueError(f"region {region} does not lie in a volume of shape {shape}")


def show_region(region: Region) -> str:
    """Write a region for people: ``z 0:64, y 0:128, x 0:128``."""
    return ", ".join(
        f"{axis} {along.start}:{along.stop}" for axis, along in zip("zyx", region, strict=True)
    )


@dataclass(frozen=True)
class Header:
    """What is known of a volume without reading voxels.

    Attributes
    ----------
    path : Path
    format : str
        For people, for instance ``"OME-Zarr 0.5"`` or ``"ImageJ TIFF"``.
    axes : str
        The stored axes in stored order, lower case letters out of ``tczyx``.
    shape : (z, y, x)
        Voxels; an absent z axis counts as 1.
    num_channels, num_timepoints : int, optional
        None where the volume has no such axis.
    dtype : numpy.dtype
        In native byte order.
    voxel_size : (z, y, x), optional
        Nanometres; None where the file does not say.
    chunk_shape : (z, y, x)
        The unit in which reading costs least.
    num_levels, level : int
        Of the resolution pyramid, and the one that is open.
    translation : (z, y, x), optional
        Nanometres to the centre of the first voxel; None where the file does not say.

    Notes
    -----
    A single plane has no size in z: its voxel size repeats y there, its translation is 0.
    """

    path: Path
    format: str
    axes: str
    shape: Triple
    num_channels: int | None
    num_timepoints: int | None
    dtype: np.dtype[Any]
    voxel_size: VoxelSize | None
    chunk_shape: Triple
    num_levels: int = 1
    level: int = 0
    translation: VoxelSize | None = None


class Volume(Protocol):
    """A volume that is open for reading; regions are read when asked for."""

    header: Header

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
            Of the header's dtype. Safe to call from several threads.

        Raises
        ------
        InputError
            The file is damaged there.
        """

    def close(self) -> None:
        """Release files."""


@dataclass(frozen=True)
class Layout:
    """What an output volume will be; checked when made (a ValueError is a bug of the caller).

    Attributes
    ----------
    axes : str
        Out of ``tczyx``, in that order, with at least ``yx``; without ``z`` the size in z is 1.
    shape : (z, y, x)
    num_channels, num_timepoints : int, optional
        None exactly where `axes` lacks the axis.
    dtype : numpy.dtype
    voxel_size, translation : (z, y, x), optional
        Nanometres; the translation is the centre of the first voxel.
    chunk_shape : (z, y, x)
        Unit of reading and compression.
    shard_shape : (z, y, x)
        Unit of writing: one file; a multiple of the chunk. Equal to the chunk in OME-Zarr 0.4.
    ome_zarr : {"0.5", "0.4"}
    """

    axes: str
    shape: Triple
    num_channels: int | None
    num_timepoints: int | None
    dtype: np.dtype[Any]
    voxel_size: VoxelSize | None
    translation: VoxelSize | None
    chunk_shape: Triple
    shard_shape: Triple
    ome_zarr: Literal["0.5", "0.4"] = "0.5"

    def __post_init__(self) -> None:
        if not is_subsequence(self.axes, AXES) or not self.axes.endswith("yx"):
            raise ValueError(
                f"axes {self.axes!r}: expected letters of {AXES} in that order, with yx"
            )
        if ("c" in self.axes) != (self.num_channels is not None):
            raise ValueError(f"axes {self.axes!r} with {self.num_channels} channels")
        if ("t" in self.axes) != (self.num_timepoints is not None):
            raise ValueError(f"axes {self.axes!r} with {self.num_timepoints} time points")
        if "z" not in self.axes and self.shape[0] != 1:
            raise ValueError(f"axes {self.axes!r} with {self.shape[0]} planes")
        if min(*self.shape, *self.chunk_shape, *self.shard_shape) < 1:
            raise ValueError(f"shape {self.shape}: every size must be at least 1")
        if any(s % c for s, c in zip(self.shard_shape, self.chunk_shape, strict=True)):
            raise ValueError(f"shard {self.shard_shape} is no multiple of chunk {self.chunk_shape}")
        if self.ome_zarr == "0.4" and self.shard_shape != self.chunk_shape:
            raise ValueError("OME-Zarr 0.4 has no shards: make the shard equal to the chunk")
        if self.voxel_size is None and self.translation is not None:
            raise ValueError("a translation in nanometres needs a voxel size in nanometres")

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Sizes in the order of `axes`."""
        return tuple(self.along_axes(self.shape, self.num_channels or 1, self.num_timepoints or 1))

    @property
    def num_bytes(self) -> int:
        """Of all voxels, uncompressed."""
        return math.prod(self.stored_shape) * self.dtype.itemsize

    def along_axes(self, spatial: Sequence[T], channel: T, timepoint: T) -> list[T]:
        """Put values for (z, y, x), c and t in the order of `axes`."""
        values = dict(zip("tczyx", (timepoint, channel, *spatial), strict=True))
        return [values[axis] for axis in self.axes]

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` understands."""
        return asdict(self) | {"dtype": self.dtype.name}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Layout:
        """Return the layout that `to_json` described, after a way through JSON."""
        fields = dict(content)
        for key in ("shape", "voxel_size", "translation", "chunk_shape", "shard_shape"):
            fields[key] = fields[key] and tuple(fields[key])
        return cls(**fields | {"dtype": np.dtype(fields["dtype"])})
