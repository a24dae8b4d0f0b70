"""The loop: what is written is noted, whatever fails, and no thread stays behind."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vemctl.errors import InputError, Interrupted, OutputError, VemctlError
from vemctl.events import Event, StageAdvanced, StageFinished, StageStarted, ignore
from vemctl.plugin import Footprint, Output, Place, Triple
from vemctl.prediction import blocks
from vemctl.prediction.blocks import Bench
from vemctl.prediction.calls import Caller
from vemctl.prediction.engine import Failure, restore
from vemctl.prediction.filling import tile_jobs
from vemctl.prediction.finishing import stretch, verify
from vemctl.prediction.ledger import Entry, Ledger
from vemctl.prediction.plan import Plan, Series, make_plan
from vemctl.prediction.units import UnitGrid
from vemctl.tiles.grid import Region, tile_grid
from vemctl.volumes.volume import Header, Layout

SHAPE = (4, 24, 40)
UNIT = (4, 8, 8)
PLAIN = Output()
Hook = Callable[[int], None]


class Fails:
    """Raises at the call of a given number, counted from 0."""

    def __init__(self, at: int, error: Exception) -> None:
        self.at = at
        self.error = error

    def __call__(self, call: int) -> None:
        if call == self.at:
            raise self.error


class Counted:
    """Calls a hook before each of its calls."""

    def __init__(self, hook: Hook | None = None) -> None:
        self.hook = hook or (lambda _: None)
        self.calls = 0

    def count(self) -> None:
        call, self.calls = self.calls, self.calls + 1
        self.hook(call)


class VolumeInMemory(Counted):
    """Noise of two channels."""

    header = Header(
        Path("in.zarr"), "memory", "czyx", SHAPE, 2, None, np.dtype(np.uint8), None, (4, 8, 8)
    )
    data = np.random.default_rng(0).integers(0, 100, (2, *SHAPE), dtype=np.uint8)

    def read(self, region: Region, *, channel: int = 0, timepoint: int = 0) -> np.ndarray:
        self.count()
        return self.data[channel][region]

    def close(self) -> None:
        """Nothing is open."""


class StoreInMemory(Counted):
    """Units in a dictionary."""

    def __init__(self, dtype: str = "uint8", hook: Hook | None = None) -> None:
        super().__init__(hook)
        self.data = np.zeros((2, *SHAPE), dtype)
        self.written: list[tuple[int, Triple]] = []

    def write(
        self, region: Region, data: np.ndarray, *, channel: int = 0, timepoint: int = 0
    ) -> str:
        self.count()
        assert data.dtype == self.data.dtype
        assert all(part.start % n == 0 for part, n in zip(region, UNIT, strict=True))
        self.data[channel][region] = data
        z, y, x = (part.start for part in region)
        self.written.append((channel, (z, y, x)))
        return self.checksum(region, channel=channel) or ""

    def read(self, region: Region, *, channel: int = 0, timepoint: int = 0) -> np.ndarray:
        return self.data[channel][region]

    def checksum(self, region: Region, *, channel: int = 0, timepoint: int = 0) -> str | None:
        start = tuple(part.start for part in region)
        if (channel, start) not in self.written:
            return None
        return hashlib.sha256(self.data[channel][region].tobytes()).hexdigest()


class Doubler(Counted):
    """Returns twice its input; its tiles are 8 x 8 and overlap by 2."""

    footprint = Footprint(tile=(None, 8, 8), overlap=(0, 2, 2))
    output = Output()

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        self.count()
        return 2 * tiles[0]

    def memory(self, tile: Triple, batch: int) -> int:
        return 4 * batch * math.prod(tile)


EXPECTED = 2 * VolumeInMemory.data


def plan_of(block: Triple = (4, 8, 16), output: Output = PLAIN, dtype: str = "uint8") -> Plan:
    """Plan both channels, in 9 blocks each."""
    grid = tile_grid(SHAPE, Doubler.footprint)
    return make_plan(
        grid=grid,
        footprint=Doubler.footprint,
        output=output,
        layout=Layout("czyx", SHAPE, 2, None, np.dtype(dtype), None, None, UNIT, UNIT),
        headers=(VolumeInMemory.header,),
        series=(Series(0, 0, 0, 0), Series(0, 1, 0, 1)),
        batch=2,
        budget=2**40,
        device="cpu",
        network_bytes=0,
        block=block,
    )


@dataclass
class Work:
    """A bench and its ledger."""

    bench: Bench
    ledger: Ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bench, name)


def go(work: Work, **how: Any) -> list[Failure]:
    """Restore what is missing."""
    return restore(work.bench, work.ledger, **how)


def ledger_of(folder: Path, plan: Plan) -> Ledger:
    """Begin a ledger, or continue the one that is there."""
    known = (folder / "ledger.jsonl").exists()
    return (Ledger.reopen if known else Ledger.create)(folder, {"run": 1}, UnitGrid.of(plan.layout))


def work_of(folder: Path, **changes: Any) -> Work:
    """Put fakes and a real ledger together; a ledger that is there is continued."""
    plan = changes.pop("plan", None) or plan_of()
    restorer = changes.pop("restorer", None) or Doubler()
    parts: dict[str, Any] = {
        "plan": plan,
        "volumes": (VolumeInMemory(),),
        "caller": Caller(restorer, "cpu", "fp32", plan.batch, ignore),
        "store": StoreInMemory("float32" if plan.output.stretch else "uint8"),
        "listen": ignore,
        "stop": threading.Event(),
    }
    return Work(Bench(**parts | changes), ledger_of(folder, plan))


def noted(ledger: Ledger, stage: str = "final") -> list[tuple[int, Triple]]:
    """List the units of which the ledger knows."""
    return sorted((e.channel, e.start) for e in ledger.entries(stage))


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read again at once."""
    monkeypatch.setattr(blocks, "PAUSES", (0.0, 0.0))


