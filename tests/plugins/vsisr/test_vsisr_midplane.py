"""Removal of a reflecting plane, against the published program and by construction."""

from __future__ import annotations

import tracemalloc
import warnings
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from parity import load_fixture
from vemctl_vsisr.counts import Extremes, crop_rows, to_counts, without_background
from vemctl_vsisr.deskewing import Shear, header_word
from vemctl_vsisr.midplane import MidplaneRemoval
from vemctl_vsisr.midplane_masks import Masks, middle, rotated, smoothed
from vemctl_vsisr.midplane_presets import MIDPLANE_PRESETS, MidplanePreset, midplane_preset
from vemctl_vsisr.midplane_search import align, drift_along_z
from vemctl_vsisr.prepare_raw import MIDPLANE_BYTES

from vemctl.errors import OptionError

PRESET = MidplanePreset(4, 2, 1.0, 0.2, 5)


def fitted(volume: np.ndarray, preset: MidplanePreset = PRESET, **options: Any) -> MidplaneRemoval:
    """Fit the removal to an array, (z, y, x)."""
    return MidplaneRemoval.fit(
        lambda first, count: volume[first : first + count], volume.shape, preset, **options
    )


def reflected(
    shape: tuple[int, int, int], plane: float, *, drift: float = 0.0, degrees: float = 0.0
) -> np.ndarray:
    """Make an image before a plane of 600 counts, and half as bright a reflection behind it."""
    depth, width, length = shape
    texture = np.random.default_rng(0).uniform(80, 120, (width, 400))
    z, y, x = np.ogrid[:depth, :width, :length]
    # Counter-clockwise with x down: the plane comes nearer to x = 0 where y grows.
    at = plane + drift * (z - (depth - 1) / 2) - (y - (width - 1) / 2) * np.tan(np.radians(degrees))
    line = 600 * np.exp(-((x - at) ** 2) / 8)
    away = np.abs(np.round(x - at)).astype(int)
    image = texture[y, away] * np.where(x < at, 1, 0.5)
    return (100 + image + line).astype(np.uint16)


@pytest.fixture(scope="module")
def published() -> tuple[dict[str, Any], dict[str, np.ndarray], np.ndarray, MidplaneRemoval]:
    """Return parameters, arrays and volume of the fixture, and the removal fitted to it."""
    spec, arrays, _ = load_fixture("vsisr_midplane")
    told = spec["params"]
    preset = MidplanePreset(
        gauss_window=told["gsWindow"],
        scale_factor=told["scaleFactor"],
        line_weight=told["sigama"],
        modulation=told["modAmp"],
        num_average=told["nAverage"],
        max_iterations=told["maxIters"],
        shift_step=told["deltaDispX"],
        tilt_step=told["deltaDispA"],
    )
    volume = arrays["data"].transpose(2, 1, 0)
    return told, arrays, volume, fitted(volume, preset, background=told["background"])


def test_the_plane_is_found_where_published(published) -> None:
    """Shift, tilt and drift are the same, the ratio is but for rounding."""
    told, _, _, removal = published
    assert removal.shift == told["disp"]
    assert removal.tilt == told["angle"]
    assert removal.drift.tolist() == told["z_shift"]
    assert removal.ratio == pytest.approx(told["ratio"], abs=1e-12)


def test_masks_and_sections_are_the_published_ones(published) -> None:
    """In a section of each part of the drift."""
    told, arrays, volume, removal = published
    for number, z in enumerate(told["z_planes"]):
        damping, boost = removal.masks(z)
        np.testing.assert_allclose(damping.T, arrays["mask"][..., number], rtol=0, atol=1e-9)
        np.testing.assert_allclose(boost.T, arrays["mask_boost"][..., number], rtol=0, atol=1e-9)
        found = removal.apply(volume[z], z)
        np.testing.assert_allclose(found.T, arrays["masked"][..., number], rtol=0, atol=1e-3)


@pytest.mark.parametrize("single", [False, True])
def test_the_prepared_volume_is_the_published_one(published, single: bool) -> None:
    """Deskewed, without background and scaled; then as long as wide."""
    told, arrays, volume, removal = published
    depth, width, length = volume.shape
    dy, dz = (header_word(1000 * told[name]) for name in ("dy", "dz"))
    shear = Shear(depth, length, angle_degrees=told["rotAngle"], dy=dy, dz=dz, single=single)
    sections, extremes = [], Extremes()
    for z, plane in enumerate(volume):
        clean = removal.apply(plane, z).astype(np.float32)
        sections.append(without_background(shear.apply(clean, z), told["background"]))
        extremes.add(sections[-1])
    found = to_counts(np.stack(sections), extremes.low, extremes.high)
    expected = arrays["full"].transpose(2, 1, 0).astype(int)
    assert np.abs(found - expected).max() <= 2
    rows = crop_rows(shear.length, width)
    assert [rows.start + 1, rows.stop] == told["crop_rows"]


