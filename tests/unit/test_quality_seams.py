"""Seams between tiles: found where they are, not found where there are none."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from scipy import ndimage

from vemctl.plugin import Footprint, Triple
from vemctl.quality.seam_score import SIGNIFICANT, AxisSeams, SeamScore
from vemctl.quality.seams import Seams
from vemctl.samples import em_pair
from vemctl.tiles.borders import Borders, borders, borders_of_step
from vemctl.tiles.grid import tile_grid

SHAPE, STEP = (24, 120, 128), (8, 40, 32)
BORDERS = borders_of_step(SHAPE, STEP)
NOISE = 10.0
Region = tuple[slice, slice, slice]


def everything(shape: Triple) -> Region:
    z, y, x = (slice(0, n) for n in shape)
    return z, y, x


def score(volume: np.ndarray, where: Borders = BORDERS, **facts: Triple) -> SeamScore:
    """Judge a whole volume."""
    seams = Seams(where, volume.shape, **facts)
    seams.add(everything(volume.shape), volume)
    found = seams.result()
    assert found is not None
    return found


def along(found: SeamScore, axis: str) -> AxisSeams:
    (one,) = (each for each in found.axes if each.axis == axis)
    return one


def surest(found: SeamScore) -> float:
    """Return the largest significance of all measures."""
    return max(
        measure.significance for each in found.axes for measure in (each.jump, each.step, each.line)
    )


def texture(seed: int, sigma: tuple[float, ...] = (1, 3, 3), noise: float = NOISE) -> np.ndarray:
    """Paint blurred random structure, three times as strong as the noise on it."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.standard_normal(SHAPE), sigma)
    return 100 + 30 * smooth / smooth.std() + noise * rng.standard_normal(SHAPE)


