"""The ledger: what it says is on disk is on disk, through kills, and belongs to this run."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from vemctl.errors import OutputError, ResumeError
from vemctl.prediction.ledger import Entry, Ledger

IDENTITY: dict[str, Any] = {
    "method": "probe",
    "weights_sha256": "aa",
    "options": {"tiling": {"tile": [4, 16, 16], "batch": None}},
    "statistics": [{"max": 255.0}],
}


def entry(i: int, stage: str = "final", **changes: Any) -> Entry:
    """Return the entry of the unit that starts at plane `i`."""
    return Entry(stage, 0, 0, (i, 0, 0), (i + 4, 16, 16), f"sum{i}", **changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a ledger lies."""
    return tmp_path / "out.zarr.partial" / "ledger.jsonl"


def test_what_is_committed_is_there_after_reopening(path: Path) -> None:
    """Entries come back equal, with their tuples, floats and stages."""
    ledger = Ledger.create(path, IDENTITY)
    entries = [entry(0), entry(4, "scratch", low=-0.1, high=1e-30), entry(0, "scratch")]
    ledger.commit(entries[:2])
    ledger.commit(iter(entries[2:]))
    assert entries == list(ledger.entries.values())
    assert ledger.entries == Ledger.reopen(path, IDENTITY).entries


def test_a_unit_is_told_by_its_stage_series_and_start() -> None:
    """The same place in another channel, time point or stage is another unit."""
    keys = {
        Entry(stage, t, c, (z, 0, 0), (9, 9, 9), "x").key
        for stage in ("final", "scratch")
        for t in (0, 1)
        for c in (0, 1)
        for z in (0, 4)
    }
    assert len(keys) == 16


def test_a_later_entry_of_a_unit_counts(path: Path) -> None:
    """A unit that is written again has its new checksum."""
    ledger = Ledger.create(path, IDENTITY)
    again = Entry("final", 0, 0, (0, 0, 0), (4, 16, 16), "new")
    ledger.commit([entry(0)])
    ledger.commit([again])
    assert [again] == list(Ledger.reopen(path, IDENTITY).entries.values())


def test_a_line_that_was_cut_short_is_no_entry(path: Path) -> None:
    """Wherever a kill cuts the last line, the others stay and the ledger can go on."""
    ledger = Ledger.create(path, IDENTITY)
    ledger.commit([entry(0)])
    kept = path.read_bytes()
    ledger.commit([entry(4)])
    full = path.read_bytes()
    for length in (*range(len(kept), len(full), 20), len(full) - 1):
        path.write_bytes(full[:length])
        again = Ledger.reopen(path, IDENTITY)
        assert [entry(0)] == list(again.entries.values())
        again.commit([entry(8)])
        assert [entry(0), entry(8)] == list(Ledger.reopen(path, IDENTITY).entries.values())


def test_a_run_that_was_killed_before_its_first_entry_can_go_on(path: Path) -> None:
    """A ledger of its first line alone is an empty one."""
    Ledger.create(path, IDENTITY)
    assert Ledger.reopen(path, IDENTITY).entries == {}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"weights_sha256": "bb"}, ["weights_sha256 was 'aa', now 'bb'"]),
        ({"weights_sha256": None}, ["weights_sha256 was 'aa', now None"]),
        (
            {"options": {"tiling": {"tile": [4, 32, 32], "batch": 2}}},
            [
                "options.tiling.tile was [4, 16, 16], now [4, 32, 32]",
                "options.tiling.batch was None",
            ],
        ),
        ({"input": "other"}, ["input was None, now 'other'"]),
        ({"statistics": [{"max": 254.0}]}, ["statistics was", "254.0"]),
    ],
)
def test_another_run_is_refused_and_the_difference_named(
    path: Path, change: dict[str, Any], named: list[str]
) -> None:
    """One line says what was, and what is now; the ledger stays as it is."""
    Ledger.create(path, IDENTITY).commit([entry(0)])
    before = path.read_bytes()
    with pytest.raises(ResumeError, match="cannot resume") as raised:
        Ledger.reopen(path, IDENTITY | change)
    text = str(raised.value)
    assert all(words in text for words in named)
    assert "method" not in text.split("settings:")[1]
    assert "\n" not in text
    assert before == path.read_bytes()


def test_the_way_through_json_is_no_difference(path: Path) -> None:
    """Tuples and lists are the same run."""
    Ledger.create(path, {"tile": (4, 16, 16)}).commit([entry(0)])
    assert len(Ledger.reopen(path, {"tile": [4, 16, 16]}).entries) == 1


def test_what_is_forgotten_stays_forgotten(path: Path) -> None:
    """Struck out units are gone at once and after reopening; they can be committed again."""
    ledger = Ledger.create(path, IDENTITY)
    ledger.commit([entry(0), entry(4), entry(8)])
    ledger.forget([entry(4)])
    assert [entry(0), entry(8)] == list(ledger.entries.values())
    again = Ledger.reopen(path, IDENTITY)
    assert ledger.entries == again.entries
    again.commit([entry(4)])
    assert len(Ledger.reopen(path, IDENTITY).entries) == 3


def test_a_commit_is_on_the_disk_when_it_returns(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is synchronised after the entry was written, and the note in memory comes last."""
    ledger = Ledger.create(path, IDENTITY)
    synchronised: list[tuple[bytes, int]] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synchronised.append((path.read_bytes(), len(ledger.entries)))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    ledger.commit([entry(0), entry(4)])
    assert synchronised[-1] == (path.read_bytes(), 0)
    assert b"sum4" in synchronised[-1][0]
    assert len(ledger.entries) == 2


def test_a_commit_only_appends(path: Path) -> None:
    """What was there is not written anew, so that a long run costs no more per unit."""
    ledger = Ledger.create(path, IDENTITY)
    ledger.commit([entry(0)])
    before = path.read_bytes()
    ledger.commit([entry(4)])
    assert path.read_bytes().startswith(before)
    ledger.commit([])
    assert path.read_bytes().count(b"\n") == 3


@pytest.mark.parametrize(
    "content",
    [None, b"", b"{", b"[]\n", b"\xff\xfe\n", b'{"ledger": 1}\n', b"null\n", b"no ledger\n"],
)
def test_what_is_no_ledger_is_refused(path: Path, content: bytes | None) -> None:
    """Missing, empty, cut in the first line or something else: one line with the cure."""
    if content is not None:
        path.parent.mkdir()
        path.write_bytes(content)
    with pytest.raises(ResumeError, match=r"no run to resume there.*--overwrite") as raised:
        Ledger.reopen(path, IDENTITY)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("row", ['{"stage": "fi', "\0\0\0\0", '{"stage": "final"}'])
def test_a_damaged_row_is_no_entry_or_is_refused(path: Path, row: str) -> None:
    """A disk that was full in the middle of a line, and then had room again, is no bug of ours."""
    Ledger.create(path, IDENTITY).commit([entry(0)])
    with path.open("a") as file:
        file.write(row + json.dumps(entry(4).__dict__) + "\n")
    try:
        entries = Ledger.reopen(path, IDENTITY).entries
    except ResumeError:
        return
    assert entry(0).key in entries


def test_a_folder_that_vanished_is_one_line(path: Path) -> None:
    """What the system says about writing becomes an OutputError."""
    ledger = Ledger.create(path, IDENTITY)
    shutil.rmtree(path.parent)
    with pytest.raises(OutputError, match="cannot write"):
        ledger.commit([entry(0)])
    assert ledger.entries == {}
