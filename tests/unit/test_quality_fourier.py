"""Fourier ring and shell correlation of images whose correlation is known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from vemctl.errors import InputError
from vemctl.quality.fourier import ENOUGH, FIRST_RING, Curve, RingCorrelation
from vemctl.quality.rings import SMALLEST, Window, cube_of, tile_shape, tiles_of_plane

EDGE = 128


def field(
    rng: np.random.Generator,
    shape: Sequence[int],
    power: Callable[[np.ndarray], np.ndarray],
    spacing: Sequence[float] | None = None,
) -> np.ndarray:
    """Return the middle of a random image of known power at each frequency; white noise has 1."""
    whole = [2 * n for n in shape]
    squared = np.zeros(())
    for n, d in zip(whole, spacing or [1] * len(shape), strict=True):
        squared = np.add.outer(squared, np.fft.fftfreq(n, d) ** 2)
    amplitude = np.sqrt(power(np.sqrt(squared)))
    image = np.fft.ifftn(np.fft.fftn(rng.standard_normal(whole)) * amplitude).real
    return image[tuple(slice(n // 2, n // 2 + n) for n in shape)]


def bell(frequency: np.ndarray) -> np.ndarray:
    """Return a spectrum with S = N / 6, the crossing of two noisy images, at 0.2 per voxel."""
    return 30 * np.exp(-((frequency / 0.2) ** 2) * math.log(180))


def noisy_pairs(count: int, shape: Sequence[int] = (EDGE, EDGE), seed: int = 0, **known):
    """Yield objects and two images of each, with white noise of their own."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        truth = field(rng, shape, bell, **known)
        yield truth, *(truth + rng.standard_normal(shape) for _ in range(2))


def curve_of(pairs, spacing: Sequence[float] | None = None) -> Curve:
    """Return the curve of pairs of images."""
    pairs = list(pairs)
    rings = RingCorrelation(pairs[0][0].shape, spacing)
    for pair in pairs:
        rings.add(*pair)
    return rings.curve()


def curve(correlation: Sequence[float], counts: float | Sequence[float] = ENOUGH) -> Curve:
    """Return a curve with given values from the first ring on that is judged."""
    values = np.array([1.0] * (FIRST_RING - 1) + list(correlation))
    frequency = np.arange(1, len(values) + 1) / 100
    each = np.full(len(values), float(ENOUGH))
    each[FIRST_RING - 1 :] = counts
    return Curve(frequency, values, each, "1/nm")


def straightforward(pairs, spacing: Sequence[float]) -> np.ndarray:
    """Return the correlation of planes ring by ring, from whole spectra, without Nyquist's."""
    height, width = pairs[0][0].shape
    window = np.outer(*(np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (height, width)))
    y = np.fft.fftfreq(height, spacing[0])[:, None]
    x = np.fft.fftfreq(width, spacing[1])[None, :]
    radius = np.hypot(y, x)
    step = 1 / max(height * spacing[0], width * spacing[1])
    limit = min(0.5 / spacing[0], 0.5 / spacing[1])
    inner = (abs(y) < 0.5 / spacing[0] - 1e-12) & (abs(x) < 0.5 / spacing[1] - 1e-12)
    spectra = [
        [np.fft.fft2((i - np.average(i, weights=window)) * window) for i in pair] for pair in pairs
    ]
    found = []
    for k in range(1, int(limit / step + 1e-9) + 2):
        ring = inner & (radius >= (k - 0.5) * step) & (radius < (k + 0.5) * step)
        ring &= radius <= limit + 1e-12
        if ring.any():
            cross = sum(np.sum(f[ring] * np.conj(g[ring])) for f, g in spectra)
            first = sum(np.sum(abs(f[ring]) ** 2) for f, _ in spectra)
            second = sum(np.sum(abs(g[ring]) ** 2) for _, g in spectra)
            assert abs(cross.imag) < 1e-9 * abs(cross)
            found.append(cross.real / math.sqrt(first * second))
    return np.array(found)


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((64, 64), (1, 1)), ((48, 80), (1, 1)), ((45, 70), (6, 4)), ((64, 33), (4, 4))],
)
def test_it_is_what_a_loop_over_rings_gives(shape, spacing) -> None:
    """Of two noisy images each of several objects, for even, odd and unequal edges."""
    pairs = [pair for _, *pair in noisy_pairs(3, shape)]
    np.testing.assert_allclose(
        curve_of(pairs, spacing).correlation, straightforward(pairs, spacing), rtol=0, atol=1e-12
    )


