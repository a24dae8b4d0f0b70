"""Restore one block, the unit of work: read what it needs, fill it, write its units."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy.typing as npt

from vemctl.errors import InputError, Interrupted
from vemctl.events import Listener, Noted
from vemctl.prediction.calls import Caller
from vemctl.prediction.filling import Filled, fill
from vemctl.prediction.ledger import Entry, Ledger
from vemctl.prediction.plan import Plan
from vemctl.tiles.grid import Region
from vemctl.tiles.windows import Window
from vemctl.volumes.volume import Volume, show_region

Array = npt.NDArray[Any]
T = TypeVar("T")
PAUSES = (0.5, 2.0)
"""Seconds before a region is read again that could not be read: file servers hiccup."""


class Store(Protocol):
    """Where blocks go: an array on disk that is written in whole units."""

    def write(self, region: Region, data: Array, *, channel: int = 0, timepoint: int = 0) -> str:
        """Write a unit durably and return the checksum of its files."""

    def read(self, region: Region, *, channel: int = 0, timepoint: int = 0) -> Array:
        """Read a region."""

    def checksum(self, region: Region, *, channel: int = 0, timepoint: int = 0) -> str | None:
        """Return the checksum of a unit's files; None where one is missing."""


@dataclass(frozen=True)
class Task:
    """A block that is to be restored.

    Attributes
    ----------
    series : int
        Which of the plan's.
    region : Region
        Output voxels; whole units.
    """

    series: int
    region: Region

    def to_json(self) -> list[int]:
        """Return the task as plain numbers."""
        return [self.series, *(end for part in self.region for end in (part.start, part.stop))]

    @classmethod
    def from_json(cls, numbers: Sequence[int]) -> Task:
        """Return the task that `to_json` wrote."""
        series, *ends = numbers
        z, y, x = (slice(ends[i], ends[i + 1]) for i in (0, 2, 4))
        return cls(series, (z, y, x))

    def __str__(self) -> str:
        return f"{show_region(self.region)} of series {self.series}"


@dataclass(frozen=True)
class Bench:
    """What a process needs to restore blocks of a run.

    Attributes
    ----------
    plan : Plan
    volumes : sequence of Volume
        One per input of the method and time point that it sees at once.
    caller : Caller
    store : Store
        Of the output; of its float32 draft where the output is stretched afterwards.
    listen : Listener
    stop : threading.Event
        Set from outside to end the run as soon as a network call returns.
    """

    plan: Plan
    volumes: Sequence[Volume]
    caller: Caller
    store: Store
    listen: Listener
    stop: threading.Event

    def window(self) -> Window:
        """Return the weights of the plan's grid, to be shared by the blocks of a run."""
        return Window(self.plan.grid, self.plan.footprint)


def missing_tasks(
    plan: Plan, ledger: Ledger, share: Callable[[int], bool] | None = None
) -> Iterator[Task]:
    """Yield, per block with missing units, the smallest region of whole units with all of them.

    Parameters
    ----------
    plan : Plan
    ledger : Ledger
    share : callable, optional
        Tells of a block's number, over all series, whether it is wanted; all are by default.
    """
    number = -1
    for series, one in enumerate(plan.series):
        place = (plan.stage, one.output_timepoint, one.output_channel)
        for block in plan.blocks():
            number += 1
            if share and not share(number):
                continue
            missing = [
                unit
                for unit in plan.units(block)
                if not ledger.has(*place, (unit[0].start, unit[1].start, unit[2].start))
            ]
            if missing:
                z, y, x = (
                    slice(min(u[i].start for u in missing), max(u[i].stop for u in missing))
                    for i in range(3)
                )
                yield Task(series, (z, y, x))


def tiles_to_do(plan: Plan, ledger: Ledger, share: Callable[[int], bool] | None = None) -> int:
    """Return how many tiles are computed for the blocks that are missing."""
    if share is None and not ledger.count(plan.stage):
        return plan.tiles_computed
    return sum(plan.grid.count_touching(task.region) for task in missing_tasks(plan, ledger, share))


def patiently(read: Callable[[], T], listen: Listener, stop: threading.Event) -> T:
    """Return what `read` returns, trying a few times where input cannot be read.

    Parameters
    ----------
    read : callable
    listen : Listener
        Is told of each time that failed.
    stop : threading.Event

    Raises
    ------
    InputError
        It cannot be read, now and some seconds later.
    Interrupted
        `stop` was set meanwhile.
    """
    for pause in PAUSES:
        try:
            return read()
        except InputError as error:
            listen(Noted(f"reading again what failed: {error}", "warning"))
            if stop.wait(pause):
                raise Interrupted("stopped") from None
    return read()


def read_sources(bench: Bench, task: Task) -> list[Array]:
    """Read what a block needs, `patiently`.

    Raises
    ------
    InputError
        It cannot be read, now and some seconds later.
    Interrupted
        `stop` was set meanwhile.
    """
    source = bench.plan.grid.source(task.region)
    one = bench.plan.series[task.series]
    return patiently(
        lambda: [
            volume.read(source, channel=one.channel, timepoint=one.timepoint)
            for volume in bench.volumes
        ],
        bench.listen,
        bench.stop,
    )


def fill_block(
    bench: Bench,
    window: Window,
    task: Task,
    sources: Sequence[Array],
    advanced: Callable[[int], None],
) -> Filled:
    """Compute a block, see `fill`."""
    return fill(
        bench.plan,
        bench.caller,
        window,
        task.series,
        task.region,
        sources,
        advanced=advanced,
        stop=bench.stop,
    )


def write_units(
    bench: Bench, task: Task, filled: Filled, before_each: Callable[[], None] | None = None
) -> list[Entry]:
    """Fetch a block from the device and write it; return an entry per unit, for the ledger.

    Parameters
    ----------
    bench : Bench
    task : Task
    filled : Filled
    before_each : callable, optional
        Called before a unit is written; what it raises ends the writing.

    Raises
    ------
    OutputError
        The disk is full or refuses.
    """
    plan, one = bench.plan, bench.plan.series[task.series]
    values = filled.wait()
    entries = []
    for unit in plan.units(task.region):
        part = values[
            tuple(
                slice(u.start - b.start, u.stop - b.start)
                for u, b in zip(unit, task.region, strict=True)
            )
        ]
        if before_each:
            before_each()
        checksum = bench.store.write(
            unit, part, channel=one.output_channel, timepoint=one.output_timepoint
        )
        low, high = (float(part.min()), float(part.max())) if plan.output.stretch else (0.0, 0.0)
        z, y, x = unit
        entries.append(
            Entry(
                plan.stage,
                one.output_timepoint,
                one.output_channel,
                (z.start, y.start, x.start),
                (z.stop, y.stop, x.stop),
                checksum,
                low if math.isfinite(low) else 0.0,
                high if math.isfinite(high) else 0.0,
            )
        )
    return entries
