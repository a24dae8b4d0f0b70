"""Open a Zarr store in an object store or on a web server as a volume."""

from __future__ import annotations

from vemctl.errors import InputError, nearest
from vemctl.remote_path import RemotePath
from vemctl.volumes.volume import Volume
from vemctl.volumes.zarr_volume import open_zarr, read_node

SHOWN = 8


def open_remote(path: RemotePath, axes: str | None, level: int) -> Volume:
    """Open an image or an array; see `open_volume`.

    Parameters
    ----------
    path : RemotePath
    axes : str, optional
        As stored.
    level : int
        Of the resolution pyramid, 0 the finest.

    Raises
    ------
    InputError
        It is not there, or no Zarr store: says what is.
    OSError
        The server refuses, or does not answer.
    """
    node = read_node(path)
    if node is not None:
        return open_zarr(node, axes, level)
    if path.is_file():
        if path.name in ("zarr.json", ".zarray", ".zgroup", ".zattrs"):
            raise InputError(f"{path}: a file inside a Zarr store: give its folder, {path.parent}")
        raise InputError(f"{path}: expected a Zarr store; copy it here first")
    if not path.can_list:
        raise InputError(
            f"{path}: no Zarr store is there (no zarr.json, .zarray or .zgroup); check the address"
        )
    inside = [child.name for child in path.iterdir()]
    if not inside:
        raise InputError(_explain_missing(path))
    stores = [name for name in inside if name.endswith(".zarr")]
    if stores:
        raise InputError(
            f"{path}: expected a Zarr store; it holds {_list(stores)}: give one, for instance "
            f"{path / stores[0]}"
        )
    raise InputError(
        f"{path}: expected a Zarr store, but there is no zarr.json, .zarray or .zgroup; it holds "
        f"{_list(inside)}; copy the whole folder again, or give another place"
    )


def _explain_missing(path: RemotePath) -> str:
    """Say what there is on the way to what is missing."""
    for folder in path.parents:
        names = [child.name for child in folder.iterdir()]
        if names:
            missing = path.relative_to(folder).parts[0]
            return (
                f"{path}: nothing is there: {folder} has no {missing!r}; it holds {_list(names)}."
                f"{nearest(missing, names)}"
            )
    return f"{path}: nothing is there: the bucket is empty; check the place"


def _list(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
