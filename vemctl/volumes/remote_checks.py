"""Whether an object store takes an output."""

from __future__ import annotations

import uuid
from pathlib import Path

from vemctl.durable import TEMPORARY
from vemctl.errors import OutputError
from vemctl.remote_path import RemotePath
from vemctl.volumes.outputs import STATE, Kind, partial_folder


def check_kept(path: Path, kind: Kind) -> None:
    """Refuse remote places that take no output of this kind, or none at all.

    Parameters
    ----------
    path : Path
    kind : {"zarr", "tiff", "npy", "mrc"}

    Raises
    ------
    OutputError
        Says what would be taken.
    """
    if not isinstance(path, RemotePath):
        return
    if not path.can_list:
        raise OutputError(
            f"{path}: web servers are read only: choose an output on this machine, s3:// or gs://"
        )
    if kind != "zarr":
        raise OutputError(
            f"{path}: only OME-Zarr can be written there: choose a name that ends in .zarr"
        )
    if not path.place.key:
        raise OutputError(f"{path}: a bucket: give a place in it, for instance {path}/volume.zarr")


def try_writing(path: RemotePath) -> None:
    """Put and remove a small object: hours later it would be too late to learn of a refusal.

    Parameters
    ----------
    path : RemotePath
        Of the output.

    Raises
    ------
    OSError
        One of both is refused.
    """
    trial = partial_folder(path) / f"{STATE}.{uuid.uuid4().hex}{TEMPORARY}"
    trial.write_bytes(b"May vemctl write here?\n")
    trial.unlink(missing_ok=True)


def is_there(path: Path) -> bool:
    """Tell whether a file is there, as far as one is allowed to know."""
    if not isinstance(path, RemotePath):
        return path.exists()
    try:
        return path.is_file()
    except PermissionError:  # who may write below a folder need not be allowed to look into it
        return False
