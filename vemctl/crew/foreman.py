"""Gives out the tasks of a crew, and judges what becomes of them."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from vemctl.crew.cases import Case, Failure, Try
from vemctl.crew.link import (
    Begun,
    Counted,
    Died,
    Ended,
    Gone,
    Link,
    Lost,
    Message,
    Said,
    Seen,
)
from vemctl.crew.roster import Roster
from vemctl.crew.tally import Tally
from vemctl.errors import DeviceError, VemctlError

Task = TypeVar("Task")

SECONDS_OF_SILENCE = 60.0
"""After which a scheduler that does not answer counts as gone."""

SECONDS_OF_PAUSE = 0.5
"""Before a task is tried for the second time; doubles with each try."""

SECONDS_IN_QUEUE = 0.1
"""How long a task may wait at a worker, so that one with tasks of milliseconds need not wait for
the next; where tasks take longer, none waits there that another worker could begin."""

_RESUME = "what is written stays; run the same command with --resume"


class Foreman(Generic[Task]):
    """Knows every task that is not finished; see `vemctl.crew.tasks.carry_out`.

    A task that raised is tried again, rather elsewhere. A worker's death makes all that ran on it
    suspects: when no other task waits, each is tried alone on a worker. Only a death there, after
    the task was heard to begin, counts as its own; so no innocent task is ever given up for
    another's deed.
    """

    def __init__(
        self,
        link: Link,
        tasks: Iterator[Task],
        name: Callable[[Task], str],
        note: Callable[[str], None],
        tally: Tally,
        fatal: tuple[type[BaseException], ...],
        tries: int,
        at_once: int,
    ) -> None:
        self.failures: list[Failure[Task]] = []
        self.error: BaseException | None = None
        self._link, self._tasks, self._name, self._note = link, tasks, name, note
        self._tally, self._fatal, self._tries = tally, fatal, tries
        self._roster = Roster(at_once)
        self._numbers = itertools.count()
        self._ahead: list[Task] = []
        self._exhausted = False
        self._paused: list[tuple[float, int, Case[Task]]] = []
        self._suspects: deque[Case[Task]] = deque()
        self._running: dict[int, Try[Task]] = {}
        self._finished: list[tuple[Task, Any, str]] = []
        self._processes: dict[str, str] = {}
        self._last_seen = self._last_worker = time.monotonic()
        self._lonely = False
        self._usual = 1.0  # second that a task takes
        self._most_workers = 0
        self._deaths_in_vain = 0

    def give(self) -> bool:
        """Give tasks to the workers that have room; return whether any task is left.

        Raises
        ------
        DeviceError
            The scheduler is gone.
        """
        self._look_ahead()
        while worker := self._roster.free():
            case = self._draw()
            if case is None:
                break
            if case.avoid == worker:
                worker = self._roster.free(case.avoid) or worker
            self._send(case, worker)
        if self._exhausted:
            while self._suspects and (worker := self._roster.empty()):
                self._send(self._suspects.popleft(), worker)
        left = self._running or self._paused or self._suspects or self._finished
        return bool(left) or not self._exhausted

    def take(self, message: Message) -> None:
        """Take note of what happened."""
        match message:
            case Ended(number, outcome) if number in self._running:
                if isinstance(outcome, BaseException):
                    self._raised(number, outcome)
                elif outcome.raised:
                    self._processes[self._running[number].worker] = outcome.process
                    self._raised(number, outcome.raised.unpack())
                else:
                    self._tally.finish(number, outcome.count)
                    ended = self._over(number)
                    self._processes[ended.worker] = outcome.process
                    self._finished.append((ended.case.task, outcome.result, outcome.process))
                    self._deaths_in_vain = 0
                    self._usual += 0.1 * (time.monotonic() - ended.since - self._usual)
            case Died(number) if number in self._running:
                self._died(number)
            case Lost(number) if number in self._running:
                self._raised(number, RuntimeError("its outcome was lost on the way"))
            case Begun(number) if number in self._running:
                self._running[number].begun = True
            case Counted(counts):
                for number, total in counts:
                    self._tally.report(number, total)
            case Said(text):
                self._note(text)
            case Seen(asked, threads):
                self._last_seen = time.monotonic()
                self._roster.queue = min(8, int(SECONDS_IN_QUEUE / self._usual))
                for number in self._roster.see(asked, threads):
                    self._died(number)
                self._most_workers = max(self._most_workers, len(self._roster))
                self._processes = {w: p for w, p in self._processes.items() if w in threads}
                self._greet()
            case Gone(reason):
                self.error = self._no_scheduler(reason)
            case _:
                pass  # of a try that is over

    def finished(self) -> list[tuple[Task, Any, str]]:
        """Return the tasks that finished since the last time, with result and process."""
        finished, self._finished = self._finished, []
        return finished

    def check(self, patience: float) -> None:
        """Tell how far all is, and raise what ends the run.

        Raises
        ------
        DeviceError
            The scheduler is gone, workers die in vain, or none came for `patience` seconds.
        Exception
            A task raised one of the fatal types.
        """
        self._tally.tell()
        if self.error:
            raise self.error
        now = time.monotonic()
        if now - self._last_seen > SECONDS_OF_SILENCE:
            raise self._no_scheduler(f"no answer for {SECONDS_OF_SILENCE:.0f} s")
        if now - self._last_worker > patience:
            raise DeviceError(f"no worker for {patience:.0f} s; {_RESUME}")
        if self._deaths_in_vain > 20 + 3 * self._most_workers:
            raise DeviceError(
                f"{self._deaths_in_vain} workers died one after the other and nothing got done: "
                "is their memory too small? Smaller tiles or fewer workers need less; "
                f"{_RESUME}"
            )

    def _draw(self) -> Case[Task] | None:
        """Return the next task for a worker that may have others beside it."""
        now = time.monotonic()
        while self._paused and self._paused[0][0] <= now:
            case = heapq.heappop(self._paused)[2]
            if not case.suspect:
                return case
            self._suspects.append(case)
        if self._exhausted:
            return None
        case = Case(self._ahead.pop())
        self._look_ahead()
        return case

    def _look_ahead(self) -> None:
        """Know whether there is one more task before a worker is free for it."""
        if not (self._ahead or self._exhausted):
            self._ahead = list(itertools.islice(self._tasks, 1))
            self._exhausted = not self._ahead

    def _send(self, case: Case[Task], worker: str) -> None:
        number = next(self._numbers)
        self._running[number] = Try(case, worker, time.monotonic())
        self._roster.put(number, worker, alone=case.suspect)
        self._tally.begin(number)
        try:
            self._link.give(number, case.task, worker, suspect=case.suspect)
        except Exception as error:
            if self._link.is_connected:
                raise
            raise self._no_scheduler("the connection to it broke") from error

    def _over(self, number: int) -> Try[Task]:
        ended = self._running.pop(number)
        self._roster.take(number, ended.worker)
        self._link.forget(number)
        return ended

    def _wait(self, case: Case[Task], seconds: float) -> None:
        due = time.monotonic() + seconds
        heapq.heappush(self._paused, (due, next(self._numbers), case))

    def _raised(self, number: int, error: BaseException) -> None:
        self._tally.fail(number)
        ended = self._over(number)
        case = ended.case
        case.tries += 1
        case.avoid = ended.worker
        if isinstance(error, self._fatal):
            self.error = self.error or error
            return
        text = " ".join(str(error).split()) or "no reason given"
        reason = text if isinstance(error, VemctlError) else f"{type(error).__name__}: {text}"
        self._judge(case, f"{reason} (on {self._process(ended.worker)})", guilty=True)

    def _died(self, number: int) -> None:
        self._tally.fail(number)
        ended = self._over(number)
        case = ended.case
        if self._roster.leave(ended.worker, time.monotonic()):
            self._deaths_in_vain += 1
        if case.suspect and not ended.begun:
            self._suspects.append(case)  # it died before this one could do anything
            return
        case.tries += 1
        guilty, case.suspect = case.suspect, True
        process = self._process(ended.worker)
        self._judge(
            case, f"the process {process} died while at it (was its memory short?)", guilty=guilty
        )

    def _judge(self, case: Case[Task], reason: str, *, guilty: bool) -> None:
        """Try again, or give up what failed by its own doing and has no tries left."""
        name = self._name(case.task)
        if guilty and case.tries >= self._tries:
            self.failures.append(Failure(case.task, reason, case.tries))
            self._note(f"{name}: given up after {case.tries} tries: {reason}")
            self._deaths_in_vain = 0
            return
        self._note(f"{name}: {reason}; it will be tried again")
        self._wait(case, min(SECONDS_OF_PAUSE * 2 ** (case.tries - 1), 30.0))

    def _greet(self) -> None:
        """Say when the last worker has gone, and when there is one again."""
        if len(self._roster):
            self._last_worker = time.monotonic()
            if self._lonely:
                self._note("a worker has come; the run goes on")
        elif not self._lonely:
            self._note("no worker is there; waiting for one")
        self._lonely = not len(self._roster)

    def _process(self, worker: str) -> str:
        return self._processes.get(worker, worker)

    def _no_scheduler(self, reason: str) -> DeviceError:
        return DeviceError(f"the scheduler at {self._link.address} is gone: {reason}; {_RESUME}")
