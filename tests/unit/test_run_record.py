"""What a run took is told beside its output, and changes nothing of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vemctl.events import Noted
from vemctl.volumes.open import open_volume
from vemctl.volumes.provenance import read_provenance
from vemctl.volumes.sidecar import sidecar_path
from vemctl.workflows.demo import write_array
from vemctl.workflows.run_record import RECORD, note_run, peak_memory_bytes, read_record

VALUES = np.arange(64, dtype=np.uint8).reshape(4, 4, 4)
FACTS = {"resumed": False, "network_seconds": 1.5, "batch": 1, "plan": {"tiles": 3}}


@pytest.mark.parametrize("name", ["v.zarr", "v.tif"])
def test_a_record_is_written_and_read(tmp_path: Path, name):
    """The volume, its place and its provenance stay as they were."""
    path = tmp_path / name
    write_array(path, VALUES, (3.0, 2.0, 2.0))
    assert read_record(path) is None
    before = read_provenance(path)
    note_run(path, "cpu", FACTS, 12.345, lambda _: None)
    found = read_record(path)
    assert found is not None
    assert found["seconds"] == 12.35 or found["seconds"] == 12.34
    assert found["plan"] == {"tiles": 3}
    assert found["device_name"] == "cpu"
    assert found["peak_device_memory_bytes"] is None
    assert found["peak_memory_bytes"] > 2**20
    assert found["began"].endswith("Z")
    assert read_provenance(path) == before
    volume = open_volume(path)
    assert volume.header.voxel_size == (3.0, 2.0, 2.0)
    assert np.array_equal(volume.read((slice(0, 4),) * 3), VALUES)


def test_what_cannot_be_recorded_is_a_warning(tmp_path: Path, monkeypatch):
    """The output is finished; a full disk does not take it back."""
    path = tmp_path / "v.zarr"
    write_array(path, VALUES, (3.0, 2.0, 2.0))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vemctl.workflows.run_record.write_json", full)
    told: list[Noted] = []
    note_run(path, "cpu", FACTS, 1.0, told.append)
    assert "No space left" in told[0].text
    assert told[0].level == "warning"
    assert read_record(path) is None


def test_a_damaged_record_is_none(tmp_path: Path):
    """It is not worth an error."""
    path = tmp_path / "v.zarr"
    write_array(path, VALUES, (3.0, 2.0, 2.0))
    (path / RECORD).write_text("{")
    assert read_record(path) is None
    (path / RECORD).write_text("[]")
    assert read_record(path) is None


def test_the_sidecar_of_a_file_keeps_what_it_says(tmp_path: Path):
    """The record is one key more."""
    path = tmp_path / "v.npy"
    write_array(path, VALUES, (3.0, 2.0, 2.0))
    before = json.loads(sidecar_path(path).read_bytes())
    note_run(path, "cpu", FACTS, 1.0, lambda _: None)
    after = json.loads(sidecar_path(path).read_bytes())
    assert {key: after[key] for key in before} == before
    assert set(after) - set(before) == {"run"}


def test_memory_is_counted():
    """Bytes of this process, of which NumPy alone takes megabytes."""
    peak = peak_memory_bytes()
    assert peak is None or 2**24 < peak < 2**42
