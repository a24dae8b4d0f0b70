"""Leases, where the system has no locks: on files, and in an object store."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from objects import (  # noqa: F401 - fixtures
    Faults,
    Server,
    fresh_bucket,
    named_server,
    request_faults,
    running_server,
)
from unit.holding import (  # noqa: F401 - fixtures
    ELSEWHERE,
    NO_LOCKS,
    QUARREL,
    Begin,
    holding_processes,
    lose_patience,
    same_or_whole,
    started_processes,
    take_locks_away,
    turns,
)

from vemctl.errors import Interrupted, OutputError
from vemctl.events import Event, Noted, ignore
from vemctl.locks import claim, lease, writers
from vemctl.locks.claim import Slot, is_gone, own_record, to_line
from vemctl.locks.exclusive import beginning, exclusive, holders, shard_lock
from vemctl.locks.lease import Lease, Watch
from vemctl.remote_path import RemotePath, as_path


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process find no locks."""
    take_locks_away(monkeypatch)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Return an output's path in a folder of its own."""
    return tmp_path / "out.zarr"


def texts(heard: list[Event]) -> list[str]:
    """Return what was noted."""
    return [event.text for event in heard if isinstance(event, Noted)]


@pytest.mark.usefixtures("without_locks")
def test_who_renews_a_lease_keeps_it(output: Path, hold: Begin) -> None:
    """A run and the same shard are refused as soon as it is renewed; other shards are not."""
    process = hold("shard_lock(output, 3, 16)", NO_LOCKS, ELSEWHERE)
    told = rf"shard 3/16 on node07 \(process {process.pid}, since .*\): wait for it"
    (holder,) = holders(output)
    assert (holder.name, holder.pid, holder.alive) == ("shard 3/16", process.pid, None)
    began = time.monotonic()
    with pytest.raises(OutputError, match=told), exclusive(output):
        raise AssertionError
    with pytest.raises(OutputError, match=told), shard_lock(output, 3, 16):
        raise AssertionError
    assert time.monotonic() - began < lease.PATIENCE_S / 2
    with shard_lock(output, 4, 16):
        pass
    process.communicate("\n")
    with exclusive(output):
        assert len(list(output.parent.rglob("*.lease"))) == 1
    assert not list(output.parent.iterdir())


