"""Planes cut into tiles: as published, bit for bit in any cut, and on the input's own grid."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from parity import load_fixture
from scipy.ndimage import zoom
from vemctl_pssr import footprints as module
from vemctl_pssr.architecture import standard
from vemctl_pssr.enlarging import enlarge, sources
from vemctl_pssr.footprints import even_footprint, published_footprint
from vemctl_pssr.published_tiling import TileAxis, macro_core, published_overlap
from vemctl_pssr.ranges import Ranges
from vemctl_pssr.restorer import (
    EvenTiles,
    PublishedTiles,
    Setup,
)

from vemctl.plugin import Footprint, Output, Restorer
from vemctl.tiles.blend import to_dtype
from vemctl.tiles.grid import tile_grid
from vemctl.tiles.padding import cut_tile

FLOATS = Output(unit_range=True)


class StandIn:
    """A function of tiles in the place of network and normalisation."""

    def __init__(self, frames: int, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.architecture = replace(standard("wnresnet18", frames, 2), wrapped=False)
        self.function = function

    def of_enlarged(self, tiles: torch.Tensor) -> torch.Tensor:
        return self.function(tiles)


def middle(tiles: torch.Tensor) -> torch.Tensor:
    """Return the middle frame as it is."""
    return tiles[:, tiles.shape[1] // 2]


def of_fixture(weights: Sequence[float], *, clamp: bool = False):
    """Return the function that the fixture's tiles went through."""

    def function(tiles: torch.Tensor) -> torch.Tensor:
        tiles = tiles.double()
        edge = tiles.shape[-1]
        ramp = torch.arange(edge).double() / (edge - 1)
        made = sum(w * tiles[:, f] for f, w in enumerate(weights))
        made = made + 0.2 * ramp - 0.1 * ramp[:, None] + 0.15 - 0.25 * (tiles[:, 0] > 0.8)
        return made.float().clamp(0, 1) if clamp else made.float()

    return function


def restored(restorer: Restorer, volume: np.ndarray) -> np.ndarray:
    """Return what a prediction makes of a volume, tile by tile; where they overlap, later ones."""
    footprint: Footprint = restorer.footprint
    grid = tile_grid(volume.shape, footprint)
    result = np.full(grid.output_shape, np.nan, np.float32)
    everything = tuple(slice(0, n) for n in grid.output_shape)
    for index in grid.touching(everything):
        place, read = grid.place(index), grid.source(everything)
        tile = cut_tile(volume[read], read, place, footprint.padding)
        core = restorer([torch.from_numpy(tile)[None, None]], [place])[0, 0].numpy()
        covered = grid.covered(index)
        result[covered] = core[tuple(slice(0, c.stop - c.start) for c in covered)]
    return result


