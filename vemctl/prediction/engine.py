"""The loop in one process: read ahead, restore, write behind, note in the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from vemctl.errors import (
    DeviceError,
    Interrupted,
    MethodError,
    MissingExtraError,
    OptionError,
    OutputError,
    ResumeError,
    VemctlError,
    WeightsError,
    WorkerError,
)
from vemctl.events import Noted, StageAdvanced, StageFinished, StageStarted
from vemctl.prediction.allocator import give_back
from vemctl.prediction.blocks import (
    Bench,
    Task,
    fill_block,
    missing_tasks,
    read_sources,
    tiles_to_do,
    write_units,
)
from vemctl.prediction.ledger import Entry, Ledger

Array = npt.NDArray[Any]
TRIES = 3
"""Times that a block is tried before the run goes on without it."""
HOPELESS = (
    OutputError,
    DeviceError,
    WorkerError,
    OptionError,
    MethodError,
    WeightsError,
    ResumeError,
    MissingExtraError,
)
"""What would befall every other block too."""


@dataclass(frozen=True)
class Failure:
    """A block that could not be restored.

    Attributes
    ----------
    task : Task
    reason : str
        One line.
    """

    task: Task
    reason: str


def restore(
    bench: Bench,
    ledger: Ledger,
    share: Callable[[int], bool] | None = None,
    *,
    keep_going: bool = False,
) -> list[Failure]:
    """Restore every block that the ledger does not have.

    Parameters
    ----------
    bench : Bench
    ledger : Ledger
    share : callable, optional
        Tells of a block's number whether it is wanted.
    keep_going : bool
        Go on without a block that fails, after all others have been tried; else the first error
        ends the run.

    Returns
    -------
    list of Failure
        The blocks without which it went on.

    Raises
    ------
    Interrupted
        The bench's `stop` was set; what the ledger notes is on disk.
    VemctlError
        A block failed, or what would befall every block.
    """
    began = time.monotonic()
    total = tiles_to_do(bench.plan, ledger, share)
    bench.listen(StageStarted("restoring", total, "tiles"))
    failed = _restore(bench, ledger, missing_tasks(bench.plan, ledger, share), keep_going)
    for tries in range(2, TRIES + 1):
        again = iter([each.task for each in failed])
        failed = _restore(bench, ledger, again, keep_going, tries)
    bench.listen(StageFinished("restoring", time.monotonic() - began))
    return failed


def _restore(
    bench: Bench, ledger: Ledger, tasks: Iterator[Task], keep_going: bool, tries: int = 1
) -> list[Failure]:
    """Restore blocks, of which one is read and one is written while one is at work."""
    window = bench.window()
    failed: list[Failure] = []
    with ThreadPoolExecutor(1, "reader") as reader, ThreadPoolExecutor(1, "writer") as writer:

        def read_next() -> tuple[Task, Future[list[Array]]] | None:
            task = next(tasks, None)
            return (task, reader.submit(read_sources, bench, task)) if task else None

        behind: Future[list[Entry]] | None = None
        ahead = read_next()
        try:
            while ahead:
                (task, reading), ahead = ahead, None
                advanced = Progress(bench)
                try:
                    sources = reading.result()
                    ahead = read_next()
                    filled = fill_block(bench, window, task, sources, advanced)
                    del sources
                except (Interrupted, *HOPELESS):
                    raise
                except Exception as error:
                    if not keep_going:
                        raise
                    advanced.undo()
                    failed.append(Failure(task, one_line(error)))
                    bench.listen(Noted(_told(failed[-1], tries), "warning"))
                    ahead = ahead or read_next()
                    continue
                if behind:
                    done, behind = behind, None
                    ledger.commit(done.result())
                behind = writer.submit(write_units, bench, task, filled)
                del filled
                give_back()
        except Interrupted:
            raise Interrupted(
                f"stopped; {ledger.count(bench.plan.stage)} units are written"
            ) from None
        finally:
            if ahead:
                ahead[1].cancel()
            if behind:
                ledger.commit(behind.result())
    return failed


class Progress:
    """Tells how many tiles are done, and takes it back for a block that fails."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._done = 0

    def __call__(self, tiles: int) -> None:
        """Tell that so many more are done."""
        self._done += tiles
        self._bench.listen(StageAdvanced("restoring", tiles))

    def undo(self) -> None:
        """Tell that none of them is."""
        if self._done:
            self._bench.listen(StageAdvanced("restoring", -self._done))


def one_line(error: BaseException) -> str:
    """Return what an error says, in one line."""
    text = " ".join(str(error).split()) or "no reason given"
    return text if isinstance(error, VemctlError) else f"{type(error).__name__}: {text}"


def _told(failure: Failure, tries: int) -> str:
    if tries < TRIES:
        return f"{failure.task}: {failure.reason}; it will be tried again"
    return f"{failure.task}: given up after {tries} tries: {failure.reason}"
