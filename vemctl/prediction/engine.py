"""The loop: read ahead, restore, blend, write behind, note in the ledger."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vemctl.errors import Interrupted
from vemctl.events import Listener, StageAdvanced, StageFinished, StageStarted
from vemctl.plugin import Triple
from vemctl.prediction.allocator import give_back
from vemctl.prediction.calls import Caller, Job
from vemctl.prediction.ledger import Entry, Ledger
from vemctl.prediction.plan import Plan, Series
from vemctl.tiles.blend import Block, to_dtype
from vemctl.tiles.grid import Region
from vemctl.tiles.padding import cut_tile
from vemctl.tiles.windows import Window
from vemctl.volumes.volume import Volume

Array = npt.NDArray[Any]


class Store(Protocol):
    """Where blocks go: an array on disk that is written in whole units."""

    def write(self, region: Region, data: Array, *, channel: int = 0, timepoint: int = 0) -> str:
        """Write a unit durably and return the checksum of its files."""

    def read(self, region: Region, *, channel: int = 0, timepoint: int = 0) -> Array:
        """Read a region."""

    def checksum(self, region: Region, *, channel: int = 0, timepoint: int = 0) -> str | None:
        """Return the checksum of a unit's files; None where one is missing."""


@dataclass(frozen=True)
class Work:
    """What a run works with.

    Attributes
    ----------
    plan : Plan
    volumes : sequence of Volume
        One per input of the method and time point that it sees at once.
    caller : Caller
    store : Store
        Of the output; of its float32 draft where the output is stretched afterwards.
    ledger : Ledger
    listen : Listener
    stop : threading.Event
        Set from outside to end the run as soon as a network call returns.
    """

    plan: Plan
    volumes: Sequence[Volume]
    caller: Caller
    store: Store
    ledger: Ledger
    listen: Listener
    stop: threading.Event

    @property
    def stage(self) -> str:
        """The ledger's name for what is written."""
        return "scratch" if self.plan.output.stretch else "final"


def restore(work: Work) -> None:
    """Restore every block that the ledger does not have.

    Raises
    ------
    Interrupted
        `work.stop` was set; what the ledger notes is on disk.
    """
    plan = work.plan
    todo = [
        (number, block)
        for number, one in enumerate(plan.series)
        for block in _missing_blocks(work, one)
    ]
    total = sum(plan.grid.count_touching(block) for _, block in todo)
    began = time.monotonic()
    work.listen(StageStarted("restoring", total, "tiles"))
    window = Window(plan.grid, plan.footprint)
    with ThreadPoolExecutor(1, "reader") as reader, ThreadPoolExecutor(1, "writer") as writer:
        ahead: Future[list[Array]] | None = None
        behind: Future[list[Entry]] | None = None
        try:
            for i, (number, block) in enumerate(todo):
                one = plan.series[number]
                sources = (ahead or reader.submit(_read, work, one, block)).result()
                ahead = None
                if i + 1 < len(todo):
                    following, next_block = todo[i + 1]
                    ahead = reader.submit(_read, work, plan.series[following], next_block)
                values = _fill(work, number, block, sources, window)
                del sources
                if behind:
                    work.ledger.commit(behind.result())
                behind = writer.submit(_write, work, one, block, values)
                del values
                give_back()
        finally:
            if ahead:
                ahead.cancel()
            if behind:
                work.ledger.commit(behind.result())
    work.listen(StageFinished("restoring", time.monotonic() - began))


def stretch(work: Work, final: Store, listen: Listener) -> None:
    """Map the draft's ranges to the output type's range and write it to `final`.

    The draft's smallest and largest values come from the ledger.
    """
    plan, entries = work.plan, work.ledger.entries
    drafts = [entry for entry in entries.values() if entry.stage == "scratch"]
    ranges: dict[Any, tuple[float, float]] = {}
    for draft in drafts:
        low, high = ranges.get(_range_of(draft, plan), (math.inf, -math.inf))
        ranges[_range_of(draft, plan)] = min(low, draft.low), max(high, draft.high)
    dtype = plan.layout.dtype
    top = float(np.iinfo(dtype).max) if dtype.kind != "f" else 1.0
    scaled = replace(plan.output, unit_range=False)  # as the factor does it
    began = time.monotonic()
    todo = [d for d in drafts if ("final", *d.key[1:]) not in entries]
    listen(StageStarted("stretching", len(todo), "units"))
    for draft in todo:
        if work.stop.is_set():
            raise Interrupted("stopped while stretching the result")
        low, high = ranges[_range_of(draft, plan)]
        factor = top / (high - low) if high > low else 0.0
        z, y, x = (slice(*ends) for ends in zip(draft.start, draft.stop, strict=True))
        where = {"channel": draft.channel, "timepoint": draft.timepoint}
        values = (work.store.read((z, y, x), **where).astype(np.float64) - low) * factor
        checksum = final.write((z, y, x), to_dtype(values, dtype, scaled), **where)
        done = Entry("final", draft.timepoint, draft.channel, draft.start, draft.stop, checksum)
        work.ledger.commit([done])
        listen(StageAdvanced("stretching"))
    listen(StageFinished("stretching", time.monotonic() - began))