@pytest.fixture(autouse=True)
def no_thread_stays() -> Any:
    """Every test ends with the threads with which it began."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("block", [UNIT, (4, 8, 16), (4, 24, 40)])
def test_a_whole_run_restores_notes_and_tells_everything(tmp_path: Path, block: Triple) -> None:
    """The store is full, the ledger knows every unit, and progress ends where it said."""
    events: list[Event] = []
    work = work_of(tmp_path, plan=plan_of(block), listen=events.append)
    go(work)
    np.testing.assert_array_equal(work.store.data, EXPECTED)
    assert len(work.store.written) == 2 * 3 * 5
    assert sorted(work.store.written) == noted(work.ledger)
    assert noted(work.ledger) == noted(ledger_of(tmp_path, work.plan))
    started, *advanced, finished = events
    assert started == StageStarted("restoring", work.plan.tiles_computed, "tiles")
    assert started.total == sum(e.amount for e in advanced if isinstance(e, StageAdvanced))
    assert isinstance(finished, StageFinished)


def test_checksums_in_the_ledger_are_those_of_the_store(tmp_path: Path) -> None:
    """A verification right after a run finds nothing torn."""
    work = work_of(tmp_path)
    go(work)
    assert verify(work.ledger, "final", work.store, ignore, work.stop) == 0
    assert work.ledger.count("final") == 30


def test_reading_is_one_block_ahead(tmp_path: Path) -> None:
    """While a block is restored the next one is read and no other, so that memory stays."""
    volume = VolumeInMemory()
    ahead: list[int] = []
    plan = plan_of(UNIT)
    calls = [math.ceil(plan.grid.count_touching(b) / 2) for b in plan.blocks()] * 2
    block_of_call = [i for i, count in enumerate(calls) for _ in range(count)]

    def look(call: int) -> None:
        block = block_of_call[call]
        until = time.monotonic() + 5
        while volume.calls < min(block + 2, 30) and time.monotonic() < until:
            time.sleep(0.001)
        ahead.append(volume.calls - block - 1)

    go(work_of(tmp_path, plan=plan, volumes=(volume,), restorer=Doubler(look)))
    assert [min(1, 29 - block) for block in block_of_call] == ahead


FAILURES: dict[str, Callable[[int, Exception], dict[str, Any]]] = {
    "reader": lambda at, error: {"volumes": (VolumeInMemory(Fails(at, error)),)},
    "writer": lambda at, error: {"store": StoreInMemory(hook=Fails(at, error))},
    "restorer": lambda at, error: {"restorer": Doubler(Fails(at, error))},
}


@pytest.mark.parametrize("at", [0, 1, 7])
@pytest.mark.parametrize("where", FAILURES)
def test_an_error_surfaces_once_and_the_run_can_go_on(tmp_path: Path, where: str, at: int) -> None:
    """The ledger knows only what is written; going on restores the rest and gives the same."""
    error = VemctlError(f"the {where} failed")
    work = work_of(tmp_path, **FAILURES[where](at, error))
    with pytest.raises(VemctlError) as raised:
        go(work)
    assert raised.value is error
    assert raised.value.__cause__ is None
    kept = noted(work.ledger)
    assert kept == noted(ledger_of(tmp_path, work.plan))
    assert set(kept) <= set(work.store.written)
    assert verify(work.ledger, "final", work.store, ignore, work.stop) == 0

    work.store.hook = lambda _: None
    again = work_of(tmp_path, store=work.store)
    before = len(again.store.written)
    go(again)
    np.testing.assert_array_equal(again.store.data, EXPECTED)
    assert len(again.store.written) - before == 30 - len(kept)
    assert len(noted(again.ledger)) == 30


def test_blocks_that_are_written_when_the_network_fails_are_noted(tmp_path: Path) -> None:
    """The block behind is committed although the block at work is lost."""
    plan = plan_of(UNIT)
    first, second = (
        math.ceil(plan.grid.count_touching(block) / 2) for block in list(plan.blocks())[:2]
    )
    failing = Doubler(Fails(first + second, RuntimeError("broken")))
    work = work_of(tmp_path, plan=plan, restorer=failing)
    with pytest.raises(RuntimeError, match="broken"):
        go(work)
    assert noted(work.ledger) == sorted(work.store.written) == [(0, (0, 0, 0)), (0, (0, 0, 8))]


def test_when_all_fail_one_error_surfaces(tmp_path: Path) -> None:
    """Several faults at once neither hang nor hide in a thread."""
    work = work_of(
        tmp_path,
        volumes=(VolumeInMemory(Fails(2, InputError("reader"))),),
        store=StoreInMemory(hook=Fails(0, OutputError("writer"))),
        restorer=Doubler(Fails(8, VemctlError("restorer"))),
    )
    with pytest.raises(VemctlError, match=r"reader|writer|restorer"):
        go(work)
    assert noted(work.ledger) == []


@pytest.mark.parametrize("at", [0, 5, 12])
def test_a_stop_ends_the_run_after_the_call(tmp_path: Path, at: int) -> None:
    """What is written is noted, nothing else is begun, and going on gives the same."""
    stop = threading.Event()
    restorer = Doubler(lambda call: stop.set() if call == at else None)
    work = work_of(tmp_path, restorer=restorer, stop=stop)
    with pytest.raises(Interrupted, match="stopped"):
        go(work)
    assert restorer.calls == at + 1
    assert noted(work.ledger) == sorted(work.store.written)
    again = work_of(tmp_path, store=work.store)
    go(again)
    np.testing.assert_array_equal(again.store.data, EXPECTED)
    assert len(again.store.written) == 30


def test_only_what_is_missing_of_a_block_is_restored(tmp_path: Path) -> None:
    """Of a block of six units, of which two neighbours are torn, two are written again."""
    work = work_of(tmp_path, plan=plan_of((4, 24, 16)))
    go(work)
    starts = ((0, 8, 0), (0, 8, 8))
    work.ledger.forget([e for e in work.ledger.entries("final") if e.start in starts])
    events: list[Event] = []
    again = work_of(tmp_path, plan=work.plan, listen=events.append)
    go(again)
    expected = [(channel, start) for channel in (0, 1) for start in starts]
    assert expected == sorted(again.store.written)
    assert isinstance(events[0], StageStarted)
    assert events[0].total < work.plan.tiles_computed / 2


def test_a_run_that_is_complete_has_nothing_to_do(tmp_path: Path) -> None:
    """Neither is anything read nor restored."""
    go(work_of(tmp_path))
    again = work_of(tmp_path)
    go(again)
    assert again.store.written == []
    assert again.volumes[0].calls == 0


def test_torn_units_are_found(tmp_path: Path) -> None:
    """Changed and missing files are struck out, of the stage asked for only."""
    work = work_of(tmp_path)
    go(work)
    work.ledger.commit([Entry("scratch", 0, 0, (0, 0, 0), (4, 8, 8), "other", 0.0, 1.0)])
    work.store.data[1, 2, 9, 17] += 1
    work.store.written.remove((0, (0, 16, 32)))
    events: list[Event] = []
    assert verify(work.ledger, "final", work.store, events.append, work.stop) == 2
    left = noted(work.ledger)
    assert len(left) == 28
    assert (1, (0, 8, 16)) not in left
    assert (0, (0, 16, 32)) not in left
    assert len(noted(work.ledger, "scratch")) == 1
    assert left == noted(ledger_of(tmp_path, work.plan))
    assert sum(isinstance(event, StageAdvanced) for event in events) == 30
    go(work_of(tmp_path, plan=work.plan, store=work.store))
    np.testing.assert_array_equal(work.store.data, EXPECTED)


def finish(work: Work, final: StoreInMemory, listen: Any = ignore) -> None:
    """Stretch what is restored."""
    stretch(
        *(work.ledger, work.store, final, work.plan.output, work.plan.layout.dtype),
        *(listen, work.stop),
    )


def stretched(values: np.ndarray, top: float) -> np.ndarray:
    """Map the whole range of values to 0 to `top`."""
    wide = values.astype(np.float64)
    return (wide - wide.min()) * (top / (wide.max() - wide.min()))


@pytest.mark.parametrize(
    ("dtype", "rounding"),
    [("uint8", "round"), ("uint16", "truncate"), ("int16", "round"), ("float32", "round")],
)
def test_the_range_of_the_result_is_stretched_over_the_type(
    tmp_path: Path, dtype: str, rounding: Any
) -> None:
    """Smallest and largest value of all channels become 0 and the type's maximum, or 1."""
    output = Output(rounding, stretch="whole")
    work = work_of(tmp_path, plan=plan_of(output=output, dtype=dtype))
    final = StoreInMemory(dtype)
    go(work)
    finish(work, final)
    top = 1.0 if dtype == "float32" else float(np.iinfo(dtype).max)
    expected = stretched(EXPECTED, top)
    if dtype != "float32":
        expected = np.rint(expected) if rounding == "round" else np.trunc(expected)
    np.testing.assert_array_equal(final.data, expected.astype(dtype))
    assert final.data.min() == 0
    assert final.data.max() == top
    assert len(noted(work.ledger)) == len(noted(work.ledger, "scratch")) == 30


