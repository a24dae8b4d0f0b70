"""A journal: lines that are there once `append` has returned, and never torn."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from objects import (  # noqa: F401 - fixtures
    fresh_bucket,
    named_server,
    request_faults,
    running_server,
)

from vemctl import remote_journal
from vemctl.journal import Journal, journals
from vemctl.remote_path import as_path


@pytest.fixture(params=["disk", "bucket"])
def folder(request, tmp_path: Path) -> Path:
    """Return a place for journals, on this machine or in an object store."""
    return tmp_path if request.param == "disk" else as_path(request.getfixturevalue("bucket"))


def test_lines_come_back_in_order(folder: Path):
    """What several journals of one path append is read as one, umlauts too."""
    path = folder / "new" / "a.jsonl"
    assert not Journal(path).exists()
    with pytest.raises(FileNotFoundError):
        list(Journal(path).lines())
    Journal(path).append(["one", ""])
    Journal(path).append([])
    Journal(path).append(["drei µm"])
    assert Journal(path).exists()
    assert list(Journal(path).lines()) == ["one", "", "drei µm"]
    with pytest.raises(ValueError, match="without an end"):
        Journal(path).append(["a\nb"])


@pytest.mark.parametrize("torn", ["three", "x" * 200_000, ""])
def test_a_line_cut_short_is_none_and_swallows_none(tmp_path: Path, torn):
    """A crash in the middle of an append costs that line only."""
    path = tmp_path / "a.jsonl"
    Journal(path).append(["one", "two"])
    with path.open("a") as file:
        file.write(torn)
    assert list(Journal(path).lines()) == ["one", "two"]
    Journal(path).append(["four"])
    assert list(Journal(path).lines()) == ["one", "two", "four"]
    path.write_text(torn)
    Journal(path).append(["first"])
    assert list(Journal(path).lines()) == ["first"]


def test_a_damaged_line_is_still_a_line(tmp_path: Path):
    """Bytes that are no text are shown as such, for the reader to judge."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"one\n\xff\x00\ntwo\n")
    assert list(Journal(path).lines()) == ["one", "\ufffd\x00", "two"]


def test_rewriting_is_all_or_nothing(folder: Path):
    """Lines made from its own lines replace them; a failure half-way changes nothing."""
    path = folder / "a.jsonl"
    journal = Journal(path)
    journal.rewrite(["one", "two", "three"])
    journal.rewrite(line for line in journal.lines() if line != "two")
    assert list(journal.lines()) == ["one", "three"]

    def failing():
        yield "zero"
        raise KeyError

    with pytest.raises(KeyError):
        journal.rewrite(failing())
    assert list(journal.lines()) == ["one", "three"]
    assert [child.name for child in folder.iterdir()] == ["a.jsonl"]
    journal.append(["four"])
    journal.rewrite([])
    assert list(journal.lines()) == []
    journal.append(["five"])
    assert list(Journal(path).lines()) == ["five"]


def test_journals_are_listed_by_name(folder: Path):
    """Whatever else lies there, and if the folder is not there at all."""
    for name in ("ledger-2.jsonl", "ledger-10.jsonl", "ledger.jsonl"):
        Journal(folder / name).append(["x"])
    (folder / "ledger.jsonl.0123.partial").write_text("x\n")
    assert [path.name for path in journals(folder, "ledger*.jsonl")] == [
        "ledger-10.jsonl",
        "ledger-2.jsonl",
        "ledger.jsonl",
    ]
    assert journals(folder / "nothing", "*") == []


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_writers_lose_nothing_that_was_promised(tmp_path: Path):
    """After kill -9 every line whose append returned is there, whole and once."""
    path = tmp_path / "a.jsonl"
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from vemctl.journal import Journal\n"
        "journal, start = Journal(Path(sys.argv[1])), int(sys.argv[2])\n"
        "for number in range(start, start + 10**6):\n"
        "    journal.append([f'{number}:' + 'x' * 5000])\n"
        "    print(number, flush=True)\n"
    )
    promised = -1
    for wait in (0.03, 0.05, 0.08):
        before = promised
        writer = subprocess.Popen(
            [sys.executable, "-c", script, path, str(promised + 2)], stdout=subprocess.PIPE
        )
        with writer:
            assert writer.stdout is not None
            told = writer.stdout.readline()
            time.sleep(wait)
            writer.send_signal(signal.SIGKILL)
            told += writer.stdout.read()
        promised = int(told[: told.rfind(b"\n")].split()[-1])
        numbers = [int(line.partition(":")[0]) for line in Journal(path).lines()]
        assert numbers == sorted(set(numbers))
        assert set(range(before + 2, promised + 1)) <= set(numbers)
        promised = numbers[-1]


