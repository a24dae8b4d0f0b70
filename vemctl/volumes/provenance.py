"""What an output on disk says of how it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vemctl.errors import InputError
from vemctl.remote_path import RemotePath
from vemctl.volumes.block_store import UNFINISHED
from vemctl.volumes.sidecar import read_sidecar
from vemctl.volumes.zarr_volume import read_node

PROVENANCE = "vemctl"
"""Attribute of the Zarr group that holds it; other formats have a sidecar."""


def read_provenance(path: Path) -> dict[str, Any] | None:
    """Read how vemctl made an output; None if it did not, or has not finished.

    Parameters
    ----------
    path : Path
        An OME-Zarr image, one of its arrays, or a file with its sidecar.

    Raises
    ------
    InputError
        It cannot be looked at, or what it says is damaged.
    """
    try:
        return _read_provenance(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"{path}: cannot be read ({reason}); check the path and its permissions"
        ) from error


def _read_provenance(path: Path) -> dict[str, Any] | None:
    if not isinstance(path, RemotePath) and not path.is_dir():
        found = (read_sidecar(path) or {}).get("provenance")
        return found if isinstance(found, dict) else None
    for folder in (path, path.parent):
        node = read_node(folder)
        if node is None:
            return None
        found = node.attributes.get(PROVENANCE)
        if isinstance(found, dict) and UNFINISHED not in node.attributes:
            return found
    return None