def test_a_stretch_is_resumed_where_it_was_stopped(tmp_path: Path) -> None:
    """Units that are stretched are not written again, and the range is still the whole one's."""
    plan = plan_of(output=Output(stretch="whole"))
    work = work_of(tmp_path, plan=plan)
    go(work)

    def listen(event: Event) -> None:
        if isinstance(event, StageAdvanced) and len(final.written) == 11:
            work.stop.set()

    final = StoreInMemory("uint8")
    with pytest.raises(Interrupted, match="stretching"):
        finish(work, final, listen)
    assert noted(work.ledger) == sorted(final.written)
    assert len(final.written) == 11
    again = work_of(tmp_path, plan=plan, store=work.store)
    go(again)
    events: list[Event] = []
    finish(again, final, events.append)
    assert len(final.written) == 30
    assert events[0] == StageStarted("stretching", 19, "units")
    np.testing.assert_array_equal(final.data, np.rint(stretched(EXPECTED, 255)))


def test_a_result_of_one_value_is_stretched_to_zero(tmp_path: Path) -> None:
    """A range of nothing gives no division by zero."""
    volume = VolumeInMemory()
    volume.data = np.full_like(volume.data, 7)
    work = work_of(tmp_path, plan=plan_of(output=Output(stretch="whole")), volumes=(volume,))
    go(work)
    final = StoreInMemory("uint8")
    final.data += 9
    finish(work, final)
    assert (final.data == 0).all()


