"""Which units of an output are written, so that a killed run continues where it stopped.

The ledger lies beside the unfinished output: ``ledger.jsonl``, whose first line says what run it
belongs to, and a part ``ledger-NAME.jsonl`` for each further process that writes by itself. Each
file has one writer; whoever wants to know reads them all.
"""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.durable import output_errors
from vemctl.errors import ResumeError
from vemctl.journal import Journal, journals
from vemctl.plugin import Triple
from vemctl.prediction.units import UnitGrid

VERSION = 2
NAME = "ledger.jsonl"
PARTS = "ledger*.jsonl"
STAGES = ("final", "scratch")


@dataclass(frozen=True, slots=True)
class Entry:
    """One unit that is safely on disk.

    Attributes
    ----------
    stage : {"final", "scratch"}
    timepoint, channel : int
        Of the output.
    start, stop : (z, y, x)
        Output voxels.
    checksum : str
        Of the files that hold the unit.
    low, high : float
        Smallest and largest value; only in stage "scratch", else 0.
    """

    stage: str
    timepoint: int
    channel: int
    start: Triple
    stop: Triple
    checksum: str
    low: float = 0.0
    high: float = 0.0


FIELDS = tuple(each.name for each in fields(Entry))


class Ledger:
    """What is written of an output, and the part of it that this process goes on with.

    A bit per unit is held in memory; the entries are read from the disk when they are wanted.

    Parameters
    ----------
    folder : Path
        Of the unfinished output.
    identity : mapping
        JSON types: everything on which the output's bytes depend.
    units : UnitGrid
    part : str, optional
        Name of the part that is this process' own; None for the file with the first line.
    """

    def __init__(
        self, folder: Path, identity: Mapping[str, Any], units: UnitGrid, part: str | None = None
    ) -> None:
        self.folder = folder
        self.units = units
        self._identity = json.loads(json.dumps(identity))
        self._own = Journal(folder / (f"ledger-{part}.jsonl" if part else NAME))
        self._done = {stage: bytearray(units.total) for stage in STAGES}
        self._began = time.monotonic()
        self._begun = False

    @classmethod
    def create(cls, folder: Path, identity: Mapping[str, Any], units: UnitGrid) -> Ledger:
        """Begin the ledger of an output."""
        ledger = cls(folder, identity, units)
        with output_errors(folder):
            ledger._own.rewrite([ledger._head()])
        ledger._begun = True
        return ledger

    @classmethod
    def reopen(
        cls, folder: Path, identity: Mapping[str, Any], units: UnitGrid, part: str | None = None
    ) -> Ledger:
        """Continue the ledger in `folder`, perhaps with a part of its own.

        Raises
        ------
        ResumeError
            It belongs to a run with other options, weights or input, or cannot be read.
        """
        ledger = cls(folder, identity, units, part)
        known = read_identity(folder)
        ledger._begun = ledger._own.exists()
        if known.get("ledger") != VERSION:
            raise ResumeError(
                f"{folder}: begun by another version of vemctl (ledger {known.get('ledger')}, "
                f"expected {VERSION}); finish it with that, or start anew with --overwrite"
            )
        changed = differences(known, ledger._identity | {"ledger": VERSION})
        if changed:
            anew = f"remove {folder}" if part else "--overwrite"
            raise ResumeError(
                f"{folder}: cannot resume, the run was started with other settings: "
                f"{'; '.join(changed)}. Use the same, or {anew} to start anew"
            )
        for entry in read_entries(folder):
            if (number := ledger._number(entry)) is not None:
                ledger._done[entry.stage][number] = 1
        return ledger

    def count(self, stage: str) -> int:
        """Return how many units are written."""
        return sum(self._done[stage])

    def done(self, stage: str) -> npt.NDArray[np.uint8]:
        """Return of every unit whether it is written, one or zero."""
        return np.frombuffer(self._done[stage], np.uint8)

    def has(self, stage: str, timepoint: int, channel: int, start: Triple) -> bool:
        """Return whether the unit that begins at `start` is written."""
        return bool(self._done[stage][self.units.number(timepoint, channel, start)])

    def pending(self, stage: str, after: str) -> Iterator[tuple[int, int, Triple, Triple]]:
        """Yield the units that are written in stage `after` and not yet in `stage`.

        They come as `UnitGrid.place` returns them, and may be committed meanwhile.
        """
        for number in range(self.units.total):
            if self._done[after][number] and not self._done[stage][number]:
                yield self.units.place(number)

    def entries(self, stage: str) -> Iterator[Entry]:
        """Yield what is noted, from the disk.

        A unit that two processes have written, one after the other, comes twice.
        """
        for entry in read_entries(self.folder):
            number = self._number(entry)
            if entry.stage == stage and number is not None and self._done[stage][number]:
                yield entry

    def sign(self, writer: Mapping[str, Any]) -> None:
        """Note who goes on writing from here, as JSON types."""
        self._append([{"writer": dict(writer)}])
        self._began = time.monotonic()

    def commit(self, entries: Iterable[Entry], by: str | None = None) -> None:
        """Note units whose files are on disk; returns when the note is on disk too.

        Parameters
        ----------
        entries : iterable of Entry
        by : str, optional
            The worker that restored them, where it is not this process.
        """
        entries = list(entries)
        facts = {"at": round(time.monotonic() - self._began, 3)} | ({"by": by} if by else {})
        self._append([asdict(entry) | facts for entry in entries])
        for entry in entries:
            number = self.units.number(entry.timepoint, entry.channel, entry.start)
            self._done[entry.stage][number] = 1

    def fail(self, timepoint: int, channel: int, start: Triple, stop: Triple, reason: str) -> None:
        """Note that a block could not be restored, for whoever asks how the run is going."""
        place = {"timepoint": timepoint, "channel": channel, "start": start, "stop": stop}
        self._append([{"failed": place | {"reason": reason}}])

    def forget(self, torn: Collection[Entry], *, everywhere: bool = True) -> None:
        """Strike out units whose files turned out to be damaged.

        Parameters
        ----------
        torn : collection of Entry
        everywhere : bool
            In the files of all processes, none of which may be at work; else in the own one only,
            and the units count as missing for this process.
        """
        gone = {(e.stage, e.timepoint, e.channel, e.start) for e in torn}
        if not gone:
            return
        for journal in _journals(self.folder) if everywhere else [self._own]:
            with output_errors(journal.path):
                if journal.exists():
                    journal.rewrite([line for line in journal.lines() if _key(line) not in gone])
        for entry in torn:
            number = self.units.number(entry.timepoint, entry.channel, entry.start)
            self._done[entry.stage][number] = 0

    def _number(self, entry: Entry) -> int | None:
        try:
            return self.units.number(entry.timepoint, entry.channel, entry.start)
        except ValueError:
            return None

    def _head(self) -> str:
        return json.dumps({"ledger": VERSION, "identity": self._identity})

    def _append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        lines = [json.dumps(row) for row in rows]
        if lines:
            with output_errors(self._own.path):
                if self._begun and not self._own.exists():
                    raise FileNotFoundError(errno.ENOENT, "it was removed", str(self._own.path))
                self._own.append(lines)
                self._begun = True


