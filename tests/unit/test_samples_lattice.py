"""Synthetic lattice light-sheet volumes: in register, sharper along x only, and raw as written."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import ndimage

from vemctl.samples import LatticePair, LatticeRaw, lattice_pair, lattice_raw

SHAPE = (12, 64, 70)
BRIGHT = 5000.0  # photons, of which noise is a hundredth
BACKGROUND = 100.0
STRUCTURES = ("filaments", "puncta")
PER_DEVIATION = math.sqrt(8 * math.log(2))


@pytest.fixture(scope="module", params=STRUCTURES)
def bright(request):
    """Return a pair and the raw form of the same specimen, of little noise."""
    wanted = {"signal": BRIGHT, "structure": request.param}
    return lattice_pair(3, SHAPE, **wanted), lattice_raw(3, SHAPE, **wanted)


def as_seen_in_input(truth, shape):
    """Blur a truth along x to the width of the input, and sample it where pixels of that are."""
    sigma = math.sqrt(250.0**2 - 140.0**2) / PER_DEVIATION / (92.6 / 1.5)
    blurred = ndimage.gaussian_filter1d(truth.astype(float), sigma, axis=2, truncate=6.0)
    z, y, x = np.indices(shape)
    places = (z, (y + 0.5) * 1.5 - 0.5, (x + 0.5) * 1.5 - 0.5)
    return ndimage.map_coordinates(blurred, places, order=3, mode="nearest")


def deskewed(volume, spacing, angle):
    """Deskew (rows, columns, planes) by splines, plane by plane; NaN where there is no source."""
    rows, columns, planes = volume.shape
    each = spacing[2] / spacing[0] * math.cos(math.radians(angle))
    size = math.ceil(planes * each + rows)
    made = np.empty((planes, size, columns))
    for i in range(planes):
        source = np.arange(size) + (i - (planes - 1) / 2) * each - (size - rows) / 2
        places = np.meshgrid(source, np.arange(columns), indexing="ij")
        made[i] = ndimage.map_coordinates(volume[..., i].astype(float), places, order=3)
        made[i, (source < 3) | (source > rows - 4)] = np.nan
    return made


def correlation(first, second):
    """Return Pearson's coefficient where neither is NaN."""
    known = np.isfinite(first) & np.isfinite(second)
    return np.corrcoef(first[known], second[known])[0, 1]


def test_seed_determines_both():
    """The same seed gives the same bytes, another seed another specimen."""
    for make, names in ((lattice_pair, ("input", "truth")), (lattice_raw, ("phases", "truth"))):
        first, again, other = (make(seed, (6, 32, 40)) for seed in (3, 3, 4))
        for name in names:
            assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
            assert np.mean(getattr(first, name) != getattr(other, name)) > 0.3


def test_signal_is_of_the_input_only():
    """More photons give a brighter and relatively less noisy input of the very same truth."""
    dim, bright = (lattice_pair(5, SHAPE, signal=signal) for signal in (20.0, 2000.0))
    np.testing.assert_array_equal(dim.truth, bright.truth)
    exact = as_seen_in_input(dim.truth, SHAPE)
    noise = [correlation(pair.input.astype(float), exact) for pair in (dim, bright)]
    assert noise[0] < 0.97 < 0.995 < noise[1]
    light = [pair.input.mean() - BACKGROUND for pair in (dim, bright)]
    assert light[1] / light[0] == pytest.approx(100, rel=0.05)


def test_form_of_a_pair():
    """A pair has 16 bits, one background each, 1.5 times finer truth, and cannot be changed."""
    pair = lattice_pair(3, (6, 31, 42))
    assert isinstance(pair, LatticePair)
    assert pair.input.dtype == pair.truth.dtype == np.uint16
    assert pair.input.shape == (6, 31, 42)
    assert pair.truth.shape == (6, 46, 63)
    assert pair.voxel_size_nm == pytest.approx((200 * math.sin(math.radians(30.8)), 92.6, 92.6))
    assert pair.truth_voxel_size_nm == pytest.approx((pair.voxel_size_nm[0], 61.733, 61.733), 1e-5)
    dark = lattice_pair(1, (6, 31, 42), structure="puncta")
    assert np.percentile(dark.input, 20) == pytest.approx(BACKGROUND, abs=4)
    assert np.percentile(dark.truth, 20) < 16
    with pytest.raises(dataclasses.FrozenInstanceError):
        pair.input = pair.truth


def test_brightness_is_stated():
    """Lone puncta have peaks of up to the signal, over the background."""
    pair = lattice_pair(2, (12, 64, 64), signal=1000.0, structure="puncta")
    peaks = pair.input == ndimage.maximum_filter(pair.input, (9, 9, 9))
    tops = pair.input[peaks & (pair.input > 250)] - BACKGROUND
    assert 700 < np.median(np.sort(tops)[-10:]) < 1400
    assert pair.truth.max() < 65535


def test_input_and_truth_are_in_register(bright):
    """The truth, blurred along x and sampled at (i + 0.5) 1.5 - 0.5, is the input unshifted."""
    pair, _ = bright
    exact = as_seen_in_input(pair.truth, SHAPE)[2:-2, 6:-6, 6:-6]
    seen = pair.input[2:-2, 6:-6, 6:-6] - BACKGROUND
    slopes = np.gradient(exact)
    # seen = scale (exact + shift . slope): the shifts that explain it best
    terms = np.stack([exact, *slopes], -1).reshape(-1, 4)
    scale, *shifts = np.linalg.lstsq(terms, seen.ravel(), rcond=None)[0]
    np.testing.assert_allclose(np.array(shifts) / scale, 0, atol=0.01)
    assert correlation(exact, seen) > 0.998


