"""Files that are whole or not there: written under another name, flushed to the disk, renamed.

In an object store every object is: it appears at once, and there are no folders to care for.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vemctl import object_store
from vemctl.errors import OutputError
from vemctl.remote_path import RemotePath

TEMPORARY = ".partial"
"""What the name of a file in the making ends with, in zarr-python too."""
_DELETED_AT_ONCE = 1000


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to; in the end that file or folder is `path`, whole or not at all.

    Parameters
    ----------
    path : Path
        Its missing parent folders are made. If it is remote, the path to write to is a file of
        this machine, that is sent in the end.
    """
    if isinstance(path, RemotePath):
        with tempfile.TemporaryDirectory(prefix="vemctl-") as folder:
            temporary = Path(folder) / path.name
            yield temporary
            with temporary.open("rb") as file:
                object_store.put(path.place, file)
        return
    make_folder(path.parent)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}{TEMPORARY}")
    try:
        yield temporary
        if temporary.is_dir():
            sync_folder(temporary)
        else:
            sync_file(temporary)
        temporary.replace(path)
    except BaseException:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_whole(path: Path, data: Any) -> None:
    """Write a file so that, whatever happens, it is the old one or the new one.

    Parameters
    ----------
    path : Path
        Its missing parent folders are made.
    data : bytes-like
    """
    if isinstance(path, RemotePath):
        path.write_bytes(data)
        return
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file by `write_whole`, keys in the order given."""
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, so that they outlive a crash of the machine."""
    if isinstance(folder, RemotePath) or folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_file(path: Path) -> None:
    """Wait until the file's content is on the disk."""
    if isinstance(path, RemotePath):
        return
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the folder's names are on the disk; Windows has no such call and needs none."""
    if os.name == "nt" or isinstance(folder, RemotePath):
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_temporaries(folder: Path) -> None:
    """Remove what killed writers left behind; nobody may be writing in `folder`."""
    if isinstance(folder, RemotePath):
        return  # what was sent in part is no object
    for leftover in folder.rglob(f"*{TEMPORARY}"):
        if leftover.is_file():
            leftover.unlink(missing_ok=True)


def remove_tree(folder: Path, *, last: str | None = None, keep_last: bool = False) -> None:
    """Remove a folder with all in it, or all objects below a place; it may be stopped anywhere.

    Parameters
    ----------
    folder : Path
        Need not exist.
    last : str, optional
        The name of a file directly in it that goes after all others: it tells whose they are.
    keep_last : bool
        Leave that file.
    """
    if isinstance(folder, RemotePath):
        place = folder.place
        if not place.key:
            raise ValueError(f"{folder}: expected a place in a bucket")
        kept = f"{place.key}/{last}" if last else None
        keys: list[str] = []
        for key, _size in object_store.below(place):
            if key != kept:
                keys.append(key)
            if len(keys) == _DELETED_AT_ONCE:
                object_store.delete(place, keys)
                keys = []
        object_store.delete(place, keys)
        object_store.delete(place, [kept] if kept and not keep_last else [])
        return
    if not folder.is_dir():
        return
    for child in folder.iterdir() if last else ():
        if child.name == last:
            continue
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()
    if not keep_last:
        shutil.rmtree(folder)


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says about writing `path` into an OutputError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what = "quota exceeded" if error.errno == errno.EDQUOT else "disk full"
            raise OutputError(
                f"{path}: {what}, {show_bytes(free_bytes(path))} free; make room there and run "
                "the same command with --resume: what is written stays"
            ) from error
        reason = error.strerror or str(error)
        raise OutputError(
            f"{path}: cannot write {error.filename or path}: {reason}; mend that and run the same "
            "command with --resume"
        ) from error


def free_bytes(path: Path) -> int:
    """Return the free space where `path` is or will be; an object store has all that one asks."""
    if isinstance(path, RemotePath):
        return sys.maxsize
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def show_bytes(count: float) -> str:
    """Write a number of bytes for people, in powers of 1000: ``1.2 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
