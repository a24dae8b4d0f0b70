"""One block: its tiles in order, its progress, its end, and what it may not be filled with."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from late_lanes import DEVICE, LateLanes

from vemctl.errors import Interrupted, VemctlError
from vemctl.events import Event, Noted, ignore
from vemctl.plugin import Footprint, Output, Place, Triple, WindowName
from vemctl.prediction import calls, filling
from vemctl.prediction.calls import Caller
from vemctl.prediction.filling import fill, tile_jobs
from vemctl.prediction.plan import Plan, Series, make_plan
from vemctl.tiles.blend import Block
from vemctl.tiles.grid import Region, tile_grid
from vemctl.tiles.windows import Window
from vemctl.volumes.volume import Header, Layout

SHAPE = (4, 24, 40)
UNIT = (4, 8, 8)
WHOLE: Region = (slice(0, 4), slice(0, 24), slice(0, 40))
VOLUME = np.random.default_rng(0).integers(0, 60_000, SHAPE).astype(np.uint16)


class Uneven:
    """Returns its tile plus something of the place at which it is."""

    output = Output()

    def __init__(self, window: WindowName = "linear", hook: Callable[[], None] | None = None):
        self.footprint = Footprint(tile=(None, 8, 8), overlap=(0, 2, 2), window=window)
        self.hook = hook or (lambda: None)
        self.places: list[Triple] = []

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        self.places += [place.start for place in places]
        self.hook()
        odd = [place.start[1] + 3 * place.start[2] for place in places]
        return tiles[0] / 3 + torch.tensor(odd, dtype=torch.float32).view(-1, 1, 1, 1, 1)

    def memory(self, tile: Triple, batch: int) -> int:
        return 4 * batch * math.prod(tile)


def plan_of(restorer: Uneven, output: Output | None = None, dtype: str = "uint16") -> Plan:
    """Plan one channel."""
    grid = tile_grid(SHAPE, restorer.footprint)
    header = Header(Path("in"), "memory", "zyx", SHAPE, None, None, VOLUME.dtype, None, UNIT)
    return make_plan(
        grid=grid,
        footprint=restorer.footprint,
        output=output or restorer.output,
        layout=Layout("zyx", SHAPE, None, None, np.dtype(dtype), None, None, UNIT, UNIT),
        headers=(header,),
        series=(Series(0, 0, 0, 0),),
        batch=2,
        budget=2**40,
        device="cpu",
        network_bytes=0,
        block=SHAPE,
    )


def made(
    restorer: Uneven,
    region: Region = WHOLE,
    *,
    plan: Plan | None = None,
    caller: Caller | None = None,
    advanced: Callable[[int], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> np.ndarray:
    """Fill a block of the volume."""
    plan = plan or plan_of(restorer)
    return fill(
        plan,
        caller or Caller(restorer, "cpu", "fp32", 2, ignore),
        Window(plan.grid, plan.footprint),
        0,
        region,
        [VOLUME[plan.grid.source(region)]],
        advanced=advanced,
        stop=stop or threading.Event(),
    ).wait()


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> LateLanes:
    """Let callers believe that they use a CUDA device whose memory is full."""
    lanes = LateLanes()
    monkeypatch.setattr(calls, "lanes_of", lambda _: lanes)
    monkeypatch.setattr(calls, "be_exact", lambda: None)
    monkeypatch.setattr(calls, "empty_cache", lambda _: None)
    monkeypatch.setattr(calls, "unused_memory", lambda _: 0)
    return lanes


@pytest.mark.parametrize("window", ["crop", "linear", "bump", "mean"])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_several_calls_under_way_give_the_same_bytes(
    late: LateLanes, window: WindowName, dtype: str
) -> None:
    """The order in which tiles are joined is that of the grid, whatever is in flight."""
    restorer = Uneven(window)
    plan = plan_of(restorer, dtype=dtype)
    events: list[Event] = []
    caller = Caller(restorer, DEVICE, "fp32", 2, events.append)
    flown = made(restorer, plan=plan, caller=caller)
    late_depth, late.depth = late.depth, 1
    alone = made(restorer, plan=plan, caller=Caller(restorer, DEVICE, "fp32", 2, ignore))
    assert late_depth == 3
    assert flown.dtype == dtype
    assert flown.tobytes() == alone.tobytes()
    assert len([event for event in events if isinstance(event, Noted)]) == 1


def test_a_result_that_is_stretched_later_is_kept_in_floats() -> None:
    """The draft has what the network made."""
    restorer = Uneven()
    plan = plan_of(restorer, Output(stretch="whole"))
    assert made(restorer, plan=plan).dtype == np.float32


def test_every_tile_is_told_once() -> None:
    """Progress adds up to the tiles that touch the block."""
    restorer, told = Uneven(), list[int]()
    region = (slice(0, 4), slice(8, 16), slice(16, 32))
    made(restorer, region, advanced=told.append)
    assert sum(told) == plan_of(restorer).grid.count_touching(region)
    assert max(told) == 2


@pytest.mark.parametrize("flying", [False, True])
def test_a_stop_ends_a_block(late: LateLanes, flying: bool) -> None:
    """As soon as a call returns; of those under way none is waited for."""
    stop = threading.Event()
    restorer = Uneven(hook=stop.set)
    if not flying:
        late.depth = 1
    caller = Caller(restorer, DEVICE, "fp32", 2, ignore)
    with pytest.raises(Interrupted):
        made(restorer, caller=caller, stop=stop)
    assert len(restorer.places) == 2 * late.depth
    restorer.hook = lambda: None
    again = made(restorer, caller=caller)
    np.testing.assert_array_equal(again, made(restorer))


def test_a_bad_tile_ends_a_block(late: LateLanes) -> None:
    """Nothing comes of the block."""

    class Bad(Uneven):
        def __call__(self, tiles: Any, places: Any) -> torch.Tensor:
            cores = super().__call__(tiles, places)
            return cores.log() * math.inf if len(self.places) == 8 else cores

    restorer = Bad()
    with pytest.raises(VemctlError, match=r"not finite for tile \(0, 0, 6\)"):
        made(restorer, caller=Caller(restorer, DEVICE, "fp32", 2, ignore))


def test_tiles_are_cut_in_the_type_of_the_volume() -> None:
    """They share its memory where nothing must be made up; `wanted` is the block's."""
    restorer = Uneven("crop")
    plan = plan_of(restorer)
    region = (slice(0, 4), slice(8, 16), slice(16, 32))
    block = Block(
        region, plan.grid, plan.footprint, Window(plan.grid, plan.footprint), VOLUME.dtype, Output()
    )
    source = VOLUME[plan.grid.source(region)]
    jobs = list(tile_jobs(plan, block, region, [source], 5))
    assert [index for index, *_ in jobs] == list(plan.grid.touching(region))
    for index, place, wanted, (tile,) in jobs:
        assert place == replace(plan.grid.place(index), series=5)
        assert wanted == block.wanted(index)
        assert tile.dtype == np.uint16
        assert np.shares_memory(tile, source)


