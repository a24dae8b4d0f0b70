"""The store: whole or not there, one writer at a time, and records that outlive their files."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from vemctl.errors import Interrupted, WeightsError
from vemctl.weights.record import Record, check_name, read_record, stored_files
from vemctl.weights.store import STALE_SECONDS, Store


def keep(store: Store, files: dict[str, bytes], name: str = "probe/a") -> Record:
    """Put files into a store."""
    with store.filling() as folder:
        for file, content in files.items():
            (folder / file).write_bytes(content)
        record = Record(name, "published", stored_files(folder), "somewhere", "MIT", "today")
        store.keep(record, folder)
    return record


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store that is not there yet."""
    return Store(tmp_path / "cache")


def test_what_is_kept_is_found_with_its_record(store: Store) -> None:
    """Files of one name lie together, and nothing is left of the making."""
    record = keep(store, {"w.pth": b"w", "x.pth": b"x"})
    assert store.record("probe/a") == record
    assert store.records() == [record]
    assert store.holds(record)
    assert sorted(path.name for path in store.folder_of(record).iterdir()) == ["w.pth", "x.pth"]
    assert list(store.folder.rglob("*.partial")) == []


def test_a_newer_version_replaces_the_older_one(store: Store) -> None:
    """Under another folder, so that a reader of the older one is not confused."""
    older, newer = keep(store, {"w.pth": b"w"}), keep(store, {"w.pth": b"W"})
    assert store.folder_of(older) != store.folder_of(newer)
    assert not store.holds(older)
    assert store.record("probe/a") == newer


def test_a_record_outlives_its_files_unless_it_is_to_be_forgotten(store: Store) -> None:
    """So that what was fetched once stays pinned."""
    record = keep(store, {"w.pth": b"12345"})
    assert store.remove("probe/a", forget=False) == 5
    assert store.record("probe/a") == record
    assert not store.holds(record)
    assert store.remove("probe/a", forget=True) == 0
    assert store.record("probe/a") is None


def test_the_lock_lets_one_in_at_a_time_and_waiting_can_be_stopped(store: Store) -> None:
    """Who waits is told so."""
    told, stop = [], threading.Event()
    threading.Timer(0.5, stop.set).start()
    with store.locked("probe/a"):
        with store.locked("probe/b"):
            pass
        with pytest.raises(Interrupted), store.locked("probe/a", told.append, stop):
            raise AssertionError
    assert [event.text for event in told] == ["waiting for another process that fetches probe/a"]
    with store.locked("probe/a"):
        pass


def test_what_killed_processes_left_is_swept_after_a_week(store: Store) -> None:
    """What is younger may still be continued."""
    part = store.part_path("k", "w.pth")
    part.parent.mkdir(parents=True)
    young = store.part_path("young", "w.pth")
    folder = store.folder / "weights" / "0123.partial"
    (folder / "inner").mkdir(parents=True)
    for path in (part, young):
        path.write_bytes(b"half")
    old = time.time() - STALE_SECONDS - 60
    for path in (part, folder):
        os.utime(path, (old, old))
    store.sweep()
    assert not part.exists()
    assert not folder.exists()
    assert young.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../etc"},
        {"name": "probe"},
        {"kind": "odd"},
        {"files": []},
        {"files": [{"name": "../w", "sha256": "0" * 64, "num_bytes": 1}]},
        {"files": [{"name": "w", "sha256": "0", "num_bytes": 1}]},
        {"files": [{"name": "w", "sha256": "0" * 64, "num_bytes": "many"}]},
        {"files": 3},
        {"source": None, "files": None},
    ],
)
def test_a_record_that_is_damaged_or_leads_outside_is_refused(
    change: dict[str, object], store: Store
) -> None:
    """It may come out of an archive of somebody else's."""
    form = keep(store, {"w.pth": b"w"}).to_json()
    assert Record.from_json(json.loads(json.dumps(form)), "x") == store.record("probe/a")
    with pytest.raises(WeightsError, match="x: a damaged record of weights"):
        Record.from_json(form | change, "x")
    path = store.folder / "records" / "probe" / "a.json"
    path.write_text("{")
    with pytest.raises(WeightsError, match="damaged record"):
        read_record(path)


@pytest.mark.parametrize("name", ["a/b", "denoise/self-supervised", "pssr/em_1.0+x"])
def test_names_are_method_and_what(name: str) -> None:
    """As the catalogue has them."""
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "a", "a/", "/b", "a/b/c", "../b", "a/..", "a/.b", "a b/c", 3])
def test_other_names_are_refused(name: object) -> None:
    """Above all those that lead elsewhere."""
    with pytest.raises(WeightsError, match="expected METHOD/NAME"):
        check_name(name)