def test_ranges_of_drafts_are_noted_per_unit(tmp_path: Path) -> None:
    """The ledger has the smallest and largest value of every draft, and none of finals."""
    work = work_of(tmp_path, plan=plan_of(output=Output(stretch="whole")))
    go(work)
    for entry in work.ledger.entries("scratch"):
        region = tuple(slice(a, b) for a, b in zip(entry.start, entry.stop, strict=True))
        part = EXPECTED[entry.channel][region]
        assert (entry.low, entry.high) == (part.min(), part.max())
    (tmp_path / "plain").mkdir()
    plain = work_of(tmp_path / "plain")
    go(plain)
    assert {(e.low, e.high) for e in plain.ledger.entries("final")} == {(0.0, 0.0)}


def test_jobs_of_a_region_are_in_global_order(tmp_path: Path) -> None:
    """Each has its tile as it was cut out of what was read, and the part that is wanted."""
    plan = plan_of()
    region = (slice(0, 4), slice(8, 16), slice(16, 32))
    source = plan.grid.source(region)
    jobs = list(tile_jobs(plan, None, region, [VolumeInMemory.data[1][source]]))
    assert [index for index, *_ in jobs] == sorted(plan.grid.touching(region))
    for index, place, wanted, (tile,) in jobs:
        z, y, x = (slice(s, s + n) for s, n in zip(place.start, place.core, strict=True))
        assert place == plan.grid.place(index)
        assert wanted == (slice(None),) * 3
        np.testing.assert_array_equal(tile, VolumeInMemory.data[1][z, y, x].astype(np.float32))
