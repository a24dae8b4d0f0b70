"""From floats to stored values, and from tiles to blocks that do not show how they were cut."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from vemctl.errors import OptionError
from vemctl.plugin import Footprint, Output, Triple, WindowName
from vemctl.tiles.blend import Block, to_dtype
from vemctl.tiles.grid import Region, TileGrid, tile_grid
from vemctl.tiles.padding import cut_tile
from vemctl.tiles.tensors import as_array, to_stored
from vemctl.tiles.windows import Window, bump

INTEGERS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
ROUND, TRUNCATE = Output("round"), Output("truncate")


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_values_beyond_a_type_become_its_limits(name: str, kind: type[Any]) -> None:
    """Nothing wraps round, although floats cannot hold the limits of the wide types."""
    limits = np.iinfo(name)
    values = np.array([-1e30, limits.min, limits.max, 1e30], kind)
    stored = to_dtype(values, np.dtype(name), ROUND)
    assert stored.dtype == name
    assert [limits.min, limits.min, limits.max, limits.max] == stored.tolist()


@pytest.mark.parametrize("name", INTEGERS)
@given(
    values=st.lists(st.floats(-(2.0**65), 2.0**65) | st.floats(-300, 300), min_size=1, max_size=8),
    rounding=st.sampled_from(["round", "truncate"]),
    kind=st.sampled_from([np.float32, np.float64]),
)
def test_integers_are_those_of_exact_arithmetic(
    name: str, values: list[float], rounding: Any, kind: type[Any]
) -> None:
    """Python's whole numbers, which have no limits, give the same."""
    floats = np.array(values, kind)
    limits, whole = np.iinfo(name), round if rounding == "round" else int
    expected = [min(max(whole(float(v)), int(limits.min)), int(limits.max)) for v in floats]
    before = floats.copy()
    assert expected == to_dtype(floats, np.dtype(name), Output(rounding)).tolist()
    np.testing.assert_array_equal(before, floats)


@pytest.mark.parametrize("name", ["int8", "int16", "int32", "int64"])
def test_halves_go_to_even_and_truncation_goes_to_zero(name: str) -> None:
    """Negative values are treated like positive ones."""
    values = np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 1.9, -1.9], np.float32)
    assert to_dtype(values, np.dtype(name), ROUND).tolist() == [0, 2, 2, 0, -2, -2, 2, -2]
    assert to_dtype(values, np.dtype(name), TRUNCATE).tolist() == [0, 1, 2, 0, -1, -2, 1, -1]


def test_the_widest_types_keep_what_a_float_just_below_their_limit_holds() -> None:
    """Only values at or beyond the limit are set to it."""
    below = float(np.nextafter(2.0**63, 0))
    assert [int(below)] == to_dtype(np.array([below]), np.dtype("int64"), ROUND).tolist()
    below = float(np.nextafter(2.0**64, 0))
    assert [int(below)] == to_dtype(np.array([below]), np.dtype("uint64"), ROUND).tolist()


@pytest.mark.parametrize("name", ["float16", "float32", "float64"])
@pytest.mark.parametrize("output", [ROUND, TRUNCATE])
def test_floating_types_take_values_as_they_are(name: str, output: Output) -> None:
    """Neither rounded nor clipped."""
    values = np.array([-3.25, 0.5, 1e4, 0.1], np.float32)
    np.testing.assert_array_equal(to_dtype(values, np.dtype(name), output), values.astype(name))


TileFunction = Callable[[TileGrid, Triple, Any, np.ndarray], np.ndarray]


def constant(grid: TileGrid, index: Triple, place: Any, tile: np.ndarray) -> np.ndarray:
    """Return the tile's number along x, times 8, everywhere."""
    return np.full(grid.core_shape, 8.0 * index[2], np.float32)


def enlarged(grid: TileGrid, index: Triple, place: Any, tile: np.ndarray) -> np.ndarray:
    """Return the core, scaled by nearest neighbours."""
    for i, (axis, size) in enumerate(zip(grid.axes, grid.core_shape, strict=True)):
        source = np.arange(size) * axis.scale.denominator // axis.scale.numerator
        tile = tile.take(source + place.halo_low[i], i)
    return tile


