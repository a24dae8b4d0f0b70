"""What a process keeps open for a run from block to block, and lets go of when the run ends."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakValueDictionary

from vemctl.errors import Interrupted
from vemctl.object_store import OFFLINE
from vemctl.prediction.blocks import Bench
from vemctl.tiles.windows import Window
from vemctl.workflows.job import Job


@dataclass(frozen=True)
class Shop:
    """What a process keeps open for a run.

    Attributes
    ----------
    output : Path
    job : Job
        As it was when this was opened.
    bench : Bench
        Its `stop` is set when the run has ended elsewhere.
    window : Window
    threads : int, optional
    close : callable
    at_work : threading.Lock
        Held by the one block that computes.
    """

    output: Path
    job: Job
    bench: Bench
    window: Window
    threads: int | None
    close: Callable[[], None]
    at_work: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class _Kept:
    """A shop with the number of blocks that are in it."""

    shop: Shop
    users: int
    over: bool
    closed: bool = False


class Shops:
    """The shops of this process, by the token of their run; usually one.

    A shop is closed by the last block that is in it: none has its inputs closed under its hands.
    """

    def __init__(self) -> None:
        self._opening = threading.Lock()
        self._book = threading.Lock()
        self._open: dict[str, _Kept] = {}
        self._stops: WeakValueDictionary[str, threading.Event] = WeakValueDictionary()
        self._ended: deque[str] = deque(maxlen=100)

    @contextmanager
    def entered(self, token: str, make: Callable[[threading.Event], Shop]) -> Iterator[Shop]:
        """Give the shop of a run, opened by the first who asks.

        Parameters
        ----------
        token : str
        make : callable
            Opens the shop, given the event that ends the run's work here.

        Raises
        ------
        Interrupted
            The run has ended.
        """
        kept = self._enter(token, make)
        try:
            yield kept.shop
        finally:
            with self._book:
                kept.users -= 1
            self._close_idle(kept)

    def close(self, token: str) -> None:
        """Let go of what is kept for a run, the network's memory included; waits for nobody."""
        with self._book:
            self._ended.append(token)
            stop = self._stops.get(token)
            if stop:
                stop.set()
            kept = self._open.pop(token, None)
            if kept:
                kept.over = True
        if kept:
            self._close_idle(kept)

    def _enter(self, token: str, make: Callable[[threading.Event], Shop]) -> _Kept:
        with self._opening:
            stop = threading.Event()
            with self._book:
                if token in self._ended:
                    raise Interrupted("the run that gave this task has ended")
                kept = self._open.get(token)
                if kept:
                    kept.users += 1
                    return kept
                self._stops[token] = stop
                former = list(self._open.values())
                self._open.clear()
                for each in former:
                    each.over = True  # of a run whose client died, or that is there beside this
            for each in former:
                self._close_idle(each)
            shop = make(stop)
            with self._book:
                kept = _Kept(shop, users=1, over=stop.is_set())
                if not kept.over:
                    self._open[token] = kept
            return kept

    def _close_idle(self, kept: _Kept) -> None:
        with self._book:
            idle = kept.over and not kept.users and not kept.closed
            kept.closed = kept.closed or idle
        if idle:
            kept.shop.close()


class _Setting:
    """VEMCTL_OFFLINE of this process, which is put back when no run needs it any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs = 0
        self._own: str | None = None

    @contextmanager
    def as_asked(self, *, offline: bool) -> Iterator[None]:
        """Forbid connections where a run wants none; else it is as this process was started."""
        with self._lock:
            if not self._runs:
                self._own = os.environ.get(OFFLINE)
            self._runs += 1
            self._set("1" if offline else self._own)
        try:
            yield
        finally:
            with self._lock:
                self._runs -= 1
                if not self._runs:
                    self._set(self._own)

    @staticmethod
    def _set(value: str | None) -> None:
        if value is None:
            os.environ.pop(OFFLINE, None)
        else:
            os.environ[OFFLINE] = value


setting = _Setting()
"""Of this process."""