def read_identity(folder: Path) -> dict[str, Any]:
    """Return what the ledger in `folder` belongs to.

    Raises
    ------
    ResumeError
        There is none, or its first line is damaged.
    """
    try:
        head = json.loads(next(Journal(folder / NAME).lines()))
        identity: dict[str, Any] = {**head["identity"], "ledger": head["ledger"]}
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise ResumeError(
            f"{folder}: no run to resume there ({error or 'its ledger is empty'}); remove the "
            f"folder or use --overwrite, and start without --resume"
        ) from error
    return identity


def read_entries(folder: Path) -> Iterator[Entry]:
    """Yield the entries of all processes; damaged lines are no entries."""
    for journal in _journals(folder):
        for line in journal.lines():
            entry = as_entry(_row(line))
            if entry:
                yield entry


def read_rows(folder: Path) -> Iterator[tuple[str, Iterator[dict[str, Any]]]]:
    """Yield each process' file by its name, and with it its rows in their order."""
    for journal in _journals(folder):
        yield journal.path.name, (_row(line) for line in journal.lines())


def as_entry(row: Mapping[str, Any]) -> Entry | None:
    """Return what a row notes; None if it is none of a unit."""
    try:
        facts = {name: row[name] for name in FIELDS}
        for name in ("start", "stop"):
            z, y, x = facts[name]
            facts[name] = (int(z), int(y), int(x))
        return Entry(**facts) if facts["stage"] in STAGES else None
    except (ValueError, KeyError, TypeError):
        return None


def _journals(folder: Path) -> list[Journal]:
    return [Journal(path) for path in journals(folder, PARTS)]


def _row(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def _key(line: str) -> tuple[str, int, int, Triple] | None:
    entry = as_entry(_row(line))
    return (entry.stage, entry.timepoint, entry.channel, entry.start) if entry else None


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Return what differs between two trees of JSON types, as ``"key: old -> new"``."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            text
            for key in {**old, **new}
            for text in differences(old.get(key), new.get(key), f"{where}.{key}" if where else key)
        ]
    return [] if old == new else [f"{where} was {old!r}, now {new!r}"]