def _range_of(draft: Entry, plan: Plan) -> tuple[int, ...]:
    """Return by what the drafts that share a range are known."""
    if plan.output.stretch == "series":
        return draft.channel, draft.timepoint
    return (draft.channel,) if plan.output.stretch == "channel" else ()


def verify(
    ledger: Ledger, stage: str, store: Store, listen: Listener, stop: threading.Event
) -> int:
    """Strike out of the ledger the units of a stage whose files are torn; return how many."""
    entries = [entry for entry in ledger.entries.values() if entry.stage == stage]
    began = time.monotonic()
    listen(StageStarted("verifying", len(entries), "units"))
    torn = []
    for entry in entries:
        if stop.is_set():
            raise Interrupted("stopped while verifying what is written")
        z, y, x = (slice(*ends) for ends in zip(entry.start, entry.stop, strict=True))
        found = store.checksum((z, y, x), channel=entry.channel, timepoint=entry.timepoint)
        if found != entry.checksum:
            torn.append(entry)
        listen(StageAdvanced("verifying"))
    ledger.forget(torn)
    listen(StageFinished("verifying", time.monotonic() - began))
    return len(torn)


def _start(region: Region) -> Triple:
    z, y, x = (part.start for part in region)
    return z, y, x


def _missing_blocks(work: Work, one: Series) -> Iterator[Region]:
    """Yield, per block with missing units, the smallest region of whole units with all of them."""
    for block in work.plan.blocks():
        missing = [
            unit
            for unit in work.plan.units(block)
            if (work.stage, one.output_timepoint, one.output_channel, _start(unit))
            not in work.ledger.entries
        ]
        if missing:
            z, y, x = (
                slice(min(unit[i].start for unit in missing), max(unit[i].stop for unit in missing))
                for i in range(3)
            )
            yield z, y, x


def _read(work: Work, one: Series, block: Region) -> list[Array]:
    source = work.plan.grid.source(block)
    return [
        volume.read(source, channel=one.channel, timepoint=one.timepoint) for volume in work.volumes
    ]


def tile_jobs(
    plan: Plan, block: Block | None, region: Region, sources: Sequence[Array], series: int = 0
) -> Iterator[Job]:
    """Yield the tiles of `region` in global order, cut out of what was read for it.

    Parameters
    ----------
    plan : Plan
    block : Block, optional
        Says which part of a core is wanted; None for the whole core.
    region : Region
        Output voxels.
    sources : sequence of ndarray
        Per input, the voxels of ``plan.grid.source(region)``.
    series : int
        Which of the plan's it is.
    """
    read = plan.grid.source(region)
    whole = (slice(None), slice(None), slice(None))
    for index in plan.grid.touching(region):
        place = replace(plan.grid.place(index), series=series)
        tiles = tuple(cut_tile(s, read, place, plan.footprint.padding) for s in sources)
        yield index, place, block.wanted(index) if block else whole, tiles


def _fill(
    work: Work, series: int, region: Region, sources: Sequence[Array], window: Window
) -> Array:
    plan = work.plan
    dtype = np.dtype(np.float32) if plan.output.stretch else plan.layout.dtype
    block = Block(region, plan.grid, plan.footprint, window, dtype, plan.output)
    for pieces in work.caller.run(tile_jobs(plan, block, region, sources, series)):
        for index, wanted, piece in pieces:
            block.add(index, wanted, piece)
        work.listen(StageAdvanced("restoring", len(pieces)))
        if work.stop.is_set():
            raise Interrupted(f"stopped; {len(work.ledger.entries)} units are written")
    return block.finish()


def _write(work: Work, one: Series, block: Region, values: Array) -> list[Entry]:
    entries = []
    for unit in work.plan.units(block):
        part = values[
            tuple(
                slice(u.start - b.start, u.stop - b.start) for u, b in zip(unit, block, strict=True)
            )
        ]
        checksum = work.store.write(
            unit, part, channel=one.output_channel, timepoint=one.output_timepoint
        )
        low, high = (
            (float(part.min()), float(part.max())) if work.stage == "scratch" else (0.0, 0.0)
        )
        stop = tuple(side.stop for side in unit)
        entries.append(
            Entry(
                work.stage,
                one.output_timepoint,
                one.output_channel,
                _start(unit),
                (stop[0], stop[1], stop[2]),
                checksum,
                low if math.isfinite(low) else 0.0,
                high if math.isfinite(high) else 0.0,
            )
        )
    return entries
