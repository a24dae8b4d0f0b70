"""Blending weights: ramps that add up, the bump of the formula, and each made once."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vemctl.plugin import Footprint, Triple, WindowName
from vemctl.tiles.grid import AxisGrid, TileGrid, axis_grid, tile_grid
from vemctl.tiles.windows import Window, bump, ramp


def along_z(size: int, core: int, overlap: int, scale: Fraction = Fraction(1)) -> AxisGrid:
    """Lay cores along one axis."""
    footprint = Footprint(
        tile=(core, 1, 1), overlap=(overlap, 0, 0), scale=(scale, Fraction(1), Fraction(1))
    )
    return axis_grid(size, 0, footprint)


@st.composite
def axes(draw: st.DrawFn) -> AxisGrid:
    """Draw an axis with at least one voxel of output."""
    scale = Fraction(draw(st.integers(1, 4)), draw(st.integers(1, 2)))
    core = draw(st.integers(1, 16))
    overlap = draw(st.integers(0, core - 1))
    whole = scale.denominator
    return along_z(draw(st.integers(2, 60)), core * whole, overlap * whole, scale)


def test_a_ramp_rises_over_the_overlap_where_there_is_a_neighbour() -> None:
    """The ends of the volume keep full weight, the inner ends meet the neighbour half-way."""
    axis = along_z(20, 8, 4)
    rise = [0.125, 0.375, 0.625, 0.875]
    assert axis.num_tiles == 4
    assert [1] * 4 + rise[::-1] == ramp(axis, 0).tolist()
    assert rise + rise[::-1] == ramp(axis, 1).tolist()
    assert rise + [1] * 4 == ramp(axis, 3).tolist()


def test_a_tile_alone_has_equal_weights() -> None:
    """Without a neighbour there is nothing to blend."""
    assert ramp(along_z(6, 8, 4), 0).tolist() == [1.0] * 6


def test_ramps_that_cross_take_the_lower() -> None:
    """Where more than half of a core is shared, both ramps bound the weight."""
    expected = [1 / 6, 3 / 6, 3 / 6, 1 / 6]
    assert expected == pytest.approx(ramp(along_z(20, 4, 3), 1).tolist())


@given(st.integers(1, 12), st.data(), st.integers(1, 5), st.integers(1, 3))
def test_ramps_of_regular_tiles_sum_to_one(
    core: int, data: st.DataObject, steps: int, scale: int
) -> None:
    """Where no core is shifted back and at most half is shared, every voxel gets weight one."""
    overlap = data.draw(st.integers(0, core // 2))
    axis = along_z(core + steps * (core - overlap), core, overlap, Fraction(scale))
    total = np.zeros(axis.output_size)
    for k in range(axis.num_tiles):
        total[slice(*axis.output_range(k))] += ramp(axis, k)
    np.testing.assert_allclose(total, 1, rtol=1e-6)


@given(axes())
def test_linear_weights_are_positive_and_cover_every_voxel(axis: AxisGrid) -> None:
    """No weight is 0 anywhere, so that every voxel of the output has a sum to divide by."""
    total = np.zeros(axis.output_size)
    for k in range(axis.num_tiles):
        weights = ramp(axis, k)
        assert weights.shape == (axis.output_core,)
        assert weights.dtype == np.float32
        assert ((weights > 0) & (weights <= 1)).all()
        first, end = axis.output_range(k)
        total[first:end] += weights[: end - first]
    assert (total > 0).all()


def coordinate(i: int, size: int) -> float:
    """Return where voxel `i` lies between -1 and 1; a single voxel lies at -1."""
    return -1.0 if size == 1 else -1 + 2 * i / (size - 1)


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 4, 5), (1, 1, 2), (1, 1, 1)])
@pytest.mark.parametrize("sigma", [0.5, 0.3])
def test_the_bump_is_the_formula(shape: Triple, sigma: float) -> None:
    """Every weight is exp(-(z^2 + y^2 + x^2) / (2 sigma^2)), also on an axis of one voxel."""
    weights = bump(shape, sigma)
    assert shape == weights.shape
    assert weights.dtype == np.float32
    for index in np.ndindex(*shape):
        squares = sum(coordinate(i, n) ** 2 for i, n in zip(index, shape, strict=True))
        assert math.exp(-squares / (2 * sigma**2)) == pytest.approx(weights[index], rel=1e-5)


def grid_of(window: WindowName, shape: Triple = (9, 14, 10)) -> tuple[TileGrid, Window]:
    """Lay tiles that overlap on two axes, with one tile on the third."""
    footprint = Footprint(
        tile=(4, 5, 12),
        overlap=(1, 2, 0),
        scale=(Fraction(1), Fraction(2), Fraction(1)),
        window=window,
    )
    grid = tile_grid(shape, footprint)
    return grid, Window(grid, footprint)


def indices(grid: TileGrid) -> list[Triple]:
    """List the tiles of a grid."""
    z, y, x = (range(axis.num_tiles) for axis in grid.axes)
    return list(itertools.product(z, y, x))


@pytest.mark.parametrize("order", [1, -1])
def test_cached_linear_weights_are_those_of_each_tile(order: int) -> None:
    """Tiles at an end are not given the weights of inner ones, whichever is asked for first."""
    grid, window = grid_of("linear")
    assert [axis.num_tiles for axis in grid.axes] == [3, 4, 1]
    for index in indices(grid)[::order]:
        z, y, x = (ramp(axis, k) for axis, k in zip(grid.axes, index, strict=True))
        expected = z[:, None, None] * y[None, :, None] * x[None, None, :]
        np.testing.assert_array_equal(window.weights(index), expected)


def test_equal_weights_are_made_once() -> None:
    """Inner tiles share one array; so do all tiles of a window without ends."""
    grid, window = grid_of("linear")
    assert window.weights((1, 1, 0)) is window.weights((1, 2, 0))
    assert window.weights((1, 1, 0)) is not window.weights((0, 1, 0))
    for name in ("bump", "mean"):
        grid, window = grid_of(name)
        assert len({id(window.weights(index)) for index in indices(grid)}) == 1


def test_bump_and_mean_span_the_scaled_core() -> None:
    """Weights count in output voxels."""
    grid, window = grid_of("bump")
    assert grid.core_shape == (4, 10, 10)
    np.testing.assert_array_equal(window.weights((0, 0, 0)), bump((4, 10, 10), 0.5))
    _, window = grid_of("mean")
    np.testing.assert_array_equal(window.weights((2, 3, 0)), np.ones((4, 10, 10), np.float32))


@pytest.mark.parametrize("name", ["linear", "bump", "mean"])
@pytest.mark.parametrize("shape", [(9, 14, 10), (4, 5, 3), (1, 6, 12), (5, 5, 5)])
def test_every_voxel_of_a_volume_has_weight(name: WindowName, shape: Triple) -> None:
    """The sum over the tiles of a volume is positive everywhere."""
    grid, window = grid_of(name, shape)
    total = np.zeros(grid.output_shape)
    for index in indices(grid):
        covered = grid.covered(index)
        inside = tuple(slice(0, part.stop - part.start) for part in covered)
        total[covered] += window.weights(index)[inside]
    assert (total > 0).all()