def test_equal_images_correlate_to_1_everywhere() -> None:
    """Down to the Nyquist period, where nothing falls."""
    image = np.random.default_rng(0).random((64, 64))
    found = curve_of([(image, image)], (4, 4))
    np.testing.assert_allclose(found.correlation, 1, rtol=0, atol=1e-12)
    assert found.resolution is None
    assert found.finest == pytest.approx(8)
    assert found.unit == "1/nm"
    assert found.verdict == "not below 1/7 up to the finest period of 8 nm"


def test_unrelated_noise_does_not_correlate() -> None:
    """Within what the counts allow, ring by ring and over all rings."""
    rng = np.random.default_rng(0)
    found = curve_of([rng.standard_normal((2, EDGE, EDGE)) for _ in range(4)])
    assert np.all(np.abs(found.correlation) < 4 / np.sqrt(found.counts))
    assert abs(found.counts @ found.correlation) < 4 * math.sqrt(found.counts.sum())
    assert found.resolution is None
    assert found.verdict == "nothing correlates"


def test_counts_are_what_the_noise_says() -> None:
    """The mean over many rings scatters as 1 / sqrt(counts); the window takes its share."""
    rng = np.random.default_rng(0)
    deviations = []
    for _ in range(300):
        found = curve_of([rng.standard_normal((2, 64, 64))])
        counts = found.counts[5:]
        deviations.append(counts @ found.correlation[5:] / math.sqrt(counts.sum()))
    assert np.std(deviations) == pytest.approx(1, abs=0.12)  # three standard errors
    assert Window((64, 48)).efficiency == pytest.approx((18 / 35) ** 2)


def test_two_noisy_images_correlate_as_signal_over_signal_and_noise() -> None:
    """And fall below 1/7 where the signal is a sixth of the noise, to half a ring."""
    found = curve_of(pair for _, *pair in noisy_pairs(40))
    signal = bell(found.frequency)
    np.testing.assert_allclose(
        found.correlation[2:], (signal / (signal + 1))[2:], rtol=0, atol=0.04
    )
    assert found.resolution is not None
    assert 1 / found.resolution == pytest.approx(0.2, abs=0.5 / EDGE)
    assert found.verdict == f"falls below 1/7 at a period of {found.resolution:.4g} voxels"


def test_a_single_pair_will_do() -> None:
    """The resolution is that of many pairs, to four rings of a hundred."""
    ((_, *pair),) = noisy_pairs(1, (512, 512))
    found = curve_of([pair]).resolution
    assert found is not None
    assert 1 / found == pytest.approx(0.2, abs=4 / 512)


def test_a_noisy_image_correlates_with_the_object_as_the_root() -> None:
    """Only one of the two has noise."""
    found = curve_of((truth, noisy) for truth, noisy, _ in noisy_pairs(40))
    signal = bell(found.frequency)
    np.testing.assert_allclose(
        found.correlation[2:], np.sqrt(signal / (signal + 1))[2:], rtol=0, atol=0.04
    )


@pytest.mark.parametrize("cut", [0.11, 0.23, 0.37])
def test_a_blurred_and_cut_off_object_is_resolved_to_the_cut_off(cut: float) -> None:
    """To two rings, where the signal's power is still 37 times the noise's."""
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(40):
        truth = field(rng, (EDGE, EDGE), lambda f: 100 * np.exp(-((f / cut) ** 2)) * (f < cut))
        pairs.append([truth + rng.standard_normal(truth.shape) for _ in range(2)])
    found = curve_of(pairs).resolution
    assert found is not None
    assert 1 / found == pytest.approx(cut, abs=2 / EDGE)


