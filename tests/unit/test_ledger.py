"""The ledger: what it says is on disk is on disk, through kills, and belongs to this run."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vemctl.errors import OutputError, ResumeError
from vemctl.prediction.ledger import Entry, Ledger, read_rows
from vemctl.prediction.units import UnitGrid

IDENTITY: dict[str, Any] = {
    "method": "probe",
    "weights_sha256": "aa",
    "options": {"tiling": {"tile": [4, 16, 16], "batch": None}},
    "statistics": [{"max": 255.0}],
}


UNITS = UnitGrid((12, 16, 16), (4, 16, 16), 2, 2)


def begun(path: Path) -> Ledger:
    """Begin the ledger that lies at `path`."""
    return Ledger.create(path.parent, IDENTITY, UNITS)


def reopened(path: Path, identity: dict[str, Any] = IDENTITY, part: str | None = None) -> Ledger:
    """Continue the ledger that lies at `path`."""
    return Ledger.reopen(path.parent, identity, UNITS, part)


def entries(ledger: Ledger) -> list[Entry]:
    """List what a ledger notes."""
    return [entry for stage in ("final", "scratch") for entry in ledger.entries(stage)]


def entry(i: int, stage: str = "final", **changes: Any) -> Entry:
    """Return the entry of the unit that starts at plane `i`."""
    return Entry(stage, 0, 0, (i, 0, 0), (i + 4, 16, 16), f"sum{i}", **changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a ledger lies."""
    return tmp_path / "out.zarr.partial" / "ledger.jsonl"


def test_what_is_committed_is_there_after_reopening(path: Path) -> None:
    """Entries come back equal, with their tuples, floats and stages."""
    ledger = begun(path)
    committed = [entry(0), entry(4, "scratch", low=-0.1, high=1e-30), entry(0, "scratch")]
    ledger.commit(committed[:2])
    ledger.commit(iter(committed[2:]))
    assert entries(ledger) == committed
    assert entries(reopened(path)) == committed
    assert [ledger.count(stage) for stage in ("final", "scratch")] == [1, 2]


def test_a_unit_is_told_by_its_stage_series_and_start(path: Path) -> None:
    """The same place in another channel, time point or stage is another unit."""
    ledger = begun(path)
    for number, place in enumerate(itertools.product(("final", "scratch"), (0, 1), (0, 1), (0, 4))):
        stage, timepoint, channel, z = place
        assert not ledger.has(stage, timepoint, channel, (z, 0, 0))
        ledger.commit([Entry(stage, timepoint, channel, (z, 0, 0), (z + 4, 16, 16), "x")])
        assert ledger.has(stage, timepoint, channel, (z, 0, 0))
        assert ledger.count("final") + ledger.count("scratch") == number + 1


def test_a_unit_that_is_written_again_comes_with_either_checksum(path: Path) -> None:
    """Which of two processes was the last is not known; that the unit is there is."""
    ledger = begun(path)
    ledger.commit([entry(0)])
    ledger.commit([replace(entry(0), checksum="new")])
    again = reopened(path)
    assert {each.checksum for each in entries(again)} == {"sum0", "new"}
    assert again.count("final") == 1


def test_every_process_has_a_part_of_its_own(path: Path) -> None:
    """Parts are read together, wherever a unit was noted, and each is only written by its own."""
    begun(path).commit([entry(0)])
    one, other = (reopened(path, part=f"shard-{i}-of-2") for i in (1, 2))
    one.commit([entry(4)])
    assert not other.has("final", 0, 0, (4, 0, 0))
    other.commit([entry(8)])
    assert sorted(each.start[0] for each in entries(reopened(path))) == [0, 4, 8]
    assert {each.name for each in path.parent.iterdir()} == {
        "ledger.jsonl",
        "ledger-shard-1-of-2.jsonl",
        "ledger-shard-2-of-2.jsonl",
    }
    whole = reopened(path)
    whole.forget([entry(4), entry(8)])
    assert entries(reopened(path)) == [entry(0)]


def test_a_process_forgets_in_its_own_part_only(path: Path) -> None:
    """What another has noted stays there, but counts as missing here."""
    begun(path).commit([entry(0)])
    one = reopened(path, part="shard-1-of-2")
    one.commit([entry(4)])
    one.forget([entry(0), entry(4)], everywhere=False)
    assert one.count("final") == 0
    assert entries(reopened(path)) == [entry(0)]


def test_who_writes_and_what_failed_are_no_entries(path: Path) -> None:
    """They are rows of their own, with the time since the writer began beside each entry."""
    ledger = begun(path)
    ledger.sign({"name": "run", "host": "here"})
    ledger.commit([entry(0)], by="there:17")
    ledger.fail(0, 1, (4, 0, 0), (8, 16, 16), "the network returned nonsense")
    assert entries(reopened(path)) == [entry(0)]
    ((name, rows),) = read_rows(path.parent)
    assert name == "ledger.jsonl"
    _, writer, row, failed = rows
    assert writer == {"writer": {"name": "run", "host": "here"}}
    assert row["by"] == "there:17"
    assert 0 <= row["at"] < 60
    assert failed["failed"]["start"] == [4, 0, 0]
    assert failed["failed"]["reason"] == "the network returned nonsense"


