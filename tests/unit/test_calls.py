"""Calls of a restorer: batches of one shape, memory that runs out, results that are numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from vemctl.errors import DeviceError, VemctlError
from vemctl.events import Noted, ignore
from vemctl.nn import streams
from vemctl.plugin import Footprint, Output, Place, Triple
from vemctl.prediction import calls, shortage
from vemctl.prediction.calls import Caller, Job, seconds_per_tile

WHOLE = (slice(None), slice(None), slice(None))
SHAPE = (2, 4, 4)


class Doubler:
    """Returns twice what it gets, as long as no more than `most` tiles come at once."""

    footprint = Footprint(tile=SHAPE)
    output = Output()

    def __init__(self, most: int = 1000, error: Exception | None = None) -> None:
        self.most = most
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        self.sizes: list[int] = []
        self.places: list[Sequence[Place]] = []
        self.bytes_per_voxel = 4

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        self.sizes.append(len(tiles[0]))
        self.places.append(places)
        if len(tiles[0]) > self.most:
            raise self.error
        return 2 * torch.stack(tuple(tiles)).sum(dim=0)

    def memory(self, tile: Triple, batch: int) -> int:
        return self.bytes_per_voxel * batch * math.prod(tile)


def job(i: int, region: Any = WHOLE, low: int = 0, inputs: int = 1, shape: Triple = SHAPE) -> Job:
    """Return tile `i`, whose voxels all are `i`."""
    place = Place((0, 0, 4 * i), shape, (low, 0, 0), (0, 0, 0))
    return (0, 0, i), place, region, tuple(np.full(shape, i, np.float32) for _ in range(inputs))


def caller(restorer: Any, batch: int, precision: str = "fp32", listen: Any = ignore) -> Caller:
    """Return a caller on the CPU."""
    return Caller(restorer, "cpu", precision, batch, listen)


class Taken:
    """A sink that keeps what it gets."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.pieces: list[tuple[Triple, Any, np.ndarray]] = []

    def add(self, index: Triple, wanted: Any, piece: torch.Tensor) -> None:
        self.pieces.append((index, wanted, piece.numpy().copy()))

    def move(self, device: str) -> None:
        self.device = device


def run(ours: Caller, jobs: Any) -> list[tuple[Triple, Any, np.ndarray]]:
    """Restore tiles, and return what their sink got; all of them are told to be done."""
    taken = Taken()
    assert sum(ours.run(jobs, taken)) == len(taken.pieces)
    return taken.pieces


def results(pieces: Any) -> list[tuple[int, float]]:
    """Return number and value of every tile, in the order in which they came."""
    return [(index[2], float(piece.max())) for index, _, piece in pieces]


def doubled(count: int) -> list[tuple[int, float]]:
    """Return what `results` should be."""
    return [(i, 2.0 * i) for i in range(count)]


@pytest.mark.parametrize(("count", "expected"), [(7, [3, 3, 3]), (6, [3, 3]), (1, [3]), (0, [])])
def test_the_network_always_sees_a_whole_batch(count: int, expected: list[int]) -> None:
    """The last batch is filled up, its filling is not returned, and the order is kept."""
    restorer = Doubler()
    made = run(caller(restorer, 3), (job(i) for i in range(count)))
    assert expected == restorer.sizes
    assert doubled(count) == results(made)
    assert all(len(places) == 3 for places in restorer.places)


def test_places_and_wanted_parts_go_with_their_tiles() -> None:
    """The restorer gets each tile's place; only the wanted part of a core comes back."""
    restorer = Doubler()
    part = (slice(0, 1), slice(1, 3), slice(2, 4))
    first, second = run(caller(restorer, 2), [job(1, part), job(2)])
    assert [place.start for place in restorer.places[0]] == [(0, 0, 4), (0, 0, 8)]
    assert (first[1], first[2].shape) == (part, (1, 2, 2))
    assert (second[1], second[2].shape) == (WHOLE, SHAPE)
    assert first[2].dtype == np.float32


def test_tiles_of_another_shape_begin_another_batch() -> None:
    """Within a batch places differ in their start only; the order stays."""
    restorer = Doubler()
    lows = [0, 0, 1, 1, 1, 0]
    made = run(caller(restorer, 2), (job(i, low=low) for i, low in enumerate(lows)))
    assert doubled(6) == results(made)
    assert restorer.sizes == [2] * 4
    seen = [{place.halo_low[0] for place in places} for places in restorer.places]
    assert seen == [{0}, {1}, {1}, {0}]


def test_every_input_is_sent() -> None:
    """A method of two inputs gets two tensors of one shape, with an axis of channels."""
    made = run(caller(Doubler(), 2), (job(i, inputs=2) for i in range(3)))
    assert [(i, 4.0 * i) for i in range(3)] == results(made)


