"""The tile grid: property tests of its geometry, and the published grid of denoise."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vemctl.errors import OptionError
from vemctl.plugin import Footprint, Place, WindowName
from vemctl.tiles.grid import AxisGrid, axis_grid, tile_grid
from vemctl.tiles.padding import cut_tile


@st.composite
def axis_grids(draw: st.DrawFn) -> AxisGrid:
    scale = Fraction(draw(st.integers(1, 4)), draw(st.integers(1, 2)))
    whole, aligned = scale.denominator, draw(st.sampled_from([1, 1, 2, 3, 4]))
    halo, lost = draw(st.integers(0, 3)), draw(st.integers(0, 2))
    overlap = draw(st.integers(0, 10)) * whole
    core = overlap + draw(st.integers(1, 10)) * math.lcm(whole, aligned)
    size = draw(st.integers(2 * lost + 2, 90))
    footprint = Footprint(
        tile=(core + 2 * halo, 1, 1),
        overlap=(overlap, 0, 0),
        halo=(halo, 0, 0),
        lost=(lost, 0, 0),
        aligned=(aligned, 1, 1),
        scale=(scale, Fraction(1), Fraction(1)),
        fit=draw(st.booleans()),
    )
    return axis_grid(size, 0, footprint)


@given(axis_grids())
def test_owned_ranges_partition_the_output_and_lie_in_their_cores(axis: AxisGrid) -> None:
    """Every output voxel has exactly one owner, whose core covers it."""
    owned = [axis.owned_range(k) for k in range(axis.num_tiles)]
    assert owned[0][0] == 0
    assert owned[-1][1] == axis.output_size
    assert all(left[1] == right[0] for left, right in pairwise(owned))
    for k, (first, end) in enumerate(owned):
        low, high = axis.output_range(k)
        assert low <= first < end <= high


@given(axis_grids(), st.data(), st.booleans())
def test_touching_finds_exactly_the_tiles_that_intersect(
    axis: AxisGrid, data: st.DataObject, owned: bool
) -> None:
    """`touching` agrees with looking at every tile."""
    first = data.draw(st.integers(0, axis.output_size - 1))
    end = data.draw(st.integers(first + 1, axis.output_size))
    ranges = axis.owned_range if owned else axis.output_range
    expected = [k for k in range(axis.num_tiles) if ranges(k)[0] < end and ranges(k)[1] > first]
    assert list(axis.touching(first, end, owned=owned)) == expected


@given(axis_grids())
def test_starts_increase_and_the_last_core_reaches_the_end(axis: AxisGrid) -> None:
    """Cores lie in order, and together reach the end of what is produced."""
    starts = [axis.start(k) for k in range(axis.num_tiles)]
    assert all(left < right for left, right in pairwise(starts))
    assert axis.output_range(axis.num_tiles - 1)[1] == axis.output_size


def aligned(size: int, core: int, overlap: int = 0, halo: int = 0, **facts: Any) -> AxisGrid:
    """Lay cores, whose starts are multiples of 4, along one axis."""
    tile = (core + 2 * halo, 1, 1)
    footprint = Footprint(tile, (overlap, 0, 0), (halo, 0, 0), aligned=(4, 1, 1), **facts)
    return axis_grid(size, 0, footprint)


@given(st.integers(1, 90), st.integers(1, 5), st.integers(0, 9), st.integers(0, 3))
def test_aligned_cores_start_at_multiples(size: int, steps: int, overlap: int, halo: int) -> None:
    """The last is put back as far as it can be, and no further than its neighbour asks."""
    axis = aligned(size, 4 * steps + overlap, overlap, halo)
    starts = [axis.start(k) for k in range(axis.num_tiles)]
    assert [start % 4 for start in starts] == [0] * len(starts)
    assert all(0 < right - left <= axis.stride for left, right in pairwise(starts))
    assert size <= starts[-1] + axis.core < size + 4 or axis.num_tiles == 1


def test_starts_are_counted_from_where_the_output_starts() -> None:
    """With lost voxels, and a scale whose denominator is kept to as well."""
    axis = aligned(31, 8, lost=(1, 0, 0))
    assert [axis.start(k) for k in range(axis.num_tiles)] == [1, 9, 17, 25]
    axis = aligned(31, 12, scale=(Fraction(2, 3), Fraction(1), Fraction(1)))
    assert [axis.start(k) for k in range(axis.num_tiles)] == [0, 12, 24]
    assert axis.output_range(2) == (16, 20)


@pytest.mark.parametrize("window", ["crop", "linear"])
def test_the_last_aligned_tile_reaches_beyond_the_volume(window: WindowName) -> None:
    """It is padded there, and of its core what lies inside is used."""
    footprint = Footprint(
        (1, 1, 10), (0, 0, 2), (0, 0, 1), aligned=(1, 1, 2), window=window, padding="edge"
    )
    grid = tile_grid((1, 1, 17), footprint)
    last = (0, 0, grid.num_tiles - 1)
    place = grid.place(last)
    assert (place.start, place.core) == ((0, 0, 10), (1, 1, 8))
    assert grid.covered(last)[2] == slice(10, 17)
    assert grid.contribution(last)[2] == slice(11 if window == "crop" else 10, 17)
    source = grid.source((slice(0, 1), slice(0, 1), slice(12, 17)))
    assert source[2].stop == 17
    values = np.arange(17, dtype=np.float32)[None, None, source[2]]
    tile = cut_tile(values, source, place, "edge")
    assert tile[0, 0].tolist() == [9, 10, 11, 12, 13, 14, 15, 16, 16, 16]


def test_one_tile_alone_needs_no_alignment() -> None:
    """A volume that a tile holds is not cut, whatever the stride would be."""
    assert aligned(9, 11, overlap=2).num_tiles == 1


@pytest.mark.parametrize(
    ("tile", "overlap", "halo", "multiple"),
    [(16, 3, 0, 1), (16, 2, 2, 4), (6, 3, 0, 2), (3, 1, 0, 1), (10, 0, 4, 1), (8, 0, 3, 4)],
)
def test_a_stride_that_is_not_aligned_is_refused_with_one_that_is(
    tile: int, overlap: int, halo: int, multiple: int
) -> None:
    """Every overlap and tile that the line names would do."""
    facts: dict[str, Any] = {"aligned": (4, 1, 1), "multiple_of": (multiple, 1, 1)}
    footprint = Footprint((tile, 1, 1), (overlap, 0, 0), (halo, 0, 0), **facts)
    with pytest.raises(OptionError, match=r"multiple of 4; use --(tile|overlap) with") as caught:
        axis_grid(90, 0, footprint)
    text = str(caught.value)
    assert "\n" not in text
    cured = re.search(r"--tile with (\d+)", text)
    tile = int(cured[1]) if cured else tile
    named = re.search(r"--overlap with (\d+)(?: or (\d+))?$", text)
    assert named is not None
    for better in filter(None, named.groups()):
        cure = Footprint((tile, 1, 1), (int(better), 0, 0), (halo, 0, 0), **facts)
        assert axis_grid(90, 0, cure).stride % 4 == 0


def test_clipped_tiles_cannot_be_aligned() -> None:
    """They would have to be padded; no user can mend it."""
    with pytest.raises(ValueError, match="along z: tiles that are clipped"):
        aligned(20, 8, padding="clip")


def test_the_published_grid_of_denoise_falls_out_of_the_general_rules() -> None:
    """Stride int(0.9 p), cut floor((p - g) / 2), last tile at n - p; in z the later block wins."""
    footprint = Footprint(tile=(5, 256, 256), overlap=(1, 26, 26), multiple_of=(1, 4, 4))
    z, y, x = tile_grid((13, 744, 586), footprint).axes
    assert [z.owned_range(k) for k in range(z.num_tiles)] == [(0, 4), (4, 8), (8, 13)]
    assert [y.start(k) for k in range(y.num_tiles)] == [0, 230, 460, 488]
    assert y.owned_range(1) == (230 + 13, 230 + 243)
    assert y.owned_range(3) == (744 - 243, 744)
    assert [x.start(k) for k in range(x.num_tiles)] == [0, 230, 330]


def test_tiles_lie_where_the_original_put_them(request: pytest.FixtureRequest) -> None:
    """The grid agrees with the original's own table of tiles, row by row."""
    from parity import load_fixture

    spec, arrays, _ = load_fixture("denoise_tiled")
    tile = tuple(spec["params"]["image_shape"])
    overlap = tuple(p - int(p * (1 - spec["params"]["overlap"])) for p in tile)
    grid = tile_grid(arrays["volume"].shape, Footprint(tile=tile, overlap=overlap))
    rows = arrays["tiles"].astype(int)
    assert grid.num_tiles == len(rows)
    for index, row in zip(np.ndindex(*(a.num_tiles for a in grid.axes)), rows, strict=True):
        for axis, k, (first, end) in zip(grid.axes, index, row[:6].reshape(3, 2), strict=True):
            assert axis.tile_range(k) == (first, end)


