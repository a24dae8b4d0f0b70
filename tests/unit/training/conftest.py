"""Volumes in every format that holds them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from unit.volumes.conftest import make_data, make_layout, write_volume

Array = np.ndarray


@pytest.fixture(scope="session")
def noisy_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small sharded OME-Zarr of 20 slices."""
    path = tmp_path_factory.mktemp("noisy") / "noisy.zarr"
    data = make_data((20, 40, 36), "uint16")
    write_volume(path, data, make_layout("zyx", data.shape, "uint16"))
    return path


def _ome_zarr(path: Path, data: Array, axes: str) -> None:
    write_volume(path, data, make_layout(axes, data.shape, data.dtype.name))


def _plain_zarr(path: Path, data: Array, axes: str) -> None:
    chunks = tuple({"z": 3, "y": 17, "x": 16}.get(axis, 1) for axis in axes)
    zarr.create_array(path, data=data, chunks=chunks, dimension_names=list(axes))


def _tiff(path: Path, data: Array, axes: str, compression: str | None) -> None:
    import tifffile

    tifffile.imwrite(path, data, metadata={"axes": axes.upper()}, compression=compression, ome=True)


def _mrc(path: Path, data: Array, axes: str) -> None:
    assert axes == "zyx"
    import mrcfile

    with mrcfile.new(path) as file:
        file.set_data(data)


WRITERS: dict[str, tuple[str, Callable[[Path, Array, str], None]]] = {
    "sharded": ("v.ome.zarr", _ome_zarr),
    "unsharded": ("v.zarr", _plain_zarr),
    "tiff": ("v.ome.tif", lambda path, data, axes: _tiff(path, data, axes, None)),
    "deflated": ("w.ome.tif", lambda path, data, axes: _tiff(path, data, axes, "zlib")),
    "npy": ("v.npy", lambda path, data, axes: np.save(path, data)),
    "mrc": ("v.mrc", _mrc),
}


def write(kind: str, folder: Path, data: Array, axes: str) -> Path:
    """Write a stored array in one of the formats of `WRITERS`."""
    name, writer = WRITERS[kind]
    folder.mkdir(exist_ok=True)
    writer(folder / name, data, axes)
    return folder / name
