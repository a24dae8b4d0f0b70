"""Lanes of a device: one after the other on a CPU, side by side on CUDA."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from vemctl.nn.streams import PIECE_BYTES, CudaLanes, Lanes, lanes_of
from vemctl.prediction.slots import Slot

on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICE = "cuda:0"
CYCLES = 10**9
"""That a device sleeps: half a second or so."""


def test_on_a_cpu_nothing_is_copied() -> None:
    """Main memory is the device's memory, one call is under way, and all is there at once."""
    lanes = lanes_of("cpu")
    assert type(lanes) is Lanes
    assert (lanes.depth, lanes.apart) == (1, False)
    host = lanes.room(8)
    assert lanes.beside(host) is host
    values = torch.arange(3.0)
    assert lanes.fetch(values).wait() is values
    assert Slot(lanes, "cpu").fetch("cores", values) is values


def test_on_a_cpu_moments_are_those_of_the_clock() -> None:
    """They have passed when they are marked."""
    lanes = lanes_of("cpu")
    began = lanes.mark()
    time.sleep(0.02)
    ended = lanes.mark()
    ended.wait()
    assert 0.02 <= ended.seconds_since(began) < 10


def test_tiles_of_several_inputs_go_in_one_buffer() -> None:
    """Each has its own type and comes out as float32, the last sample repeated."""
    slot = Slot(lanes_of("cpu"), "cpu")
    first = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    second = np.arange(6, dtype=np.uint16).reshape(1, 3, 2) * 10_000
    third = first[:, ::-1] * 2.5
    sent = slot.send([(first, second, third), (first + 1, second + 1, third + 1)], 3)
    for tensor, array in zip(sent, (first, second, third), strict=True):
        assert tensor.dtype == torch.float32
        expected = np.stack([array, array + 1, array + 1])[:, None]
        np.testing.assert_array_equal(tensor.numpy(), expected)


@pytest.mark.gpu
@on_cuda
def test_a_copy_is_there_for_what_is_computed_next() -> None:
    """Whatever the work's lane is doing, and however often a buffer is used again."""
    slot = Slot(lanes_of(DEVICE), DEVICE)
    lanes = slot._lanes
    results = []
    for i in range(20):
        shape = (4, 64, 64 + i)
        (tile,) = slot.send([(np.full(shape, i, np.uint16),)], 2)
        torch.cuda._sleep(10**6)
        results.append((tile * 2).sum())
        slot.occupy(lanes.mark())
    for i, result in enumerate(results):
        assert float(result) == 2 * i * 2 * 4 * 64 * (64 + i)


@pytest.mark.gpu
@on_cuda
def test_copying_waits_for_nothing_but_its_own_buffer() -> None:
    """While the device is busy the host goes on, and moments tell the device's time."""
    lanes = lanes_of(DEVICE)
    slots = [Slot(lanes, DEVICE) for _ in range(2)]
    for slot in slots:  # makes the buffers
        slot.send([(np.zeros((8, 256, 256), np.uint8),)], 1)
    torch.cuda.synchronize()
    before = time.perf_counter()
    began = lanes.mark()
    torch.cuda._sleep(CYCLES)
    ended = lanes.mark()
    for slot in slots:
        slot.send([(np.ones((8, 256, 256), np.uint8),)], 1)
        slot.fetch("ends", torch.zeros(2, 2, device=DEVICE))
    asked = time.perf_counter() - before
    ended.wait()
    assert ended.seconds_since(began) > 0.1
    assert asked < ended.seconds_since(began) / 2


@pytest.mark.gpu
@on_cuda
@pytest.mark.parametrize("size", [1, PIECE_BYTES // 2, PIECE_BYTES + 3, 5 * PIECE_BYTES // 2])
@pytest.mark.parametrize("dtype", [torch.uint16, torch.float32, torch.uint64])
def test_a_large_result_is_brought_while_the_next_is_computed(
    size: int, dtype: torch.dtype
) -> None:
    """By another thread, bit by bit, although its memory is given away right after."""
    lanes = lanes_of(DEVICE)
    assert isinstance(lanes, CudaLanes)
    count = -(-size // dtype.itemsize)
    expected = torch.randint(0, 60_000, (1, count, 1), dtype=torch.int32)
    values = expected.to(DEVICE).to(dtype)
    fetch = lanes.fetch(values)
    del values
    torch.cuda._sleep(CYCLES)
    got: list[torch.Tensor] = []
    thread = threading.Thread(target=lambda: got.append(fetch.wait()))
    thread.start()
    thread.join()
    assert not torch.cuda.current_stream().query()
    assert torch.equal(got[0].to(torch.int64), expected.to(dtype).to(torch.int64))
