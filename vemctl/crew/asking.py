"""Questions to the workers of a cluster, before their tasks and after them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from vemctl.crew.clients import one_line
from vemctl.crew.work import Raised, process_name
from vemctl.errors import DeviceError, Interrupted, VemctlError, WorkerError
from vemctl.events import Listener, Noted

SECONDS_UNTIL_TOLD = 5.0
"""After which the user hears that no worker answers yet."""
SECONDS_TO_ANSWER = 10.0
"""For a worker that needs no free thread to answer."""


def ask_one(
    client: Any,
    question: Callable[..., Any],
    *arguments: Any,
    listen: Listener,
    stop: threading.Event,
) -> Any:
    """Return what one of the workers answers, whichever is free first.

    Parameters
    ----------
    client : distributed.Client
    question : callable
        Of vemctl's, called on a worker.
    *arguments
        Of the question.
    listen : Listener
        Is told when it takes long.
    stop : threading.Event
        Ends the wait.

    Raises
    ------
    WorkerError
        A worker cannot import vemctl, or raised something.
    DeviceError
        The scheduler went away.
    Interrupted
        `stop` was set.
    """
    _require_vemctl(client)
    future = client.submit(_answer, question, arguments, pure=False)
    try:
        _wait(client, future, listen, stop)
        error = future.exception(timeout=SECONDS_TO_ANSWER)
        if error is not None:
            raise WorkerError(_reason(error)) from error
        process, answer, raised = future.result(timeout=SECONDS_TO_ANSWER)
    except TimeoutError as error:
        raise WorkerError("a worker's answer was lost on the way; run it again") from error
    finally:
        if client.status == "running":
            future.cancel()
    if raised is not None:
        cause = raised.unpack()
        known = "" if isinstance(cause, VemctlError) else f"{type(cause).__name__}: "
        raise WorkerError(f"on the worker {process}: {known}{one_line(cause)}") from cause
    return answer


def ask_all(client: Any, question: Callable[..., Any], *arguments: Any, seconds: float) -> Any:
    """Return, by address, what all workers answer, busy or not, or the error of each.

    Parameters
    ----------
    client : distributed.Client
    question : callable
        Must be done in no time: the worker does nothing else meanwhile.
    *arguments
        Of the question.
    seconds : float
        In which all must have answered.

    Raises
    ------
    TimeoutError
        Some did not.
    OSError
        The scheduler is gone.
    """

    async def ask() -> Any:
        return await client.run(question, *arguments, on_error="return")

    return client.sync(ask, callback_timeout=seconds)


def _require_vemctl(client: Any) -> None:
    """Find out who lacks it: a worker that is given what it cannot import ends without a word."""
    try:
        answers = ask_all(client, process_name, seconds=SECONDS_TO_ANSWER)
    except (OSError, TimeoutError):
        return  # whoever is left will be asked again
    for address, answer in answers.items():
        if isinstance(answer, Exception) and not isinstance(answer, OSError):
            raise WorkerError(
                f"worker {address}: cannot import vemctl ({one_line(answer)}): install the same "
                "version there"
            )


def _wait(client: Any, future: Any, listen: Listener, stop: threading.Event) -> None:
    began, told = time.monotonic(), False
    while not future.done():
        if client.status != "running":
            raise DeviceError(
                "the dask scheduler went away while waiting for a worker; start it again"
            )
        if stop.wait(0.1):
            raise Interrupted("stopped while waiting for a free worker; nothing was begun")
        if not told and time.monotonic() - began > SECONDS_UNTIL_TOLD:
            listen(Noted("waiting for a free worker"))
            told = True


def _answer(
    question: Callable[..., Any], arguments: tuple[Any, ...]
) -> tuple[str, Any, Raised | None]:
    """Return, on a worker, its name, its answer, and what it raised instead."""
    try:
        return process_name(), question(*arguments), None
    except Exception as error:  # noqa: BLE001 - who asked decides
        return process_name(), None, Raised.pack(error)


def _reason(error: BaseException) -> str:
    """Return, in one line, why dask has no answer."""
    first = error
    while first.__cause__ is not None:
        first = first.__cause__
    if isinstance(first, ImportError):
        return (
            f"the dask scheduler cannot import vemctl ({one_line(first)}): install the same "
            "version there"
        )
    if type(error).__name__ == "KilledWorker":
        return "the workers died when they were asked for their device; look at what they logged"
    return f"no worker can take part: {type(first).__name__}: {one_line(first)}"