def test_sections_are_read_one_by_one() -> None:
    """All twice, the middle half once more, as far as MATLAB rounds; a group alone is of no use."""
    volume = reflected((10, 24, 50), 27)
    reads: Counter[int] = Counter()

    def read(first: int, count: int) -> np.ndarray:
        assert count == 1
        reads[first] += 1
        return volume[first : first + 1]

    MidplaneRemoval.fit(read, volume.shape, PRESET)
    assert reads == {z: 3 if 2 <= z < 8 else 2 for z in range(10)}
    reads.clear()
    MidplaneRemoval.fit(read, volume.shape, replace(PRESET, num_average=6))
    assert reads == {z: 2 if 2 <= z < 8 else 1 for z in range(10)}


def test_memory_does_not_grow_with_the_sections() -> None:
    """Not even where each is a group of its own; it is what a plan says."""
    few = reflected((6, 60, 90), 50)

    def peak(depth: int) -> int:
        def read(first: int, count: int) -> np.ndarray:
            return few[first % 6 : first % 6 + count]

        tracemalloc.start()
        try:
            MidplaneRemoval.fit(read, (depth, 60, 90), replace(PRESET, num_average=1))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(6)  # what is imported and planned at the first time
    assert peak(90) < peak(6) + 60 * 90 * 4
    assert peak(90) <= MIDPLANE_BYTES * 60 * 90


@pytest.mark.parametrize("tracking", ["original", "corrected"])
def test_the_reflection_becomes_as_bright_as_the_image(tracking: Any) -> None:
    """And the line between them darker; the image is left as it is."""
    volume = reflected((8, 40, 120), 66).astype(np.float64)
    removal = fitted(volume, drift_tracking=tracking)
    assert 58.5 + removal.shift == pytest.approx(66, abs=0.5)  # a line lies between two pixels
    assert removal.tilt == pytest.approx(0, abs=1e-9)
    assert removal.ratio == pytest.approx(2, rel=0.25)
    found = np.stack([removal.apply(plane, z) for z, plane in enumerate(volume)])
    before, behind = found[..., 10:40].mean() - 100, found[..., 92:110].mean() - 100
    assert before == pytest.approx(volume[..., 10:40].mean() - 100, rel=0.02)
    assert behind == pytest.approx(before, rel=0.25)
    # What is left of the line, 0.4, is made brighter by about half of the ratio.
    assert found[..., 66].mean() - 100 < 0.7 * (volume[..., 66].mean() - 100)


def test_unsigned_data_stop_at_0() -> None:
    """As in MATLAB; what is signed or floating goes below the background."""
    volume = reflected((6, 24, 50), 27)
    dark = volume.copy()
    dark[:, :, :5] = 60
    removal = fitted(dark)
    np.testing.assert_allclose(removal.apply(dark[0], 0)[:, :5], 100, rtol=0, atol=1e-9)
    for kind in (np.int16, np.float32):
        removal = fitted(dark.astype(kind))
        below = removal.apply(dark[0].astype(kind), 0)[:, :5]
        assert (below < 90).all()


