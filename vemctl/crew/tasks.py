"""Many tasks on many processes: failures are tried again, deaths are looked into.

A task that kills its process (a *poison*) takes down what runs beside it. So whatever ran on a
process that died is a suspect, and a suspect is tried again alone: what dies then is its own doing.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from vemctl.crew.cases import Failure
from vemctl.crew.foreman import Foreman
from vemctl.crew.link import linked
from vemctl.crew.tally import Tally
from vemctl.crew.work import Report
from vemctl.errors import Interrupted

if TYPE_CHECKING:
    from distributed import Client

Task = TypeVar("Task")
Result = TypeVar("Result")

SECONDS_TO_NOTICE = 0.2
"""In which `stop` is noticed while nothing else happens."""

__all__ = ["Failure", "Report", "carry_out"]


def carry_out(
    client: Client,
    work: Callable[[Task, Report], Result],
    tasks: Iterable[Task],
    *,
    name: Callable[[Task], str],
    done: Callable[[Task, Result, str], None],
    advanced: Callable[[int], None],
    note: Callable[[str], None],
    stop: threading.Event,
    fatal: tuple[type[BaseException], ...],
    tries: int = 3,
    at_once: int = 2,
    patience: float = math.inf,
) -> list[Failure[Task]]:
    """Carry out every task on the workers of a cluster.

    All callbacks are called in this thread. Tasks are taken from their iterable as workers get
    free, so there may be any number.

    Parameters
    ----------
    client : distributed.Client
    work : callable
        Is pickled once, and called on a worker with a task and its Report.
    tasks : iterable
        Of what pickle can carry.
    name : callable
        Says in a few words which task one is.
    done : callable
        Takes each finished task, its result, and the process that did it (``host:pid``).
    advanced : callable
        Takes how much more of what tasks report is done. What a try reported that was in vain is
        taken off what follows, so the sum is that over the finished tasks; it exceeds that only
        where the last tries of a run failed.
    note : callable
        Takes sentences for the user.
    stop : threading.Event
        Set from outside to end the run.
    fatal : tuple of exception types
        Errors that end the run instead of being tried again.
    tries : int
        Of a task, in all.
    at_once : int
        How many tasks a worker gets at a time at most; never more than it has threads.
    patience : float
        Seconds without any worker after which the run ends.

    Returns
    -------
    list of Failure
        The tasks that were given up, after `tries` tries each.

    Raises
    ------
    Interrupted
        `stop` was set.
    DeviceError
        The scheduler is gone, workers die without getting anything done, or none came for
        `patience` seconds.
    Exception
        One of the types `fatal`, as a task raised it.
    """
    with linked(client, work) as link:
        foreman = Foreman(link, iter(tasks), name, note, Tally(advanced), fatal, tries, at_once)
        num_done = 0
        while foreman.give():
            for message in link.receive(SECONDS_TO_NOTICE):
                foreman.take(message)
            if not (foreman.error or stop.is_set()):
                foreman.give()  # before `done`, which may take long: no worker waits for it
            for task, result, process in foreman.finished():
                done(task, result, process)
                num_done += 1
            foreman.check(patience)
            if stop.is_set():
                raise Interrupted(f"stopped; {num_done} tasks are done")
        return foreman.failures
