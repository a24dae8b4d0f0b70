"""Worker processes that draw batches: started without fork, ended at once, errors kept whole."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

from vemctl.errors import TrainingError, VemctlError

if TYPE_CHECKING:
    import torch

STEPS_AHEAD = 2
"""How far workers draw ahead, each of them no less than so many micro-batches."""
SECONDS_OF_DOUBT = 1.0
"""Within which a process that died is known to have died."""

Tensors = dict[str, "torch.Tensor"]
Task = tuple[int, tuple[int, ...]]
"""A step, and the numbers of the samples of one micro-batch."""
Draw = Callable[[Task, Callable[[], bool]], Tensors]
"""Draws a micro-batch, or part of it if it is told meanwhile that nobody wants it any more."""


@dataclass(frozen=True)
class Failure:
    """A worker's error on its way to those who asked; not all exceptions survive pickling."""

    kind: type[VemctlError]
    arguments: tuple[Any, ...]
    attributes: dict[str, Any]

    def error(self) -> VemctlError:
        """Return the error as it was raised."""
        error = self.kind.__new__(self.kind)
        error.args = self.arguments
        vars(error).update(self.attributes)
        return error


def drawn_elsewhere(
    draw: Draw,
    tasks: Iterator[Task],
    accumulate: int,
    workers: int,
    *,
    pin_memory: bool,
) -> Generator[list[Tensors], None, None]:
    """Give the micro-batches that worker processes draw, in the order of their tasks.

    Parameters
    ----------
    draw : callable
        Is copied into each worker.
    tasks : iterator of Task
    accumulate : int
        Micro-batches that are given at a time.
    workers : int
    pin_memory : bool

    Raises
    ------
    VemctlError
        What `draw` raised in a worker, as it raised it.
    TrainingError
        A worker died.
    """
    import torch
    from torch.utils.data import DataLoader

    context = _context()
    closing = context.RawValue("b", 0)  # without a lock, which a killed worker might hold
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # as many as asked for
        loader: Any = DataLoader(
            _DataSet(draw, closing),  # type: ignore[arg-type]
            batch_size=None,
            sampler=_Once(tasks),
            num_workers=workers,
            prefetch_factor=max(STEPS_AHEAD, -(-STEPS_AHEAD * accumulate // workers)),
            multiprocessing_context=context,
            worker_init_fn=_settle_in,
            collate_fn=_as_it_is,
            pin_memory=pin_memory,
            generator=torch.Generator(),  # of its own, as the loader draws from it
        )
        coming = iter(loader)
    processes = list(coming._workers)  # noqa: SLF001 - there is no other way to their ends

    def kill() -> None:
        for process in processes:
            if process.is_alive():
                process.kill()

    atexit.register(kill)  # before multiprocessing waits for them: they heed no SIGTERM
    try:
        while parts := list(_take(coming, processes, accumulate)):
            yield parts
    finally:
        closing.value = 1
        coming._shutdown_workers()  # noqa: SLF001 - at once, whoever else may still refer to it
        kill()
        for process in processes:
            process.join()
        atexit.unregister(kill)


def _take(coming: Iterator[Any], processes: Sequence[Any], count: int) -> Iterator[Tensors]:
    """Give the next micro-batches, and the errors of those that drew them."""
    for _ in range(count):
        try:
            part = next(coming)
        except StopIteration:
            return
        except (RuntimeError, OSError, EOFError) as error:
            # whatever it was, what is lost with a worker's end is noticed in many ways
            connection.wait([process.sentinel for process in processes], SECONDS_OF_DOUBT)
            ended = [process for process in processes if not process.is_alive()]
            if not ended:
                raise
            code = ended[0].exitcode or 0
            how, why = f"ended with exit code {code}", "what it printed says why"
            if code < 0:
                how = f"was killed by signal {-code}"
                why = "often main memory or /dev/shm was too small"
            raise TrainingError(
                f"a worker process {how}: {why}; continue with --resume and fewer --workers"
            ) from error
        if isinstance(part, Failure):
            raise part.error()
        yield part


@dataclass(frozen=True)
class _DataSet:
    """What a DataLoader in a worker takes micro-batches from, by task."""

    draw: Draw
    closing: Any

    def __getitem__(self, task: Task) -> Tensors | Failure:
        try:
            return self.draw(task, lambda: bool(self.closing.value))
        except VemctlError as error:
            return Failure(type(error), error.args, vars(error))


class _Once:
    """Tasks as a DataLoader wants them: something to iterate over."""

    def __init__(self, tasks: Iterator[Task]) -> None:
        self._tasks = tasks

    def __iter__(self) -> Iterator[Task]:
        return self._tasks


def _as_it_is(part: Any) -> Any:
    return part


def _context() -> Any:
    """Return how workers are started: never by fork, after which torch and zarr hang."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "vemctl.training.patches"])  # imported, never used
    return context


def _settle_in(worker: int) -> None:  # noqa: ARG001 - torch gives its number
    """Prepare a worker: signals are for the main process, and without that it ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # the loader's own watch looks at the fork server, which lives as long as its children
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
