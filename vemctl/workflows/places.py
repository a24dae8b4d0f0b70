"""Where single files go: into folders that are there."""

from __future__ import annotations

from pathlib import Path

from vemctl.errors import OutputError
from vemctl.remote_path import RemotePath


def check_local(place: Path) -> None:
    """Refuse a place in an object store for what is written to this machine only.

    Raises
    ------
    OutputError
        It is one.
    """
    if isinstance(place, RemotePath):
        raise OutputError(
            f"{place}: only OME-Zarr outputs of vemctl predict go to object stores; choose a path "
            "of this machine, and copy it there"
        )


def check_folder(place: Path) -> None:
    """Refuse a place in a folder that does not exist: its name is rather mistyped than wanted.

    Raises
    ------
    OutputError
        There is no such folder.
    """
    check_local(place)
    folder = place.parent
    if not folder.exists():
        raise OutputError(
            f"{place}: the folder {folder} does not exist; make it, or choose another place"
        )
    if not folder.is_dir():
        raise OutputError(f"{place}: {folder} is a file, no folder; choose another place")
