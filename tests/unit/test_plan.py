"""The frozen plan: blocks that partition the output, within their budget, and honest counts."""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vemctl.errors import OptionError
from vemctl.plugin import Footprint, Output, Triple
from vemctl.prediction.plan import MAX_TILES_PER_BLOCK, Plan, Series, make_plan, regions
from vemctl.tiles.grid import Region, TileGrid, tile_grid
from vemctl.tiles.memory import SLACK_BYTES
from vemctl.volumes.volume import Header, Layout

ONE = (Series(0, 0, 0, 0),)
AMPLE = 2**50


def header_of(shape: Triple, dtype: str = "uint8", chunk: Triple = (4, 8, 8)) -> Header:
    """Describe an input."""
    return Header(
        Path("in.zarr"), "OME-Zarr 0.5", "zyx", shape, None, None, np.dtype(dtype), None, chunk
    )


def layout_of(shape: Triple, unit: Triple, dtype: str = "uint8", axes: str = "zyx") -> Layout:
    """Describe an output of two channels and three time points, where it has them."""
    channels, times = 2 if "c" in axes else None, 3 if "t" in axes else None
    return Layout(axes, shape, channels, times, np.dtype(dtype), None, None, unit, unit)


def plan_for(
    shape: Triple, footprint: Footprint, unit: Triple, budget: int = AMPLE, **changes: Any
) -> Plan:
    """Plan a prediction on a CPU."""
    grid = tile_grid(shape, footprint)
    facts: dict[str, Any] = {
        "output": Output(),
        "layout": layout_of(grid.output_shape, unit),
        "headers": (header_of(shape),),
        "series": ONE,
        "batch": 1,
        "device": "cpu",
        "network_bytes": 1000,
    }
    return make_plan(grid=grid, footprint=footprint, budget=budget, **facts | changes)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a small volume, its tiles and its units of writing."""
    columns = []
    for _ in range(3):
        scale = draw(st.sampled_from([Fraction(1), Fraction(1), Fraction(2), Fraction(3, 2)]))
        whole, halo, lost = scale.denominator, draw(st.integers(0, 2)), draw(st.integers(0, 1))
        core = draw(st.integers(2, 6)) * whole
        overlap = draw(st.integers(0, core // whole // 2)) * whole
        size = 2 * lost + draw(st.integers(2, 10))
        columns.append((core + 2 * halo, overlap, halo, lost, scale, size))
    tile, overlap, halo, lost, scale, shape = zip(*columns, strict=True)
    window = draw(st.sampled_from(["crop", "linear"]))
    return {
        "shape": shape,
        "footprint": Footprint(
            tile=tile, overlap=overlap, halo=halo, lost=lost, scale=scale, window=window
        ),
        "unit": draw(st.tuples(*[st.integers(3, 9)] * 3)),
    }


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Draw a plan, with a block as asked for or as a budget allows."""
    case = draw(cases())
    multiples = draw(st.none() | st.tuples(*[st.integers(1, 4)] * 3))
    series = ONE * draw(st.integers(1, 3))
    if multiples:
        block = tuple(m * u for m, u in zip(multiples, case["unit"], strict=True))
        return plan_for(**case, block=block, series=series)
    return plan_for(**case, budget=SLACK_BYTES + 2 ** draw(st.integers(18, 24)), series=series)


def count(shape: Triple, parts: Any) -> np.ndarray:
    """Return how often every voxel is in one of `parts`."""
    counts = np.zeros(shape, int)
    for part in parts:
        counts[part] += 1
    return counts


@given(plans())
def test_blocks_partition_the_output_in_whole_units(plan: Plan) -> None:
    """Every voxel is in one block and in one unit; every block consists of its units."""
    shape = plan.layout.shape
    blocks = list(plan.blocks())
    assert (count(shape, blocks) == 1).all()
    for block in blocks:
        units = list(plan.units(block))
        inside = np.zeros(shape, bool)
        inside[block] = True
        np.testing.assert_array_equal(count(shape, units), inside)
        for part, n, size in itertools.chain.from_iterable(
            zip(unit, plan.unit_shape, shape, strict=True) for unit in units
        ):
            assert part.start % n == 0
            assert part.stop in (part.start + n, size)