def test_truth_is_sharper_along_x_only():
    """Spectra of puncta fall off alike along y; along x that of the truth by its smaller width."""
    pair = lattice_pair(7, (24, 96, 96), signal=BRIGHT, structure="puncta")

    def power(volume, pixel_nm, axis):
        """Return the power at 2.2 to 2.8 periods per micrometre, within 30 degrees of an axis."""
        window = np.hanning(volume.shape[1])[:, None] * np.hanning(volume.shape[2])
        planes = volume.astype(float) - np.median(volume)
        spectrum = np.mean(np.abs(np.fft.fft2(planes * window)) ** 2, 0)
        ky, kx = np.meshgrid(
            *(np.fft.fftfreq(n, pixel_nm / 1000) for n in volume.shape[1:]), indexing="ij"
        )
        along, across = (ky, kx) if axis == "y" else (kx, ky)
        ring = np.abs(np.hypot(ky, kx) - 2.5) < 0.3
        return spectrum[ring & (np.abs(across) < 0.58 * np.abs(along))].mean()

    ratios = {}
    for name, volume, pixel in (("input", pair.input, 92.6), ("truth", pair.truth, 92.6 / 1.5)):
        ratios[name] = power(volume, pixel, "x") / power(volume, pixel, "y")
    variances = (250.0**2 - 140.0**2) / PER_DEVIATION**2
    # along the axes; within 30 degrees of them it is somewhat less
    most = math.exp((2 * math.pi * 2.5 / 1000) ** 2 * variances)
    assert 0.7 < ratios["input"] < 1.4
    assert 0.5 * most < ratios["truth"] < 1.3 * most


def test_form_of_raw_data():
    """Raw arrays are (rows, columns, planes), with three sections to a plane and less rows."""
    raw = lattice_raw(3, SHAPE)
    assert isinstance(raw, LatticeRaw)
    more = math.ceil(12 * 200 / 92.6 * math.cos(math.radians(30.8)))
    assert raw.phases.shape == (64 - more, 70, 36)
    assert raw.truth.shape[1:] == (105, 12)
    assert abs(raw.truth.shape[0] - 1.5 * raw.phases.shape[0]) <= 1.5
    assert raw.phases.dtype == raw.truth.dtype == np.uint16
    assert raw.phases.flags.f_contiguous
    assert raw.truth.flags.f_contiguous
    assert raw.spacing_um == pytest.approx((0.0926, 0.0926, 0.2))
    assert raw.truth_spacing_um == pytest.approx((0.0926 / 1.5, 0.0926 / 1.5, 0.2))


def test_deskewed_mean_of_phases_is_the_input(bright):
    """The three exposures average to the wide field, and deskewing puts it where the pair is."""
    pair, raw = bright
    mean = raw.phases.reshape(*raw.phases.shape[:2], -1, 3).mean(-1)
    made = deskewed(mean, raw.spacing_um, raw.angle_degrees)
    assert made.shape == SHAPE
    assert correlation(made, pair.input.astype(float)) > 0.998
    known = np.isfinite(made)
    assert np.mean(known) > 0.3
    assert made[known].mean() == pytest.approx(pair.input[known].mean(), rel=0.005)
    one = deskewed(raw.phases[..., ::3], raw.spacing_um, raw.angle_degrees)
    assert correlation(one, pair.input.astype(float)) < 0.97


def test_deskewed_truth_is_the_truth(bright):
    """The displaced truth, deskewed by its own spacing, is that of the pair."""
    pair, raw = bright
    made = deskewed(raw.truth, raw.truth_spacing_um, raw.angle_degrees)
    assert made.shape == pair.truth.shape
    assert correlation(made, pair.truth.astype(float)) > 0.998


def test_stripes_move_by_a_third_of_their_period():
    """Each exposure is brighter where its stripes are, which change along the second axis only."""
    raw = lattice_raw(3, SHAPE, signal=BRIGHT)
    phases = raw.phases.reshape(*raw.phases.shape[:2], -1, 3).astype(float)
    parts = phases - phases.mean(-1, keepdims=True)
    x = (np.arange(70) + 0.5) * 92.6 / 616.0
    found = [np.sum(parts[..., p] * np.exp(2j * np.pi * x)[:, None]) for p in range(3)]
    turns = np.angle(np.array(found) * np.exp(-2j * np.pi * np.arange(3) / 3))
    np.testing.assert_allclose(turns, 0, atol=0.1)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 90), (9, 40, 7)])
def test_any_shape(shape, structure):
    """Thin, small and single-voxel volumes are painted too."""
    pair = lattice_pair(1, shape, structure=structure)
    assert pair.input.shape == shape
    assert pair.truth.shape == (shape[0], int(1.5 * shape[1]), int(1.5 * shape[2]))


@pytest.mark.parametrize("make", [lattice_pair, lattice_raw])
def test_refuses_what_cannot_be(make):
    """An empty or flat shape, no light and an unknown structure are refused with their value."""
    for shape in ((0, 4, 4), (4, 4)):
        with pytest.raises(ValueError, match="three positive numbers"):
            make(0, shape)
    for signal in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="expected signal > 0"):
            make(0, (1, 8, 8), signal=signal)
    with pytest.raises(ValueError, match="filaments or puncta, got 'sheets'"):
        make(0, (1, 8, 8), structure="sheets")


def test_refuses_raw_data_without_rows():
    """A volume that is lower than the displacement of its planes has no raw form."""
    with pytest.raises(ValueError, match=r"more than 23 rows.*12 planes.*got 23"):
        lattice_raw(0, (12, 23, 8))
    assert lattice_raw(0, (12, 24, 8)).phases.shape == (1, 8, 36)
