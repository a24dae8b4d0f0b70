"""One run per output at a time, or one process per shard."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import threading
import time
from pathlib import Path

import pytest
from unit.holding import (  # noqa: F401 - fixtures
    ELSEWHERE,
    QUARREL,
    Begin,
    holding_processes,
    same_or_whole,
    started_processes,
    turns,
)

from vemctl.errors import Interrupted, OutputError
from vemctl.events import Event, Noted, ignore
from vemctl.locks import system_lock, writers
from vemctl.locks.claim import Slot, own_record, slot_of, to_line
from vemctl.locks.exclusive import beginning, exclusive, holders, shard_lock
from vemctl.locks.system_lock import SystemLock


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Return an output's path in a folder of its own."""
    return tmp_path / "out.zarr"


def test_a_second_run_of_an_output_is_refused(tmp_path: Path) -> None:
    """While one run holds an output another is told so; afterwards nothing is left behind."""
    output = tmp_path / "out.zarr"
    with exclusive(output):
        with pytest.raises(OutputError, match="another run"), exclusive(output):
            pass
        with exclusive(tmp_path / "other.zarr"):
            pass
    with exclusive(output):
        pass
    assert not list(tmp_path.iterdir())


def test_the_folder_is_made_and_what_is_in_its_way_is_named(tmp_path: Path) -> None:
    """An output may lie in a new folder, but not where a file is."""
    with exclusive(tmp_path / "new" / "folder" / "out.zarr"):
        pass
    (tmp_path / ".out.zarr.locks").touch()
    with (
        pytest.raises(OutputError, match=r"cannot write .*\.out\.zarr\.locks"),
        exclusive(tmp_path / "out.zarr"),
    ):
        raise AssertionError