def odd(grid: TileGrid, index: Triple, place: Any, tile: np.ndarray) -> np.ndarray:
    """Return the scaled core changed by all of the tile, its halo and its place."""
    change = np.float32(tile.mean() / 3) + np.float32(index[0] + 3 * index[1] + 7 * index[2])
    return enlarged(grid, index, place, tile) + change


def fill(
    footprint: Footprint,
    volume: np.ndarray,
    region: Region,
    function: TileFunction,
    dtype: str = "float32",
    output: Output = ROUND,
    *,
    move: bool = False,
) -> np.ndarray:
    """Make one block out of the part of the volume that it reads, as the engine does."""
    grid = tile_grid(volume.shape, footprint)
    window = Window(grid, footprint)
    block = Block(region, grid, footprint, window, np.dtype(dtype), output)
    source = grid.source(region)
    for index in grid.touching(region):
        place = grid.place(index)
        tile = cut_tile(volume[source], source, place, footprint.padding)
        core = function(grid, index, place, tile).astype(np.float32)
        assert core.shape == grid.core_shape
        wanted = block.wanted(index)
        block.add(index, wanted, torch.from_numpy(core)[wanted])
        if move:
            block.move("cpu")
    return as_array(block.finish(), np.dtype(dtype))


def whole(shape: Sequence[int]) -> Region:
    """Return the region that is all of a volume."""
    z, y, x = (slice(0, n) for n in shape)
    return z, y, x


def row(window: WindowName, **changes: Any) -> Footprint:
    """Return tiles of six voxels along x, of which neighbours share two."""
    return Footprint(tile=(1, 1, 6), overlap=(0, 0, 2), window=window, **changes)


@pytest.mark.parametrize(
    ("window", "shared"), [("crop", [0, 8]), ("linear", [2, 6]), ("mean", [4, 4])]
)
def test_two_tiles_are_joined_as_the_window_says(window: WindowName, shared: list[float]) -> None:
    """Crop cuts the overlap in its middle, linear ramps over it, mean averages it."""
    made = fill(row(window), np.zeros((1, 1, 10)), whole((1, 1, 10)), constant)
    assert [0.0] * 4 + shared + [8.0] * 4 == made[0, 0].tolist()


def test_a_bump_weighs_by_the_distance_from_the_middle() -> None:
    """The overlap is the weighted mean of both tiles."""
    made = fill(row("bump"), np.zeros((1, 1, 10)), whole((1, 1, 10)), constant)
    weights = bump((1, 1, 6), 0.5)[0, 0]
    expected = 8 * weights[:2] / (weights[:2] + weights[4:])
    np.testing.assert_allclose(made[0, 0], [0] * 4 + expected.tolist() + [8] * 4, rtol=1e-6)


def test_where_all_weights_underflow_the_result_is_zero() -> None:
    """A very narrow bump gives no division by zero."""
    made = fill(row("bump", bump_sigma=0.05), np.ones((1, 1, 10)), whole((1, 1, 10)), enlarged)
    assert made[0, 0, 0] == 0
    assert np.isfinite(made).all()


def test_the_later_of_cores_that_still_overlap_wins() -> None:
    """A last core that is shifted back takes all it has, less half of the overlap."""
    made = fill(row("crop"), np.zeros((1, 1, 11)), whole((1, 1, 11)), constant)
    assert made[0, 0].tolist() == [0.0] * 5 + [8.0] + [16.0] * 5


def test_a_block_wants_only_what_it_needs() -> None:
    """Cropped tiles are asked for their own part inside the block, blended ones for all of it."""
    grid = tile_grid((1, 1, 10), row("crop"))
    region = (slice(0, 1), slice(0, 1), slice(3, 8))
    for window, expected in (
        ("crop", [slice(3, 5), slice(1, 4)]),
        ("linear", [slice(3, 6), slice(0, 4)]),
    ):
        footprint = row(window)
        grid = tile_grid((1, 1, 10), footprint)
        block = Block(region, grid, footprint, Window(grid, footprint), np.dtype(np.float32), ROUND)
        assert expected == [block.wanted((0, 0, k))[2] for k in (0, 1)]


