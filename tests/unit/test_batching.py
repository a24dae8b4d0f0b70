"""Batches by trial: as many tiles as fit and help, and no more."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from vemctl.errors import DeviceError
from vemctl.plugin import Footprint, Output, Place, Triple
from vemctl.prediction import batching, shortage
from vemctl.prediction.batching import largest_batch
from vemctl.prediction.calls import Job

SHAPE = (2, 4, 4)
PLACE = Place((0, 0, 0), SHAPE, (0, 0, 0), (0, 0, 0))
WHOLE = (slice(None), slice(None), slice(None))
JOBS: list[Job] = [((0, 0, i), PLACE, WHOLE, (np.zeros(SHAPE, np.uint8),)) for i in range(3)]


class Timed:
    """Takes as long as a formula says, by a clock of its own, while tiles are few enough."""

    footprint = Footprint(tile=SHAPE)
    output = Output()

    def __init__(self, seconds: Callable[[int], float], most: int = 1000) -> None:
        self.seconds = seconds
        self.most = most
        self.now = 0.0
        self.sizes: list[int] = []
        self.bytes = 1

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        size = len(tiles[0])
        if size > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        self.sizes.append(size)
        self.now += self.seconds(size)
        return tiles[0]

    def memory(self, tile: Triple, batch: int) -> int:
        return self.bytes * batch * math.prod(tile)


def found(restorer: Timed, monkeypatch: pytest.MonkeyPatch, **limits: Any) -> int:
    """Return the batch that is found for a restorer."""
    clock = SimpleNamespace(perf_counter=lambda: restorer.now)
    monkeypatch.setattr(batching, "time", clock)
    return largest_batch(restorer, "cpu", "fp32", JOBS, **limits)


def launching(size: int) -> float:
    """Return the time of calls that mostly wait for their start."""
    return 1.0 + 0.001 * size


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (lambda size: 0.1 * size, 1),  # a CPU
        (launching, 64),
        (lambda size: max(1.0, size / 8), 8),  # full with eight
        (lambda size: 1.0 if size < 16 else 20.0, 8),  # another algorithm from there on
    ],
)
def test_tiles_are_added_as_long_as_that_helps(
    monkeypatch: pytest.MonkeyPatch, seconds: Callable[[int], float], expected: int
) -> None:
    """Where a call takes as long for each tile, one is best: it takes the least memory."""
    assert found(Timed(seconds), monkeypatch) == expected


@pytest.mark.parametrize("most", [1, 2, 3, 6, 11, 12, 40])
def test_what_fits_is_found_between_powers_of_two(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Never more than fits, and at least four fifths of it; memory that runs out stops nothing."""
    size = found(Timed(launching, most), monkeypatch)
    assert 4 * most / 5 <= size <= most


def test_no_more_is_tried_than_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit is a limit."""
    restorer = Timed(launching)
    assert found(restorer, monkeypatch, most=8) == 8
    assert max(restorer.sizes) == 8


def test_on_a_cpu_what_would_not_fit_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system would end the process; a tenth of the memory stays free."""
    restorer = Timed(launching)
    restorer.bytes = 100
    monkeypatch.setattr(batching, "free_memory", lambda _: restorer.memory(SHAPE, 8))
    assert found(restorer, monkeypatch) == 7
    assert max(restorer.sizes) == 7


def test_a_long_call_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warming up cannot have mattered."""
    restorer = Timed(lambda size: 10.0 * size)
    assert found(restorer, monkeypatch) == 1
    assert restorer.sizes == [1, 2]


def test_a_restorer_that_batches_by_itself_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its tiles one goes into a call."""
    restorer = Timed(launching)
    restorer.footprint = replace(restorer.footprint, batched=False)
    assert found(restorer, monkeypatch) == 1
    assert restorer.sizes == []


def test_a_tile_that_does_not_fit_alone_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says which would."""
    monkeypatch.setattr(shortage, "free_memory", lambda _: 1)
    with pytest.raises(DeviceError, match="use a smaller tile"):
        found(Timed(launching, most=0), monkeypatch)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_on_cuda_some_memory_stays_free(share: float) -> None:
    """Also what blocks will need."""
    total = torch.cuda.mem_get_info()[1]
    each = total // 40

    class Hungry(Timed):
        def __call__(self, tiles: Any, places: Any) -> torch.Tensor:
            taken = torch.empty(each * len(tiles[0]), dtype=torch.uint8, device=tiles[0].device)
            torch.cuda._sleep(10**7)
            return tiles[0] + taken[0] * 0

    restorer = Hungry(launching)
    size = largest_batch(restorer, "cuda:0", "fp32", JOBS, spare=int(share * total))
    torch.cuda.empty_cache()
    assert size > 1
    assert size * each < (0.9 - share) * total
