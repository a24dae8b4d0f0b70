"""What the tests of volumes share."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vemctl.volumes.destination import Destination
from vemctl.volumes.volume import Array, Layout, Region, Triple


def ignore_progress(phase: str, done: int, total: int) -> None:
    """Show nothing."""


def whole(shape: Triple) -> Region:
    """Return the region that is all of a volume."""
    z, y, x = (slice(0, n) for n in shape)
    return z, y, x


def make_layout(axes: str, stored: tuple[int, ...], dtype: str = "uint8", **changes: Any) -> Layout:
    """Lay out an array of small chunks, with a voxel size."""
    sizes = dict(zip(axes, stored, strict=True))
    fields: dict[str, Any] = {
        "axes": axes,
        "shape": (sizes.get("z", 1), sizes["y"], sizes["x"]),
        "num_channels": sizes.get("c"),
        "num_timepoints": sizes.get("t"),
        "dtype": np.dtype(dtype),
        "voxel_size": (40.0, 8.0, 8.0) if "z" in axes else (8.0, 8.0, 8.0),
        "translation": None,
        "chunk_shape": (4, 16, 16),
        "shard_shape": (8, 32, 32),
    }
    if changes.get("ome_zarr") == "0.4":
        fields["shard_shape"] = fields["chunk_shape"]
    return Layout(**fields | changes)


def make_data(stored: tuple[int, ...], dtype: str = "uint8") -> Array:
    """Make reproducible noise that fills the type's range."""
    kind = np.dtype(dtype)
    rng = np.random.default_rng(7)
    if kind.kind == "f":
        return rng.normal(size=stored).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, stored, dtype=kind, endpoint=True)


def part_of(data: Array, axes: str, channel: int, timepoint: int) -> Array:
    """Take one (z, y, x) volume out of a stored array."""
    index = tuple({"t": timepoint, "c": channel}.get(axis, slice(None)) for axis in axes)
    spatial = [axis for axis in axes if axis in "zyx"]
    block = data[index]
    if "z" not in spatial:
        spatial, block = ["z", *spatial], block[None]
    return np.ascontiguousarray(block.transpose([spatial.index(axis) for axis in "zyx"]))


def fill(destination: Destination, data: Array) -> None:
    """Write all of a stored array."""
    layout = destination.store.layout
    for timepoint in range(layout.num_timepoints or 1):
        for channel in range(layout.num_channels or 1):
            block = part_of(data, layout.axes, channel, timepoint)
            region = whole(layout.shape)
            destination.store.write(region, block, channel=channel, timepoint=timepoint)


def write_volume(path: Path, data: Array, layout: Layout, **options: Any) -> None:
    """Make a finished output."""
    destination = Destination.create(path, layout, **options)
    fill(destination, data)
    destination.finish({"method": "test"}, ignore_progress)


@pytest.fixture
def stack() -> Array:
    """Return 12 planes of 40 x 52 uint16 voxels."""
    return make_data((12, 40, 52), "uint16")
