"""Processes that hold an output, or quarrel about it, for tests of who may."""

from __future__ import annotations

import contextlib
import errno
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

IMPORTS = """
import contextlib, fcntl, random, sys, threading, time
from pathlib import Path
from vemctl.errors import Interrupted, OutputError
from vemctl.remote_path import as_path
from vemctl.locks import claim, lease, system_lock, writers
from vemctl.locks.exclusive import beginning, exclusive, shard_lock

output, log = as_path(sys.argv[1]), Path(sys.argv[2])
lost, stop = threading.Event(), threading.Event()
ignore = lambda event: None
"""

NO_LOCKS = """
def refuse(*_):
    raise OSError(37, "No locks available")
fcntl.flock = refuse
lease.BEAT_S = 0.1
"""
"""A file system without locks, and leases that are renewed quickly."""

ELSEWHERE = """
claim._kernel = lambda: "another machine"
claim.socket.gethostname = lambda: "node07"
"""

HOLD = """
with {what}:
    print("held", flush=True)
    sys.stdin.readline()
"""

QUARREL = """
def note(*words):
    with log.open("a") as file:
        file.write(" ".join(map(str, words)) + chr(10))

writers.GRACE_S = system_lock.GRACE_S = 0.05
writers.POLL_S = 0.005
until = time.monotonic() + {seconds}
while time.monotonic() < until:
    name, lock = random.choice({choices})
    with contextlib.suppress(OutputError), lock():
        note("begin", name, threading.get_native_id())
        time.sleep(random.uniform(0, 0.004))
        note("end", name, threading.get_native_id())
"""
"""Take one of several locks again and again, and note when."""

Begin = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(name="begin")
def started_processes(tmp_path: Path) -> Iterator[Begin]:
    """Return what runs parts of code in a new process, which ends with the test at the latest."""
    with contextlib.ExitStack() as stack:

        def start(*code: str, output: str | None = None) -> subprocess.Popen[str]:
            text = IMPORTS + "".join(textwrap.dedent(part) for part in code)
            words = [sys.executable, "-c", text, output or str(tmp_path / "out.zarr")]
            process = subprocess.Popen(
                [*words, str(tmp_path / "log")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture(name="hold")
def holding_processes(begin: Begin) -> Begin:
    """Return what begins a process that holds an output until it is given a line."""

    def start(what: str, *setup: str, output: str | None = None) -> subprocess.Popen[str]:
        process = begin(*setup, HOLD.format(what=what), output=output)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    return start


def take_locks_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process find no locks, and renew leases quickly."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    monkeypatch.setattr("vemctl.locks.lease.BEAT_S", 0.1)


def lose_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process soon believe that others are dead."""
    monkeypatch.setattr("vemctl.locks.lease.PATIENCE_S", 1)


def turns(log: Path, excludes: Callable[[str, str], bool]) -> dict[str, int]:
    """Count the turns that are noted in a log; nobody may begin while an excluded one is in."""
    counts: dict[str, int] = {}
    within: dict[str, str] = {}
    for line in log.read_text().splitlines():
        event, name, who = line.split()
        if event == "end":
            assert within.pop(who) == name
            continue
        assert not [other for other in within.values() if excludes(name, other)], line
        within[who] = name
        counts[name] = counts.get(name, 0) + 1
    assert not within
    return counts


def same_or_whole(one: str, other: str) -> bool:
    """Tell whether two of the names "run" and those of shards exclude one another."""
    return one == other or "run" in (one, other)