@pytest.mark.usefixtures("without_locks")
def test_what_the_dead_of_another_machine_held_is_taken_over(
    output: Path, hold: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After they were watched for long enough, all at the same time, and that is said."""
    monkeypatch.setattr(lease, "PATIENCE_S", 3)
    processes = [hold(f"shard_lock(output, {n}, 2)", NO_LOCKS, ELSEWHERE) for n in (1, 2)]
    for process in processes:
        process.kill()
        process.wait()
    heard: list[Event] = []
    began = time.monotonic()
    with exclusive(output, heard.append):
        taken = time.monotonic() - began
        assert [path.name for path in output.parent.rglob("*.lease")] == ["run.1.lease"]
    assert lease.PATIENCE_S < taken < 2 * lease.PATIENCE_S
    told = texts(heard)
    assert sum("no sign of life of shard 1/2 on node07" in text for text in told) == 1
    assert sum("no sign of life of shard 2/2 on node07" in text for text in told) == 1
    assert sum("waiting for a sign of life of shard" in text for text in told) == 1
    assert not list(output.parent.iterdir())


@pytest.mark.usefixtures("without_locks")
def test_what_the_dead_of_this_machine_held_is_taken_over_at_once(
    output: Path, hold: Begin
) -> None:
    """Their number in the record need not be watched; the next lease is of the next generation."""
    process = hold("exclusive(output)", NO_LOCKS)
    process.kill()
    process.wait()
    assert holders(output) == []
    began = time.monotonic()
    with exclusive(output):
        assert time.monotonic() - began < lease.PATIENCE_S / 2
        assert [path.name for path in output.parent.rglob("*.lease")] == ["run.2.lease"]
    assert not list(output.parent.iterdir())


def test_a_process_is_known_by_its_number_and_when_it_began() -> None:
    """Of another machine nothing is known; a number may be another process' by now."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        state, started = claim._state_and_start(process.pid)
        record = own_record(Slot("run")) | {"pid": process.pid, "started": started}
        assert state in "RSD"
        assert not is_gone(record)
        assert is_gone(record | {"started": f"{int(started) - 1}"})
        process.kill()
        while claim._state_and_start(process.pid)[0] != "Z":
            time.sleep(0.01)
        assert is_gone(record)  # dead, though its parent has not asked for it yet
        process.wait()
        assert is_gone(record)
    assert not is_gone(record | {"kernel": "another"})
    assert not is_gone({})
    assert not is_gone(own_record(Slot("run")))
    assert own_record(Slot("run"))["host"] == socket.gethostname()


@pytest.mark.usefixtures("without_locks")
@pytest.mark.parametrize("ending", ["pass", "raise Interrupted('stopped')"])
def test_who_was_suspended_for_long_is_taken_over_and_notices(
    output: Path, ending: str, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run is told to stop, ends with the reason, and leaves the other's lease alone."""
    lose_patience(monkeypatch)
    process = begin(
        NO_LOCKS,
        f"""
        try:
            with exclusive(output, lost=lost):
                print("held", flush=True)
                lost.wait(60)
                print("lost", flush=True)
                {ending}
        except OutputError as error:
            print(error, flush=True)
        """,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    os.kill(process.pid, signal.SIGSTOP)
    heard: list[Event] = []
    with exclusive(output, heard.append):
        assert f"process {process.pid}" in texts(heard)[-1]
        os.kill(process.pid, signal.SIGCONT)
        assert process.stdout.readline() == "lost\n"
        assert "out.zarr: this process stood still for so long" in process.stdout.readline()
        process.wait()
        assert [path.name for path in output.parent.rglob("*.lease")] == ["run.2.lease"]
    assert not list(output.parent.iterdir())


@pytest.mark.usefixtures("without_locks")
def test_a_successor_that_died_before_it_took_over_changes_nothing(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease is of the next generation, and goes with the next whole run."""
    lost = threading.Event()
    with exclusive(output, lost=lost):
        (path,) = output.parent.rglob("*.lease")
        path.with_name("run.2.lease").touch()
        with pytest.raises(OutputError, match="another run on"), exclusive(output):
            raise AssertionError
    assert not lost.is_set()
    lose_patience(monkeypatch)
    with exclusive(output):
        assert [path.name for path in output.parent.rglob("*.lease")] == ["run.3.lease"]
    assert not list(output.parent.iterdir())


@pytest.mark.usefixtures("without_locks")
def test_who_stood_still_while_making_a_lease_has_none(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another may have taken it over, removed it and made one of the same name."""
    write = lease._LocalFile._write

    def slowly(self: lease._LocalFile, record: dict[str, object]) -> None:
        write(self, record)
        if self._path.name == "run.1.lease":
            monkeypatch.setattr(lease._LocalFile, "_write", write)
            self._path.unlink()
            self._path.write_bytes(to_line(own_record(Slot("run")) | {"kernel": "another"}))

    lose_patience(monkeypatch)
    monkeypatch.setattr(lease._LocalFile, "_write", slowly)
    began = time.monotonic()
    lost = threading.Event()
    with exclusive(output, lost=lost):
        assert time.monotonic() - began > lease.PATIENCE_S
        assert [path.name for path in output.parent.rglob("*.lease")] == ["run.2.lease"]
    assert not lost.is_set()


@pytest.mark.usefixtures("without_locks")
def test_a_lease_that_is_lost_before_it_is_had_is_taken_anew(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one looks round for the second time one may be suspended as well."""
    lost = threading.Event()
    look_again = writers.Writers._look_again

    def slowly(self: writers.Writers, slot: Slot, held: Lease) -> object:
        if held.path.name == "run.1.lease":
            monkeypatch.setattr(writers.Writers, "_look_again", look_again)
            held.path.rename(held.path.with_name("run.7.lease"))
            while not held.lost:
                time.sleep(0.01)
        return look_again(self, slot, held)

    lose_patience(monkeypatch)
    monkeypatch.setattr(writers.Writers, "_look_again", slowly)
    with exclusive(output, lost=lost):
        assert [path.name for path in output.parent.rglob("*.lease")] == ["run.8.lease"]
        time.sleep(3 * lease.BEAT_S)
    assert not lost.is_set()


def test_of_many_who_take_over_one_wins(
    output: Path, tmp_path: Path, begin: Begin, hold: Begin
) -> None:
    """They come at the same time, and find a shard that is known to be dead."""
    process = hold("shard_lock(output, 1, 2)", NO_LOCKS)
    process.kill()
    process.wait()
    choices = """[
        ("run", lambda: exclusive(output)),
        ("1", lambda: shard_lock(output, 1, 2)),
        ("2", lambda: shard_lock(output, 2, 2)),
    ]"""
    quarrel = QUARREL.format(seconds=3, choices=choices)
    processes = [begin(NO_LOCKS, quarrel) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    counts = turns(tmp_path / "log", same_or_whole)
    assert sum(counts.values()) > 5, counts
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


@pytest.mark.usefixtures("without_locks")
def test_the_beginning_is_waited_for_and_the_wait_is_stopped(
    output: Path, hold: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether in doubt, or in view of a holder that is alive."""
    monkeypatch.setattr(writers, "TOLD_AFTER_S", 0.2)
    process = hold("beginning(output, ignore, stop)", NO_LOCKS, ELSEWHERE)
    stop, heard = threading.Event(), list[Event]()
    timer = threading.Timer(2, stop.set)
    timer.start()
    with pytest.raises(Interrupted, match=r"out\.zarr"), beginning(output, heard.append, stop):
        raise AssertionError
    timer.join()
    assert sum("waiting for a shard that begins it on node07" in t for t in texts(heard)) == 1
    with pytest.raises(Interrupted), exclusive(output, stop=stop):
        raise AssertionError
    timer = threading.Timer(0.3, process.communicate, ("\n",))
    timer.start()
    with beginning(output, ignore, threading.Event()):
        pass
    timer.join()
    assert not list(output.parent.iterdir())


def test_a_lease_counts_where_there_are_locks(
    output: Path, hold: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be that of a machine that has none."""
    process = hold("exclusive(output)", NO_LOCKS, ELSEWHERE)
    with pytest.raises(OutputError, match="another run on node07"), shard_lock(output, 1, 2):
        raise AssertionError
    lose_patience(monkeypatch)
    process.kill()
    process.wait()
    with shard_lock(output, 1, 2):
        assert [path.name for path in output.parent.glob(".*/*")] == ["shard-1-of-2.lock"]


def test_a_watch_trusts_no_other_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alive is whose counter moved of late, whatever times are in the record or of the file."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    record = own_record(Slot("run")) | {"kernel": "another", "since": "2099-01-01T00:00:00+00:00"}
    path = tmp_path / "run.1.lease"
    watch = Watch()

    def after(seconds: float, beat: int) -> bool | None:
        clock[0] += seconds
        path.write_bytes(to_line(record | {"beat": beat}))
        os.utime(path, (0, 0))
        return watch.look(path)[0]

    assert after(0, 7) is None
    assert after(lease.PATIENCE_S - 1, 7) is None
    assert after(0.5, 8) is True
    assert after(lease.PATIENCE_S - 1, 8) is True
    assert after(2, 8) is False
    assert after(0, 9) is True


# Object stores ------------------------------------------------------------------------------------


def test_in_an_object_store_one_holds_what_it_renews(
    bucket: str, s3_server: Server, hold: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second is refused, one that died is taken over, and nothing is left."""
    monkeypatch.setattr(lease, "BEAT_S", 0.1)
    output = as_path(f"{bucket}/new/out.zarr")
    with exclusive(output):
        (name,) = s3_server.objects(bucket)
        assert name == "new/.out.zarr.locks/run.1.lease"
        with pytest.raises(OutputError, match="written by another run on"), exclusive(output):
            raise AssertionError
        assert [holder.name for holder in holders(output)] == ["the run"]
    assert s3_server.objects(bucket) == {}
    process = hold("shard_lock(output, 1, 2)", NO_LOCKS, ELSEWHERE, output=str(output))
    with pytest.raises(OutputError, match="shard 1/2 on node07"), exclusive(output):
        raise AssertionError
    process.kill()
    process.wait()
    lose_patience(monkeypatch)
    heard: list[Event] = []
    with shard_lock(output, 1, 2, heard.append):
        assert "taking over" in texts(heard)[-1]
        assert list(s3_server.objects(bucket)) == ["new/.out.zarr.locks/shard-1-of-2.2.lease"]
    assert s3_server.objects(bucket) == {}


def test_in_an_object_store_one_is_made_once_and_renewed_by_its_owner(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store decides; a request that was obeyed, and repeated as nobody heard, is no other's."""
    path = as_path(f"{bucket}/.out.zarr.locks/run.1.lease")
    assert isinstance(path, RemotePath)
    record, other = own_record(Slot("run")), own_record(Slot("run"))
    made = lease._Object.make(path, record)
    assert made is not None
    assert lease._Object.make(path, other) is None
    twice = lease._Object.make(path, record)
    assert twice is not None
    assert made.renew(record | {"beat": 1})
    assert twice.renew(record | {"beat": 2})  # refused by the store, and still ours
    path.write_bytes(to_line(other))
    assert not made.renew(record | {"beat": 3})
    made.close(remove=True)
    assert path.read_bytes() == to_line(other)
    path.unlink()
    assert not twice.renew(record | {"beat": 3})
    assert not path.exists()


def test_a_store_out_of_reach_for_a_moment_costs_no_lease(
    bucket: str, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beats that fail are made up for; a lease that another took over meanwhile is lost."""
    monkeypatch.setattr(lease, "BEAT_S", 0.1)
    path = as_path(f"{bucket}/.out.zarr.locks/run.1.lease")
    lost = threading.Event()
    held = Lease.take(path, own_record(Slot("run")))
    assert held is not None
    held.when_lost(lost)
    first = path.read_bytes()
    faults.add(403, 3, method="PUT")
    began = time.monotonic()
    while path.read_bytes() == first and time.monotonic() - began < 20:
        time.sleep(0.1)
    assert path.read_bytes() != first
    assert not lost.is_set()
    path.unlink()
    assert lost.wait(20)
    held.release()
    assert held.lost
    assert not path.exists()


def test_of_many_in_an_object_store_no_two_are_in_at_once(
    bucket: str, tmp_path: Path, begin: Begin
) -> None:
    """Runs and shards, again and again in three processes."""
    choices = """[
        ("run", lambda: exclusive(output)),
        ("1", lambda: shard_lock(output, 1, 2)),
    ]"""
    quarrel = QUARREL.format(seconds=3, choices=choices)
    processes = [begin(NO_LOCKS, quarrel, output=f"{bucket}/out.zarr") for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0] * 3
    counts = turns(tmp_path / "log", same_or_whole)
    assert sum(counts.values()) > 2, counts