def test_strong_coarse_structures_do_not_reach_fine_frequencies() -> None:
    """The edges of images, which do not meet, leave no cross; without a window it was 0.25 off."""
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(100):
        truth = field(rng, (EDGE, EDGE), lambda f: 1e-5 / np.maximum(f, 1 / EDGE) ** 4)
        pairs.append([truth + rng.standard_normal(truth.shape) for _ in range(2)])
    found = curve_of(pairs)
    signal = 1e-5 / found.frequency**4
    np.testing.assert_allclose(
        found.correlation[4:], (signal / (signal + 1))[4:], rtol=0, atol=0.06
    )


def test_anisotropic_pixels_give_physical_periods() -> None:
    """Rings are round in physical frequency, and end where the coarser axis does."""
    spacing = (8.0, 4.0)
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(6):
        truth = field(rng, (100, EDGE), lambda f: 100 * (f < 1 / 30), spacing)
        pairs.append([truth + rng.standard_normal(truth.shape) for _ in range(2)])
    found = curve_of(pairs, spacing)
    assert found.finest == pytest.approx(16)
    np.testing.assert_allclose(np.diff(found.frequency), 1 / 800)
    assert found.resolution is not None
    assert 1 / found.resolution == pytest.approx(1 / 30, abs=2.5 / 512)
    per_voxel = curve_of(pairs)
    assert per_voxel.unit == "1/voxel"
    assert per_voxel.finest == pytest.approx(2)


def test_shells_of_cubes() -> None:
    """They have the correlation of rings, and a coarse z limits them."""
    spacing = (3.0, 1.0, 1.0)
    found = curve_of((pair for _, *pair in noisy_pairs(2, (24, 72, 64), spacing=spacing)), spacing)
    signal = bell(found.frequency)
    np.testing.assert_allclose(
        found.correlation[2:], (signal / (signal + 1))[2:], rtol=0, atol=0.08
    )
    assert found.finest == pytest.approx(6)
    assert found.resolution is None
    cubes = curve_of(pair for _, *pair in noisy_pairs(1, (64, 64, 64)))
    assert cubes.resolution is not None
    assert 1 / cubes.resolution == pytest.approx(0.2, abs=1 / 64)


def test_many_planes_are_less_noisy_than_one() -> None:
    """By the root of how many."""
    rng = np.random.default_rng(0)
    one = curve_of([rng.standard_normal((2, EDGE, EDGE))])
    many = curve_of([rng.standard_normal((2, EDGE, EDGE)) for _ in range(25)])
    np.testing.assert_allclose(many.counts, 25 * one.counts, rtol=0.2)
    assert np.std(one.correlation[5:]) / np.std(many.correlation[5:]) == pytest.approx(5, rel=0.3)


def test_a_bright_plane_among_dark_ones_counts_for_one() -> None:
    """Sums hold little else, so that the counts are its own."""
    rng = np.random.default_rng(0)
    bright, *dark = rng.standard_normal((6, 2, EDGE, EDGE))
    alone = curve_of([bright])
    among = curve_of([bright, *(1e-4 * pair for pair in dark)])
    np.testing.assert_allclose(among.correlation, alone.correlation, rtol=0, atol=1e-4)
    np.testing.assert_allclose(among.counts, alone.counts, rtol=1e-4)


def test_neither_scale_nor_offset_nor_order_matters() -> None:
    """The images of each side may have any."""
    pairs = [pair for _, *pair in noisy_pairs(4)]
    plain = curve_of(pairs)
    moved = curve_of((1000 * a + 3e4, -0.01 * b - 7) for a, b in reversed(pairs))
    np.testing.assert_allclose(moved.correlation, -plain.correlation, rtol=0, atol=1e-10)
    np.testing.assert_allclose(moved.counts, plain.counts)
    swapped = curve_of(pair[::-1] for pair in pairs[::-1])
    np.testing.assert_allclose(swapped.correlation, plain.correlation, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float16])