def test_results_come_as_soon_as_a_batch_is_done() -> None:
    """Tiles are not gathered: after one batch is restored no more than it was asked for."""
    asked: list[int] = []

    def tiles() -> Any:
        for i in range(9):
            asked.append(i)
            yield job(i)

    taken = Taken()
    made = caller(Doubler(), 2).run(tiles(), taken)
    assert next(made) == 2
    assert asked == [0, 1]
    assert results(taken.pieces) == doubled(2)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_the_batch_is_halved_until_it_fits(error: Exception) -> None:
    """Nothing is lost or changes its order, the user is told, and the smaller batch stays."""
    restorer, events = Doubler(most=2, error=error), []
    ours = caller(restorer, 9, listen=events.append)
    made = run(ours, (job(i) for i in range(11)))
    assert doubled(11) == results(made)
    assert restorer.sizes == [9, 4, *[2] * 6]
    assert ours.batch == 2
    notes = [event for event in events if isinstance(event, Noted)]
    assert [note.level for note in notes] == ["warning", "warning"]
    assert "--batch 2" in notes[-1].text


def test_other_errors_pass() -> None:
    """A fault of the network is not taken for a lack of memory."""
    restorer = Doubler(most=0, error=RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        run(caller(restorer, 4), [job(0)])
    assert restorer.sizes == [4]


def refuse(
    monkeypatch: pytest.MonkeyPatch, restorer: Doubler, shape: Triple, free: int
) -> tuple[str, Triple]:
    """Let one tile be too large, and return the line and the tile that it suggests."""
    monkeypatch.setattr(shortage, "free_memory", lambda _: free)
    with pytest.raises(DeviceError) as raised:
        run(caller(restorer, 1), [job(0, shape=shape)])
    found = re.search(r"--tile (\d+),(\d+),(\d+)", str(raised.value))
    assert found is not None
    assert "\n" not in str(raised.value)
    z, y, x = map(int, found.groups())
    return str(raised.value), (z, y, x)


@pytest.mark.parametrize("shape", [(8, 256, 256), (8, 100, 260), (1, 512, 96)])
def test_a_tile_that_is_too_large_is_refused_with_one_that_fits(
    monkeypatch: pytest.MonkeyPatch, shape: Triple
) -> None:
    """At a batch of one nothing can be halved; by the method's own account the tile named fits."""
    restorer = Doubler(most=0)
    free = restorer.memory(shape, 1) // 5
    text, tile = refuse(monkeypatch, restorer, shape, free)
    assert "out of memory on cpu" in text
    assert restorer.memory(tile, 1) <= free
    assert tile[0] == shape[0]
    assert tile[1] < shape[1]
    assert tile[2] < shape[2]


def test_the_tile_named_is_smaller_than_the_one_that_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A method's account may be too low; what has just failed is no cure."""
    _, tile = refuse(monkeypatch, Doubler(most=0), (8, 256, 256), 2**40)
    assert math.prod(tile) < 8 * 256 * 256


def test_the_tile_named_is_one_that_the_network_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that needs multiples of 32 is not told 40."""
    restorer = Doubler(most=0)
    restorer.footprint = replace(restorer.footprint, multiple_of=(1, 32, 32))
    _, tile = refuse(monkeypatch, restorer, (8, 160, 160), restorer.memory((8, 160, 160), 1) // 2)
    assert [n % 32 for n in tile[1:]] == [0, 0]


@pytest.mark.parametrize("shape", [(64, 64, 64), (64, 32, 32), (64, 20, 64)])
def test_planes_are_taken_away_where_y_and_x_are_small_already(
    monkeypatch: pytest.MonkeyPatch, shape: Triple
) -> None:
    """Halving the planes alone would not do; half of what has failed is named at least."""
    restorer = Doubler(most=0)
    _, tile = refuse(monkeypatch, restorer, shape, restorer.memory((16, 32, 32), 1))
    assert restorer.memory(tile, 1) <= restorer.memory((16, 32, 32), 1)
    assert tile[0] < 64
    assert max(tile[1:]) <= 32


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"tile": (None, 64, 64)}, (64, 32, 32)),
        ({"multiple_of": (24, 1, 1)}, (24, 32, 32)),
        ({"halo": (10, 0, 0)}, (32, 32, 32)),
        ({"halo": (0, 20, 0)}, (1, 64, 32)),  # half of y would be all halo
        ({"multiple_of": (64, 64, 64)}, (64, 64, 64)),
    ],
)
def test_a_tile_is_made_no_smaller_than_the_footprint_allows(
    monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], expected: Triple
) -> None:
    """Not where z is taken whole, not below a multiple, and never to a tile that is all halo."""
    restorer = Doubler(most=0)
    restorer.footprint = replace(restorer.footprint, **facts)
    assert refuse(monkeypatch, restorer, (64, 64, 64), 1)[1] == expected


class Spoiler(Doubler):
    """Returns one voxel that is no finite number."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        cores = super().__call__(tiles, places)
        cores[1, 0, 1, 2, 3] = self.value
        return cores


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_results_that_are_not_finite_are_refused(value: float) -> None:
    """The tile is named, and for fp16 the likely cause."""
    jobs = [job(5), job(6)]
    with pytest.raises(VemctlError, match=r"not finite for tile \(0, 0, 6\).*check the weights"):
        run(caller(Spoiler(value), 2), jobs)
    with pytest.raises(VemctlError, match="--precision bf16 or fp32"):
        run(caller(Spoiler(value), 2, "fp16"), jobs)


def test_what_nobody_wants_may_be_anything() -> None:
    """Only the part of a core that is used must be finite."""
    part = (slice(0, 1), slice(0, 4), slice(0, 4))
    made = run(caller(Spoiler(math.nan), 2), [job(5), job(6, part)])
    assert results(made) == [(5, 10.0), (6, 12.0)]


class Watcher(Doubler):
    """Multiplies matrices, and notes in what mode."""

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        self.inference = torch.is_inference_mode_enabled()
        self.autocast = torch.is_autocast_enabled("cpu")
        product = tiles[0] @ torch.eye(4)
        self.dtype = product.dtype
        return product


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_arithmetic_is_as_precise_as_asked(precision: str, dtype: torch.dtype) -> None:
    """Autocast is on but for fp32, gradients are off, and results are float32 in any case."""
    restorer = Watcher()
    (piece,) = run(caller(restorer, 1, precision), [job(3)])
    assert restorer.inference
    assert (precision != "fp32") == restorer.autocast
    assert dtype == restorer.dtype
    assert piece[2].dtype == np.float32
    assert (piece[2] == 3).all()
    assert not torch.is_autocast_enabled("cpu")


class Clock(Doubler):
    """Takes a second per call, by a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        now = SimpleNamespace(perf_counter=lambda: 100.0 + len(self.sizes))
        monkeypatch.setattr(calls, "time", now)
        monkeypatch.setattr(streams, "time", now)


def test_the_network_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds add up over the calls."""
    ours = caller(Clock(monkeypatch), 1)
    assert [ours.seconds for _ in ours.run(map(job, range(3)), Taken())] == [1, 2, 3]
    assert (ours.calls, ours.tiles, ours.seconds_at_first) == (3, 3, 1)


def test_time_is_measured_after_one_call_to_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call, which allocates, does not count; filled batches count as whole ones."""
    restorer = Clock(monkeypatch)
    assert seconds_per_tile(restorer, "cpu", "fp32", 2, [job(i) for i in range(3)]) == 0.5
    assert restorer.sizes == [2, 2, 2]


def test_a_call_that_is_long_is_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run need not take minutes to say how long a tile takes."""
    restorer = Doubler()
    now = SimpleNamespace(perf_counter=lambda: 6.0 * len(restorer.sizes))
    monkeypatch.setattr(calls, "time", now)
    assert seconds_per_tile(restorer, "cpu", "fp32", 2, [job(i) for i in range(3)]) == 3
    assert restorer.sizes == [2]


DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]


