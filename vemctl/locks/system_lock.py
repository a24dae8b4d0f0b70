"""Locks of the system on files beside an output, and where there are none."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vemctl.durable import make_folder
from vemctl.locks.claim import to_line

GRACE_S = 0.3
"""How long a lock may be busy until it counts as held: whoever only looks has it for a moment."""
RETRY_S = 0.02
PROBE = "probe-"
"""How the names of files begin that are made to see what a folder can."""

MOUNTS = Path("/proc/self/mountinfo")
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)
LOCAL_OPTIONS = {"localflock", "local_lock=flock", "local_lock=all", "nolock", "nobrl"}
LOCAL_SYSTEMS = {"beegfs", "fuse.sshfs"}
"""Shared file systems where, by these options or by default, a lock is known to one machine."""


class SystemLock:
    """A lock of the system on a file, which ends with the process that holds it.

    Not by `filelock`: of the versions that may be installed some empty the file of another holder,
    some remove on release whatever file has come to lie there, and some put a lock of their own in
    its place where the system has none, without one's asking.

    Attributes
    ----------
    path : Path
    lost : bool
        Always False: such a lock cannot be lost.
    """

    lost: bool = False

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle = handle

    @classmethod
    def take(cls, path: Path, record: Mapping[str, Any]) -> SystemLock | None:
        """Lock a file, and write the record into it; None if another process has locked it."""
        began = time.monotonic()
        while True:
            handle = open_in_folder(path, os.O_RDWR | os.O_CREAT)
            try:
                locked = try_lock(handle)
                if locked and lies_at(path, handle):
                    write_over(handle, to_line(record))
                    return cls(path, handle)
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)
            if not locked:  # else its last holder removed it after we had opened it
                if time.monotonic() - began > GRACE_S:
                    return None
                time.sleep(RETRY_S)

    def is_ours(self) -> bool:
        """Return True: it is until we release it."""
        return True

    def when_lost(self, tell: threading.Event) -> None:
        """Do nothing with what would tell of that."""

    def release(self) -> None:
        """Remove the file, which nobody else may while we hold it, and let go."""
        try:
            if lies_at(self.path, self._handle):
                self.path.unlink()
        finally:
            os.close(self._handle)


def is_locked(path: Path) -> bool | None:
    """Tell whether a process has locked a file; None where locks tell nothing.

    For a moment it takes a lock that others may have at the same time, but no `SystemLock`.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return False
    except PermissionError:
        return None
    try:
        if _known_to_one_machine(os.fstat(handle).st_dev):
            return None
        return not try_lock(handle, shared=True)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        raise
    finally:
        os.close(handle)


def remove_unlocked(path: Path) -> None:
    """Remove a file that no process has locked, where locks tell."""
    with contextlib.suppress(FileNotFoundError):
        handle = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        try:
            if _is_free(handle) and lies_at(path, handle):
                path.unlink()
        finally:
            os.close(handle)


def _is_free(handle: int) -> bool:
    try:
        return try_lock(handle)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return False
        raise


def has_locks(folder: Path) -> bool:
    """Tell whether a folder has locks that hold on all machines which share it; makes it."""
    path = folder / f"{PROBE}{uuid.uuid4().hex}"
    # To have made a file of one's own also rids a network file system of what it remembers of the
    # folder, so that a listing after it shows what others have made before.
    handle = open_in_folder(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        try_lock(handle)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return False
        raise
    else:
        return not _known_to_one_machine(os.fstat(handle).st_dev)
    finally:
        os.close(handle)
        path.unlink(missing_ok=True)


@functools.cache
def _known_to_one_machine(device: int) -> bool:
    try:
        lines = MOUNTS.read_text().splitlines()
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        mount, _, system = line.partition(" - ")
        if mount.split()[2] == number:
            kind, _, options = system.split(" ", 2)
            found = {*mount.split()[5].split(","), *options.split(",")}
            if kind in LOCAL_SYSTEMS or found & LOCAL_OPTIONS:
                return True
    return False


def open_in_folder(path: Path, flags: int) -> int:
    """Open a file whose folder is made if need be, and may be removed by others at any time."""
    flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    while True:
        try:
            return os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)
        except FileNotFoundError:
            make_folder(path.parent.parent)
            with contextlib.suppress(FileExistsError):
                path.parent.mkdir()  # it need not outlive a crash of the machine


def try_lock(handle: int, *, shared: bool = False) -> bool:
    """Lock an open file, and tell whether it is; an OSError of `NO_LOCKS` where that is unknown."""
    try:
        import fcntl
    except ImportError:  # Windows
        raise OSError(errno.ENOSYS, "no such locks") from None
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def lies_at(path: Path, handle: int) -> bool:
    """Tell whether an open file is still the one at a path."""
    try:
        there = os.open(path, os.O_RDONLY)  # a network file system then asks its server
    except FileNotFoundError:
        return False
    try:
        return os.path.samestat(os.fstat(there), os.fstat(handle))
    finally:
        os.close(there)


def write_over(handle: int, data: bytes) -> None:
    """Make `data` the content of an open file; whoever reads meanwhile finds no end of a line."""
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, data)
