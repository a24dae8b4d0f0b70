"""Blocks for several processes: little is computed twice, and nobody waits long."""

from __future__ import annotations

import math

import pytest

from vemctl.plugin import Footprint, Triple
from vemctl.prediction.block_shape import share_out
from vemctl.tiles.grid import TileGrid, tile_grid
from vemctl.tiles.memory import computed_along


def cost(grid: TileGrid, block: Triple, shape: Triple, processes: int) -> float:
    """Return how many tiles are computed one after the other, if all go on at one speed."""
    blocks = math.prod(-(-n // b) for n, b in zip(shape, block, strict=True))
    tiles = math.prod(
        computed_along(axis, b, owned=grid.owned) for axis, b in zip(grid.axes, block, strict=True)
    )
    return tiles / blocks * math.ceil(blocks / processes)


@pytest.mark.parametrize("processes", [2, 3, 8])
@pytest.mark.parametrize("window", ["crop", "linear"])
def test_several_processes_are_faster_than_one(processes: int, window: str) -> None:
    """With many units the work is nearly divided by the number of processes."""
    shape = (64, 512, 768)
    grid = tile_grid(shape, Footprint(tile=(16, 64, 64), overlap=(4, 16, 16), window=window))
    block = share_out(grid, (16, 64, 64), shape, lambda _: True, series=1, processes=processes)
    alone = cost(grid, shape, shape, 1)
    assert cost(grid, block, shape, processes) < 2 * alone / processes
    assert all(b % u == 0 for b, u in zip(block, (16, 64, 64), strict=True))


def test_what_is_not_allowed_is_not_chosen() -> None:
    """A block stays within memory; the unit itself is always possible."""
    shape = (16, 256, 256)
    grid = tile_grid(shape, Footprint(tile=(16, 64, 64), overlap=(0, 8, 8)))
    few = share_out(
        grid, (16, 64, 64), shape, lambda b: math.prod(b) <= 16 * 64 * 128, series=1, processes=2
    )
    assert math.prod(few) <= 16 * 64 * 128
    none = share_out(grid, (16, 64, 64), shape, lambda _: False, series=1, processes=2)
    assert none == (16, 64, 64)


def test_enough_volumes_need_not_be_cut() -> None:
    """Where there are many time points, each is a block, and no tile is computed twice."""
    shape = (16, 128, 128)
    grid = tile_grid(shape, Footprint(tile=(16, 64, 64), overlap=(0, 16, 16), window="linear"))
    block = share_out(grid, (16, 64, 64), shape, lambda _: True, series=100, processes=4)
    assert block == (16, 128, 128)


def test_a_million_units_are_quickly_shared_out() -> None:
    """Not every size is looked at."""
    shape = (6400, 51200, 51200)
    grid = tile_grid(shape, Footprint(tile=(16, 256, 256), overlap=(4, 32, 32)))
    block = share_out(
        grid, (64, 512, 512), shape, lambda b: math.prod(b) < 2**28, series=1, processes=64
    )
    blocks = math.prod(-(-n // b) for n, b in zip(shape, block, strict=True))
    assert blocks > 64