def test_types_are_computed_in_double_precision(dtype: type) -> None:
    """And inputs stay as they are."""
    rng = np.random.default_rng(0)
    pair = [(100 * rng.random((64, 64))).astype(dtype) for _ in range(2)]
    copies = [image.copy() for image in pair]
    expected = curve_of([[image.astype(np.float64) for image in pair]])
    np.testing.assert_array_equal(curve_of([pair]).correlation, expected.correlation)
    for image, copy in zip(pair, copies, strict=True):
        np.testing.assert_array_equal(image, copy)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pairs_that_are_not_finite_are_left_out_and_counted(value: float) -> None:
    """A single value would spoil all sums."""
    ((_, *pair),) = noisy_pairs(1)
    broken = pair[1].copy()
    broken[5, 5] = value
    broken[50, 50] = -value
    rings = RingCorrelation((EDGE, EDGE), None)
    for other in (broken, pair[1]):
        rings.add(pair[0], other)
    assert (rings.added, rings.skipped) == (1, 1)
    np.testing.assert_array_equal(rings.curve().correlation, curve_of([pair]).correlation)


def test_images_without_contrast_say_nothing() -> None:
    """Equal constant ones do not correlate, by their rounding; nor is anything divided by 0."""
    flat = np.full((EDGE, EDGE), 0.1)
    noise = np.random.default_rng(0).random((EDGE, EDGE))
    for pair in ((flat, flat), (flat, noise), (noise, flat)):
        found = curve_of([pair])
        np.testing.assert_array_equal(found.correlation, 0)
        np.testing.assert_array_equal(found.counts, 0)
        assert found.resolution is None
        assert found.verdict == "not judged: too few pixels to tell; larger or more planes would"


def test_nothing_was_added() -> None:
    """There is a curve, but it says nothing."""
    found = RingCorrelation((64, 64), (4, 4)).curve()
    assert found.verdict == "not judged: too few pixels to tell; larger or more planes would"


def test_another_shape_is_refused() -> None:
    """Whichever of the two has it."""
    rings = RingCorrelation((64, 64), None)
    image = np.zeros((64, 64))
    for pair in ((image, image[1:]), (image[:, 1:], image), (image, image[np.newaxis])):
        with pytest.raises(InputError, match=r"expected \(64, 64\)"):
            rings.add(*pair)
    assert (rings.added, rings.skipped) == (0, 0)


def test_the_crossing_is_interpolated() -> None:
    """Between the last ring above and the first below."""
    found = curve([0.9, 0.5, 1 / 7 + 0.03, 1 / 7 - 0.01, 0.0])
    assert found.resolution == pytest.approx(100 / (FIRST_RING + 2.75))


def test_a_lone_dip_is_no_fall_and_a_lone_peak_no_agreement() -> None:
    """It takes two in a row, or the last."""
    assert curve([0.9, 0.9, 0.1, 0.9, 0.9]).resolution is None
    assert curve([0.9, 0.9, 0.1, 0.0, 0.9]).resolution is not None
    assert curve([0.9, 0.9, 0.9, 0.9, 0.1]).resolution is not None
    assert curve([0.1, 0.9, 0.9, 0.1, 0.1]).resolution is not None
    assert curve([0.0, 0.0, 0.2, 0.0, 0.0]).verdict == "nothing correlates"
    assert "look at the curve" in curve([0.0, 0.0, 0.9, 0.9, 0.0]).verdict


def test_the_coarsest_rings_are_not_judged() -> None:
    """Uneven illumination is no lack of resolution."""
    found = curve([0.9, 0.5, 0.0, 0.0])
    coarse = found.correlation.copy()
    coarse[: FIRST_RING - 1] = -0.5
    assert Curve(found.frequency, coarse, found.counts, "1/nm").resolution == found.resolution


def test_rings_of_few_pixels_are_joined() -> None:
    """By their counts, until they are enough; what is left goes to the last."""
    few = curve([1.0, 0.0] * 20 + [0.0, 0.0] * 20, ENOUGH / 2)
    assert few.verdict.startswith("falls below 1/7")
    first = FIRST_RING + 38.5  # of the last joint with 0.5, and 0 after it
    assert few.resolution == pytest.approx(100 / (first + 2 * (0.5 - 1 / 7) / 0.5))
    assert curve([0.9, 0.9, 0.9, 0.9, 0.0], [*[ENOUGH] * 4, 1]).resolution is None
    assert (
        curve([0.9] * 4, ENOUGH / 5).verdict
        == "not judged: too few pixels to tell; larger or more planes would"
    )
    assert curve([0.9] * 5, ENOUGH / 5).resolution is None