@pytest.mark.parametrize("name", [*DTYPES, "float16", "float32", "float64", ">u2", ">f4", ">i8"])
def test_tiles_of_any_type_become_the_floats_that_numpy_makes_of_them(name: str) -> None:
    """On their way to the device they are as they are stored, or floats already."""
    dtype = np.dtype(name)
    values = np.random.default_rng(0).integers(0, 256, 32 * dtype.itemsize, np.uint8)
    if dtype.kind == "f":
        values = values.view(np.int8).astype(dtype)[:32]
    elif dtype.kind == "b":
        values = values % 2 == 1
    tile = np.ascontiguousarray(values).view(dtype)[:32].reshape(SHAPE)
    with np.errstate(over="ignore"):
        expected = tile.astype(np.float32)
    place = Place((0, 0, 0), SHAPE, (0, 0, 0), (0, 0, 0))
    (piece,) = run(caller(Doubler(), 1), [((0, 0, 0), place, WHOLE, (tile,))])
    np.testing.assert_array_equal(piece[2], 2 * expected)


def test_a_restorer_may_keep_and_change_its_tiles() -> None:
    """Buffers are used again, what a restorer gets is its own."""
    kept: list[torch.Tensor] = []

    class Keeper(Doubler):
        def __call__(self, tiles: Sequence[torch.Tensor], places: Any) -> torch.Tensor:
            kept.append(tiles[0])
            return tiles[0].mul_(2)

    given = [job(i) for i in range(3)]
    assert results(run(caller(Keeper(), 1), given)) == doubled(3)
    assert [float(tile.max()) for tile in kept] == [0, 2, 4]
    assert [float(each[3][0].max()) for each in given] == [0, 1, 2]
