"""The tile grid: property tests of its geometry, and the published grid of denoise."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vemctl.errors import OptionError
from vemctl.plugin import Footprint, Place
from vemctl.tiles.grid import AxisGrid, axis_grid, tile_grid
from vemctl.tiles.padding import cut_tile


@st.composite
def axis_grids(draw: st.DrawFn) -> AxisGrid:
    scale = Fraction(draw(st.integers(1, 4)), draw(st.integers(1, 2)))
    whole = scale.denominator
    halo, lost = draw(st.integers(0, 3)), draw(st.integers(0, 2))
    core = draw(st.integers(1, 20)) * whole
    overlap = draw(st.integers(0, core // whole - 1)) * whole
    size = draw(st.integers(2 * lost + 2, 90))
    footprint = Footprint(
        tile=(core + 2 * halo, 1, 1),
        overlap=(overlap, 0, 0),
        halo=(halo, 0, 0),
        lost=(lost, 0, 0),
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
