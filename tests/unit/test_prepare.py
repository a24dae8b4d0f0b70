"""What a preparation makes: volumes, tables, a record, and what the method is told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from unit.preparing import RAW, Cut, asked, listing, samples, whole, write_raw

from vemctl import registry
from vemctl.events import Event, Finished, Noted, StageAdvanced, StageFinished, StageStarted
from vemctl.plugin import Workplace, by_slice
from vemctl.volumes.open import open_volume
from vemctl.workflows.prepare import prepare
from vemctl.workflows.prepare_options import PrepareInputOptions, PrepareRunOptions


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Cut:
    """Register the method."""
    method = Cut()
    monkeypatch.setattr(registry, "get", lambda _: method)
    return method


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Write a volume of two channels."""
    return write_raw(tmp_path)


def test_a_set_is_volumes_tables_and_a_record(cut: Cut, raw: Path) -> None:
    """Volumes are readable by name, of the right voxels, type and voxel size; nothing is beside."""
    events: list[Event] = []
    result = prepare(asked(raw), events.append)
    output = raw.parents[1] / "set"
    assert result.output == output
    assert result.facts.pop("seconds") >= 0
    assert result.facts == {"samples": 150, "edge": 8}
    assert {path.name for path in output.iterdir()} == {"train", "table.csv", "prepare.json"}
    assert {path.name for path in (output / "train").iterdir()} == {"good.zarr", "poor.zarr"}
    assert {path.name for path in output.parent.iterdir()} == {"raw", "set"}
    good, expected = whole(output / "train" / "good.zarr"), samples(3, 150, 8)
    assert good.dtype == np.uint16
    assert np.array_equal(good, expected)
    assert open_volume(output / "train" / "good.zarr").header.voxel_size == (40.0, 8.0, 4.0)
    poor = whole(output / "train" / "poor.zarr")
    assert np.array_equal(poor, (expected[:, ::2, ::2] // 256).astype(np.uint8).repeat(2, axis=0))
    assert open_volume(output / "train" / "poor.zarr").header.voxel_size is None
    assert isinstance(events[-1], Finished)
    stages = [e for e in events if isinstance(e, StageStarted) and e.name == "cutting"]
    assert [stage.total for stage in stages] == [150]
    done = [e.amount for e in events if isinstance(e, StageAdvanced) and e.name == "cutting"]
    assert sum(done) == 150
    assert any(isinstance(e, StageFinished) and e.name == "cutting" for e in events)


def test_slices_lie_in_files_of_64(cut: Cut, raw: Path) -> None:
    """Each is a chunk of its own, and there are no lower levels, which would mix samples."""
    prepare(asked(raw, count=150, edge=16))
    folder = raw.parents[1] / "set" / "train" / "poor.zarr"
    files = sorted(path.name for path in (folder / "0" / "c").iterdir())
    assert files == ["0", "1", "2", "3", "4"]
    group = zarr.open_group(folder, mode="r")
    assert list(group.array_keys()) == ["0"]
    array = group["0"]
    assert (array.chunks, array.shards) == ((1, 8, 8), (64, 8, 8))
    few = prepare(asked(raw, "few", count=5)).output
    assert zarr.open_group(few / "train" / "good.zarr", mode="r")["0"].shards == (5, 8, 8)


def test_a_large_set_has_no_lower_levels_either(cut: Cut, raw: Path) -> None:
    """Where a restored volume of this size would have some."""

    def run(place: Workplace) -> Mapping[str, Any]:
        volume = place.make_volume("many", (300, 2, 2), "uint8")
        volume.append(np.arange(1200, dtype=np.uint16).reshape(300, 2, 2).astype(np.uint8))
        volume.close()
        return {}

    cut.runs = run
    group = zarr.open_group(prepare(asked(raw)).output / "many.zarr", mode="r")
    assert list(group.array_keys()) == ["0"]
    assert len(group.attrs["ome"]["multiscales"][0]["datasets"]) == 1


@pytest.mark.parametrize("pieces", [[150], [1] * 150, [63, 1, 86], [64, 64, 22], [100, 0, 50]])
def test_slices_may_come_in_any_pieces_of_one_buffer(
    pieces: list[int], cut: Cut, raw: Path
) -> None:
    """What is appended is copied; the caller may fill its array anew."""
    values = np.random.default_rng(1).integers(0, 255, (150, 3, 5)).astype(np.uint8)

    def run(place: Workplace) -> Mapping[str, Any]:
        volume = place.make_volume("deep/er/v", values.shape, "uint8")
        buffer = np.empty((max(pieces), 3, 5), np.uint8)
        first = 0
        for count in pieces:
            buffer[:count] = values[first : first + count]
            volume.append(buffer[:count])
            buffer[:] = 255
            first += count
        volume.close()
        return {}

    cut.runs = run
    prepare(asked(raw))
    assert np.array_equal(whole(raw.parents[1] / "set" / "deep" / "er" / "v.zarr"), values)


def test_the_record_says_how_the_set_came_about(cut: Cut, raw: Path, monkeypatch: Any) -> None:
    """Method, absolute paths, options as JSON, seed, versions, and what the method tells."""
    monkeypatch.chdir(raw.parent)
    other = raw.parent / "w.npy"
    np.save(other, RAW)
    request = replace(
        asked(raw, count=2, reference=(Path("w.npy"),), mask=Path("m.tif")), inputs=(Path("v.npy"),)
    )
    prepare(request)
    record = json.loads((request.output / "prepare.json").read_text(encoding="utf-8"))
    assert record.pop("created").endswith("+00:00")
    assert set(record.pop("versions")) == {"vemctl", "numpy"}
    here = Path.cwd()
    assert record == {
        "method": "cut",
        "inputs": [str(here / "v.npy")],
        "options": {
            "count": 2, "edge": 8, "mode": "random", "window": [1, 2, 3],
            "reference": [str(here / "w.npy")], "mask": str(here / "m.tif"),
        },
        "input": {"axes": "czyx", "level": 0, "channel": "all", "timepoint": "all"},
        "seed": 3,
        "samples": 2,
        "edge": 8,
    }  # fmt: skip


def test_a_method_is_told_what_there_is(cut: Cut, raw: Path) -> None:
    """Channels are volumes of their own, with what was measured of their file; warnings arrive."""
    other = raw.parent / "w.npy"
    np.save(other, RAW[:1, :3])
    events: list[Event] = []
    prepare(asked(raw, count=1, reference=(other,)), events.append)
    ((options, told),) = cut.requests
    assert options.count == 1
    assert (told.names, told.seed) == ({"raw": (str(raw), str(other))}, 3)
    facts = told.patches.facts("raw")
    found = [(each.file_index, each.channel, each.shape) for each in facts]
    assert found == [(0, 0, (5, 24, 20)), (0, 1, (5, 24, 20)), (1, 0, (3, 24, 20))]
    assert facts[1].statistics == {"max": float(RAW.max())}
    assert facts[1].slices == {by_slice("min"): RAW[1].min(axis=(1, 2)).tolist()}
    assert (facts[2].statistics, facts[2].slices) == ({}, {})
    beside = raw.parent / "beside.npy"
    np.save(beside, RAW[1])
    assert np.array_equal(told.peek(beside), RAW[1])
    told.warn("half of it is dark")
    assert Noted("half of it is dark", "warning") in events
    told.tell("the mirror is in the middle")
    assert Noted("the mirror is in the middle", "info") in events
    chosen = replace(asked(raw, "other", count=1), input=PrepareInputOptions("czyx", channel="1"))
    prepare(chosen)
    assert [each.channel for each in cut.requests[1][1].patches.facts("raw")] == [1]


def test_the_same_seed_makes_the_same_bytes(cut: Cut, raw: Path) -> None:
    """And another one others."""
    sets = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        request = replace(asked(raw, name, count=70), run=PrepareRunOptions(seed=seed))
        sets.append(listing(prepare(request).output / "train"))
    assert sets[0] == sets[1] != sets[2]
