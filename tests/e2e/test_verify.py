"""Finished outputs are compared with their checksums: every damage is named, none is invented."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from objects import fresh_bucket, named_server, running_server  # noqa: F401 - fixtures

from e2e.conftest import Run
from vemctl import object_store
from vemctl.errors import Interrupted
from vemctl.events import Event, StageAdvanced, StageStarted, ignore
from vemctl.remote_path import as_path
from vemctl.workflows.checksums import NAME
from vemctl.workflows.predict import predict
from vemctl.workflows.rerun import recorded_request
from vemctl.workflows.verifying import verify_output

CUT = ("--chunk-shape", "2,32,160", "--device", "cpu")
SHARDS = ("--shard-shape", "2,32,160")
FILES = ("out.tif", "out.mrc", "out.npy")
UNITS = 3 * 2 * 2 + 2 * 1 * 1
"""Of 6, 40, 300 voxels and of the level below."""

pytestmark = pytest.mark.usefixtures("moody")


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """Return a volume of noise that is long enough for a second level."""
    path = tmp_path / "noisy.npy"
    np.save(path, np.random.default_rng(5).integers(0, 256, (6, 40, 300), dtype=np.uint8))
    return path


@pytest.fixture
def make(here: Run, noisy: Path) -> Callable[..., None]:
    """Return a function that makes an output."""

    def predict(output: object, *more: str) -> None:
        cut = CUT if str(output).endswith(".zarr") else CUT[2:]
        done = here("predict", "moody", noisy, output, *cut, *more, "--no-progress")
        assert done.returncode == 0, done.stderr

    return predict


def damaged(here: Run, output: str) -> list[dict[str, str]]:
    """Verify an output in which there is damage; return what is told."""
    line = here("verify", output, "--no-progress")
    assert line.returncode == 2
    assert line.stderr.count("\n") == 1
    assert "make it again with --overwrite" in line.stderr
    found = here("verify", output, "--json", "--no-progress")
    assert found.returncode == 2
    told: list[dict[str, str]] = json.loads(found.stdout)["damaged"]
    assert f"{output}: {len(told)} damaged: {told[0]['where']} ({told[0]['what']})" in line.stderr
    return told


def fine(here: Run, output: str) -> dict[str, Any]:
    """Verify an output in which there is no damage."""
    found = here("verify", output, "--json", "--no-progress")
    assert found.returncode == 0, found.stderr
    told: dict[str, Any] = json.loads(found.stdout)
    assert told["damaged"] == []
    return told


def flip(path: Path, place: int) -> None:
    """Change one byte."""
    data = bytearray(path.read_bytes())
    data[place] ^= 0x5A
    path.write_bytes(data)


@pytest.mark.parametrize("output", FILES)
def test_damage_of_a_file_is_named(
    here: Run, make: Callable[..., None], tmp_path: Path, output: str
) -> None:
    """Cut off, grown, a byte at either end or between, another file, none: each is damage."""
    make(output)
    told = fine(here, output)
    assert (told["checked"], told["finished"]) == (1, True)
    path = tmp_path / output
    data = path.read_bytes()
    for size in (len(data) // 2, len(data) - 1, 0):
        path.write_bytes(data[:size])
        what = f"{size} bytes, expected {len(data)}"
        assert damaged(here, output) == [{"where": output, "what": what}]
    path.write_bytes(data + b"x")
    assert damaged(here, output)[0]["what"] == f"{len(data) + 1} bytes, expected {len(data)}"
    for place in (0, len(data) // 2, -1):
        path.write_bytes(data)
        flip(path, place)
        assert damaged(here, output) == [{"where": output, "what": "other bytes"}]
    path.unlink()
    assert damaged(here, output) == [{"where": output, "what": "missing"}]
    path.write_bytes(data)
    fine(here, output)


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_damage_of_a_store_is_named(
    here: Run, make: Callable[..., None], tmp_path: Path, version: str
) -> None:
    """Of the units and the metadata of every level, and of the group; never as a traceback."""
    make("whole.zarr", "--ome-zarr", version, *(SHARDS if version == "0.5" else ()))
    metadata = {
        "0.5": ("zarr.json", "0/zarr.json", "1/zarr.json"),
        "0.4": (".zgroup", ".zattrs", *(f"{n}/{k}" for n in "01" for k in (".zarray", ".zattrs"))),
    }[version]
    assert fine(here, "whole.zarr")["checked"] == UNITS + len(metadata)
    chunks = "c/" if version == "0.5" else ""
    units = {
        f"0/{chunks}0/0/0": "level 0, z 0:2, y 0:32, x 0:160, channel 0, time point 0",
        f"0/{chunks}2/1/1": "level 0, z 4:6, y 32:40, x 160:300, channel 0, time point 0",
        f"1/{chunks}1/0/0": "level 1, z 2:3, y 0:20, x 0:150, channel 0, time point 0",
    }
    copy = tmp_path / "copy.zarr"
    shutil.copytree(tmp_path / "whole.zarr", copy)
    for name, where in {**{name: name for name in metadata}, **units}.items():
        path = copy / name
        data = path.read_bytes()
        for changed in {b"", b"{}", data[:-1], data + b" "} - {data}:
            path.write_bytes(changed)
            assert damaged(here, "copy.zarr") == [{"where": where, "what": "other bytes"}]
        path.unlink()
        assert damaged(here, "copy.zarr") == [{"where": where, "what": "missing"}]
        path.write_bytes(data)
    fine(here, "copy.zarr")
    shutil.rmtree(copy / "1")
    (copy / "1").write_text("a file in its place")
    assert {each["what"] for each in damaged(here, "copy.zarr")} == {"missing"}


def test_reading_for_checksums_is_told_and_stopped(
    make: Callable[..., None], tmp_path: Path
) -> None:
    """Of lower levels, whose checksums are not known yet, when the output is finished too."""
    told: list[Event] = []
    output = tmp_path / "again.zarr"
    make("out.zarr", *SHARDS)
    again = recorded_request(tmp_path / "out.zarr", output, overwrite=False, resume=False)
    predict(again, told.append)
    assert StageStarted("checksums", 2, "units") in told
    assert told.count(StageAdvanced("checksums")) == 2
    told.clear()
    verify_output(output, told.append)
    assert told.count(StageAdvanced("verifying")) == UNITS + 3
    stop = threading.Event()
    stop.set()
    make("out.tif")
    for path in (output, tmp_path / "out.tif"):
        with pytest.raises(Interrupted):
            verify_output(path, ignore, stop)


def test_checksums_that_are_lost_or_damaged_are_told(
    here: Run, make: Callable[..., None], noisy: Path, tmp_path: Path
) -> None:
    """One line: what vemctl has not made, what is not there, and what lost its checksums."""

    def said(output: object) -> str:
        told = here("verify", output, "--no-progress")
        assert told.returncode == 2
        assert told.stderr.count("\n") == 1
        return str(told.stderr)

    assert "noisy.npy: expected an output of vemctl predict" in said(noisy)
    assert "missing.zarr: neither a finished output nor one that was begun" in said("missing.zarr")
    make("out.tif")
    sidecar = tmp_path / "out.tif.vemctl.json"
    content = json.loads(sidecar.read_bytes())
    sidecar.write_text("{")
    assert "out.tif.vemctl.json: no JSON" in said("out.tif")
    sidecar.write_text(json.dumps(content | {"file": {}}))
    assert "out.tif.vemctl.json: damaged" in said("out.tif")
    content.pop("blake2b")
    sidecar.write_text(json.dumps(content))
    assert "its checksums are not in out.tif.vemctl.json" in said("out.tif")
    sidecar.unlink()
    assert "out.tif: expected an output of vemctl predict" in said("out.tif")
    make("out.zarr")
    checksums = tmp_path / "out.zarr" / NAME
    data = checksums.read_bytes()
    head, _, lines = data.partition(b"\n")
    for changed in (
        data[:-33],
        data + data[-33:],
        data[:-9],
        b"",
        b"{}\n" + lines,
        head.replace(b'"metadata"', b'"metadada"') + b"\n" + lines,
        lines,
        b"\xff" + data,
    ):
        checksums.write_bytes(changed)
        assert f"{NAME}: damaged" in said("out.zarr")
    checksums.unlink()
    assert f"its checksums are not in {NAME}" in said("out.zarr")


def test_a_store_in_a_bucket_has_the_same_checksums(
    request: pytest.FixtureRequest, here: Run, make: Callable[..., None], tmp_path: Path
) -> None:
    """Those of the metadata too, which are written after them; damage is named as on a disk."""
    bucket = request.getfixturevalue("bucket")
    monkeypatch = request.getfixturevalue("monkeypatch")
    order: list[str] = []
    put = object_store.put

    def noting(place: object_store.Place, data: object) -> None:
        order.append(place.key)
        put(place, data)

    monkeypatch.setattr(object_store, "put", noting)
    output = f"{bucket}/out.zarr"
    make(output, *SHARDS)
    make("out.zarr", *SHARDS)
    names = [key.partition("out.zarr/")[2] for key in order if "out.zarr/" in key]
    assert names.index(NAME) < len(names) - 1 - names[::-1].index("zarr.json")
    path = as_path(output)
    assert (path / NAME).read_bytes() == (tmp_path / "out.zarr" / NAME).read_bytes()
    assert fine(here, output)["checked"] == UNITS + 3
    for name in ("zarr.json", "0/zarr.json", "1/c/0/0/0"):
        data = (path / name).read_bytes()
        (path / name).write_bytes(b"{}")
        assert [each["what"] for each in damaged(here, output)] == ["other bytes"]
        (path / name).unlink()
        assert [each["what"] for each in verify_output(path)["damaged"]] == ["missing"]
        (path / name).write_bytes(data)
    fine(here, output)