def test_a_curve_becomes_json() -> None:
    """With numbers only, and null where there is none."""
    found = curve([0.9, 0.5, 0.0, 0.0])
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert content["resolution"] == found.resolution
    assert content["correlation"] == found.correlation.tolist()
    assert content["frequency"] == found.frequency.tolist()
    assert content["threshold"] == pytest.approx(1 / 7)
    assert content["unit"] == "1/nm"
    assert content["finest"] == pytest.approx(100 / 7)
    assert content["verdict"] == found.verdict
    assert curve([0.9, 0.9]).to_json()["resolution"] is None


@pytest.mark.parametrize(
    ("shape", "expected", "number"),
    [
        ((2048, 2048), (512, 512), 16),
        ((700, 1000), (350, 500), 4),
        ((512, 512), (512, 512), 1),
        ((513, 513), (256, 256), 4),
        ((64, 4096), (64, 128), 32),
        ((32, 32), (32, 32), 1),
        ((31, 1000), None, 0),
    ],
)
def test_planes_are_transformed_in_equal_tiles(shape, expected, number) -> None:
    """Square ones, nearly, of at most the edge."""
    assert tile_shape(shape) == expected
    assert len(tiles_of_plane(shape)) == number


@pytest.mark.parametrize("edge", [32, 40, 100, 512])
@pytest.mark.parametrize("shape", [(33, 67), (45, 45), (239, 478), (1021, 503), (79, 3000)])
def test_tiles_are_even_and_do_not_overlap(shape: tuple[int, int], edge: int) -> None:
    """And cover all of a plane but a few rows and columns, where the edge leaves the choice."""
    tiles = tiles_of_plane(shape, edge)
    seen = np.zeros(shape, int)
    for tile in tiles:
        assert seen[tile].shape == tile_shape(shape, edge)
        seen[tile] += 1
    sizes = seen[tiles[0]].shape
    assert all(n % 2 == 0 and SMALLEST <= n <= edge for n in sizes)
    assert max(sizes) <= 2 * min(sizes) + SMALLEST
    assert seen.max() == 1
    assert seen.mean() > (0.8 if edge > 64 else 0.4)


def test_tiles_may_have_the_size_of_others() -> None:
    """The last window of a plane may be smaller than the rest; then fewer fit, or none."""
    assert len(tiles_of_plane((700, 1000), tile=(256, 256))) == 6
    assert tiles_of_plane((300, 1000), tile=(256, 256))[0] == (slice(22, 278), slice(38, 294))
    assert tiles_of_plane((200, 1000), tile=(256, 256)) == []


def test_cubes_have_one_size_and_lie_in_the_volume() -> None:
    """In the middle of their region, as far as the volume allows."""
    shape = (101, 700, 300)
    for z, y, x in [(0, 0, 0), (40, 200, 0), (93, 600, 250)]:
        region = slice(z, z + 8), slice(y, y + 100), slice(x, x + 50)
        cube = cube_of(region, shape)
        assert cube is not None
        assert np.empty(shape, bool)[cube].shape == (64, 256, 256)
    whole = slice(0, 101), slice(0, 700), slice(0, 300)
    assert cube_of(whole, shape) == (slice(18, 82), slice(222, 478), slice(22, 278))
    assert cube_of(whole, shape, (1000, 64, 64)) == (
        slice(0, 100),
        slice(318, 382),
        slice(118, 182),
    )


@pytest.mark.parametrize("shape", [(7, 500, 500), (50, 31, 500), (50, 500, 31), (1, 64, 64)])
def test_small_volumes_have_no_cube(shape: tuple[int, int, int]) -> None:
    """There would be too few shells."""
    z, y, x = (slice(0, n) for n in shape)
    assert cube_of((z, y, x), shape) is None