def test_many_appends_become_few_objects(bucket, faults, monkeypatch):
    """Merging moves a line twice at most, and what is read stays the same."""
    monkeypatch.setattr(remote_journal, "MERGED", 4)
    path = as_path(bucket) / "a.jsonl"
    journal = Journal(path)
    journal.rewrite(["head"])
    expected = ["head"]
    for number in range(41):
        journal.append([f"{number}", "more"])
        expected += [f"{number}", "more"]
        assert len(list(path.iterdir())) <= 1 + 41 // 16 + 3 + 3
    assert list(journal.lines()) == list(Journal(path).lines()) == expected
    sent = faults.count("PUT", "a.jsonl")
    assert sent == 1 + 41 + 41 // 4 + 41 // 16
    again = Journal(path)
    again.append(["last"])
    assert list(journal.lines()) == [*expected, "last"]
    journal.rewrite(line for line in journal.lines() if line != "more")
    assert list(again.lines()) == ["head", *map(str, range(41)), "last"]
    assert len(list(path.iterdir())) == 1


class Stopped(BaseException):
    """As if the process was killed."""


@pytest.mark.parametrize("step", ["_put", "_delete"])
@pytest.mark.parametrize("after", range(3))
def test_a_merge_or_rewrite_that_is_stopped_loses_nothing(bucket, monkeypatch, step, after):
    """Stopped before any request, all lines are there, those of a rewrite once."""
    monkeypatch.setattr(remote_journal, "MERGED", 3)
    path = as_path(bucket) / "a.jsonl"
    real, left = getattr(remote_journal.RemoteLines, step), [after]

    def stopping(*arguments):
        if left[0] == 0:
            raise Stopped
        left[0] -= 1
        return real(*arguments)

    promised, journal = [], Journal(path)
    journal.rewrite(["head", "old"])
    with monkeypatch.context() as patch:
        patch.setattr(remote_journal.RemoteLines, step, stopping)
        with pytest.raises(Stopped):  # noqa: PT012
            for number in range(12):
                journal.append([str(number)])
                promised.append(str(number))
    journal = Journal(path)
    found = list(journal.lines())
    assert found[:2] == ["head", "old"]
    assert set(promised) <= set(found[2:]) <= {*promised, str(len(promised))}
    assert sorted(set(found[2:]), key=found.index) == sorted(set(found[2:]), key=int)
    left[0] = 0
    with monkeypatch.context() as patch:
        patch.setattr(remote_journal.RemoteLines, step, stopping)
        with pytest.raises(Stopped):
            journal.rewrite(["head", "new"])
    kept = ["head", "new"] if step == "_delete" else found
    assert list(Journal(path).lines()) == kept
    for number in range(12):
        Journal(path).append([str(number)])
    assert set(Journal(path).lines()) == {*kept, *map(str, range(12))}


def test_a_reader_goes_on_while_objects_are_merged(bucket, monkeypatch):
    """What is appended or rewritten meanwhile takes no line from a reader."""
    monkeypatch.setattr(remote_journal, "MERGED", 4)
    monkeypatch.setattr(remote_journal, "FETCHED_AT_ONCE", 1)
    path = as_path(bucket) / "a.jsonl"
    journal = Journal(path)
    journal.rewrite(["head"])
    for number in range(7):
        journal.append([str(number)])
    reader = Journal(path).lines()
    found = [next(reader) for _ in range(3)]
    for number in range(7, 12):
        journal.append([str(number)])
    found += reader
    assert found[0] == "head"
    assert found.count("head") == 1
    assert set(found) >= {"head", *map(str, range(7))}


def test_appends_that_fail_for_a_moment_are_there_once(bucket, faults):
    """Repeated requests make no second line."""
    journal = Journal(as_path(bucket) / "a.jsonl")
    journal.rewrite(["head"])
    faults.add(503, 2, method="PUT")
    journal.append(["one"])
    faults.add(500, 1, method="PUT")
    journal.append(["two"])
    faults.add("cut", 1, method="GET")
    assert list(journal.lines()) == ["head", "one", "two"]
    faults.add(503, 1000, method="PUT")
    with pytest.raises(OSError, match="503"):
        journal.append(["three"])
    faults.clear()
    journal.append(["four"])
    assert list(Journal(journal.path).lines()) == ["head", "one", "two", "four"]
