"""Zarr groups and arrays as vemctl writes them: the same voxels give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from vemctl.durable import write_whole
from vemctl.remote_path import RemotePath
from vemctl.volumes.volume import Layout

BLOSC_ZSTD: Any = {"id": "blosc", "cname": "zstd", "clevel": 1, "shuffle": 1}
"""What readers of OME-Zarr 0.4 are used to; 0.5 gets plain zstd with a checksum per chunk."""


def _zarr_format(layout: Layout) -> Literal[2, 3]:
    return 3 if layout.ome_zarr == "0.5" else 2


def zarr_store(folder: Path, *, read_only: bool = False, blosc: bool = False) -> Any:
    """Return a Zarr store of a folder of this machine or of an object store.

    Parameters
    ----------
    folder : Path
    read_only : bool
    blosc : bool
        Whether chunks are stored in Blosc's format, whose length is checked.
    """
    if isinstance(folder, RemotePath):
        from vemctl.volumes.remote_stores import RemoteStore

        return RemoteStore(folder, read_only=read_only, blosc=blosc)
    from vemctl.volumes.local_stores import CheckedStore, DurableStore

    kind = CheckedStore if read_only else DurableStore
    return kind(folder, read_only=read_only, blosc=blosc)


def create_group(folder: Path, layout: Layout, attributes: Mapping[str, Any]) -> None:
    """Make an empty group."""
    _keep(group_files(layout, attributes), folder)


def group_files(layout: Layout, attributes: Mapping[str, Any]) -> dict[str, bytes]:
    """Return what the files of a group hold, by their names; the attributes come last."""
    import zarr
    from zarr.storage import MemoryStore

    made: dict[str, Any] = {}
    zarr.create_group(
        MemoryStore(made), zarr_format=_zarr_format(layout), attributes=dict(attributes)
    )
    names = sorted(made, key=lambda name: name == ".zattrs")
    return {name: made[name].to_bytes() for name in names}


def open_group(folder: Path) -> Any:
    """Open a group whose attributes may be changed."""
    import zarr

    _require(folder)
    # both are there for a moment while an image of 0.4 begins in an object store
    zarr_format: Literal[2, 3] = 3 if (folder / "zarr.json").is_file() else 2
    return zarr.open_group(
        zarr_store(folder), mode="r+", zarr_format=zarr_format, use_consolidated=False
    )


def create_array(folder: Path, layout: Layout) -> None:
    """Make an empty array.

    Parameters
    ----------
    folder : Path
        Of the array itself.
    layout : Layout
    """
    import zarr
    from zarr.codecs import ZstdCodec
    from zarr.storage import MemoryStore

    made: dict[str, Any] = {}
    common: dict[str, Any] = {
        "store": MemoryStore(made),
        "shape": layout.stored_shape,
        "dtype": layout.dtype,
        "chunks": tuple(layout.along_axes(layout.chunk_shape, 1, 1)),
        "fill_value": 0,
        "zarr_format": _zarr_format(layout),
    }
    if layout.ome_zarr == "0.5":
        zarr.create_array(
            **common,
            shards=tuple(layout.along_axes(layout.shard_shape, 1, 1)),
            compressors=ZstdCodec(level=1, checksum=True),
            dimension_names=list(layout.axes),
        )
    else:
        zarr.create_array(
            **common,
            compressors=BLOSC_ZSTD,
            chunk_key_encoding={"name": "v2", "separator": "/"},
        )
    _keep({name: value.to_bytes() for name, value in made.items()}, folder)


def _keep(made: Mapping[str, bytes], folder: Path) -> None:
    """Store metadata one after the other, last what makes a node: zarr would store them at once."""
    for name in sorted(made, key=lambda name: name != ".zattrs"):
        write_whole(folder / name, made[name])


def open_array(folder: Path, layout: Layout) -> Any:
    """Open an array for writing; blocks of zeros are written like all others."""
    import zarr

    _require(folder)
    store = zarr_store(folder, blosc=layout.ome_zarr == "0.4")
    found: Any = zarr.open_array(store, mode="r+", zarr_format=_zarr_format(layout))
    # `open_array` takes no such setting, and `with_config` is newer than the oldest zarr we allow
    return zarr.Array(
        zarr.AsyncArray(found.metadata, found.store_path, config={"write_empty_chunks": True})
    )


def _require(folder: Path) -> None:
    """Zarr would make the folder of a store that it opens for writing."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