def offsets(seed: int, size: float, step: Triple = STEP) -> np.ndarray:
    """Give every tile a brightness of its own."""
    numbers = [np.arange(n) // s for n, s in zip(SHAPE, step, strict=True)]
    shape = [each[-1] + 1 for each in numbers]
    return np.random.default_rng(seed).normal(0, size, shape)[np.ix_(*numbers)]


def cut(values: np.ndarray, where: Borders, slabs: Triple) -> Seams:
    """Add a volume slab by slab, each with the margin that is asked for."""
    seams = Seams(where, values.shape)
    starts = (range(0, n, size) for n, size in zip(values.shape, slabs, strict=True))
    for start in itertools.product(*starts):
        ends = zip(start, slabs, values.shape, strict=True)
        counted = tuple(slice(first, min(first + size, n)) for first, size, n in ends)
        region = tuple(
            slice(max(0, part.start - Seams.margin), min(n, part.stop + Seams.margin))
            for part, n in zip(counted, values.shape, strict=True)
        )
        seams.add(region, values[region], counted)
    return seams


@pytest.mark.parametrize(
    ("sigma", "noise"),
    [((0.2, 0.2, 0.2), 10.0), ((1, 3, 3), 3.0), ((0.5, 4, 4), 0.0), ((2, 10, 10), 1)],
)
def test_a_texture_without_tiles_has_no_seams(sigma: tuple[float, ...], noise: float) -> None:
    """Jumps are within a quarter of the usual over 12 seeds, and nothing is significant."""
    for seed in range(12):
        found = score(texture(seed, sigma, noise).astype(np.float32))
        assert not found.visible
        assert found.verdict == "no seam is found along z, y and x"
        assert surest(found) < SIGNIFICANT
        for each in found.axes:
            assert each.jump.ratio == pytest.approx(1, abs=0.25)


def test_tissue_has_no_seams() -> None:
    """Neither the clean volume nor its noisy scan, at any of several places of the borders."""
    pair = em_pair((24, 96, 96), seed=5)
    for step in ((8, 32, 32), (5, 24, 17), (0, 48, 40)):
        for volume in (pair.truth, pair.noisy):
            found = score(volume, borders_of_step(volume.shape, step))
            assert surest(found) < SIGNIFICANT
            assert not found.visible


@pytest.mark.parametrize("seed", range(4))
def test_offsets_of_a_fraction_of_the_noise_are_found(seed: int) -> None:
    """Tiles whose brightness scatters by a third of the noise, and the size is told."""
    size = NOISE / 3
    found = score((texture(seed) + offsets(seed, size)).astype(np.float32))
    assert found.visible
    for axis in "yx":
        one = along(found, axis)
        assert one.step.found
        assert one.step.size == pytest.approx(math.sqrt(2) * size, rel=0.5)  # of two tiles
    assert found.verdict.startswith("seams where tiles meet: ")
    assert "times the usual, worst at " in found.verdict


def test_offsets_are_found_in_tissue() -> None:
    """Three grey values, in noise that is ten times as strong."""
    noisy = em_pair(SHAPE, seed=2).noisy.astype(np.float32)
    found = score(noisy + offsets(3, 3.0).astype(np.float32))
    assert noisy.std() > 30
    assert "steps along x of " in found.verdict


def test_one_bad_border_is_named() -> None:
    """The volume is brighter beyond one position."""
    volume = texture(1, noise=1.0)
    volume[:, :, 64:] += 40
    found = score(volume.astype(np.float32))
    one = along(found, "x")
    assert one.jump.worst == one.step.worst == 64
    assert along(found, "y").found is None


def test_lines_along_borders_are_found() -> None:
    """Two planes are darker at each border, which is no step, for both sides are alike."""
    volume = texture(4, (0.2, 0.2, 0.2))
    for position in BORDERS[1]:
        volume[:, position - 1 : position + 1] -= 0.6 * NOISE
    found = along(score(volume.astype(np.float32)), "y")
    assert found.line.found
    assert not found.step.found
    assert found.line.size == pytest.approx(0.6 * NOISE, rel=0.2)
    assert str(found.found).startswith("lines along y of ")


def test_detail_that_does_not_continue_is_found() -> None:
    """Tiles whose fine structure differs, at equal brightness."""
    numbers = sum(np.ix_(*[np.arange(n) // s for n, s in zip(SHAPE, STEP, strict=True)])) % 4
    smooth = [texture(seed, (1, 2, 2), 0.0) for seed in range(4)]
    volume = np.choose(numbers, smooth)
    found = along(score(volume.astype(np.float32)), "x")
    assert found.jump.found
    assert found.jump.ratio is not None
    assert found.jump.ratio > 2


def test_blur_where_tiles_meet_is_told_but_is_no_seam() -> None:
    """Jumps are smaller there than elsewhere."""
    volume = texture(2)
    smooth = ndimage.uniform_filter(volume, (1, 3, 3))
    for position in BORDERS[2]:
        volume[:, :, position - 2 : position + 2] = smooth[:, :, position - 2 : position + 2]
    found = score(volume.astype(np.float32))
    one = along(found, "x")
    assert one.jump.lacking
    assert one.jump.ratio is not None
    assert one.jump.ratio < 0.5
    assert not found.visible
    assert "jumps are smaller where tiles meet: along x 0." in found.verdict


@pytest.mark.parametrize(("window", "visible"), [("mean", True), ("linear", False)])
def test_blending_with_equal_weights_leaves_seams_that_ramps_hide(
    window: str, visible: bool
) -> None:
    """The same tiles, brighter and darker by half of the noise, joined in two ways."""
    footprint = Footprint((24, 48, 48), (0, 16, 16), window=window)
    grid = tile_grid(SHAPE, footprint)
    level = np.random.default_rng(0).normal(0, NOISE / 2, (4, 4))
    total, weights = np.zeros(SHAPE), np.zeros(SHAPE)
    for _, y, x in grid.touching(everything(SHAPE)):
        part = grid.contribution((0, y, x))
        weight = np.ones(tuple(side.stop - side.start for side in part))
        if window == "linear":
            ramp = np.minimum(np.minimum(np.arange(48) + 0.5, np.arange(48)[::-1] + 0.5), 16)
            weight *= ramp[: weight.shape[1], None] * ramp[: weight.shape[2]]
        total[part] += level[y, x] * weight
        weights[part] += weight
    found = score((texture(7) + total / weights).astype(np.float32), borders(grid))
    assert found.visible is visible
    assert [each.axis for each in found.axes] == ["y", "x"]


def test_patterns_of_upsampling_are_no_seams() -> None:
    """Voxels that were repeated differ at every second, third or fourth position only."""
    rng = np.random.default_rng(0)
    small = 100 + 10 * rng.standard_normal((24, 40, 40))
    for factor in (2, 4):
        volume = small.repeat(factor, 1).repeat(factor, 2).astype(np.float32)
        step = (0, 8 * factor, 8 * factor)
        assert not score(volume, borders_of_step(volume.shape, step)).visible
    volume = small.repeat(3, 1).repeat(3, 2).astype(np.float32)
    where = borders_of_step(volume.shape, (0, 24, 24))
    untold, told = score(volume, where), score(volume, where, period=(1, 3, 3))
    assert not untold.visible
    assert not told.visible
    for axis in "yx":
        assert along(untold, axis).jump.ratio == pytest.approx(1.6, abs=0.2)
        assert along(told, axis).jump.ratio == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    "slabs", [(24, 120, 128), (1, 120, 128), (7, 33, 50), (24, 3, 128), (5, 120, 2)]
)
def test_the_result_does_not_depend_on_the_slabs(slabs: Triple) -> None:
    """Any cut, as long as every slab comes with its margin."""
    volume = (texture(0) + offsets(0, 2.0)).astype(np.float32)
    whole, parts = score(volume), cut(volume, BORDERS, slabs).result()
    assert parts is not None
    for one, other in zip(whole.axes, parts.axes, strict=True):
        assert (one.axis, one.borders) == (other.axis, other.borders)
        for name in ("jump", "step", "line"):
            mine, its = getattr(one, name), getattr(other, name)
            assert its.ratio == pytest.approx(mine.ratio, rel=1e-5)
            assert its.significance == pytest.approx(mine.significance, abs=1e-4)
            assert its.size == pytest.approx(mine.size, rel=1e-4, abs=1e-6)
            assert its.worst == mine.worst


def test_faces_are_forgotten_when_they_are_complete() -> None:
    """What is held does not grow with the volume."""
    volume = texture(0).astype(np.float32)
    seams = cut(volume, BORDERS, (5, 33, 50))
    assert [len(each._pending) for each in seams._axes] == [0, 0, 0]


def test_a_result_may_be_asked_for_in_between() -> None:
    """It changes nothing, and counts what slabs have cut as it is."""
    volume = (texture(0) + offsets(0, 8.0)).astype(np.float32)
    half = slice(0, 12), slice(0, 120), slice(0, 128)
    seams = Seams(BORDERS, SHAPE)
    seams.add(half, volume[half])
    first, again = seams.result(), seams.result()
    assert first is not None
    assert first == again
    assert "seams along" in first.verdict or "along x of" in first.verdict


def test_slabs_apart_judge_what_they_hold() -> None:
    """Some planes here and there, as of a volume that is too large to look at completely."""
    volume = (texture(3) + offsets(3, 8.0)).astype(np.float32)
    seams = Seams(BORDERS, SHAPE)
    for first in (1, 17):
        part = slice(first, first + 3), slice(0, 120), slice(20, 128)
        seams.add(part, volume[part])
    found = seams.result()
    assert found is not None
    assert [each.axis for each in found.axes] == ["y", "x"]  # three planes have no position in z
    assert found.visible


def test_borders_that_no_slab_touches_are_not_judged() -> None:
    """Only axes with borders inside what was seen are there."""
    volume = texture(0).astype(np.float32)
    region = slice(0, 24), slice(41, 79), slice(0, 128)
    seams = Seams(BORDERS, SHAPE)
    seams.add(region, volume[region])
    found = seams.result()
    assert found is not None
    assert [each.axis for each in found.axes] == ["z", "x"]
    assert found.to_json()["y"] is None
    region = slice(0, 7), slice(41, 79), slice(33, 63)
    seams = Seams(BORDERS, SHAPE)
    assert seams.result() is None
    seams.add(region, volume[region])
    assert seams.result() is None


@pytest.mark.parametrize("step", [1, 2, 3])
def test_tiles_of_a_few_voxels_leave_nothing_to_compare_with(step: int) -> None:
    """Every position is a border, or next to one."""
    volume = texture(0).astype(np.float32)
    found = Seams(borders_of_step(SHAPE, (step, 0, 0)), SHAPE)
    found.add(everything(SHAPE), volume)
    assert found.result() is None


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 64, 64), (5, 64, 64)])
def test_thin_volumes_are_judged_within_their_planes(shape: Triple) -> None:
    """Borders along an axis that is too short are passed over."""
    volume = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    found = score(volume, ((1,), (32,), (32,)))
    assert [each.axis for each in found.axes] == ["y", "x"]


