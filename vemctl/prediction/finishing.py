"""What follows the blocks: checksums are looked at again, and ranges are stretched."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vemctl.errors import Interrupted
from vemctl.events import Listener, StageAdvanced, StageFinished, StageStarted
from vemctl.plugin import Output
from vemctl.prediction.blocks import Store
from vemctl.prediction.ledger import Entry, Ledger
from vemctl.prediction.units import UnitGrid
from vemctl.tiles.blend import to_dtype
from vemctl.tiles.grid import Region


def stretch(
    ledger: Ledger,
    draft: Store,
    final: Store,
    output: Output,
    dtype: np.dtype[Any],
    listen: Listener,
    stop: threading.Event,
) -> None:
    """Map the draft's ranges to the output type's range and write it to `final`.

    Parameters
    ----------
    ledger : Ledger
        The draft's smallest and largest values come from it.
    draft : Store
        Of float32.
    final : Store
    output : Output
        Says over what a range is taken.
    dtype : numpy.dtype
        Of `final`.
    listen : Listener
    stop : threading.Event

    Raises
    ------
    Interrupted
        `stop` was set; what is stretched is noted.
    """
    ranges: dict[Any, tuple[float, float]] = {}
    for entry in ledger.entries("scratch"):
        low, high = ranges.get(_range_of(entry, output), (math.inf, -math.inf))
        ranges[_range_of(entry, output)] = min(low, entry.low), max(high, entry.high)
    top = float(np.iinfo(dtype).max) if dtype.kind != "f" else 1.0
    scaled = replace(output, unit_range=False)  # as the factor does it
    began = time.monotonic()
    listen(StageStarted("stretching", ledger.count("scratch") - ledger.count("final"), "units"))
    for timepoint, channel, start, end in ledger.pending("final", after="scratch"):
        if stop.is_set():
            raise Interrupted("stopped while stretching the result")
        entry = Entry("final", timepoint, channel, start, end, "")
        low, high = ranges[_range_of(entry, output)]
        factor = top / (high - low) if high > low else 0.0
        region, where = _place(entry)
        values = (draft.read(region, **where).astype(np.float64) - low) * factor
        checksum = final.write(region, to_dtype(values, dtype, scaled), **where)
        ledger.commit([replace(entry, checksum=checksum)])
        listen(StageAdvanced("stretching"))
    listen(StageFinished("stretching", time.monotonic() - began))


def _range_of(draft: Entry, output: Output) -> tuple[int, ...]:
    """Return by what the drafts that share a range are known."""
    if output.stretch == "series":
        return draft.channel, draft.timepoint
    return (draft.channel,) if output.stretch == "channel" else ()


def _place(entry: Entry) -> tuple[Region, dict[str, int]]:
    z, y, x = (slice(*ends) for ends in zip(entry.start, entry.stop, strict=True))
    return (z, y, x), {"channel": entry.channel, "timepoint": entry.timepoint}


@dataclass(frozen=True)
class Torn:
    """A unit whose files are not what the ledger says.

    Attributes
    ----------
    entry : Entry
    gone : bool
        Missing; else other bytes.
    """

    entry: Entry
    gone: bool


def find_torn(
    entries: Iterator[Entry],
    count: int,
    units: UnitGrid,
    store: Store,
    listen: Listener,
    stop: threading.Event,
) -> list[Torn]:
    """Return the units whose files are not what is noted; looks only.

    Parameters
    ----------
    entries : iterator of Entry
        Where a unit comes twice, either may be right.
    count : int
        How many units there are, for the progress.
    units : UnitGrid
    store : Store
    listen : Listener
    stop : threading.Event

    Raises
    ------
    Interrupted
        `stop` was set.
    """
    began = time.monotonic()
    listen(StageStarted("verifying", count, "units"))
    torn: dict[int, Torn] = {}
    seen, sound = bytearray(units.total), bytearray(units.total)
    for entry in entries:
        if stop.is_set():
            raise Interrupted("stopped while verifying what is written")
        number = units.number(entry.timepoint, entry.channel, entry.start)
        region, where = _place(entry)
        found = store.checksum(region, **where)
        if found == entry.checksum:
            torn.pop(number, None)
            sound[number] = 1
        elif not sound[number]:
            torn[number] = Torn(entry, found is None)
        if not seen[number]:
            seen[number] = 1
            listen(StageAdvanced("verifying"))
    listen(StageFinished("verifying", time.monotonic() - began))
    return list(torn.values())


def verify(
    ledger: Ledger,
    stage: str,
    store: Store,
    listen: Listener,
    stop: threading.Event,
    *,
    only: Callable[[Entry], bool] | None = None,
    everywhere: bool = True,
) -> int:
    """Strike out of the ledger the units of a stage whose files are torn; return how many.

    Parameters
    ----------
    ledger : Ledger
    stage : {"final", "scratch"}
    store : Store
        Of that stage.
    listen : Listener
    stop : threading.Event
    only : callable, optional
        Tells whether a unit is this process' own; all are by default.
    everywhere : bool
        See `Ledger.forget`.
    """
    if only is None:
        entries, count = ledger.entries(stage), ledger.count(stage)
    else:
        entries = (entry for entry in ledger.entries(stage) if only(entry))
        count = sum(1 for entry in ledger.entries(stage) if only(entry))
    torn = find_torn(entries, count, ledger.units, store, listen, stop)
    ledger.forget([each.entry for each in torn], everywhere=everywhere)
    return len(torn)