def test_what_is_pending_is_listed_while_it_is_committed(path: Path) -> None:
    """Units of one stage that another stage lacks, with the volume's end minded."""
    units = UnitGrid((10, 16, 16), (4, 16, 16))
    ledger = Ledger.create(path.parent, IDENTITY, units)
    drafts = [Entry("scratch", 0, 0, (z, 0, 0), (min(z + 4, 10), 16, 16), "x") for z in (0, 4, 8)]
    ledger.commit(drafts)
    ledger.commit([replace(drafts[1], stage="final")])
    found = []
    for place in ledger.pending("final", after="scratch"):
        found.append(place)
        ledger.commit([Entry("final", *place, "y")])
    assert found == [(0, 0, (0, 0, 0), (4, 16, 16)), (0, 0, (8, 0, 0), (10, 16, 16))]
    assert list(ledger.pending("final", after="scratch")) == []


@given(st.data())
def test_units_are_counted_without_gaps(data: st.DataObject) -> None:
    """Number and place are each other's inverse, for all units of all series."""
    shape, unit = (
        data.draw(st.tuples(*[st.integers(1, n)] * 3), label=name)
        for name, n in (("shape", 9), ("unit", 5))
    )
    units = UnitGrid(shape, unit, 2, 3)
    covered = np.zeros((3, 2, *shape), int)
    for number in range(units.total):
        timepoint, channel, start, stop = units.place(number)
        assert units.number(timepoint, channel, start) == number
        z, y, x = (slice(a, b) for a, b in zip(start, stop, strict=True))
        covered[timepoint, channel, z, y, x] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize("place", [(0, 2, (0, 0, 0)), (0, 0, (2, 0, 0)), (0, 0, (12, 0, 0))])
def test_what_is_no_unit_has_no_number(place: Any) -> None:
    """Another channel, a start within a unit, or beyond the end."""
    with pytest.raises(ValueError, match="no unit"):
        UNITS.number(*place)


def test_a_line_that_was_cut_short_is_no_entry(path: Path) -> None:
    """Wherever a kill cuts the last line, the others stay and the ledger can go on."""
    ledger = begun(path)
    ledger.commit([entry(0)])
    kept = path.read_bytes()
    ledger.commit([entry(4)])
    full = path.read_bytes()
    for length in (*range(len(kept), len(full), 20), len(full) - 1):
        path.write_bytes(full[:length])
        again = reopened(path)
        assert [entry(0)] == entries(again)
        again.commit([entry(8)])
        assert [entry(0), entry(8)] == entries(reopened(path))


def test_a_run_that_was_killed_before_its_first_entry_can_go_on(path: Path) -> None:
    """A ledger of its first line alone is an empty one."""
    begun(path)
    assert entries(reopened(path)) == []


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
    begun(path).commit([entry(0)])
    before = path.read_bytes()
    with pytest.raises(ResumeError, match="cannot resume") as raised:
        reopened(path, IDENTITY | change)
    text = str(raised.value)
    assert all(words in text for words in named)
    assert "method" not in text.split("settings:")[1]
    assert "\n" not in text
    assert before == path.read_bytes()


def test_the_way_through_json_is_no_difference(path: Path) -> None:
    """Tuples and lists are the same run."""
    Ledger.create(path.parent, {"tile": (4, 16, 16)}, UNITS).commit([entry(0)])
    assert reopened(path, {"tile": [4, 16, 16]}).count("final") == 1


def test_what_is_forgotten_stays_forgotten(path: Path) -> None:
    """Struck out units are gone at once and after reopening; they can be committed again."""
    ledger = begun(path)
    ledger.commit([entry(0), entry(4), entry(8)])
    ledger.forget([entry(4)])
    assert [entry(0), entry(8)] == entries(ledger)
    again = reopened(path)
    assert entries(ledger) == entries(again)
    again.commit([entry(4)])
    assert reopened(path).count("final") == 3


def test_a_commit_is_on_the_disk_when_it_returns(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is synchronised after the entry was written, and the note in memory comes last."""
    ledger = begun(path)
    synchronised: list[tuple[bytes, int]] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synchronised.append((path.read_bytes(), ledger.count("final")))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    ledger.commit([entry(0), entry(4)])
    assert synchronised[-1] == (path.read_bytes(), 0)
    assert b"sum4" in synchronised[-1][0]
    assert ledger.count("final") == 2


def test_a_commit_only_appends(path: Path) -> None:
    """What was there is not written anew, so that a long run costs no more per unit."""
    ledger = begun(path)
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
        reopened(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("row", ['{"stage": "fi', "\0\0\0\0", '{"stage": "final"}'])
def test_a_damaged_row_is_no_entry_or_is_refused(path: Path, row: str) -> None:
    """A disk that was full in the middle of a line, and then had room again, is no bug of ours."""
    begun(path).commit([entry(0)])
    with path.open("a") as file:
        file.write(row + json.dumps(asdict(entry(4))) + "\n")
    try:
        found = entries(reopened(path))
    except ResumeError:
        return
    assert entry(0) in found


def test_a_folder_that_vanished_is_one_line(path: Path) -> None:
    """What the system says about writing becomes an OutputError."""
    ledger = begun(path)
    shutil.rmtree(path.parent)
    with pytest.raises(OutputError, match="cannot write"):
        ledger.commit([entry(0)])
    assert ledger.count("final") == 0
