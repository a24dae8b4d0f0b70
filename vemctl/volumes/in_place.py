"""An image in an object store on its way: filled where it will be, since nothing can be renamed.

Until it is finished its group says nothing but that, so that nobody takes it for an image; the
metadata that make it one are put last and at once.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from vemctl import object_store
from vemctl.durable import output_errors, remove_tree, write_json
from vemctl.errors import InputError, OutputError
from vemctl.remote_path import RemotePath
from vemctl.volumes.block_store import BlockStore
from vemctl.volumes.ome_metadata import UNFINISHED
from vemctl.volumes.stored_array import create_group
from vemctl.volumes.volume import Layout
from vemctl.volumes.zarr_volume import read_node

MARK = "zarr.json"
"""What readers look at first, of whatever format the rest is."""


def begin(path: RemotePath, layout: Layout) -> BlockStore:
    """Make an empty image; what lies there, all of it, is deleted now.

    Parameters
    ----------
    path : RemotePath
    layout : Layout

    Raises
    ------
    OutputError
        It cannot be written.
    """
    try:
        with output_errors(path):
            _mark(path)
            remove_tree(path, last=MARK, keep_last=True)
            # not before: whoever resumes would take what is left of the old image for his own
            create_group(path, layout, {UNFINISHED: layout.to_json()})
            if layout.ome_zarr == "0.4":
                (path / MARK).unlink(missing_ok=True)
        return BlockStore.add_level(path, layout, 0)
    except OutputError:
        with suppress(OSError):
            withdraw(path)
        raise


def is_unfinished(path: RemotePath) -> bool:
    """Tell whether what lies there is an image on its way.

    Parameters
    ----------
    path : RemotePath

    Raises
    ------
    OSError
        It cannot be looked at.
    """
    try:
        node = read_node(path)
    except InputError:
        return False
    return node is not None and node.is_unfinished


def withdraw(path: RemotePath) -> None:
    """Remove an image that is on its way; anything else stays.

    Parameters
    ----------
    path : RemotePath
    """
    if is_unfinished(path):
        _mark(path)
        remove_tree(path, last=MARK)


def _mark(path: RemotePath) -> None:
    """Make what lies there no image at once, and nothing else of it visible to readers."""
    attributes: dict[str, Any] = {UNFINISHED: {}}
    write_json(path / MARK, {"zarr_format": 3, "node_type": "group", "attributes": attributes})
    names = (".zgroup", ".zarray", ".zattrs", ".zmetadata")
    object_store.delete(path.place, [(path / name).place.key for name in names])