def test_a_block_that_cannot_be_made_on_the_device_is_made_in_main_memory(
    monkeypatch: pytest.MonkeyPatch, late: LateLanes
) -> None:
    """Memory that seemed to be free may be in pieces."""
    monkeypatch.setattr(calls, "unused_memory", lambda _: 2**60)
    asked: list[str] = []

    def make(*parts: Any) -> Block:
        asked.append(parts[-1])
        if parts[-1] != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return Block(*parts)

    monkeypatch.setattr(filling, "Block", make)
    restorer = Uneven()
    caller = Caller(restorer, DEVICE, "fp32", 2, ignore)
    first = made(restorer, caller=caller)
    second = made(restorer, caller=caller)
    assert asked == [DEVICE, "cpu", "cpu"]
    assert first.tobytes() == second.tobytes() == made(restorer).tobytes()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("window", ["crop", "linear", "bump", "mean"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "uint64", "float16", "float32"])
@pytest.mark.parametrize("home", ["device", "main memory"])
def test_on_cuda_the_bytes_are_those_of_the_cpu(
    monkeypatch: pytest.MonkeyPatch, window: WindowName, dtype: str, home: str
) -> None:
    """Adding, dividing and rounding are alike; only a network's own sums may differ."""
    if home == "main memory":
        monkeypatch.setattr(calls, "unused_memory", lambda _: 0)

    class Exact(Uneven):
        def __call__(self, tiles: Any, places: Sequence[Place]) -> torch.Tensor:
            odd = [place.start[1] + 3 * place.start[2] for place in places]
            numbers = torch.tensor(odd, dtype=torch.float32, device=tiles[0].device)
            return tiles[0] / 3 + numbers.view(-1, 1, 1, 1, 1)

    restorer = Exact(window)
    plan = plan_of(restorer, dtype=dtype)
    expected = made(restorer, plan=plan)
    caller = Caller(restorer, DEVICE, "fp32", 2, ignore)
    filled = fill(
        plan,
        caller,
        Window(plan.grid, plan.footprint),
        0,
        WHOLE,
        [VOLUME],
        advanced=lambda _: None,
        stop=threading.Event(),
    )
    next_one = made(restorer, plan=plan, caller=caller)
    assert filled.wait().tobytes() == expected.tobytes()
    assert next_one.tobytes() == expected.tobytes()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("window", ["crop", "linear"])
def test_on_cuda_nothing_waits_while_tiles_are_computed(window: WindowName) -> None:
    """An error is raised where a call synchronises without being asked to."""
    restorer = Uneven(window)
    plan = plan_of(restorer)

    class Steady(Uneven):
        def __call__(self, tiles: Any, places: Any) -> torch.Tensor:
            return tiles[0] / 3

    caller = Caller(Steady(window), DEVICE, "fp32", 2, ignore)
    windows = Window(plan.grid, plan.footprint)

    def once() -> np.ndarray:
        return fill(
            plan,
            caller,
            windows,
            0,
            WHOLE,
            [VOLUME],
            advanced=lambda _: None,
            stop=threading.Event(),
        ).wait()

    first = once()  # buffers, weights
    torch.cuda.set_sync_debug_mode("error")
    try:
        second = once()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert first.tobytes() == second.tobytes()
