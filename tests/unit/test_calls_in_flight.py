"""Several calls under way at once: order, buffers, memory that runs out, and what is told when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from late_lanes import DEVICE, LateLanes

from vemctl.errors import DeviceError, VemctlError
from vemctl.events import Event, Noted, ignore
from vemctl.plugin import Footprint, Output, Place, Triple
from vemctl.prediction import calls
from vemctl.prediction.calls import Caller, Job
from vemctl.prediction.shortage import making_room

SHAPE = (2, 3, 4)
WHOLE = (slice(None), slice(None), slice(None))
NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


class Halver:
    """Returns half of what it gets, as long as no more than `most` tiles come at once."""

    footprint = Footprint(tile=SHAPE)
    output = Output()

    def __init__(self, most: int = 1000, bad: float = -1) -> None:
        self.most = most
        self.bad = bad
        self.sizes: list[int] = []

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        self.sizes.append(len(tiles[0]))
        if len(tiles[0]) > self.most:
            raise NO_MEMORY
        return torch.where(tiles[0] == self.bad, math.nan, tiles[0] / 2)

    def memory(self, tile: Triple, batch: int) -> int:
        return 4 * batch * math.prod(tile)


class Taken:
    """A sink of one value per tile; it refuses on the device while it has no room there."""

    def __init__(self, device: str, room: int = 1000) -> None:
        self.device = device
        self.room = room
        self.moves: list[str] = []
        self.values: list[tuple[int, float]] = []

    def add(self, index: Triple, wanted: Any, piece: torch.Tensor) -> None:
        if self.device != "cpu" and len(self.values) >= self.room:
            raise NO_MEMORY
        self.values.append((index[2], float(piece.max())))

    def move(self, device: str) -> None:
        self.moves.append(device)
        self.device = device


@pytest.fixture
def lanes(monkeypatch: pytest.MonkeyPatch) -> LateLanes:
    """Let callers believe that they use a CUDA device."""
    made = LateLanes()
    monkeypatch.setattr(calls, "lanes_of", lambda _: made)
    monkeypatch.setattr(calls, "be_exact", lambda: None)
    monkeypatch.setattr(calls, "empty_cache", lambda _: None)
    return made


def job(i: int, low: int = 0, shape: Triple = SHAPE) -> Job:
    """Return tile `i`, whose voxels all are `i`."""
    place = Place((0, 0, 4 * i), shape, (low, 0, 0), (0, 0, 0))
    return (0, 0, i), place, WHOLE, (np.full(shape, i, np.uint16),)


def halved(count: int) -> list[tuple[int, float]]:
    """Return what a sink should have got."""
    return [(i, i / 2) for i in range(count)]


@pytest.mark.parametrize("device", [DEVICE, "cpu"])
@pytest.mark.parametrize("batch", [1, 3])
def test_order_and_values_are_those_of_one_call_after_the_other(
    lanes: LateLanes, device: str, batch: int
) -> None:
    """Wherever the sink is, nothing is sent from a buffer that has changed meanwhile."""
    sink = Taken(device)
    ours = Caller(Halver(), DEVICE, "fp32", batch, ignore)
    shapes = [SHAPE, (5, 3, 4), (1, 2, 2)]
    jobs = [job(i, shape=shapes[i // 6]) for i in range(17)]
    assert sum(ours.run(iter(jobs), sink)) == 17
    assert sink.values == halved(17)
    assert not lanes.late or lanes.passed == lanes.marks


@pytest.mark.parametrize("device", [DEVICE, "cpu"])
def test_no_more_calls_are_under_way_than_there_are_buffers(lanes: LateLanes, device: str) -> None:
    """Tiles are told to be done when they are, and the next is cut after that."""
    asked: list[int] = []

    def tiles() -> Any:
        for i in range(6):
            asked.append(i)
            yield job(i)

    sink = Taken(device)
    done = 0
    seen = []
    for tiles_done in Caller(Halver(), DEVICE, "fp32", 1, ignore).run(tiles(), sink):
        done += tiles_done
        seen.append(len(asked) - done)
        assert len(sink.values) == (done if device == "cpu" else len(asked))
    assert seen == [2, 2, 2, 2, 1, 0]


def test_a_call_is_timed_by_the_device(lanes: LateLanes) -> None:
    """From the moment at which the tiles are there to the one at which the results are."""
    ours = Caller(Halver(), DEVICE, "fp32", 2, ignore)
    assert sum(ours.run(map(job, range(5)), Taken(DEVICE))) == 5
    assert (ours.calls, ours.tiles, ours.seconds, ours.seconds_at_first) == (3, 5, 3.0, 1.0)


@pytest.mark.parametrize("device", [DEVICE, "cpu"])
def test_the_first_bad_tile_is_named_although_later_ones_are_under_way(
    lanes: LateLanes, device: str
) -> None:
    """It is looked at when its call is done, and nothing waits for it before."""
    restorer = Halver(bad=4)
    ours = Caller(restorer, DEVICE, "fp32", 1, ignore)
    with pytest.raises(VemctlError, match=r"not finite for tile \(0, 0, 4\)"):
        list(ours.run(map(job, range(20)), Taken(device)))
    assert len(restorer.sizes) == 4 + lanes.depth


def test_a_run_that_is_given_up_leaves_nothing_behind(lanes: LateLanes) -> None:
    """The next one waits for buffers that are still on their way, and has its own tiles only."""
    ours = Caller(Halver(), DEVICE, "fp32", 2, ignore)
    given_up = ours.run(map(job, range(100, 120)), Taken(DEVICE))
    assert next(given_up) == 2
    given_up.close()
    sink = Taken("cpu")
    assert sum(ours.run(map(job, range(9)), sink)) == 9
    assert sink.values == halved(9)


def test_a_fault_in_a_call_leaves_buffers_alone_until_they_are_sent(lanes: LateLanes) -> None:
    """What failed is sent nevertheless, and must not be written over."""
    restorer = Halver()
    ours = Caller(restorer, DEVICE, "fp32", 1, ignore)
    restorer.bad = math.inf
    broken = [((0, 0, 0), job(0)[1], (slice(0, 0),) * 3, job(0)[3])]  # a piece of no voxels
    for _ in range(5):
        with pytest.raises((RuntimeError, IndexError)):
            list(ours.run(broken, Taken(DEVICE)))
    sink = Taken(DEVICE)
    assert sum(ours.run(map(job, range(5)), sink)) == 5
    assert sink.values == halved(5)


def test_the_batch_is_halved_with_calls_under_way(lanes: LateLanes) -> None:
    """Nothing is lost, nothing comes twice, and the block stays on the device."""
    restorer, events = Halver(), []
    ours = Caller(restorer, DEVICE, "fp32", 4, events.append)
    sink = Taken(DEVICE)
    run = ours.run(map(job, range(30)), sink)
    done = next(run)
    restorer.most = 1
    assert done + sum(run) == 30
    assert sink.values == halved(30)
    assert ours.batch == 1
    assert sink.moves == []
    assert [event.text.split("--")[1] for event in events if isinstance(event, Noted)] == [
        "batch 2",
        "batch 1",
    ]


def test_a_block_leaves_the_device_before_a_tile_is_refused(lanes: LateLanes) -> None:
    """When one tile is too much beside the block, main memory takes the block, which is told."""

    class Tight(Halver):
        def __call__(self, tiles: Any, places: Any) -> torch.Tensor:
            self.most = 0 if sink.device == DEVICE and len(sink.values) >= 3 else 1
            return super().__call__(tiles, places)

    events: list[Event] = []
    sink = Taken(DEVICE)
    ours = Caller(Tight(), DEVICE, "fp32", 1, events.append)
    assert sum(ours.run(map(job, range(8)), sink)) == 8
    assert sink.values == halved(8)
    assert sink.moves == ["cpu"]
    assert ours.home(0) == "cpu"
    (note,) = [event for event in events if isinstance(event, Noted)]
    assert "joined in main memory" in note.text


def test_a_tile_that_does_not_fit_alone_is_refused(
    lanes: LateLanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the batch and the block there is nothing left to save."""
    monkeypatch.setattr("vemctl.prediction.shortage.free_memory", lambda _: 1)
    sink = Taken(DEVICE)
    with pytest.raises(DeviceError, match="use a smaller tile"):
        list(Caller(Halver(most=0), DEVICE, "fp32", 2, ignore).run([job(0)], sink))
    assert sink.moves == ["cpu"]
    assert sink.values == []


