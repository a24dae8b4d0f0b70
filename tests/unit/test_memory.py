"""Main memory of blocks: sums that add up and grow with what they count."""

from __future__ import annotations

import math
from dataclasses import astuple
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vemctl.plugin import Footprint, Triple
from vemctl.tiles.grid import AxisGrid, TileGrid, axis_grid, tile_grid
from vemctl.tiles.memory import (
    CHUNKS_IN_FLIGHT,
    SLACK_BYTES,
    BlockMemory,
    block_memory,
    calls_in_flight,
    computed_along,
    largest_source,
)

CUBES = Footprint(tile=(16, 16, 16))


def memory(grid: TileGrid, block: Triple, **changes: Any) -> BlockMemory:
    """Return the memory of blocks of one-byte input and two-byte output."""
    facts: dict[str, Any] = {
        "batch": 2,
        "input_itemsizes": (1,),
        "chunk": (8, 8, 8),
        "output_itemsize": 2,
    }
    return block_memory(grid, block, (16, 16, 16), **facts | changes)


def test_the_parts_are_what_they_say() -> None:
    """Two blocks are read, two written, ten chunks decoded, and a batch is called."""
    made = memory(tile_grid((64, 64, 64), CUBES), (32, 32, 32))
    assert made.reading == 2 * 32**3 + CHUNKS_IN_FLIGHT * 8**3
    assert made.blending == 2 * 2 * 32**3
    assert made.writing == 4 * 2 * 16**3
    assert made.tiles == 2 * (8 + 12) * 16**3


def test_the_total_is_the_sum() -> None:
    """Nothing is counted twice or left out."""
    assert BlockMemory(1, 20, 300, 4000).total == 1 + 20 + 300 + 4000 + SLACK_BYTES


def test_blending_needs_sums_that_cropping_does_not() -> None:
    """A float sum and a float weight per voxel, and a core of weights for each kind of end."""
    shape, block = (64, 64, 64), (32, 32, 32)
    crop = memory(tile_grid(shape, CUBES), block)
    linear = memory(tile_grid(shape, Footprint(tile=(16, 16, 16), window="linear")), block)
    assert crop.blending + 8 * 32**3 + 27 * 4 * 16**3 == linear.blending
    assert (crop.reading, crop.writing, crop.tiles) == (
        linear.reading,
        linear.writing,
        linear.tiles,
    )


def test_on_cuda_several_calls_have_buffers() -> None:
    """Three calls are under way, and pinned buffers may be twice as large as what is in them."""
    grid = tile_grid((64, 64, 64), CUBES)
    one, more = (memory(grid, (32, 32, 32), device=device) for device in ("cpu", "cuda:1"))
    assert more.tiles == 2 * calls_in_flight("cuda:1") * one.tiles
    assert one.total + more.tiles == more.total + one.tiles


def test_every_input_is_read() -> None:
    """Two inputs take the sum of their voxels, and chunks of the wider."""
    grid = tile_grid((64, 64, 64), CUBES)
    one, two = (memory(grid, (32, 32, 32), input_itemsizes=sizes) for sizes in ((1,), (1, 4)))
    assert one.reading + 8 * 32**3 + 3 * CHUNKS_IN_FLIGHT * 8**3 == two.reading
    assert one.tiles + 2 * 8 * 16**3 == two.tiles


@st.composite
def axes(draw: st.DrawFn) -> AxisGrid:
    """Draw an axis of any geometry."""
    scale = Fraction(draw(st.integers(1, 4)), draw(st.integers(1, 2)))
    whole = scale.denominator
    halo, lost = draw(st.integers(0, 3)), draw(st.integers(0, 2))
    core = draw(st.integers(1, 12)) * whole
    overlap = draw(st.integers(0, core // whole - 1)) * whole
    footprint = Footprint(
        tile=(draw(st.sampled_from([None, core + 2 * halo, core + 2 * halo])), 1, 1),
        overlap=(overlap, 0, 0),
        halo=(halo, 0, 0),
        lost=(lost, 0, 0),
        scale=(scale, Fraction(1), Fraction(1)),
        fit=draw(st.booleans()),
    )
    return axis_grid(draw(st.integers(2 * lost + 2, 60)), 0, footprint)


def tiles_of(axis: AxisGrid, first: int, end: int, *, owned: bool) -> list[int]:
    """List the tiles that contribute to some output voxels, by looking at every one."""
    ranges = axis.owned_range if owned else axis.output_range
    return [k for k in range(axis.num_tiles) if ranges(k)[0] < end and ranges(k)[1] > first]


@given(axes(), st.integers(1, 70), st.booleans())
def test_counts_agree_with_looking_at_every_tile(axis: AxisGrid, size: int, owned: bool) -> None:
    """Tiles computed along an axis and the longest source are those of a plain loop."""
    computed, longest = 0, 0
    for first in range(0, axis.output_size, size):
        tiles = tiles_of(axis, first, min(first + size, axis.output_size), owned=owned)
        voxels = {
            voxel for k in tiles for voxel in range(*axis.tile_range(k)) if 0 <= voxel < axis.size
        }
        computed += len(tiles)
        longest = max(longest, max(voxels) + 1 - min(voxels))
    assert computed == computed_along(axis, size, owned=owned)
    assert longest == largest_source(axis, size, owned=owned)


@given(axes(), axes(), axes(), st.data(), st.booleans())
def test_memory_grows_with_the_block_and_the_batch(
    z: AxisGrid, y: AxisGrid, x: AxisGrid, data: st.DataObject, owned: bool
) -> None:
    """A block of two blocks takes no less of anything, one tile more in a batch takes more."""
    grid = TileGrid((z, y, x), owned=owned)
    block = data.draw(st.tuples(*[st.integers(1, 20)] * 3))
    batch, i = data.draw(st.integers(1, 8)), data.draw(st.integers(0, 2))
    double = tuple(2 * n if j == i else n for j, n in enumerate(block))
    small, large = (memory(grid, shape, batch=batch) for shape in (block, double))
    assert all(a <= b for a, b in zip(astuple(small), astuple(large), strict=True))
    assert small.total < large.total
    more = memory(grid, block, batch=batch + 1)
    per_tile = 8 * math.prod(grid.tile_shape) + 12 * math.prod(grid.core_shape)
    assert small.total + per_tile == more.total


@pytest.mark.parametrize("owned", [True, False])
def test_a_source_never_leaves_the_volume(owned: bool) -> None:
    """Halos beyond the ends are made up, not read."""
    axis = axis_grid(40, 0, Footprint(tile=(14, 1, 1), halo=(2, 0, 0)))
    assert [largest_source(axis, n, owned=owned) for n in (10, 20, 40)] == [14, 22, 40]
