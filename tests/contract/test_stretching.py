"""Results whose ranges become those of their type: of the whole, of channels, of series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
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


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the volume of all tests, which nobody changes."""
    return written(tmp_path_factory.mktemp("source") / "in.zarr", VALUES)


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


def asking(source: Path, output: Path, dtype: str, block: str, **changes: Any) -> PredictRequest:
    """Ask for the result, cut in one way or another."""
    writing = OutputOptions(dtype=dtype, chunk_shape=(3, 16, 16), shard_shape=(3, 16, 32))
    return PredictRequest(
        "halved", (source,), output, None, NoOptions(), writing=writing,
        compute=ComputeOptions(device="cpu", block=BLOCKS[block]), **changes,
    )  # fmt: skip


def register(monkeypatch: pytest.MonkeyPatch, output: Output, window: TimeWindow) -> None:
    """Make it the method of all names."""
    restorer = type("Halved", (Halved,), {"output": output})
    method = shapes.InTime("halved", restorer, window)
    monkeypatch.setattr(registry, "get", lambda _: method)


@pytest.fixture(scope="module")
def uninterrupted(
    source: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Any, str], Path]:
    """Return what restores all at once, and once for all that are compared with it."""

    @cache
    def run(kind: Any, dtype: str) -> Path:
        output = tmp_path_factory.mktemp("uninterrupted") / "out.zarr"
        with pytest.MonkeyPatch.context() as monkeypatch:
            register(monkeypatch, Output(stretch=kind), TimeWindow())
            predict(asking(source, output, dtype, "the whole volume"))
        return output

    return run


TYPES = {"uint16": "truncate", "float32": "round"}
# every two of what shares a range, type and blocks
RUNS = [
    (kind, (*TYPES, *TYPES)[k + number], block)
    for k, kind in enumerate(SHARED)
    for number, block in enumerate(BLOCKS)
]


@pytest.mark.parametrize(("kind", "dtype", "block"), RUNS)
def test_ranges_are_those_of_what_shares_them(
    kind: Any, dtype: str, block: str, source: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Every range ends where the type does, but that of one value, which becomes 0."""
    rounding: Any = TYPES[dtype]
    register(monkeypatch, Output(rounding, stretch=kind), TimeWindow())
    predict(asking(source, tmp_path / "out.zarr", dtype, block))
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
    kind: Any, dtype: str, stage: str, count: int, source: Path,
    uninterrupted: Callable[[Any, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Killed in either pass, resumed with other blocks; what is written is not written again."""
    whole = uninterrupted(kind, dtype)
    register(monkeypatch, Output(stretch=kind), TimeWindow())
    first, second = BLOCKS
    request = asking(source, tmp_path / "killed.zarr", dtype, first)
    with pytest.raises(Killed):
        predict(request, kill_after(count, stage))
    assert not request.output.exists()
    events: list[Event] = []
    again = asking(source, request.output, dtype, second, run=RunOptions(resume=True))
    predict(again, events.append)
    totals = {event.name: event.total for event in events if isinstance(event, StageStarted)}
    assert totals["stretching"] == (UNITS - count if stage == "stretching" else UNITS)
    assert (totals["restoring"] == 0) == (stage == "stretching")
    assert digests(whole) == digests(request.output)
    np.testing.assert_array_equal(everything(request.output), stretched(kind, dtype, "round"))


@pytest.mark.parametrize("kind", SHARED)
def test_what_is_not_restored_has_no_part_in_a_range(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four time points the ends are lost, and of three channels two are left out."""
    register(monkeypatch, Output(stretch=kind), TimeWindow(1, 1, lost=True))
    values = np.concatenate([VALUES, VALUES[:1] // 2, VALUES[:1]])
    source = written(tmp_path / "in.zarr", values)
    chosen = InputOptions(channel="0")
    output = tmp_path / "out.zarr"
    predict(asking(source, output, "uint16", "the whole volume", input=chosen))
    volume = open_volume(output)
    assert volume.header.axes == "tzyx"
    whole = tuple(slice(0, n) for n in volume.header.shape)
    made = np.stack([volume.read(whole, timepoint=t) for t in range(2)])
    expected = stretched(kind, "uint16", "round", values[1:3, :1])
    np.testing.assert_array_equal(made, expected[:, 0])


def test_a_torn_unit_of_the_draft_is_restored_before_anything_is_stretched(
    source: Path, uninterrupted: Callable[[Any, str], Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Its range is noted anew, and the result is what it would have been."""
    whole = uninterrupted("series", "uint16")
    register(monkeypatch, Output(stretch="series"), TimeWindow())
    request = asking(source, tmp_path / "killed.zarr", "uint16", "one shard a block")
    with pytest.raises(Killed):
        predict(request, kill_after(5, "stretching"))
    draft = partial_folder(request.output) / "scratch.zarr"
    stored = [path for path in draft.rglob("*") if path.is_file() and path.suffix != ".json"]
    torn = max(stored, key=lambda path: path.stat().st_size)
    torn.write_bytes(torn.read_bytes()[:-1])
    told: list[Event] = []
    predict(replace(request, run=RunOptions(resume=True)), told.append)
    assert "1 damaged units are restored again" in [e.text for e in told if isinstance(e, Noted)]
    assert digests(whole) == digests(request.output)