@pytest.mark.parametrize(
    ("size", "footprint", "words"),
    [
        (5, Footprint(tile=(7, 1, 1), lost=(3, 0, 0)), "loses 3 at each end"),
        (50, Footprint(tile=(6, 1, 1), halo=(3, 0, 0)), "all halo"),
        (50, Footprint(tile=(6, 1, 1), overlap=(6, 0, 0)), "overlap of 6"),
        (50, Footprint(tile=(6, 1, 1), multiple_of=(4, 1, 1)), "use --tile with 4 or 8"),
        (50, Footprint(tile=(5, 1, 1), scale=(Fraction(3, 2),) * 3), "multiples of 2"),
    ],
)
def test_impossible_tilings_are_refused_with_the_cure(
    size: int, footprint: Footprint, words: str
) -> None:
    """A contradiction is one line that names the axis and what would fit."""
    with pytest.raises(OptionError, match=words):
        axis_grid(size, 0, footprint)


@given(st.integers(1, 6), st.integers(0, 9), st.integers(0, 9))
def test_reflection_repeats_as_numpy_does(size: int, low: int, high: int) -> None:
    """A short axis is reflected again and again; a single voxel is repeated."""
    values = np.arange(size, dtype=np.uint8)[:, None, None]
    place = Place((0, 0, 0), (size, 1, 1), (low, 0, 0), (high, 0, 0))
    tile = cut_tile(values, (slice(0, size), slice(0, 1), slice(0, 1)), place, "reflect")
    mode = "edge" if size == 1 else "reflect"
    np.testing.assert_array_equal(tile[:, 0, 0], np.pad(values[:, 0, 0], (low, high), mode=mode))
