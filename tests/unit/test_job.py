"""What an output is: begun, finished, or none of ours."""

from __future__ import annotations

import errno
import json
import threading
from pathlib import Path

import numpy as np
import pytest

from vemctl.errors import InputError, ResumeError
from vemctl.events import Event
from vemctl.prediction.blocks import patiently
from vemctl.workflows.job import Job, is_begun, read_job


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Return the name of an output."""
    return tmp_path / "out.zarr"


def job(**changes: object) -> Job:
    """Return a job of two channels in blocks of two units."""
    layout = {
        "axes": "czyx", "shape": [4, 8, 8], "num_channels": 2, "num_timepoints": None,
        "dtype": "uint8", "voxel_size": None, "translation": None, "chunk_shape": [4, 4, 4],
        "shard_shape": [4, 4, 4], "ome_zarr": "0.5",
    }  # fmt: skip
    facts = {
        "request": {}, "identity": {"method": "probe"}, "provenance": {}, "plan": {},
        "layout": layout, "output": {"stretch": "whole"}, "block": (4, 4, 8), "shards": 4,
        "array": (1, 2),
    }  # fmt: skip
    return Job(**facts | changes)  # type: ignore[arg-type]


def test_a_job_is_read_as_it_was_written(output: Path) -> None:
    """With its tuples; units, blocks and stage follow from it."""
    job().write(output)
    again = read_job(output)
    assert again == job()
    assert (again.units.total, again.blocks.total) == (8, 4)
    assert (again.method, again.stage, again.dtype) == ("probe", "scratch", np.uint8)
    assert job(output={}).stage == "final"
    assert is_begun(output)


def test_what_is_no_job_is_one_line(output: Path) -> None:
    """Missing, damaged, or of a version that had none."""
    partial = output.with_name("out.zarr.partial")
    partial.mkdir()
    with pytest.raises(ResumeError, match="no unfinished run in"):
        read_job(output)
    (partial / "ledger.jsonl").write_text('{"ledger": 1, "identity": {}}\n')
    with pytest.raises(ResumeError, match="begun by an older vemctl"):
        read_job(output)
    for content in (
        "",
        "[]",
        "{}",
        '{"block": 3}',
        json.dumps({"block": [1, 2, 3], "array": None}),
    ):
        (partial / "job.json").write_text(content)
        with pytest.raises(ResumeError, match=r"job.json: damaged.*--overwrite") as raised:
            read_job(output)
        assert "\n" not in str(raised.value)


def test_a_job_that_cannot_be_read_now_may_be_later(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no damage: workers read it `patiently`."""
    job().write(output)
    tries: list[int] = []
    read = Path.read_bytes

    def failing(path: Path) -> bytes:
        tries.append(1)
        if len(tries) == 1:
            raise OSError(errno.EIO, "Input/output error")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    told: list[Event] = []
    assert patiently(lambda: read_job(output), told.append, threading.Event()) == job()
    (note,) = told
    assert "job.json: cannot be read (Input/output error)" in str(note)


def test_only_outputs_of_ours_are_finished(output: Path, tmp_path: Path) -> None:
    """Not an input, not any folder, and not what is unfinished of another output."""
    with pytest.raises(InputError, match="neither a finished output"):
        is_begun(output)
    np.save(tmp_path / "in.npy", np.zeros((2, 3, 4)))
    for other in (tmp_path / "in.npy", tmp_path):
        with pytest.raises(InputError, match="expected an output of vemctl predict"):
            is_begun(other)
    job().write(output)
    with pytest.raises(InputError, match=r"give its name, .*/out\.zarr$"):
        is_begun(output.with_name("out.zarr.partial"))