@pytest.mark.parametrize("window", ["crop", "linear"])
def test_results_are_stored_as_the_output_says(window: WindowName) -> None:
    """Rounding and type come from the output, whether tiles are cropped or blended."""
    volume = np.full((1, 1, 10), 2.75, np.float32)
    for output, expected in ((ROUND, 3), (TRUNCATE, 2)):
        made = fill(row(window), volume, whole(volume.shape), enlarged, "uint8", output)
        assert made.dtype == np.uint8
        assert [expected] * 10 == made[0, 0].tolist()


@st.composite
def tilings(draw: st.DrawFn) -> tuple[Footprint, Triple]:
    """Draw a footprint and the shape of a small volume that it can restore."""
    padding = draw(st.sampled_from(["reflect", "edge", "zero", "clip"]))
    columns = []
    for _ in range(3):
        scale = Fraction(draw(st.integers(1, 3)), draw(st.sampled_from([1, 1, 2])))
        halo, lost = draw(st.integers(0, 2)), draw(st.integers(0, 1))
        aligned = 1 if padding == "clip" else draw(st.sampled_from([1, 1, 2]))
        core = draw(st.integers(2, 5)) * scale.denominator
        overlap = draw(st.integers(0, core // 2 // scale.denominator)) * scale.denominator
        tile = draw(st.sampled_from([None, *[core + 2 * halo] * 4]))
        size = draw(st.integers(2, 9)) + 2 * lost
        columns.append((tile, overlap, halo, lost, aligned, scale, size))
    tile, overlap, halo, lost, aligned, scale, shape = zip(*columns, strict=True)
    footprint = Footprint(
        tile=tile,
        overlap=overlap,
        halo=halo,
        lost=lost,
        aligned=aligned,
        scale=scale,
        window=draw(st.sampled_from(["crop", "linear", "bump", "mean"])),
        padding=padding,
        fit=padding == "clip" or draw(st.booleans()),
    )
    return footprint, shape


def cuts(data: st.DataObject, size: int) -> list[slice]:
    """Draw a division of an axis."""
    ends = sorted(data.draw(st.sets(st.integers(1, size - 1), max_size=3)) if size > 1 else [])
    return [slice(a, b) for a, b in itertools.pairwise([0, *ends, size])]


@settings(max_examples=100)
@given(tilings(), st.data(), st.sampled_from(["float32", "uint8", "int16"]))
def test_any_division_into_blocks_gives_the_bytes_of_one_block(
    tiling: tuple[Footprint, Triple], data: st.DataObject, dtype: str
) -> None:
    """However the output is cut, every voxel gets the same tiles in the same order."""
    footprint, shape = tiling
    try:
        output_shape = tile_grid(shape, footprint).output_shape
    except OptionError:
        reject()
    volume = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    expected = fill(footprint, volume, whole(output_shape), odd, dtype)
    made = np.full_like(expected, 99)
    divided = [cuts(data, n) for n in output_shape]
    for region in itertools.product(*divided):
        made[region] = fill(footprint, volume, region, odd, dtype)
    assert expected.tobytes() == made.tobytes()


@settings(max_examples=100)
@given(tilings())
def test_tiles_that_agree_leave_no_trace(tiling: tuple[Footprint, Triple]) -> None:
    """Where every tile returns the volume, enlarged, so does the block, whatever the window."""
    footprint, shape = tiling
    try:
        grid = tile_grid(shape, footprint)
    except OptionError:
        reject()
    volume = np.random.default_rng(2).integers(0, 256, shape).astype(np.uint8)
    expected = volume
    for i, (axis, size) in enumerate(zip(grid.axes, grid.output_shape, strict=True)):
        source = np.arange(size) * axis.scale.denominator // axis.scale.numerator
        expected = expected.take(source + axis.lost, i)
    made = fill(footprint, volume, whole(grid.output_shape), enlarged)
    np.testing.assert_allclose(made, expected, rtol=1e-6, atol=1e-4)


def test_clipped_tiles_that_do_not_fit_are_refused_or_work() -> None:
    """A volume smaller than a tile that is neither padded nor fitted is no bug of ours."""
    footprint = Footprint(tile=(4, 4, 4), padding="clip", fit=False)
    with contextlib.suppress(OptionError):
        fill(footprint, np.zeros((2, 4, 4)), whole((2, 4, 4)), enlarged)


@pytest.mark.parametrize("name", [*INTEGERS, "float32"])
def test_a_range_of_its_own_becomes_that_of_the_type(name: str) -> None:
    """0 to 1 is 0 to the maximum, cut off beyond; floating types keep what they get."""
    values = np.array([-0.5, 0, 0.25, 1, 1.5], np.float32)
    stored = to_dtype(values, np.dtype(name), Output(unit_range=True))
    if name == "float32":
        np.testing.assert_array_equal(stored, values)
        return
    top = int(np.iinfo(name).max)
    assert stored.tolist() == [0, 0, round(top / 4), top, top]


EDGES = [
    0.0,
    0.25,
    0.5,
    1.0,
    1.5,
    2.5,
    127.5,
    128.0,
    254.5,
    255.5,
    256.0,
    32767.5,
    65534.5,
    65535.5,
]
EDGES += [2.0**power + step for power in (16, 24, 31, 32, 53, 62, 63, 64) for step in (-1, 0, 1)]
EDGES += [65503.0, 65519.0, 65520.0, 1e-8, 6e-8, 1e-40, 3.4e38]


@pytest.mark.parametrize("name", [*INTEGERS, "float16", "float32", "float64", ">u2", ">i4"])
@pytest.mark.parametrize("rounding", ["round", "truncate"])
@pytest.mark.parametrize("unit_range", [False, True])
def test_tensors_become_the_stored_values_that_arrays_become(
    name: str, rounding: Any, unit_range: bool
) -> None:
    """Bit by bit, with all that is special about a type, and whatever the values."""
    edges = np.array([*EDGES, *(-edge for edge in EDGES)], np.float32)
    noise = np.random.default_rng(0)
    wide = noise.integers(0, 2**32, 50_000, np.uint32).view(np.float32)
    values = np.concatenate(
        [edges, np.nextafter(edges, 0), wide[np.isfinite(wide)], noise.random(50_000, np.float32)]
    )
    dtype, output = np.dtype(name), Output(rounding, unit_range=unit_range)
    given = torch.from_numpy(values.copy())
    with np.errstate(over="ignore"):
        expected = to_dtype(values, dtype, output)
    made = as_array(to_stored(given, dtype, output), dtype)
    assert made.dtype == expected.dtype
    assert made.tobytes() == expected.tobytes()
    assert given.numpy().tobytes() == values.tobytes()


@pytest.mark.parametrize("window", ["crop", "linear", "bump", "mean"])
def test_blocks_are_joined_bit_by_bit_as_by_numpy(window: WindowName) -> None:
    """Sums and weights in single precision, tile after tile, then one division."""
    footprint = Footprint(tile=(3, 6, 7), overlap=(1, 2, 3), window=window)
    volume = np.random.default_rng(0).standard_normal((7, 20, 23)).astype(np.float32)
    grid = tile_grid(volume.shape, footprint)
    windows = Window(grid, footprint)
    total, weight = np.zeros((2, *volume.shape), np.float32)
    for index in grid.touching(whole(volume.shape)):
        place, covered = grid.place(index), grid.covered(index)
        core = odd(grid, index, place, cut_tile(volume, whole(volume.shape), place, "reflect"))
        if window == "crop":
            own = grid.contribution(index)
            inside = tuple(
                slice(o.start - c.start, o.stop - c.start)
                for o, c in zip(own, covered, strict=True)
            )
            total[own] = core[inside]
        else:
            total[covered] += core * windows.weights(index)
            weight[covered] += windows.weights(index)
    expected = total if window == "crop" else total / weight
    made = fill(footprint, volume, whole(volume.shape), odd, move=True)
    assert made.tobytes() == expected.tobytes()


def test_weights_stay_on_a_device() -> None:
    """They are copied there once, and on the CPU not at all."""
    grid = tile_grid((1, 1, 10), row("linear"))
    window = Window(grid, row("linear"))
    there = window.on("meta", (0, 0, 0))
    assert window.on("meta", (0, 0, 0)) is there
    assert window.on("meta", (0, 0, 1)) is not there
    assert there.shape == (1, 1, 6)
    here = window.on("cpu", (0, 0, 0))
    assert np.shares_memory(here.numpy(), window.weights((0, 0, 0)))
