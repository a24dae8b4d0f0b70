"""The store of weights on this machine, and read-only ones that are shared.

::

    <folder>/weights/<method>/<what>/<12 digits of the SHA-256>/<file>   immutable once there
    <folder>/records/<method>/<what>.json                                outlives the files
    <folder>/downloads/*.part                                            what is under way
    <folder>/locks/*.lock
"""

from __future__ import annotations

import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vemctl.durable import TEMPORARY, make_folder, sync_file, sync_folder, write_json
from vemctl.errors import Interrupted
from vemctl.events import Listener, Noted, ignore
from vemctl.weights.record import Record, read_record

STALE_SECONDS = 7 * 24 * 3600
"""After which an unfinished download is no longer waited for."""
_DIGITS = 12


class Store:
    """A folder of weights.

    Parameters
    ----------
    folder : Path
        That need not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def record(self, name: str) -> Record | None:
        """Return what is known of `name`, whose files may be gone."""
        return read_record(self._record_path(name))

    def records(self) -> list[Record]:
        """Return all records, by name."""
        found = (read_record(path) for path in sorted(self.folder.glob("records/*/*.json")))
        return [record for record in found if record is not None]

    def folder_of(self, record: Record) -> Path:
        """Return where the files of a record are, or would be."""
        return self._home(record.name) / record.sha256[:_DIGITS]

    def holds(self, record: Record) -> bool:
        """Tell whether all files of a record are there; does not read them."""
        folder = self.folder_of(record)
        return all((folder / file.name).is_file() for file in record.files)

    def part_path(self, key: str, file: str) -> Path:
        """Return where a download of `file` grows; `key` tells apart sources of one name."""
        return self.folder / "downloads" / f"{key}-{file}.part"

    @contextmanager
    def filling(self) -> Iterator[Path]:
        """Make a folder for files to be kept, and remove it in the end."""
        folder = self.folder / "weights" / f"{uuid.uuid4().hex}{TEMPORARY}"
        make_folder(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keep(self, record: Record, folder: Path) -> None:
        """Take over the files of a record, and the record.

        Parameters
        ----------
        record : Record
        folder : Path
            From `filling`, with exactly its files.
        """
        target = self.folder_of(record)
        for path in folder.iterdir():
            sync_file(path)
        sync_folder(folder)
        make_folder(target.parent)
        if target.exists():  # incomplete or damaged, else nobody would keep it again
            shutil.rmtree(target)
        folder.rename(target)
        sync_folder(target.parent)
        write_json(self._record_path(record.name), record.to_json())
        for other in self._home(record.name).iterdir():
            if other != target:
                shutil.rmtree(other)

    def remove(self, name: str, *, forget: bool) -> int:
        """Remove the files of `name`, and with `forget` its record; return the bytes set free."""
        home = self._home(name)
        freed = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
        if home.exists():
            shutil.rmtree(home)
        if forget:
            self._record_path(name).unlink(missing_ok=True)
        return freed

    @contextmanager
    def locked(
        self, name: str, listen: Listener = ignore, stop: threading.Event | None = None
    ) -> Iterator[None]:
        """Let no other process change `name` meanwhile; waits for one that does.

        Raises
        ------
        Interrupted
            `stop` was set while waiting.
        """
        from filelock import FileLock, Timeout

        path = self.folder / "locks" / f"{name.replace('/', '_')}.lock"
        make_folder(path.parent)
        lock = FileLock(path)
        told = False
        while not lock.is_locked:
            try:
                lock.acquire(timeout=0.2)
            except Timeout:
                if stop is not None and stop.is_set():
                    raise Interrupted("stopped while another process fetched weights") from None
                if not told:
                    listen(Noted(f"waiting for another process that fetches {name}"))
                told = True
        try:
            yield
        finally:
            lock.release()

    def sweep(self) -> None:
        """Remove what killed processes left behind, a week after they last touched it."""
        leftovers = [
            *self.folder.glob("downloads/*.part"),
            *self.folder.glob(f"weights/*{TEMPORARY}"),
        ]
        for path in leftovers:
            try:
                if time.time() - path.stat().st_mtime < STALE_SECONDS:
                    continue
            except FileNotFoundError:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _home(self, name: str) -> Path:
        return self.folder / "weights" / name

    def _record_path(self, name: str) -> Path:
        return self.folder / "records" / f"{name}.json"


def cache_folder() -> Path:
    """Return where weights are kept: VEMCTL_CACHE, or the user's cache folder."""
    named = os.environ.get("VEMCTL_CACHE")
    if named:
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("vemctl"))


def shared_folders() -> list[Path]:
    """Return the read-only stores that VEMCTL_SHARED_CACHE names, separated as in PATH."""
    named = os.environ.get("VEMCTL_SHARED_CACHE", "")
    return [Path(part).expanduser() for part in named.split(os.pathsep) if part]