def tiles_of(grid: TileGrid, block: Region) -> int:
    """Count the tiles that contribute to a block, by looking at every one."""
    indices = itertools.product(*(range(axis.num_tiles) for axis in grid.axes))
    return sum(
        all(
            a.start < b.stop and a.stop > b.start
            for a, b in zip(grid.contribution((z, y, x)), block, strict=True)
        )
        for z, y, x in indices
    )


@settings(max_examples=25)
@given(plans())
def test_counts_are_those_of_a_plain_loop(plan: Plan) -> None:
    """Blocks, tiles, tiles computed and redundancy are what looking at everything gives."""
    blocks = list(plan.blocks())
    computed = sum(tiles_of(plan.grid, block) for block in blocks)
    runs, told = len(plan.series), plan.to_json()
    assert runs * len(blocks) == plan.num_blocks == told["blocks"]
    assert runs * plan.grid.num_tiles == plan.num_tiles == told["tiles"]
    assert runs * computed == plan.tiles_computed == told["tiles_computed"]
    assert computed / plan.grid.num_tiles == pytest.approx(told["redundancy"], abs=6e-4)


@given(cases(), st.integers(0, 2**20))
def test_the_budget_is_kept(case: dict[str, Any], more: int) -> None:
    """Whatever memory is given beyond what one unit needs, the blocks stay within it."""
    least = plan_for(**case, block=case["unit"]).memory.total
    plan = plan_for(**case, budget=least + more)
    assert plan.memory.total <= least + more
    assert all(b % u == 0 for b, u in zip(plan.block_shape, case["unit"], strict=True))


@given(cases())
def test_what_just_suffices_is_one_unit(case: dict[str, Any]) -> None:
    """The least budget gives blocks that take no more than it; a byte less is refused."""
    least = plan_for(**case, block=case["unit"]).memory.total
    assert least == plan_for(**case, budget=least).memory.total
    with pytest.raises(OptionError, match="--memory"):
        plan_for(**case, budget=least - 1)


def test_a_budget_that_is_too_small_says_how_much_is_needed() -> None:
    """The line names the budget, the shard, what it takes, and both cures."""
    footprint = Footprint(tile=(16, 64, 64), overlap=(4, 16, 16), window="linear")
    with pytest.raises(OptionError) as raised:
        plan_for((64, 512, 512), footprint, (32, 256, 256), 70 * 2**20)
    needed = plan_for((64, 512, 512), footprint, (32, 256, 256)).memory
    assert needed.total > 70 * 2**20
    text = str(raised.value)
    assert text.startswith("--memory of 70 MiB is too small: one shard of 32x256x256 voxels takes")
    assert "--shard-shape" in text
    told = int(text.split("takes ")[1].split(" MiB", maxsplit=1)[0])
    assert plan_for((64, 512, 512), footprint, (32, 256, 256), (told + 1) * 2**20)


@pytest.mark.parametrize("block", [(4, 8, 12), (3, 8, 8), (4, 20, 8)])
def test_a_block_that_is_no_whole_shards_is_refused(block: Triple) -> None:
    """The line names the shard of which it must be a multiple."""
    with pytest.raises(OptionError, match="whole shards of 4,8,8 voxels"):
        plan_for((16, 64, 64), Footprint(tile=(4, 8, 8)), (4, 8, 8), block=block)


@pytest.mark.parametrize("block", [(0, 0, 0), (-4, -8, -8), (4, 0, 8)])
def test_a_block_without_voxels_is_refused(block: Triple) -> None:
    """Zero and negative sizes are the user's to mend."""
    with pytest.raises(OptionError, match="--block"):
        plan_for((16, 64, 64), Footprint(tile=(4, 8, 8)), (4, 8, 8), block=block)


