"""Correlation of a single image's own quarters, where it is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from vemctl.errors import InputError
from vemctl.quality.checkerboard import SelfCorrelation, of_two_planes
from vemctl.quality.fourier import Curve, RingCorrelation

EDGE = 128


def field(
    rng: np.random.Generator, power: Callable[[np.ndarray], np.ndarray], crop: bool = True
) -> np.ndarray:
    """Return a random image whose power at each frequency is known, periodic if not cropped."""
    n = 2 * EDGE if crop else EDGE
    frequency = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.fftfreq(n)[None])
    spectrum = np.fft.fft2(rng.standard_normal((n, n))) * np.sqrt(power(frequency))
    return np.fft.ifft2(spectrum).real[:EDGE, :EDGE]


def bell(frequency: np.ndarray) -> np.ndarray:
    """Return a spectrum with S = N / 6, the crossing of two noisy images, at 0.15 per pixel."""
    return 100 * np.exp(-((frequency / 0.15) ** 2) * math.log(600))


def curve_of(planes, spacing: Sequence[float] | None = None) -> Curve:
    """Return the curve of planes."""
    planes = list(planes)
    quarters = SelfCorrelation(planes[0].shape, spacing)
    for plane in planes:
        quarters.add(plane)
    return quarters.curve()


def test_images_without_noise_correlate_to_1_down_to_four_pixels() -> None:
    """The shift of the quarters is undone exactly."""
    image = field(np.random.default_rng(0), lambda f: 1.0 * (f < 0.25 - 2 / EDGE), crop=False)
    found = curve_of([image], (5, 5))
    inner = found.frequency * 5 < 0.25 - 2 / EDGE
    np.testing.assert_allclose(found.correlation[inner], 1, rtol=0, atol=1e-10)
    assert found.finest == pytest.approx(20)
    assert found.unit == "1/nm"


def test_it_is_what_a_loop_over_rings_gives() -> None:
    """Of quarters that are transformed whole, and shifted by their position in the plane."""
    rng = np.random.default_rng(0)
    image = field(rng, bell) + rng.standard_normal((EDGE, EDGE))
    window = np.sin(np.pi * (np.arange(EDGE) + 0.5) / EDGE) ** 2
    window = np.outer(window, window)
    image_in_window = (image - np.average(image, weights=window)) * window
    steps = np.fft.fftfreq(EDGE)
    y, x = np.meshgrid(steps, steps, indexing="ij")
    spectra = []
    for row, column in ((0, 0), (1, 1), (0, 1), (1, 0)):
        only = np.zeros_like(image)  # in its place, so that there is no shift to undo
        only[row::2, column::2] = image_in_window[row::2, column::2]
        spectra.append(np.fft.fft2(only))
    ring = np.rint(np.hypot(y, x) * EDGE)
    ring[(np.hypot(y, x) > 0.25) | (abs(y) == 0.25) | (abs(x) == 0.25)] = 0
    expected = []
    for k in range(1, EDGE // 4 + 1):
        a, b, c, d = (spectrum[ring == k] for spectrum in spectra)
        cross = np.sum(a * b.conj() + c * d.conj()).real
        powers = [np.sum(abs(p) ** 2 + abs(q) ** 2) for p, q in ((a, c), (b, d))]
        quarters = cross / math.sqrt(powers[0] * powers[1])
        expected.append(math.copysign(4 / (3 + 1 / abs(quarters)), quarters))
    np.testing.assert_allclose(curve_of([image]).correlation, expected, rtol=0, atol=1e-10)


def test_it_agrees_with_two_images_with_noise_of_their_own() -> None:
    """To 0.05 at each frequency, of 150 objects; and the resolution to half a ring."""
    rng = np.random.default_rng(0)
    two, single = RingCorrelation((EDGE, EDGE), None), SelfCorrelation((EDGE, EDGE), None)
    for _ in range(150):
        truth = field(rng, bell)
        first, second = (truth + rng.standard_normal(truth.shape) for _ in range(2))
        two.add(first, second)
        single.add(first)
        single.add(second)
    theirs, own = two.curve(), single.curve()
    np.testing.assert_allclose(own.frequency, theirs.frequency[: EDGE // 4])
    np.testing.assert_allclose(
        own.correlation[2:], theirs.correlation[2 : EDGE // 4], rtol=0, atol=0.05
    )
    signal = bell(own.frequency)
    np.testing.assert_allclose(own.correlation[2:], (signal / (signal + 1))[2:], rtol=0, atol=0.05)
    assert own.resolution is not None
    assert theirs.resolution is not None
    assert 1 / own.resolution == pytest.approx(0.15, abs=0.5 / EDGE)
    assert 1 / own.resolution == pytest.approx(1 / theirs.resolution, abs=0.5 / EDGE)


def test_white_noise_does_not_correlate() -> None:
    """Within what the counts allow, and so that it is noticed."""
    rng = np.random.default_rng(0)
    found = curve_of(rng.standard_normal((40, EDGE, EDGE)))
    assert np.all(np.abs(found.correlation) < 4 / np.sqrt(found.counts))
    assert found.verdict == "nothing correlates"
    assert found.resolution is None


def test_counts_are_what_the_noise_says() -> None:
    """The mean over many rings scatters as 1 / sqrt(counts)."""
    rng = np.random.default_rng(0)
    deviations = []
    for _ in range(120):
        found = curve_of(rng.standard_normal((30, 64, 64)))
        counts = found.counts[3:]
        deviations.append(counts @ found.correlation[3:] / math.sqrt(counts.sum()))
    assert np.std(deviations) == pytest.approx(1, abs=0.2)  # three standard errors


def test_noise_along_the_lines_of_a_scan_stays_out() -> None:
    """Diagonal neighbours are on different lines."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((40, EDGE, EDGE + 1))
    found = curve_of(noise[:, :, 1:] + noise[:, :, :-1])
    assert np.abs(found.counts @ found.correlation) < 4 * math.sqrt(2 * found.counts.sum())
    assert found.resolution is None


