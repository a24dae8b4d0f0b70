"""Faults of machines, asked for by the environment or by whoever imports this.

FAULT_CLOCK=SECONDS
    The time of day is wrong by so much; how time goes by is right.
FAULT_READS=COUNT:PATH, FAULT_AFTER=FILE
    A file whose path ends with PATH cannot be opened for so many times, once FILE is there.
"""

import builtins
import ctypes
import datetime as dt
import errno
import io
import os
import signal
import sys
import time
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_PRIVATE, MS_REC, MS_RDONLY = 1 << 18, 1 << 14, 1
CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"}


def begin() -> None:
    """Let this process have the faults that the environment asks for."""
    if shift := float(os.environ.get("FAULT_CLOCK", "0")):
        _shift_clock(shift)
    if reads := os.environ.get("FAULT_READS"):
        count, _, path = reads.partition(":")
        _fail_reads(int(count), path, os.environ["FAULT_AFTER"])


def die_at(number: int, name: str) -> None:
    """Let this process kill itself before its change `number` of files whose path has `name`."""
    left = number

    def count(event, arguments):
        nonlocal left
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in CHANGES) and name in str(arguments[0]):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def mount_disk(folder: str, size: int, *, read_only: bool = False) -> bool:
    """Mount a disk of so many bytes for this process and its children; False if that is forbidden.

    It must have one thread only.
    """
    user, group = os.getuid(), os.getgid()
    system = ctypes.CDLL(None, use_errno=True)
    if system.unshare(CLONE_NEWNS | (CLONE_NEWUSER if user else 0)):
        return False
    if user:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"),
                           ("gid_map", f"0 {group} 1")):  # fmt: skip
            Path("/proc/self", name).write_text(text)
    if system.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
        return False
    Path(folder).mkdir(exist_ok=True)
    options = f"size={size}".encode()
    return system.mount(b"none", folder.encode(), b"tmpfs", read_only * MS_RDONLY, options) == 0


def _shift_clock(seconds: float) -> None:
    right, right_ns, right_datetime = time.time, time.time_ns, dt.datetime
    time.time = lambda: right() + seconds
    time.time_ns = lambda: right_ns() + int(seconds * 1e9)

    class Wrong(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(time.time(), tz)

        @classmethod
        def utcnow(cls):
            return cls.now(dt.UTC).replace(tzinfo=None)

    for module in list(sys.modules.values()):
        if vars(module).get("datetime") is right_datetime:
            module.datetime = Wrong


def _fail_reads(count: int, end: str, after: str) -> None:
    right = io.open
    left = count

    def failing(file, *options, **named):
        nonlocal left
        if left and str(file).endswith(end) and Path(after).exists():
            left -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))
        return right(file, *options, **named)

    io.open = builtins.open = failing
