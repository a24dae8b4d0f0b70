"""Results whose ranges become those of their type: of the whole, of channels, of series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contract import shapes
from contract.running import Killed, digests, everything, kill_after, written

from vemctl import registry
from vemctl.events import Event, Noted, StageStarted
from vemctl.plugin import Footprint, NoOptions, Output, Place, TimeWindow
from vemctl.volumes.checks import partial_folder
from vemctl.volumes.open import open_volume
from vemctl.workflows.options import (
    ComputeOptions,
    InputOptions,
    OutputOptions,
    PredictRequest,
    RunOptions,
)
from vemctl.workflows.predict import predict

# two time points of three channels, each of another range, and the last of one value only
RANGES = np.array([[[10, 400], [0, 3], [900, 65535]], [[7, 8000], [300, 301], [42, 42]]])
VALUES = np.stack(
    [
        np.random.default_rng(number).integers(low, high, (3, 21, 40), np.uint16, endpoint=True)
        for number, (low, high) in enumerate(RANGES.reshape(6, 2))
    ]
).reshape(2, 3, 3, 21, 40)
SHARED = {"whole": (0, 1, 2, 3, 4), "channel": (0, 2, 3, 4), "series": (2, 3, 4)}
BLOCKS = {"one shard a block": (3, 16, 32), "the whole volume": (66, 512, 512)}
UNITS = 2 * 3 * 2 * 2


@dataclass
class Halved(shapes.Base):
    """Half of each voxel less one, exactly; of several time points that in their middle."""

    footprint = Footprint(tile=(2, 12, 16), overlap=(0, 2, 4))

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        return tiles[len(tiles) // 2] / 2 - 1


def stretched(kind: str, dtype: str, rounding: str, values: np.ndarray = VALUES) -> np.ndarray:
    """Compute the result from the whole volume at once."""
    halves = values / 2 - 1
    low, high = (f(halves, axis=SHARED[kind], keepdims=True) for f in (np.min, np.max))
    top = 1.0 if dtype == "float32" else 65535.0
    factor = np.divide(top, high - low, out=np.zeros(low.shape), where=high > low)
    made = (halves - low) * factor
    if dtype == "float32":
        return made.astype(np.float32)
    return (np.rint(made) if rounding == "round" else np.trunc(made)).astype(np.uint16)


def asking(folder: Path, name: str, dtype: str, block: str, **changes: Any) -> PredictRequest:
    """Ask for the result under a name, cut in one way or another."""
    writing = OutputOptions(dtype=dtype, chunk_shape=(3, 16, 16), shard_shape=(3, 16, 32))
    return PredictRequest(
        "halved", (folder / "in.zarr",), folder / name, None, NoOptions(), writing=writing,
        compute=ComputeOptions(device="cpu", block=BLOCKS[block]), **changes,
    )  # fmt: skip


def register(monkeypatch: pytest.MonkeyPatch, output: Output, window: TimeWindow) -> None:
    """Make it the method of all names."""
    restorer = type("Halved", (Halved,), {"output": output})
    method = shapes.InTime("halved", restorer, window)
    monkeypatch.setattr(registry, "get", lambda _: method)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(("dtype", "rounding"), [("uint16", "truncate"), ("float32", "round")])
@pytest.mark.parametrize("kind", SHARED)
def test_ranges_are_those_of_what_shares_them(
    kind: Any, dtype: str, rounding: Any, block: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Every range ends where the type does, but that of one value, which becomes 0."""
    register(monkeypatch, Output(rounding, stretch=kind), TimeWindow())
    written(tmp_path / "in.zarr", VALUES)
    predict(asking(tmp_path, "out.zarr", dtype, block))
    made = everything(tmp_path / "out.zarr")
    np.testing.assert_array_equal(made, stretched(kind, dtype, rounding))
    assert made.dtype == dtype
    lows = made.min(axis=SHARED[kind])
    assert (lows == 0).all()
    if kind == "series":
        assert (made[1, 2] == 0).all()
        assert (made.max(axis=(2, 3, 4)) > 0).sum() == 5


@pytest.mark.parametrize(
    ("kind", "dtype", "stage", "count"),
    [
        ("channel", "float32", "restoring", 50),
        ("channel", "float32", "stretching", 1),
        ("series", "uint16", "restoring", 50),
        ("series", "uint16", "stretching", UNITS // 2),
    ],
)
def test_a_stretched_result_is_the_same_bytes_after_a_kill(
    kind: Any, dtype: str, stage: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in either pass, resumed with other blocks; what is written is not written again."""
    register(monkeypatch, Output(stretch=kind), TimeWindow())
    written(tmp_path / "in.zarr", VALUES)
    first, second = BLOCKS
    predict(asking(tmp_path, "whole.zarr", dtype, second))
    request = asking(tmp_path, "killed.zarr", dtype, first)
    with pytest.raises(Killed):
        predict(request, kill_after(count, stage))
    assert not request.output.exists()
    events: list[Event] = []
    again = asking(tmp_path, "killed.zarr", dtype, second, run=RunOptions(resume=True))
    predict(again, events.append)
    totals = {event.name: event.total for event in events if isinstance(event, StageStarted)}
    assert totals["stretching"] == (UNITS - count if stage == "stretching" else UNITS)
    assert (totals["restoring"] == 0) == (stage == "stretching")
    assert digests(tmp_path / "whole.zarr") == digests(request.output)
    np.testing.assert_array_equal(everything(request.output), stretched(kind, dtype, "round"))


@pytest.mark.parametrize("kind", SHARED)
def test_what_is_not_restored_has_no_part_in_a_range(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four time points the ends are lost, and of three channels two are left out."""
    register(monkeypatch, Output(stretch=kind), TimeWindow(1, 1, lost=True))
    values = np.concatenate([VALUES, VALUES[:1] // 2, VALUES[:1]])
    written(tmp_path / "in.zarr", values)
    chosen = InputOptions(channel="0")
    predict(asking(tmp_path, "out.zarr", "uint16", "the whole volume", input=chosen))
    volume = open_volume(tmp_path / "out.zarr")
    assert volume.header.axes == "tzyx"
    whole = tuple(slice(0, n) for n in volume.header.shape)
    made = np.stack([volume.read(whole, timepoint=t) for t in range(2)])
    expected = stretched(kind, "uint16", "round", values[1:3, :1])
    np.testing.assert_array_equal(made, expected[:, 0])


def test_a_torn_unit_of_the_draft_is_restored_before_anything_is_stretched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its range is noted anew, and the result is what it would have been."""
    register(monkeypatch, Output(stretch="series"), TimeWindow())
    written(tmp_path / "in.zarr", VALUES)
    predict(asking(tmp_path, "whole.zarr", "uint16", "the whole volume"))
    request = asking(tmp_path, "killed.zarr", "uint16", "one shard a block")
    with pytest.raises(Killed):
        predict(request, kill_after(5, "stretching"))
    draft = partial_folder(request.output) / "scratch.zarr"
    stored = [path for path in draft.rglob("*") if path.is_file() and path.suffix != ".json"]
    torn = max(stored, key=lambda path: path.stat().st_size)
    torn.write_bytes(torn.read_bytes()[:-1])
    told: list[Event] = []
    predict(replace(request, run=RunOptions(resume=True)), told.append)
    assert "1 damaged units are restored again" in [e.text for e in told if isinstance(e, Noted)]
    assert digests(tmp_path / "whole.zarr") == digests(request.output)
