"""Which units of an output are written, so that a killed run continues where it stopped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vemctl.durable import output_errors, sync_file, write_whole
from vemctl.errors import ResumeError

VERSION = 1


@dataclass(frozen=True)
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
    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    checksum: str
    low: float = 0.0
    high: float = 0.0

    @property
    def key(self) -> tuple[Any, ...]:
        """What identifies the unit."""
        return self.stage, self.timepoint, self.channel, self.start


class Ledger:
    """An append-only file of entries, whose first line says what run they belong to.

    Parameters
    ----------
    path : Path
    identity : mapping
        JSON types: everything on which the output's bytes depend.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self._path = path
        self._identity = json.loads(json.dumps(identity))
        self.entries: dict[tuple[Any, ...], Entry] = {}

    @classmethod
    def create(cls, path: Path, identity: Mapping[str, Any]) -> Ledger:
        """Begin a ledger at `path`."""
        ledger = cls(path, identity)
        head = {"ledger": VERSION, "identity": ledger._identity}
        with output_errors(path):
            write_whole(path, (json.dumps(head) + "\n").encode())
        return ledger

    @classmethod
    def reopen(cls, path: Path, identity: Mapping[str, Any]) -> Ledger:
        """Continue the ledger at `path`.

        Raises
        ------
        ResumeError
            It belongs to a run with other options, weights or input, or cannot be read.
        """
        ledger = cls(path, identity)
        try:
            text = path.read_text()
            head, *rows = text[: text.rfind("\n") + 1].splitlines()
            stored = json.loads(head)
            known = {"ledger": stored["ledger"], **stored["identity"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResumeError(
                f"{path.parent}: no run to resume there ({error}); remove the folder or use "
                f"--overwrite, and start without --resume"
            ) from error
        changed = differences(known, {"ledger": VERSION, **ledger._identity})
        if changed:
            raise ResumeError(
                f"{path.parent}: cannot resume, the run was started with other settings: "
                f"{'; '.join(changed)}. Use the same, or --overwrite to start anew"
            )
        # A line cut short by a kill is no entry.
        with output_errors(path):
            write_whole(path, ("\n".join([head, *rows]) + "\n").encode())
        for row in rows:
            entry = _entry(row)
            if entry:
                ledger.entries[entry.key] = entry
        return ledger

    def commit(self, entries: Iterable[Entry]) -> None:
        """Note units whose files are on disk; returns when the note is on disk too."""
        entries = list(entries)
        with output_errors(self._path):
            with self._path.open("a") as file:
                file.writelines(json.dumps(entry.__dict__) + "\n" for entry in entries)
            sync_file(self._path)
        self.entries.update((entry.key, entry) for entry in entries)

    def forget(self, torn: Iterable[Entry]) -> None:
        """Strike out units whose files turned out to be damaged."""
        for entry in torn:
            del self.entries[entry.key]
        head = {"ledger": VERSION, "identity": self._identity}
        lines = [json.dumps(head), *(json.dumps(e.__dict__) for e in self.entries.values())]
        with output_errors(self._path):
            write_whole(self._path, ("\n".join(lines) + "\n").encode())


def _entry(row: str) -> Entry | None:
    """Return what a line notes; None for a damaged one, whose unit is then restored again."""
    try:
        facts = json.loads(row)
        facts["start"], facts["stop"] = tuple(facts["start"]), tuple(facts["stop"])
        return Entry(**facts)
    except (ValueError, KeyError, TypeError):
        return None


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Return what differs between two trees of JSON types, as ``"key: old -> new"``."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            text
            for key in {**old, **new}
            for text in differences(old.get(key), new.get(key), f"{where}.{key}" if where else key)
        ]
    return [] if old == new else [f"{where} was {old!r}, now {new!r}"]