def test_where_there_are_no_locks_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system without locks does not stop a run, and a second one is refused all the same."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr("vemctl.locks.lease.BEAT_S", 0.1)
    heard: list[Event] = []
    with exclusive(tmp_path / "out.zarr", heard.append):
        assert [path.name for path in tmp_path.glob(".*/*")] == ["run.1.lease"]
        with pytest.raises(OutputError, match="another run"), exclusive(tmp_path / "out.zarr"):
            raise AssertionError
    (note,) = heard
    assert isinstance(note, Noted)
    assert "out.zarr" in note.text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "options", "known"),
    [
        ("lustre", "rw,flock", True),
        ("lustre", "rw,localflock", False),
        ("nfs", "rw,vers=3,local_lock=all", False),
        ("nfs4", "rw,local_lock=none", True),
        ("beegfs", "rw,cfgFile=/etc/beegfs/beegfs-client.conf", False),
    ],
)
def test_locks_that_one_machine_knows_alone_are_none(
    kind: str, options: str, known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some shared file systems grant locks without asking their server."""
    device = tmp_path.stat().st_dev
    line = f"36 35 {os.major(device)}:{os.minor(device)} / /data rw,noatime shared:1 - {kind}"
    mounts = tmp_path / "mounts"
    mounts.write_text(f"1 0 0:99 / / rw - ext4 /dev/root rw\n{line} server:/data {options}\n")
    monkeypatch.setattr(system_lock, "MOUNTS", mounts)
    system_lock._known_to_one_machine.cache_clear()
    try:
        with exclusive(tmp_path / "out.zarr"):
            (path,) = tmp_path.glob(".out.zarr.locks/*")
            assert path.name == ("run.lock" if known else "run.1.lease")
    finally:
        system_lock._known_to_one_machine.cache_clear()


def test_who_is_in_the_way_is_named(output: Path, hold: Begin) -> None:
    """A run and the same shard are refused while a process has a shard; others are not."""
    process = hold("shard_lock(output, 3, 16)")
    who = re.escape(f"shard 3/16 on {socket.gethostname()} (process {process.pid}, since ")
    told = rf"out\.zarr: is being written by {who}\d{{4}}-\d\d-\d\d \d\d:\d\d\): wait for it"
    with pytest.raises(OutputError, match=told), exclusive(output):
        raise AssertionError
    with pytest.raises(OutputError, match=told), shard_lock(output, 3, 16):
        raise AssertionError
    with shard_lock(output, 4, 16), pytest.raises(OutputError, match=r"shard .* and 1 more: wait"):
        exclusive(output).__enter__()
    process.communicate("\n")
    with exclusive(output):
        with pytest.raises(OutputError, match="another run on"), shard_lock(output, 3, 16):
            raise AssertionError
        with pytest.raises(OutputError, match="another run on"):
            beginning(output, ignore, threading.Event()).__enter__()
    assert not list(output.parent.iterdir())


@pytest.mark.parametrize("what", ["exclusive(output)", "shard_lock(output, 1, 2)"])
def test_what_a_killed_process_held_is_free_at_once(what: str, output: Path, hold: Begin) -> None:
    """What it left is not among the holders, and goes with the next whole run."""
    process = hold(what)
    assert [holder.pid for holder in holders(output)] == [process.pid]
    process.kill()
    process.wait()
    assert list(output.parent.glob(".out.zarr.locks/*"))
    assert holders(output) == []
    began = time.monotonic()
    with exclusive(output):
        pass
    assert time.monotonic() - began < 5
    assert not list(output.parent.iterdir())


def test_a_shard_does_not_wait_for_a_run_that_was_killed(output: Path, hold: Begin) -> None:
    """It removes what that left."""
    process = hold("exclusive(output)")
    process.kill()
    process.wait()
    with shard_lock(output, 1, 2):
        assert [path.name for path in output.parent.glob(".*/*")] == ["shard-1-of-2.lock"]


def test_holders_are_named_and_not_disturbed(output: Path) -> None:
    """The order is that of their numbers, and looking changes nothing."""
    assert holders(output) == []
    assert not list(output.parent.iterdir())
    stop = threading.Event()
    with shard_lock(output, 10, 16), shard_lock(output, 9, 16), beginning(output, ignore, stop):
        found = holders(output)
    assert [each.name for each in found] == ["beginning", "shard 9/16", "shard 10/16"]
    assert {(each.host, each.pid, each.alive) for each in found} == {
        (socket.gethostname(), os.getpid(), True)
    }
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", e.since) for e in found)


def test_of_those_who_quarrel_no_two_are_in_at_once(
    output: Path, tmp_path: Path, begin: Begin
) -> None:
    """Runs, shards and such as only look, again and again in five processes."""
    choices = """[
        ("run", lambda: exclusive(output)),
        ("1", lambda: shard_lock(output, 1, 2)),
        ("2", lambda: shard_lock(output, 2, 2)),
    ]"""
    quarrel = QUARREL.format(seconds=2.5, choices=choices)
    processes = [begin(quarrel) for _ in range(5)]
    while any(process.poll() is None for process in processes):
        assert len(holders(output)) <= 5
        time.sleep(0.01)
    assert [process.returncode for process in processes] == [0] * 5
    counts = turns(tmp_path / "log", same_or_whole)
    assert min(counts.values()) > 3, counts
    with exclusive(output):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_each_of_those_who_wait_has_its_turns(tmp_path: Path, begin: Begin) -> None:
    """One after the other is in, though each removes the file that the others have opened."""
    choices = '[("begin", lambda: beginning(output, ignore, stop))]'
    processes = [begin(QUARREL.format(seconds=2, choices=choices)) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert turns(tmp_path / "log", lambda *_: True)["begin"] > 20
    lines = (tmp_path / "log").read_text().splitlines()
    assert len({line.split()[-1] for line in lines}) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_lock_on_a_removed_file_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is let go and removed after another has opened it, and a third has made a new one."""
    path = tmp_path / "run.lock"
    truly = system_lock.try_lock
    third: list[SystemLock] = []

    def late(handle: int, *, shared: bool = False) -> bool:
        if not third:
            monkeypatch.setattr(system_lock, "try_lock", truly)
            path.unlink()
            third.append(SystemLock.take(path, own_record(Slot("run"))) or pytest.fail("busy"))
        return truly(handle, shared=shared)

    monkeypatch.setattr(system_lock, "try_lock", late)
    assert SystemLock.take(path, own_record(Slot("run"))) is None
    third[0].release()
    assert not list(tmp_path.iterdir())


def test_who_only_looks_does_not_make_a_run_fail(output: Path) -> None:
    """A lock that is busy for a moment is tried again."""
    path = output.with_name(".out.zarr.locks") / "run.lock"
    path.parent.mkdir()
    path.touch()
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert system_lock.is_locked(path) is False  # nor does it disturb others who look
        timer = threading.Timer(0.1, fcntl.flock, (file, fcntl.LOCK_UN))
        timer.start()
        with exclusive(output):
            timer.join()


def test_the_beginning_is_waited_for(
    output: Path, hold: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits says for whom, once, and goes on when its turn has come, or when it is stopped."""
    monkeypatch.setattr(writers, "TOLD_AFTER_S", 0.3)
    process = hold("beginning(output, ignore, stop)")
    stop, heard = threading.Event(), list[Event]()
    timer = threading.Timer(2, stop.set)
    timer.start()
    with pytest.raises(Interrupted, match=r"out\.zarr"), beginning(output, heard.append, stop):
        raise AssertionError
    timer.join()
    (note,) = heard
    assert isinstance(note, Noted)
    assert "waiting for a shard that begins it on" in note.text
    assert f"process {process.pid}" in note.text
    with pytest.raises(OutputError, match="a shard that begins it"), exclusive(output):
        raise AssertionError
    timer = threading.Timer(0.3, process.communicate, ("\n",))
    timer.start()
    with beginning(output, ignore, threading.Event()):
        assert [holder.pid for holder in holders(output)] == [os.getpid()]
    timer.join()
    assert not list(output.parent.iterdir())


def test_the_turn_of_one_who_was_killed_goes_to_the_next(output: Path, hold: Begin) -> None:
    """Who waits need not be told."""
    process = hold("beginning(output, ignore, stop)")
    timer = threading.Timer(0.3, process.kill)
    timer.start()
    stop = threading.Event()
    impatient = threading.Timer(60, stop.set)
    impatient.start()
    with beginning(output, ignore, stop):
        assert [holder.pid for holder in holders(output)] == [os.getpid()]
    impatient.cancel()
    timer.join()


def test_a_lock_of_another_machine_counts_where_locks_tell_nothing(
    output: Path, hold: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what to remove if that has ended; of this machine's processes that is known."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    there = hold("shard_lock(output, 1, 2)", ELSEWHERE)
    here = hold("shard_lock(output, 2, 2)")
    here.kill()
    here.wait()
    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", refuse)
        (holder,) = holders(output)
        assert (holder.name, holder.host, holder.alive) == ("shard 1/2", "node07", None)
        told = r"shard 1/2 on node07 .*; if it has ended, remove .*shard-1-of-2\.lock"
        with pytest.raises(OutputError, match=told), exclusive(output):
            raise AssertionError
    there.communicate("\n")
    with exclusive(output):
        pass


def test_files_tell_their_slot_and_strange_ones_are_left(output: Path) -> None:
    """What is in the folder and not ours is nobody's claim; half a record names nobody."""
    assert slot_of("shard-3-of-16.lock") == (Slot("shard", 3, 16), None)
    assert slot_of("run.2.lease") == (Slot("run"), 2)
    assert slot_of("beginning.lock.bak") is None
    folder = output.with_name(".out.zarr.locks")
    folder.mkdir()
    (folder / "notes.txt").touch()
    with exclusive(output):
        (lock,) = folder.glob("*.lock")
        lock.write_bytes(to_line({"host": "node07"})[:-4])
        (holder,) = holders(output)
        assert (holder.name, holder.host, holder.pid) == ("the run", "", 0)
        with pytest.raises(OutputError, match="written by another run: wait"), exclusive(output):
            raise AssertionError
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