@pytest.mark.parametrize("tracking", ["original", "corrected"])
@pytest.mark.parametrize(("kind", "value"), [("u2", 0), ("u2", 100), ("u2", 500), ("f4", 20)])
def test_one_grey_has_no_plane(tracking: Any, kind: str, value: int) -> None:
    """Where the published program fails or never ends."""
    volume = np.full((12, 30, 41), value, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        removal = fitted(volume, drift_tracking=tracking)
    assert (removal.shift, removal.tilt) == (0, 0)
    assert not removal.drift.any()
    assert np.isfinite(removal.apply(volume[0], 0)).all()


@pytest.mark.parametrize("tracking", ["original", "corrected"])
@pytest.mark.parametrize("depth", [1, 2, 9])
def test_few_sections_do_not_drift(tracking: Any, depth: int) -> None:
    """They make less than two groups."""
    volume = reflected((depth, 24, 50), 27)
    removal = fitted(volume, drift_tracking=tracking)
    assert removal.drift.tolist() == [0] * depth
    assert removal.apply(volume[0], 0).shape == (24, 50)


def test_groups_without_signal_do_not_count() -> None:
    """The line is fitted to the others; less than two of them do not drift."""
    narrow = np.exp(-((np.arange(41.0) - 20) ** 2) / 8)[:, None].repeat(9, 1)
    groups = [np.roll(narrow, 2 * number, axis=0) for number in range(4)]
    expected = drift_along_z(groups, narrow, 20, 5, "corrected")
    assert expected.tolist() == sorted(expected, reverse=True)
    groups[1] = np.zeros((41, 9))
    np.testing.assert_array_equal(drift_along_z(groups, narrow, 20, 5, "corrected"), expected)
    alone = [np.zeros((41, 9)), groups[0]]
    assert not drift_along_z(alone, narrow, 10, 5, "corrected").any()


def test_corrected_tracking_follows_the_plane() -> None:
    """Over 24 sections of a drift of a third of a pixel, on odd sections, to half a pixel."""
    volume = reflected((24, 30, 71), 40, drift=1 / 3)
    removal = fitted(volume, replace(PRESET, num_average=4), drift_tracking="corrected")
    true = -(np.arange(24) - 11) / 3
    assert np.abs(removal.drift - true).max() < 1


def test_odd_sections_are_a_row_off_unless_corrected() -> None:
    """Before the search, which then finds the row in both cases."""
    # Undisplaced, the line lies between pixels 24 and 25.
    line = np.exp(-((np.arange(51.0) - 32.5) ** 2) / 8)[:, None].repeat(20, 1)
    start = replace(PRESET, max_iterations=0)
    assert align(line, start, "corrected").shift == 8
    assert align(line, start, "original").shift == 9
    for tracking in ("original", "corrected"):
        found = align(line, PRESET, tracking)
        assert (found.shift, found.tilt) == (8, 0)
    even = np.exp(-((np.arange(52.0) - 32.5) ** 2) / 8)[:, None].repeat(20, 1)
    assert align(even, start, "corrected").shift == align(even, start, "original").shift == 8


def test_the_line_is_tilted_too_far_unless_corrected() -> None:
    """The published program finds a degree, and keeps the line that is a step beyond."""
    mean = reflected((1, 100, 80), 40, degrees=2)[0].T.astype(np.float64)
    once = replace(PRESET, max_iterations=1)
    for tracking, degrees in (("original", 1.1), ("corrected", 1.0)):
        found = align(mean, once, tracking)
        assert found.tilt == pytest.approx(1)
        straight = Masks.drawn(mean.shape, once).rolled(found.shift)
        np.testing.assert_allclose(found.masks.narrow, rotated(straight.narrow, degrees), atol=1e-9)
        np.testing.assert_allclose(found.masks.step, rotated(straight.step, 1.0), atol=1e-9)
    found = align(mean, replace(PRESET, max_iterations=5), "corrected")
    assert found.tilt == pytest.approx(2, abs=0.11)


@pytest.mark.parametrize("length", [6, 7, 40])
def test_smoothing_is_a_correlation_with_its_centre_before_the_middle(length: int) -> None:
    """Of an even Gaussian, with 0 outside of the image."""
    image = np.random.default_rng(0).random((12, 3))
    weights = np.exp(-((np.arange(length) - (length - 1) / 2) ** 2) / (2 * 1.5**2))
    weights[weights < np.finfo(float).eps * weights.max()] = 0
    weights /= weights.sum()
    expected = np.zeros_like(image)
    for y in range(12):
        for j, weight in enumerate(weights):
            source = y + j - ((length + 1) // 2 - 1)
            if 0 <= source < 12:
                expected[y] += weight * image[source]
    np.testing.assert_allclose(smoothed(image, length, 1.5), expected, rtol=0, atol=1e-12)


def test_turning_is_counter_clockwise() -> None:
    """As seen with the first axis down."""
    image = np.random.default_rng(0).random((9, 9))
    inner = slice(1, -1)  # rounding may put corners outside
    np.testing.assert_allclose(
        rotated(image, 90)[inner, inner], np.rot90(image)[inner, inner], rtol=0, atol=1e-9
    )
    np.testing.assert_array_equal(rotated(image, 0), image)


def test_a_section_is_in_the_middle_of_its_canvas() -> None:
    """For every size; the sizes that are even and odd are cut as in the published program."""
    assert middle(62, 52) == slice(5, 57)
    assert middle(61, 51) == slice(5, 56)
    for size in range(1, 200):
        canvas = int(np.floor(1.2 * size + 0.5))
        rows = middle(canvas, size)
        assert rows.stop - rows.start == size
        assert rows.start >= 0
        assert rows.stop <= canvas


def test_presets_are_found_by_structure() -> None:
    """In any case; each parameter can be replaced."""
    assert midplane_preset("Lyso") == MidplanePreset(21, 5, 0.2, 0.2, 15, 3, 1, 0.1)
    assert list(MIDPLANE_PRESETS) == ["er", "lifeact", "lyso", "mt", "skl"]
    assert replace(midplane_preset("MT"), modulation=0.1).modulation == 0.1
    with pytest.raises(OptionError, match=r"lysos: no parameters .* Did you mean 'lyso'\?"):
        midplane_preset("lysos")
