"""Write a filled store as one file, plane by plane."""

from __future__ import annotations

import itertools
import math
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vemctl.volumes.block_store import BlockStore
from vemctl.volumes.checks import TiffFormat
from vemctl.volumes.mrc_header import make_mrc_header
from vemctl.volumes.outputs import Kind
from vemctl.volumes.volume import Array, Layout

SLAB_BYTES = 2**26
"""Of planes read at once without a budget, a whole chunk's depth where that fits.

Where planes are so large that fewer fit, each chunk is decoded once for every slab that cuts it.
"""
SLAB_PART = 4
"""Of a budget one part is the slab; reading it takes another, and the formats what is left."""
PIECE = 2**20
"""Voxels whose statistics are computed at once."""

Progress = Callable[[str, int, int], None]


def export(
    store: BlockStore,
    path: Path,
    *,
    kind: Kind,
    tiff_format: TiffFormat,
    compress: bool,
    progress: Progress,
    memory_bytes: int | None = None,
) -> None:
    """Write all voxels to one file.

    Parameters
    ----------
    store : BlockStore
        Filled.
    path : Path
        Overwritten.
    kind : {"tiff", "npy", "mrc"}
    tiff_format : {"ome", "imagej"}
    compress : bool
        A TIFF by zlib.
    progress : callable
        Called with ``"export"``, planes done, planes in all.
    memory_bytes : int, optional
        What this may take; one plane of each channel is held even if it does not fit.
    """
    slab_bytes = SLAB_BYTES if memory_bytes is None else memory_bytes // SLAB_PART
    imagej = kind == "tiff" and tiff_format == "imagej"
    planes = _planes(store, "tzc" if imagej else "tcz", progress, slab_bytes)
    if imagej:
        _write_imagej(store.layout, path, planes)
    elif kind == "tiff":
        _write_ome(store.layout, path, planes, compress=compress)
    elif kind == "npy":
        _write_npy(store.layout, path, planes)
    else:
        _write_mrc(store.layout, path, planes)


def _planes(store: BlockStore, order: str, progress: Progress, slab_bytes: int) -> Iterator[Array]:
    """Read all (y, x) planes, the axes before them counted up in the given order.

    Parameters
    ----------
    order : {"tcz", "tzc"}
    slab_bytes : int
        Of planes that are read at once, at least one of each channel that takes turns.
    """
    layout = store.layout
    num_z, num_y, num_x = layout.shape
    channels, timepoints = layout.num_channels or 1, layout.num_timepoints or 1
    together = channels if order == "tzc" else 1
    fitting = slab_bytes // (num_y * num_x * layout.dtype.itemsize * together)
    depth = max(1, min(layout.chunk_shape[0], fitting))
    total = channels * timepoints * num_z
    done = 0

    def slab(start: int, channel: int, timepoint: int) -> Array:
        region = (slice(start, min(start + depth, num_z)), slice(0, num_y), slice(0, num_x))
        return store.read(region, channel, timepoint)

    for timepoint in range(timepoints):
        groups = [range(channels)] if order == "tzc" else [range(c, c + 1) for c in range(channels)]
        for group, start in itertools.product(groups, range(0, num_z, depth)):
            slabs = [slab(start, channel, timepoint) for channel in group]
            for z in range(len(slabs[0])):
                for block in slabs:
                    progress("export", done, total)
                    yield block[z].copy()  # who holds a view would hold the slab
                    done += 1
            del slabs, block  # before the next are read
    progress("export", total, total)


def _write_ome(layout: Layout, path: Path, planes: Iterator[Array], *, compress: bool) -> None:
    import tifffile

    # tifffile would make a random one: equal volumes shall be equal files
    identity = uuid.uuid5(uuid.NAMESPACE_OID, f"{layout}{path.name}")
    metadata: dict[str, Any] = {"axes": layout.axes.upper(), "UUID": f"urn:uuid:{identity}"}
    if layout.voxel_size is not None:
        for axis, size in zip("ZYX", layout.voxel_size, strict=True):
            if axis.lower() in layout.axes:
                metadata |= {f"PhysicalSize{axis}": size / 1000, f"PhysicalSize{axis}Unit": "µm"}
    tifffile.imwrite(
        path,
        planes,
        shape=layout.stored_shape,
        dtype=layout.dtype,
        ome=True,
        bigtiff=True,
        photometric="minisblack",
        compression="zlib" if compress else None,
        buffersize=2**24,
        maxworkers=2,
        metadata=metadata,
    )


def _write_imagej(layout: Layout, path: Path, planes: Iterator[Array]) -> None:
    import tifffile

    shape = (
        layout.num_timepoints or 1,
        layout.shape[0],
        layout.num_channels or 1,
        *layout.shape[1:],
    )
    metadata: dict[str, Any] = {"axes": "TZCYX"}
    resolution = None
    if layout.voxel_size is not None:
        z, y, x = layout.voxel_size
        metadata |= {"spacing": z / 1000, "unit": "um"}
        resolution = (1000 / x, 1000 / y)
    tifffile.imwrite(
        path,
        planes,
        shape=shape,
        dtype=layout.dtype,
        imagej=True,
        photometric="minisblack",
        resolution=resolution,
        resolutionunit="NONE" if resolution else None,
        metadata=metadata,
    )


def _write_npy(layout: Layout, path: Path, planes: Iterator[Array]) -> None:
    header = {
        "descr": np.lib.format.dtype_to_descr(layout.dtype),
        "fortran_order": False,
        "shape": layout.stored_shape,
    }
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for plane in planes:
            file.write(plane.data)


def _write_mrc(layout: Layout, path: Path, planes: Iterator[Array]) -> None:
    smallest, largest, total, squares = math.inf, -math.inf, 0.0, 0.0
    with path.open("wb") as file:
        file.write(bytes(1024))
        for plane in planes:
            file.write(plane.data)
            flat = plane.reshape(-1)
            for start in range(0, flat.size, PIECE):
                values = flat[start : start + PIECE].astype(np.float64)
                smallest, largest = min(smallest, values.min()), max(largest, values.max())
                total, squares = total + values.sum(), squares + (values**2).sum()
        count = math.prod(layout.shape)
        mean = total / count
        spread = math.sqrt(max(0.0, squares / count - mean**2))
        file.seek(0)
        file.write(make_mrc_header(layout, (smallest, largest, mean, spread)))
