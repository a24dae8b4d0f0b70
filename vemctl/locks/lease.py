"""Leases: who holds a part of an output where no lock of the system does.

A lease is a small file or object with a counter, which its holder raises every few seconds. No
clock is compared with another: whoever finds a lease watches it for a while, and if it stands still
its holder is dead or suspended. The successor makes a lease of the next generation, which only one
can, sees that the old one still stands still, and removes it. By that its former holder, should it
wake up, sees that it lost.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from vemctl import object_store
from vemctl.locks.claim import is_gone, read_record, to_line
from vemctl.locks.system_lock import lies_at, open_in_folder
from vemctl.remote_path import RemotePath
from vemctl.store_failures import translated

BEAT_S = 5.0
"""How often a holder raises its counter."""
PATIENCE_S = 30.0
"""How long a counter stands still until its holder counts as dead."""


class Lease:
    """A lease that we hold, and a thread that raises its counter.

    Attributes
    ----------
    path : Path
    lost : bool
        We were silent for so long that another process has taken it over.
    """

    def __init__(self, path: Path, file: _File, record: Mapping[str, Any]) -> None:
        self.path = path
        self.lost = False
        self._file = file
        self._record = record
        self._tell: threading.Event | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease {path.name}", daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, path: Path, record: Mapping[str, Any]) -> Lease | None:
        """Make a lease; None if another process has made one of this name.

        Parameters
        ----------
        path : Path
        record : mapping
            Who we are; its "owner" is like no other.

        Raises
        ------
        OSError
            It cannot be made.
        """
        file: _File | None
        if isinstance(path, RemotePath):
            file = _Object.make(path, record)
        else:
            file = _LocalFile.make(path, record)
        return None if file is None else cls(path, file, record)

    def is_ours(self) -> bool:
        """Look whether the lease still is ours; for what took long before the thread ran."""
        self.lost = self.lost or not self._file.is_ours()
        return not self.lost

    def when_lost(self, tell: threading.Event) -> None:
        """Have an event set, from another thread, if the lease is lost or was lost already."""
        self._tell = tell
        if self.lost:
            tell.set()

    def release(self) -> None:
        """Let go, and remove the lease if it still is ours."""
        self._ended.set()
        self._thread.join()
        self._file.close(remove=not self.lost)

    def _keep(self) -> None:
        beat = 0
        while not self._ended.wait(BEAT_S):
            beat += 1
            try:
                ours = self._file.renew({**self._record, "beat": beat})
            except OSError:
                continue  # it may be over by the next beat; else another takes over, as we see then
            if not ours:
                self.lost = True
                if self._tell is not None:
                    self._tell.set()
                return


class Watch:
    """What is known of the leases of others, and since when by our own clock."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[bytes, float, bool]] = {}

    def look(self, path: Path) -> tuple[bool | None, dict[str, Any]]:
        """Tell whether the holder of a lease is alive, None if that is to be seen, and its record.

        Raises
        ------
        FileNotFoundError
            It is not there any more.
        """
        now = time.monotonic()  # before the reading: we may be suspended after it
        data = path.read_bytes()
        record = read_record(data)
        if is_gone(record):
            return False, record
        before = self._seen.get(path)
        if before is None or before[0] != data:
            before = self._seen[path] = (data, now, before is not None)
        _, since, moved = before
        if now - since > PATIENCE_S:
            return False, record
        return moved or None, record


class _File(Protocol):
    """Where a lease lies."""

    def is_ours(self) -> bool:
        """Tell whether it still is the one that we have made."""

    def renew(self, record: Mapping[str, Any]) -> bool:
        """Write another record; False, and nothing is written, if it is not ours any more."""

    def close(self, *, remove: bool) -> None:
        """End with it."""


class _LocalFile:
    """A lease in a file, which is written in place.

    To rename another over it would be safe for readers as well, but machines that share a network
    file system would see the old one for up to a minute.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self._path = path
        self._handle = handle

    @classmethod
    def make(cls, path: Path, record: Mapping[str, Any]) -> Self | None:
        try:
            handle = open_in_folder(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return None
        made = cls(path, handle)
        try:
            made._write(record)
        except BaseException:
            made.close(remove=True)
            raise
        return made

    def is_ours(self) -> bool:
        try:
            return lies_at(self._path, self._handle)
        except OSError as error:
            if error.errno == errno.ESTALE:  # removed on another machine
                return False
            raise

    def renew(self, record: Mapping[str, Any]) -> bool:
        if self.is_ours():
            self._write(record)
            return True
        return False

    def close(self, *, remove: bool) -> None:
        try:
            remove = remove and self.is_ours()
        finally:
            os.close(self._handle)
        if remove:
            self._path.unlink(missing_ok=True)

    def _write(self, record: Mapping[str, Any]) -> None:
        os.lseek(self._handle, 0, os.SEEK_SET)
        os.write(self._handle, to_line(record))
        os.fsync(self._handle)


class _Object:
    """A lease in an object store, which is written only while it is what we have last written."""

    def __init__(self, path: RemotePath, owner: str, version: Any) -> None:
        self._path = path
        self._owner = owner
        self._version = version

    @classmethod
    def make(cls, path: RemotePath, record: Mapping[str, Any]) -> Self | None:
        version = _put(path, record, "create") or _version_of(path, record["owner"])
        return None if version is None else cls(path, record["owner"], version)

    def is_ours(self) -> bool:
        return _version_of(self._path, self._owner) is not None

    def renew(self, record: Mapping[str, Any]) -> bool:
        # A request that is repeated, since the answer got lost, is refused though it was obeyed.
        version = _put(self._path, record, self._version) or _version_of(self._path, self._owner)
        self._version = version
        return version is not None

    def close(self, *, remove: bool) -> None:
        if remove and self.is_ours():
            self._path.unlink(missing_ok=True)


def _put(path: RemotePath, record: Mapping[str, Any], condition: Any) -> Any:
    """Store a record if there is none ("create") or that version; return its own, else None."""
    place = path.place
    with translated(str(path)):
        store = object_store.connect(place)
        from obstore.exceptions import AlreadyExistsError, NotFoundError, PreconditionError

        try:
            return _named(store.put(place.key, to_line(record), mode=condition))
        except (AlreadyExistsError, PreconditionError):
            return None
        except (NotFoundError, FileNotFoundError):
            if condition == "create":
                raise
            return None


def _version_of(path: RemotePath, owner: str) -> Any:
    """Return the version of a lease that is the owner's, else None."""
    place = path.place
    with contextlib.suppress(FileNotFoundError), translated(str(path)):
        found = object_store.connect(place).get(place.key)
        if read_record(bytes(found.bytes())).get("owner") == owner:
            return _named(found.meta)
    return None


def _named(result: Mapping[str, Any]) -> dict[str, Any]:
    return {key: result[key] for key in ("e_tag", "version") if result.get(key) is not None}