@pytest.mark.parametrize("room", [0, 1, 2, 5])
def test_memory_that_runs_out_while_joining_adds_nothing_twice(lanes: LateLanes, room: int) -> None:
    """In the middle of a batch the block moves, and the calls under way find it there."""
    events: list[Event] = []
    sink = Taken(DEVICE, room)
    ours = Caller(Halver(), DEVICE, "fp32", 3, events.append)
    assert sum(ours.run(map(job, range(10)), sink)) == 10
    assert sink.values == halved(10)
    assert sink.moves == ["cpu"]
    assert len(events) == 1


def test_a_block_goes_where_it_fits(lanes: LateLanes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else to main memory, with those that follow, and that is told once."""
    monkeypatch.setattr(calls, "unused_memory", lambda _: 1000)
    events: list[Event] = []
    ours = Caller(Halver(), DEVICE, "fp32", 1, events.append)
    assert ours.home(1000) == DEVICE
    assert events == []
    assert [ours.home(1001), ours.home(10)] == ["cpu", "cpu"]
    assert len(events) == 1
    assert Caller(Halver(), "cpu", "fp32", 1, ignore).home(2**60) == "cpu"


def test_room_is_made_for_a_lack_of_memory_only() -> None:
    """Other faults pass, and in main memory there is nothing to be done about it."""
    sink = Taken(DEVICE)

    def fail() -> None:
        raise RuntimeError("shapes cannot be multiplied")

    def refuse() -> str:
        if sink.device != "cpu":
            raise NO_MEMORY
        return "done"

    with pytest.raises(RuntimeError, match="shapes"):
        making_room(sink, fail)
    assert sink.moves == []
    assert making_room(sink, refuse) == "done"
    assert making_room(sink, refuse) == "done"
    assert sink.moves == ["cpu"]
