"""Between a crew and its workers: tasks go out, and all that happens comes back in one queue."""

from __future__ import annotations

import asyncio
import pickle
import queue
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vemctl.crew.work import Outcome, Report, attempt

if TYPE_CHECKING:
    from distributed import Client

SECONDS_BETWEEN_LOOKS = 0.5
"""How often the list of workers is looked at, and whether a try came to a bad end."""

_DEATHS = {"KilledWorker", "NoValidWorkerError"}


@dataclass(frozen=True)
class Ended:
    """A try ended: with an outcome, or an error of what lies between."""

    number: int
    outcome: Outcome | BaseException


@dataclass(frozen=True)
class Died:
    """The worker of a try died while it ran."""

    number: int


@dataclass(frozen=True)
class Lost:
    """A try was given up by the scheduler or by the connection to it."""

    number: int


@dataclass(frozen=True)
class Begun:
    """A try that had to say so has begun."""

    number: int


@dataclass(frozen=True)
class Counted:
    """How far tries have come: pairs of number and total."""

    counts: list[tuple[int, int]]


@dataclass(frozen=True)
class Said:
    """A task has something to tell the user."""

    text: str


@dataclass(frozen=True)
class Seen:
    """Which workers there are.

    Attributes
    ----------
    asked : float
        When that was asked for, by `time.monotonic`.
    threads : mapping of str to int
        Of each worker's address.
    """

    asked: float
    threads: Mapping[str, int]


@dataclass(frozen=True)
class Gone:
    """The scheduler is no longer there."""

    reason: str


Message = Ended | Died | Lost | Begun | Counted | Said | Seen | Gone


class Link:
    """Gives tries to workers; `receive` says what happened.

    Every try is bound to one worker, so that it is known what ran where when a worker dies.
    """

    def __init__(self, client: Client, work: Callable[[Any, Report], Any]) -> None:
        import cloudpickle  # type: ignore[import-untyped]

        self._client: Any = client
        self._work = cloudpickle.dumps(work)
        self._topic = f"vemctl-{uuid.uuid4().hex}"
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._futures: dict[int, Any] = {}
        self._watching: asyncio.Task[Any] | None = None
        self._over = False

    def give(self, number: int, task: Any, worker: str, *, suspect: bool) -> None:
        """Have `task` tried on the worker at an address.

        Parameters
        ----------
        number : int
            By which the try is known; never used before.
        task : object
        worker : str
        suspect : bool
            Whether to tell that it has begun.
        """
        future = self._client.submit(
            attempt,
            self._work,
            self._topic,
            number,
            task,
            suspect,
            key=(self._topic, number),
            workers=[worker],
            allow_other_workers=False,
            pure=False,
        )
        self._futures[number] = future

    def forget(self, number: int) -> None:
        """Give up a try, or what is left of one that ended."""
        future = self._futures.pop(number, None)
        if future is not None:
            future.release()

    def receive(self, seconds: float, at_most: int = 200) -> list[Message]:
        """Return what has happened, in order; wait for something for some seconds."""
        messages: list[Message] = []
        with suppress(queue.Empty):
            messages.append(self._inbox.get(timeout=seconds))
            while len(messages) < at_most:
                messages.append(self._inbox.get_nowait())
        return messages

    @property
    def is_connected(self) -> bool:
        """Whether the scheduler is believed to be there."""
        return bool(self._client.status == "running")

    @property
    def address(self) -> str:
        """Where the scheduler is or was."""
        scheduler = self._client.scheduler
        return str(scheduler.address) if scheduler is not None else "its address"

    def open(self) -> None:
        """Begin to listen and to look after the workers."""
        self._client.subscribe_topic(self._topic, self._hear)
        self._client.loop.add_callback(self._watch)

    def close(self) -> None:
        """Give up what still runs; leaves nothing behind in the client."""
        for number in list(self._futures):
            self.forget(number)
        # Where the scheduler died, the client may have closed itself, and its loop with it.
        with suppress(Exception):
            self._client.unsubscribe_topic(self._topic)
        with suppress(RuntimeError, TimeoutError):
            self._client.sync(self._end, callback_timeout=5)

    def _hear(self, event: tuple[float, Mapping[str, Any]]) -> None:
        _, message = event
        if "ended" in message:
            outcome = pickle.loads(message["outcome"])  # noqa: S301 - of our own workers
            self._inbox.put(Ended(message["ended"], outcome))
        elif "counts" in message:
            self._inbox.put(Counted([(number, total) for number, total in message["counts"]]))
        elif "note" in message:
            self._inbox.put(Said(str(message["note"])))
        else:
            self._inbox.put(Begun(message["begun"]))

    async def _watch(self) -> None:
        self._watching = asyncio.current_task()
        while not self._over:
            asked = time.monotonic()
            if not self.is_connected:
                self._inbox.put(Gone("the connection to it broke"))
                return
            # One that does not answer is a matter of time for the receiver.
            with suppress(OSError, TimeoutError):
                threads = await asyncio.wait_for(self._client.nthreads(), 10)
                self._inbox.put(Seen(asked, dict(threads)))
            # Outcomes come by themselves, before a future is finished.
            for number, future in list(self._futures.items()):
                if future.status in {"finished", "error", "cancelled"}:
                    self._inbox.put(self._end_of(number, await future.exception()))
            if not self._over:
                await asyncio.sleep(SECONDS_BETWEEN_LOOKS)

    @staticmethod
    def _end_of(number: int, error: BaseException | None) -> Message:
        if error is None:
            return Lost(number)
        return Died(number) if type(error).__name__ in _DEATHS else Ended(number, error)

    async def _end(self) -> None:
        self._over = True  # dask may take a cancellation for a broken connection
        if self._watching:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)


@contextmanager
def linked(client: Client, work: Callable[[Any, Report], Any]) -> Iterator[Link]:
    """Give a Link that is closed in the end."""
    link = Link(client, work)
    link.open()
    try:
        yield link
    finally:
        link.close()