def published(case: dict, volume: np.ndarray, *, clamp: bool = False) -> PublishedTiles:
    """Return the restorer of a case of the fixture."""
    weights, size = case["weights"], case["tile_size"]
    overlap = published_overlap(size)
    setup = Setup(
        StandIn(len(weights), of_fixture(weights, clamp=clamp)),
        FLOATS,
        Ranges((0.0, case["real_max"] or 1.0)),
        volume.shape,
        in_time=False,
    )
    footprint = published_footprint(len(weights), size, overlap, lost=len(weights) // 2)
    return PublishedTiles(setup, footprint, size=size, overlap=overlap, batch=2)


@pytest.mark.parametrize("part", [4096, 100, 1])
def test_tiles_and_seams_are_the_published_ones(part: int, monkeypatch: pytest.MonkeyPatch):
    """Whatever part of a plane is made at a time, the plane is that of the published program."""
    monkeypatch.setattr(module, "MACRO_PIXELS", part)
    spec, arrays, _ = load_fixture("pssr_tiles_blend")
    for case in spec["params"]:
        volume = arrays[f"input_{case['case']}"]
        made = restored(published(case, volume), volume)
        np.testing.assert_allclose(
            made[0].clip(0, 1), arrays[f"output_{case['case']}"], rtol=0, atol=1e-6
        )


def test_the_notebook_clamps_tiles_and_the_script_truncates():
    """Both of the published ends of one case: floats of the notebook, 8 bit of the script."""
    spec, arrays, _ = load_fixture("pssr_tiles_blend")
    case = next(case for case in spec["params"] if case["case"] == 1)
    volume = arrays["input_1"]
    notebook = restored(published(case, volume, clamp=True), volume)
    np.testing.assert_allclose(notebook[0], arrays["notebook_1"], rtol=0, atol=1e-6)
    stored = to_dtype(
        restored(published(case, volume), volume)[0],
        np.dtype(np.uint8),
        Output("truncate", unit_range=True),
    )
    assert np.abs(stored.astype(int) - arrays["output8_1"]).max() <= 1
    assert np.mean(stored != arrays["output8_1"]) < 1e-3


@pytest.mark.parametrize(
    ("length", "size"), [(100, 48), (64, 64), (250, 64), (33, 32), (4096, 1024)]
)
def test_every_pixel_has_one_owner_and_seams_lie_between_owners(length: int, size: int):
    """Tiles own the plane without gap, in order; a strip lies about each border of two."""
    axis = TileAxis(length, size, published_overlap(size))
    owned = [axis.owned(k) for k in range(axis.count)]
    assert owned[0][0] == 0
    assert owned[-1][1] == length
    assert all(first[1] == second[0] for first, second in itertools.pairwise(owned))
    for pixel in range(0, length, 7):
        (k,) = axis.owners((pixel, pixel + 1))
        assert axis.owned(k)[0] <= pixel < axis.owned(k)[1]
        assert k * axis.step <= pixel < k * axis.step + size
    inner = [first for first, _ in owned[1:] if first - 5 < length]
    assert len(axis.strips((0, length))) >= len([s for s in inner if s < length])


def test_parts_are_whole_steps_of_whole_input_pixels():
    """So that the fewest tiles are made for two parts."""
    for size in (48, 64, 128, 512, 1024):
        step = size - published_overlap(size)
        core = macro_core(size, published_overlap(size), 4, 4096)
        assert 4 * core % step == 0
        assert 0 < 4 * core <= max(4096, 4 * step)


@pytest.mark.parametrize("number", [1, 2])
def test_enlarging_is_that_of_scipy_in_any_part(number: int):
    """The published enlarging, of the whole plane and of parts from just the pixels they take."""
    _, arrays, _ = load_fixture("pssr_zoom")
    image, whole = arrays[f"input_{number}"], arrays[f"zoom_up_{number}"]
    (height, width), (rows, columns) = image.shape, whole.shape
    for part in (((0, rows), (0, columns)), ((3, 11), (columns - 9, columns))):
        (top, bottom), (left, right) = (
            sources(span, length) for span, length in zip(part, (height, width), strict=True)
        )
        cut = torch.from_numpy(image[top:bottom, left:right].copy())
        made = enlarge(cut, (top, left), image.shape, part)
        expected = whole[part[0][0] : part[0][1], part[1][0] : part[1][1]]
        np.testing.assert_allclose(made, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("plane", [(40, 52), (9, 70), (2, 3)])
def test_even_tiles_of_what_changes_nothing_are_the_enlarged_plane(plane: tuple[int, int]):
    """Places are right: no tile is shifted against another, also where the plane is smaller."""
    volume = np.random.default_rng(0).random((2, *plane), np.float32)
    setup = Setup(StandIn(1, middle), FLOATS, Ranges((0.0, 1.0)), volume.shape, in_time=False)
    made = restored(
        EvenTiles(setup, even_footprint(1, (1, 16, 16), (0, 4, 4)), straight=False), volume
    )
    for before, after in zip(volume, made, strict=True):
        np.testing.assert_allclose(after, zoom(before, 4, order=1), rtol=0, atol=2e-6)


@pytest.mark.parametrize("even", [True, False])
def test_the_ends_of_a_stack_are_repeated(even: bool):
    """Of five slices about the first, three are the first; about the last, three the last."""
    volume = np.arange(6, dtype=np.float32)[:, None, None] * np.ones((1, 20, 20), np.float32)
    seen: list[list[float]] = []

    def noted(tiles: torch.Tensor) -> torch.Tensor:
        seen.append(tiles[0, :, 3, 3].tolist())
        return middle(tiles)

    setup = Setup(StandIn(5, noted), FLOATS, Ranges((0.0, 1.0)), volume.shape, in_time=False)
    if even:
        restorer = EvenTiles(setup, even_footprint(5, (1, 24, 24), (0, 0, 0)), straight=False)
    else:
        restorer = PublishedTiles(
            setup, published_footprint(5, 96, 4, lost=0), size=96, overlap=4, batch=1
        )
    made = restored(restorer, volume)
    assert seen[0] == [0, 0, 0, 1, 2]
    assert seen[-1] == [3, 4, 5, 5, 5]
    np.testing.assert_array_equal(made[:, 5, 5], np.arange(6))


def test_slices_are_scaled_by_their_own_ranges_and_back():
    """With one range per slice and series, units come back as they were."""
    volume = np.random.default_rng(1).random((3, 12, 12), np.float32) * 100
    volume[:, 0, 0] = 101, 102, 103  # corners stay as they are
    tops = tuple(float(top) for top in volume.max(axis=(1, 2)))
    seen: list[float] = []

    def noted(tiles: torch.Tensor) -> torch.Tensor:
        seen.append(tiles.max().item())
        return middle(tiles)

    ranges = Ranges((0.0, 1.0), tops, 3)
    setup = Setup(StandIn(1, noted), Output(), ranges, volume.shape, in_time=False)
    made = restored(
        EvenTiles(setup, even_footprint(1, (1, 12, 12), (0, 0, 0)), straight=False), volume
    )
    assert seen == pytest.approx([1, 1, 1])
    np.testing.assert_allclose(made.max(axis=(1, 2)), tops, rtol=1e-5)