def test_smooth_noise_is_taken_for_structure() -> None:
    """As the output of a network is: the caveat is real."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((8, EDGE + 1, EDGE + 1))
    smooth = noise[:, 1:, 1:] + noise[:, :-1, 1:] + noise[:, 1:, :-1] + noise[:, :-1, :-1]
    assert curve_of(smooth).correlation[:10].min() > 0.8


def test_structures_finer_than_four_pixels_do_not_count() -> None:
    """They come back as coarser ones, but do not raise the curve."""
    rng = np.random.default_rng(0)
    found = curve_of(field(rng, lambda f: 1.0 * ((f > 0.3) & (f < 0.45))) for _ in range(10))
    assert found.correlation.max() < 4 / math.sqrt(found.counts.min())
    assert found.resolution is None


def test_pixels_may_be_anisotropic() -> None:
    """Frequencies are of the plane's own pixels."""
    plane = np.random.default_rng(0).random((60, 80))
    found = curve_of([plane], (8, 4))
    assert found.finest == pytest.approx(32)
    np.testing.assert_allclose(np.diff(found.frequency), 1 / 480)
    per_pixel = curve_of([plane])
    assert per_pixel.unit == "1/voxel"
    assert per_pixel.finest == pytest.approx(4)


def test_neither_scale_nor_offset_nor_order_matters() -> None:
    """To rounding."""
    rng = np.random.default_rng(0)
    planes = [field(rng, bell) + rng.standard_normal((EDGE, EDGE)) for _ in range(4)]
    moved = curve_of(-500 * plane + 3e4 for plane in reversed(planes))
    np.testing.assert_allclose(moved.correlation, curve_of(planes).correlation, rtol=0, atol=1e-10)


def test_planes_that_say_nothing() -> None:
    """Without contrast, or with values that are not finite, which are counted."""
    flat = np.full((64, 64), 0.1, np.float32)
    broken = flat.copy()
    broken[3, 3] = np.nan
    quarters = SelfCorrelation(flat.shape, None)
    quarters.add(flat)
    quarters.add(broken)
    assert (quarters.added, quarters.skipped) == (1, 1)
    np.testing.assert_array_equal(quarters.curve().correlation, 0)
    assert (
        quarters.curve().verdict
        == "not judged: too few pixels to tell; larger or more planes would"
    )


@pytest.mark.parametrize("shape", [(63, 64), (64, 63), (64,), (8, 64, 64)])
def test_what_has_no_quarters_is_refused(shape: tuple[int, ...]) -> None:
    """Odd edges, and what is no plane."""
    with pytest.raises(InputError, match="even edges"):
        SelfCorrelation(shape, None)


def test_another_shape_is_refused() -> None:
    """Than the one announced."""
    with pytest.raises(InputError, match=r"expected \(64, 64\)"):
        SelfCorrelation((64, 64), None).add(np.zeros((64, 66)))


def test_quarters_are_converted_to_two_planes() -> None:
    """By the formula of Spearman and Brown, for four parts; odd about 0."""
    found = of_two_planes(np.array([-1, -0.2, 0, 1 / 25, 0.2, 1]))
    np.testing.assert_allclose(found, [-1, -0.5, 0, 1 / 7, 0.5, 1])