def test_a_block_that_is_asked_for_may_take_any_memory() -> None:
    """Whoever names a block gets it, and is told what it takes."""
    plan = plan_for((16, 64, 64), Footprint(tile=(4, 8, 8)), (4, 8, 8), 1, block=(16, 64, 64))
    assert plan.block_shape == (16, 64, 64)
    assert plan.num_blocks == 1
    assert plan.to_json()["block_memory_bytes"] == plan.memory.total > 1


def test_blocks_grow_where_that_saves_most_tiles() -> None:
    """Along an axis of whole tiles nothing is computed twice: the blocks grow along the other."""
    footprint = Footprint(tile=(4, 16, 16), overlap=(0, 0, 8))
    plan = plan_for((16, 64, 64), footprint, (4, 16, 16))
    assert plan.block_shape == (4, 16, 64)
    assert plan.tiles_computed == plan.num_tiles


def test_blocks_stay_within_minutes_of_work() -> None:
    """However much memory there is, a block has no more tiles than the device does in minutes."""
    footprint = Footprint(tile=(4, 4, 4), overlap=(2, 2, 2))
    made = {}
    for device in ("cpu", "cuda:0"):
        plan = plan_for((64, 64, 64), footprint, (4, 4, 4), device=device)
        made[device] = len(list(plan.grid.touching(next(plan.blocks()))))
    assert MAX_TILES_PER_BLOCK["cpu"] // 4 < made["cpu"] <= MAX_TILES_PER_BLOCK["cpu"]
    assert MAX_TILES_PER_BLOCK["cpu"] < made["cuda:0"] <= MAX_TILES_PER_BLOCK["cuda"]


@pytest.mark.parametrize("stretch", ["whole", "channel", "series"])
def test_a_stretched_result_is_planned_as_floats(stretch: Any) -> None:
    """Its draft is float32, whatever the type that is stored in the end."""
    shape, footprint = (16, 64, 64), Footprint(tile=(4, 8, 8))
    plain, stretched = (
        plan_for(shape, footprint, (4, 8, 8), output=Output(stretch=s), block=(4, 8, 8))
        for s in (None, stretch)
    )
    assert 4 * plain.memory.blending == stretched.memory.blending
    assert 4 * plain.memory.writing == stretched.memory.writing
    assert plain.output_bytes == stretched.output_bytes == math.prod(shape)


def test_the_largest_chunk_and_every_type_of_the_inputs_count() -> None:
    """Memory minds the input that costs most to decode."""
    shape, footprint = (16, 64, 64), Footprint(tile=(4, 8, 8))
    small = header_of(shape, "uint8", (4, 8, 8))
    large = header_of(shape, "uint16", (16, 64, 64))
    one, two, three = (
        plan_for(shape, footprint, (4, 8, 8), headers=headers, block=(4, 8, 8)).memory.reading
        for headers in ((small,), (large,), (small, large))
    )
    assert one < two < three


def test_bytes_and_json_count_every_series() -> None:
    """The plan as JSON holds JSON types only, with all channels and time points."""
    series = tuple(Series(t, c, t, c) for t in range(3) for c in range(2))
    plan = plan_for(
        (4, 16, 16),
        Footprint(tile=(4, 8, 8)),
        (4, 8, 8),
        layout=layout_of((4, 16, 16), (4, 8, 8), "uint16", "tczyx"),
        series=series,
    )
    told = json.loads(json.dumps(plan.to_json()))
    assert told == plan.to_json()
    assert told["volumes"] == 6
    assert told["output_bytes"] == 6 * 2 * 4 * 16 * 16
    assert told["output_axes"] == "tczyx"
    assert told["network_memory_bytes"] == 1000


def test_regions_inside_another_keep_its_steps() -> None:
    """A division starts where the region starts and ends where it ends."""
    inside = (slice(2, 5), slice(0, 2), slice(4, 8))
    made = list(regions((9, 9, 9), (2, 2, 4), inside))
    expected = [(slice(2, 4), slice(0, 2), slice(4, 8)), (slice(4, 5), slice(0, 2), slice(4, 8))]
    assert expected == made