def test_tiles_without_noise_jump_where_nothing_else_does() -> None:
    """The ratio is not defined where the volume is flat, but the seam is found."""
    volume = offsets(0, 5.0).astype(np.float32)
    found = score(volume)
    assert along(found, "x").jump.ratio is None
    assert "where the volume has none" in found.verdict
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["visible"] is True


def test_a_constant_volume_has_no_seams() -> None:
    """Nothing differs anywhere."""
    found = score(np.full(SHAPE, 7, np.uint8))
    assert not found.visible
    assert surest(found) == 0


def test_integers_are_not_cut_off() -> None:
    """Differences of unsigned values are as those of the same values as floats."""
    values = np.clip(texture(0), 0, 255).astype(np.uint8)
    expected = score(values.astype(np.float64))
    for dtype in (np.uint8, np.uint16, np.uint32):
        found = score(values.astype(dtype))
        for one, other in zip(found.axes, expected.axes, strict=True):
            assert one.jump.ratio == pytest.approx(other.jump.ratio, rel=1e-6)
            assert one.step.ratio == pytest.approx(other.step.ratio, rel=1e-4)


def test_voxels_that_are_not_finite_are_left_out() -> None:
    """A few of them, and a whole plane, change little."""
    volume = (texture(0) + offsets(0, 8.0)).astype(np.float32)
    expected = score(volume)
    volume[3, 5, ::7], volume[10, 20, 30], volume[:, :, 50] = np.nan, np.inf, np.nan
    found = score(volume)
    for one, other in zip(found.axes, expected.axes, strict=True):
        assert one.jump.ratio == pytest.approx(other.jump.ratio, abs=0.05)
        assert one.step.size == pytest.approx(other.step.size, rel=0.1)
    assert found.visible
    nothing = Seams(BORDERS, SHAPE)
    nothing.add(everything(SHAPE), np.full(SHAPE, np.nan, np.float32))
    assert nothing.result() is None


def test_planes_of_unlike_brightness_are_no_seams() -> None:
    """Sections of a series differ from one to the next, wherever tiles meet."""
    rng = np.random.default_rng(0)
    for seed in range(5):
        volume = texture(seed, (0.3, 3, 3)) + rng.normal(0, 10, (SHAPE[0], 1, 1))
        assert not score(volume.astype(np.float32)).visible
