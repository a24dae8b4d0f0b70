"""What a process of a crew does: one try of one task, and reports while it goes on.

It imports next to nothing, so that such a process starts quickly.
"""

from __future__ import annotations

import functools
import importlib
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from vemctl.errors import Interrupted

SECONDS_BETWEEN_REPORTS = 1.0
"""How often a process tells how far its tasks are."""

SECONDS_TO_BE_HEARD = 0.3
"""How long a task that is suspected of killing its process waits after it has said that it begins:
messages leave a process every few milliseconds."""


class Report(Protocol):
    """How a task tells of itself while it runs."""

    def __call__(self, count: int) -> None:
        """Tell that `count` more of what is counted is done.

        Raises
        ------
        Interrupted
            Nobody waits for this task any more.
        """

    def note(self, text: str) -> None:
        """Say something worth telling the user, in one sentence."""


@dataclass(frozen=True)
class Raised:
    """An exception on its way to another process, where its own constructor is not called again.

    Attributes
    ----------
    module, name : str
        Of its class.
    arguments, attributes : tuple, dict
        What it carries.
    """

    module: str
    name: str
    arguments: tuple[Any, ...]
    attributes: dict[str, Any]

    @classmethod
    def pack(cls, error: BaseException) -> Raised:
        """Pack `error`; one that cannot travel leaves as the nearest of its bases that can."""
        for kind in type(error).__mro__:
            whole = kind is type(error)
            packed = cls(
                kind.__module__,
                kind.__qualname__,
                error.args if whole else (str(error) or type(error).__name__,),
                dict(vars(error)) if whole else {},
            )
            try:
                if isinstance(pickle.loads(pickle.dumps(packed)).unpack(), kind):  # noqa: S301
                    return packed
            except Exception:  # noqa: BLE001, S112 - whatever it is, it cannot travel
                continue
        return cls("builtins", "RuntimeError", (type(error).__name__,), {})

    def unpack(self) -> BaseException:
        """Return the exception."""
        kind: Any = importlib.import_module(self.module)
        for part in self.name.split("."):
            kind = getattr(kind, part)
        error: BaseException = kind.__new__(kind, *self.arguments)
        error.args = self.arguments
        vars(error).update(self.attributes)
        return error


@dataclass(frozen=True)
class Outcome:
    """How a try ended.

    Attributes
    ----------
    result : object
        Of the task, where it raised nothing.
    raised : Raised, optional
    count : int
        All that it reported.
    process : str
        Where it ran: ``host:pid``.
    """

    result: Any
    raised: Raised | None
    count: int
    process: str


class _Sender:
    """Reports how far the tasks of this process are, all in one message."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, int], int] = {}
        self._told = 0.0

    def begin(self, key: tuple[str, int]) -> None:
        with self._lock:
            self._counts[key] = 0

    def end(self, key: tuple[str, int]) -> int:
        with self._lock:
            return self._counts.pop(key)

    def add(self, key: tuple[str, int], count: int) -> dict[str, Any] | None:
        """Return what to tell now, if anything."""
        with self._lock:
            self._counts[key] += count
            now = time.monotonic()
            if now - self._told < SECONDS_BETWEEN_REPORTS:
                return None
            self._told = now
            topic = key[0]
            return {"counts": [[n, total] for (t, n), total in self._counts.items() if t == topic]}


_sender = _Sender()


class _TaskReport:
    """The Report of a task on a worker of dask.distributed."""

    def __init__(self, key: tuple[str, int]) -> None:
        from distributed import get_worker

        self._key = key
        self._worker = get_worker()

    def __call__(self, count: int) -> None:
        # A thread cannot be stopped from outside; here it may end itself.
        state = self._worker.state.tasks.get(self._key)
        ending = self._worker.status.name in {"closing", "closed", "failed"}
        if ending or state is None or state.state == "cancelled":
            raise Interrupted("the run that gave this task has ended")
        if message := _sender.add(self._key, count):
            self.send(message)

    def note(self, text: str) -> None:
        self.send({"note": text})

    def send(self, message: dict[str, Any]) -> None:
        self._worker.log_event(self._key[0], message)


def attempt(packed_work: bytes, topic: str, number: int, task: Any, suspect: bool) -> None:
    """Try a task once, on a worker of dask.distributed, and send its Outcome.

    It goes the way of the reports: to fetch it afterwards would cost more than twice as much, and
    a worker that dies meanwhile would have worked in vain.

    Parameters
    ----------
    packed_work : bytes
        A pickled callable of the task and its Report.
    topic : str
        Under which it reports.
    number : int
        By which this try is known.
    task : object
    suspect : bool
        Whether to make sure that the begin is heard before anything can happen.
    """
    key = topic, number
    report = _TaskReport(key)
    if suspect:
        report.send({"begun": number})
        time.sleep(SECONDS_TO_BE_HEARD)
    _sender.begin(key)
    result, raised = None, None
    try:
        result = _unpack(packed_work)(task, report)
    except BaseException as error:  # noqa: BLE001 - who gave the task decides
        raised = Raised.pack(error)
    outcome = Outcome(result, raised, _sender.end(key), process_name())
    report.send({"ended": number, "outcome": pickle.dumps(outcome)})


@functools.lru_cache(maxsize=4)
def _unpack(packed_work: bytes) -> Callable[[Any, Report], Any]:
    """Unpickle once per process, so that the work may keep what it has loaded."""
    work: Callable[[Any, Report], Any] = pickle.loads(packed_work)  # noqa: S301 - our own
    return work


def process_name() -> str:
    """Return a short name of this process: ``host:pid``."""
    return f"{socket.gethostname().partition('.')[0]}:{os.getpid()}"
