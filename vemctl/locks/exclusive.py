"""Who may write an output: one run, or its shards, each by one process."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from vemctl.durable import output_errors
from vemctl.errors import Interrupted, OutputError
from vemctl.events import Listener, ignore
from vemctl.locks.claim import Holder, Slot, holder_of
from vemctl.locks.writers import POLL_S, Writers

__all__ = ["Holder", "beginning", "exclusive", "holders", "shard_lock"]


@contextlib.contextmanager
def exclusive(
    output: Path,
    listen: Listener = ignore,
    *,
    stop: threading.Event | None = None,
    lost: threading.Event | None = None,
) -> Iterator[None]:
    """Keep all others off `output`: other runs of it, and shards.

    Two writers of one output would each take the other's blocks for their own.

    Parameters
    ----------
    output : Path
    listen : Listener
        Is told what takes time, and of whom a lease is taken over.
    stop : Event, optional
        Ends a wait for signs of life of another's lease.
    lost : Event, optional
        Is set when our own lease was taken over, after this process stood still for long: the run
        must stop. It may be the event that stops the run. In the end OutputError says so.

    Raises
    ------
    OutputError
        Another process is writing it, or the folder cannot be written.
    Interrupted
        `stop` was set.
    """
    with _held(Writers(output, listen, stop, lost), Slot("run")):
        yield


@contextlib.contextmanager
def shard_lock(
    output: Path,
    shard: int,
    count: int,
    listen: Listener = ignore,
    *,
    stop: threading.Event | None = None,
    lost: threading.Event | None = None,
) -> Iterator[None]:
    """Keep off `output` whole runs, and other processes that were given the same shard.

    Parameters
    ----------
    output : Path
    shard, count : int
        The shard, from 1, and how many there are. That others share it out as well is for the
        caller to see to.
    listen, stop, lost
        As of `exclusive`.

    Raises
    ------
    OutputError
        Another process is writing it, or the folder cannot be written.
    Interrupted
        `stop` was set.
    """
    with _held(Writers(output, listen, stop, lost), Slot("shard", shard, count)):
        yield


@contextlib.contextmanager
def beginning(
    output: Path,
    listen: Listener,
    stop: threading.Event,
    *,
    lost: threading.Event | None = None,
) -> Iterator[None]:
    """Let one shard at a time in, to make `output` if no other has; waits for its turn.

    Parameters
    ----------
    output : Path
    listen : Listener
        Is told whom it waits for.
    stop : Event
        Ends the wait.
    lost : Event, optional
        As of `exclusive`.

    Raises
    ------
    OutputError
        A whole run is writing it, or the folder cannot be written.
    Interrupted
        `stop` was set.
    """
    with _held(Writers(output, listen, stop, lost), Slot("beginning")):
        yield


def holders(
    output: Path, *, patience: float = 0.0, stop: threading.Event | None = None
) -> list[Holder]:
    """Return who holds `output` or a part of it; changes nothing, and disturbs nobody.

    Parameters
    ----------
    output : Path
    patience : float
        Seconds for which leases are watched: one that is not renewed in `lease.PATIENCE_S` is held
        by nobody.
    stop : Event, optional
        Ends the watching.

    Returns
    -------
    list of Holder
        The run, or who begins it, and the shards. Those of whom `alive` is None hold a lease that
        may have lapsed.
    """
    writers = Writers(output)
    until = time.monotonic() + patience
    while True:
        found = _seen(writers)
        doubtful = any(holder.alive is None for _, holder in found)
        if not doubtful or time.monotonic() > until or (stop and stop.is_set()):
            break
        time.sleep(POLL_S)
    order = ("run", "beginning", "shard")
    found.sort(key=lambda one: (order.index(one[0].kind), one[0].count, one[0].shard))
    return [holder for _, holder in found]


def _seen(writers: Writers) -> list[tuple[Slot, Holder]]:
    found = []
    for path, slot, generation in writers.files():
        with contextlib.suppress(FileNotFoundError):
            alive, record = writers.look(path, generation)
            if alive is not False:
                found.append((slot, holder_of(slot, record, alive)))
    return found


@contextlib.contextmanager
def _held(writers: Writers, slot: Slot) -> Iterator[None]:
    with output_errors(writers.output):
        claim = writers.take(slot)
    try:
        yield
    except Interrupted as stopped:
        if claim.lost:
            raise _taken_over(writers.output) from stopped
        raise
    finally:
        writers.release(claim)
    if claim.lost:
        raise _taken_over(writers.output)


def _taken_over(output: Path) -> OutputError:
    return OutputError(
        f"{output}: this process stood still for so long that another has taken over: let that one "
        "go on, or stop it and run the same command with --resume"
    )
