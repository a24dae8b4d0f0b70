"""What can be said of a volume at a glance, for ``vemctl info``."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vemctl import object_store
from vemctl.errors import OptionError
from vemctl.remote_path import RemotePath, as_path
from vemctl.volumes.array_volume import ArrayVolume
from vemctl.volumes.open import open_volume
from vemctl.volumes.provenance import read_provenance
from vemctl.volumes.volume import Array, Header, Region, Triple, Volume, VoxelSize

SAMPLED_CHUNKS = 27
"""Three along each axis: the middles of thirds."""
SAMPLED_BYTES = 2**21
"""Of one sampled region; from larger chunks a part is taken."""


@dataclass(frozen=True)
class Statistics:
    """Of a sample of the voxels, all channels and time points mixed.

    Attributes
    ----------
    voxels : int
        How many were looked at.
    minimum, maximum, mean, std : float
        Of the finite ones; None if there are none.
    percentile_1, percentile_50, percentile_99 : float
    nonfinite : int
        NaN and infinite ones in the sample.
    """

    voxels: int
    minimum: float | None
    maximum: float | None
    mean: float | None
    std: float | None
    percentile_1: float | None
    percentile_50: float | None
    percentile_99: float | None
    nonfinite: int


@dataclass(frozen=True)
class Description:
    """What ``vemctl info`` shows.

    Attributes
    ----------
    path, format, axes : str
    stored_shape : tuple of int
        Along `axes`.
    shape : (z, y, x)
    num_channels, num_timepoints : int, optional
    dtype : str
    voxel_size_nm, translation_nm : (z, y, x), optional
    chunk_shape : (z, y, x)
    shard_shape : (z, y, x), optional
    level : int
    level_shapes : tuple of (z, y, x)
        Finest first.
    bytes_uncompressed : int
        Of the level that is described.
    bytes_on_disk : int, optional
        Of everything at the path; None on a web server, which does not tell.
    statistics : Statistics
    provenance : dict, optional
        If vemctl made it.
    """

    path: str
    format: str
    axes: str
    stored_shape: tuple[int, ...]
    shape: Triple
    num_channels: int | None
    num_timepoints: int | None
    dtype: str
    voxel_size_nm: VoxelSize | None
    translation_nm: VoxelSize | None
    chunk_shape: Triple
    shard_shape: Triple | None
    level: int
    level_shapes: tuple[Triple, ...]
    bytes_uncompressed: int
    bytes_on_disk: int | None
    statistics: Statistics
    provenance: dict[str, Any] | None

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self), indent=2, allow_nan=False)


def describe(path: str | Path, axes: str | None = None, level: int = 0) -> Description:
    """Describe a volume from its metadata and a bounded sample of its voxels.

    Parameters
    ----------
    path : str or Path
    axes : str, optional
    level : int

    Raises
    ------
    InputError, OptionError, MissingExtraError
        As `open_volume`.
    """
    path = as_path(path)
    volume = open_volume(path, axes=axes, level=level)
    try:
        header = volume.header
        sizes = dict(zip("zyx", header.shape, strict=True)) | {
            "c": header.num_channels or 1,
            "t": header.num_timepoints or 1,
        }
        stored_shape = tuple(sizes[axis] for axis in header.axes)
        return Description(
            path=str(path),
            format=header.format,
            axes=header.axes,
            stored_shape=stored_shape,
            shape=header.shape,
            num_channels=header.num_channels,
            num_timepoints=header.num_timepoints,
            dtype=header.dtype.name,
            voxel_size_nm=header.voxel_size,
            translation_nm=header.translation,
            chunk_shape=header.chunk_shape,
            shard_shape=_shard_shape(volume),
            level=header.level,
            level_shapes=_level_shapes(path, axes, header),
            bytes_uncompressed=math.prod(stored_shape) * header.dtype.itemsize,
            bytes_on_disk=_bytes_on_disk(path),
            statistics=sample_statistics(volume),
            provenance=read_provenance(path),
        )
    finally:
        volume.close()


def sample_statistics(volume: Volume) -> Statistics:
    """Look at up to 27 regions spread evenly over each of at most four channels and time points.

    Parameters
    ----------
    volume : Volume
    """
    blocks = [block.ravel() for block in _sample(volume)]
    values = np.concatenate(blocks)
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    nonfinite = values.size - finite.size
    if finite.size == 0:
        return Statistics(values.size, None, None, None, None, None, None, None, nonfinite)
    low, middle, high = (float(p) for p in np.percentile(finite, (1, 50, 99)))
    return Statistics(
        voxels=values.size,
        minimum=float(finite.min()),
        maximum=float(finite.max()),
        mean=float(finite.mean(dtype=np.float64)),
        std=float(finite.std(dtype=np.float64)),
        percentile_1=low,
        percentile_50=middle,
        percentile_99=high,
        nonfinite=nonfinite,
    )


def _sample(volume: Volume) -> Iterator[Array]:
    header = volume.header
    channels, timepoints = _spread(header.num_channels or 1), _spread(header.num_timepoints or 1)
    for channel, timepoint in itertools.islice(itertools.product(channels, timepoints), 4):
        for region in _regions(header):
            yield volume.read(region, channel=channel, timepoint=timepoint)


def _spread(count: int) -> list[int]:
    """Take the first, the last and the middle of `count` things."""
    return sorted({0, count // 2, count - 1})


def _regions(header: Header) -> list[Region]:
    """Choose chunks in the middles of the thirds of each axis, cut to a bounded size."""
    size = list(header.chunk_shape)
    for axis in (1, 2, 0) * 32:
        if math.prod(size) * header.dtype.itemsize > SAMPLED_BYTES:
            size[axis] = max(1, size[axis] // 2)
    starts = []
    for length, chunk, part in zip(header.shape, header.chunk_shape, size, strict=True):
        middles = [(2 * third + 1) * length // 6 for third in range(3)]
        # inside one chunk, so that one file is read
        places = {min(m // chunk * chunk + m % chunk // part * part, length - 1) for m in middles}
        starts.append([(start, min(start + part, length)) for start in sorted(places)])
    return [(slice(*z), slice(*y), slice(*x)) for z, y, x in itertools.product(*starts)][
        :SAMPLED_CHUNKS
    ]


def _shard_shape(volume: Volume) -> Triple | None:
    shards = getattr(volume.source, "shards", None) if isinstance(volume, ArrayVolume) else None
    if shards is None:
        return None
    sizes = dict(zip(volume.header.axes, shards, strict=True))
    return (sizes.get("z", 1), sizes["y"], sizes["x"])


def _level_shapes(path: Path, axes: str | None, header: Header) -> tuple[Triple, ...]:
    if header.num_levels == 1:
        return (header.shape,)
    shapes = []
    for level in range(header.num_levels):
        try:
            volume = open_volume(path, axes=axes, level=level)
        except OptionError:  # the path is that of one level
            return (header.shape,)
        shapes.append(volume.header.shape)
        volume.close()
    return tuple(shapes)


def _bytes_on_disk(path: Path) -> int | None:
    """Count what the disk holds, which is less than the length of a sparse file."""
    if isinstance(path, RemotePath):
        return sum(size for _, size in object_store.below(path.place)) if path.can_list else None
    files = (p for p in path.rglob("*") if p.is_file()) if path.is_dir() else iter([path])
    total = 0
    for file in files:
        found = file.stat()
        blocks = getattr(found, "st_blocks", None)
        total += found.st_size if blocks is None else min(found.st_size, blocks * 512)
    return total
