"""What may be replaced or deleted to make room for an output."""

from __future__ import annotations

from pathlib import Path

from vemctl.durable import TEMPORARY
from vemctl.errors import InputError, OutputError
from vemctl.remote_path import RemotePath
from vemctl.volumes.outputs import STATE, Kind, partial_folder
from vemctl.volumes.zarr_volume import read_node


def check_replaceable(path: Path, kind: Kind) -> None:
    """Refuse to replace what lies at `path` if it is not what an output of this kind is.

    Parameters
    ----------
    path : Path
        Exists.
    kind : {"zarr", "tiff", "npy", "mrc"}

    Raises
    ------
    OutputError
        Says what is in the way.
    """
    if kind != "zarr":
        if path.is_dir():
            raise OutputError(f"{path}: a folder, expected a file: choose another output")
        return
    if not path.is_dir():
        raise OutputError(f"{path}: a file, expected a folder: choose another output")
    if (what := _irreplaceable(path)) is not None:
        raise OutputError(
            f"{path}: {what}, which is not replaced: remove it yourself or choose another output"
        )


def _irreplaceable(folder: Path) -> str | None:
    """Name what is never deleted to make room: all but images, arrays and empty folders."""
    try:
        node = read_node(folder)
    except InputError:
        return "a folder with damaged Zarr metadata"
    if node is None:
        return "a folder that is no Zarr store" if any(folder.iterdir()) else None
    found = node.attributes.get("ome")
    ome = found if isinstance(found, dict) else node.attributes
    for key, what in (
        ("plate", "an OME-Zarr plate"),
        ("well", "a well of an OME-Zarr plate"),
        ("bioformats2raw.layout", "a bioformats2raw collection"),
    ):
        if key in ome or key in node.attributes:
            return what
    ours = "vemctl" in node.attributes or node.is_unfinished
    if node.is_array or "multiscales" in ome or ours:
        return None
    return "a Zarr group that is no OME-Zarr image"


def check_ours(path: Path) -> None:
    """Refuse a partial folder that vemctl did not make, since it would be deleted.

    Parameters
    ----------
    path : Path
        Of the output.

    Raises
    ------
    OutputError
        Names the folder and something in it.
    """
    partial = partial_folder(path)
    if not partial.is_dir() or (partial / STATE).is_file():
        return
    # a killed writer may have come no further than the temporary file of its first file
    begun = (f"{STATE}.", TEMPORARY)
    for child in partial.iterdir():
        if not (child.name.startswith(begun[0]) and child.name.endswith(begun[1])):
            raise OutputError(
                f"{path}: {partial}, which holds {child.name}, is in the way and not made by "
                "vemctl: remove it yourself or choose another output"
            )


def refuse_existing(path: Path, partial: Path | None = None) -> None:
    """Refuse to write where something is.

    Parameters
    ----------
    path : Path
    partial : Path, optional
        If given, an unfinished run in it is refused too.

    Raises
    ------
    OutputError
        Says what is there.
    """
    unfinished = partial is not None and partial.exists()
    # in an object store an unfinished run has something at the place of its output too
    if path.exists() and not (unfinished and isinstance(path, RemotePath)):
        raise OutputError(f"{path}: exists: pass --overwrite or choose another output")
    if unfinished:
        raise OutputError(
            f"{path}: an unfinished run is in {partial}: continue it with --resume or start again "
            "with --overwrite"
        )
