"""Synthetic dual views: one specimen, blurred along two oblique axes, and sharp."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import ndimage, signal

from vemctl.samples import DualView, dual_view

SHAPE = (24, 40, 48)
BRIGHT = 5000.0
PER_DEVIATION = math.sqrt(8 * math.log(2))
VOXEL = 92.6 / 1.5


@pytest.fixture(scope="module", params=["filaments", "puncta"])
def bright(request):
    """Return a sample of little noise and no haze."""
    return dual_view(3, SHAPE, signal=BRIGHT, haze=0.0, structure=request.param)


def expected_psf(side, tilt, sign, axial=11.2, lateral=3.5):
    """Return the oblique Gaussian of the definition: w along the detection axis, u across it."""
    z, y, x = np.indices((side, side, side)) - side // 2
    sine, cosine = math.sin(math.radians(tilt)), math.cos(math.radians(tilt))
    w, u = z * cosine + sign * x * sine, x * cosine - sign * z * sine
    across, along = lateral / PER_DEVIATION, axial / PER_DEVIATION
    psf = np.exp(-(u**2 + y**2) / (2 * across**2) - w**2 / (2 * along**2))
    return psf / psf.sum()


def power_along(volume, direction):
    """Return the power of structures of 3.5 to 7 voxels that change along (z, x)."""
    window = [np.hanning(n + 2)[1:-1] for n in volume.shape]
    flat = volume - volume.mean()
    flat = flat * window[0][:, None, None] * window[1][:, None] * window[2]
    spectrum = np.abs(np.fft.fftn(flat)) ** 2
    kz, ky, kx = np.meshgrid(*(np.fft.fftfreq(n) for n in volume.shape), indexing="ij")
    radius = np.sqrt(kz**2 + ky**2 + kx**2)
    cosine = np.abs(kz * direction[0] + kx * direction[1]) / np.maximum(radius, 1e-9)
    return spectrum[(radius > 1 / 7) & (radius < 1 / 3.5) & (cosine > 0.9)].mean()


def test_seed_determines_all():
    """The same seed gives the same bytes, another seed another specimen."""
    first, again, other = (dual_view(seed, (8, 20, 24)) for seed in (3, 3, 4))
    for name in ("view_a", "view_b", "truth", "psf_a", "psf_b"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
    for name in ("view_a", "view_b", "truth"):
        assert np.mean(getattr(first, name) != getattr(other, name)) > 0.3


def test_form():
    """Views are counts, the truth and the images of a point floats; none can be replaced."""
    sample = dual_view(3, (9, 31, 42))
    assert isinstance(sample, DualView)
    assert sample.view_a.dtype == sample.view_b.dtype == np.uint16
    assert sample.truth.dtype == sample.psf_a.dtype == sample.psf_b.dtype == np.float32
    assert sample.view_a.shape == sample.view_b.shape == sample.truth.shape == (9, 31, 42)
    assert sample.voxel_size_nm == pytest.approx((VOXEL, VOXEL, VOXEL))
    assert sample.tilt == 30.8
    with pytest.raises(dataclasses.FrozenInstanceError):
        sample.view_a = sample.view_b


def test_images_of_a_point_are_as_defined():
    """They are oblique Gaussians of the widths and the tilt, mirrored along x, of side 4 k + 1."""
    sample = dual_view(0, (1, 1, 1))
    for psf, sign in ((sample.psf_a, 1), (sample.psf_b, -1)):
        assert psf.shape == (33, 33, 33)
        assert psf.sum() == pytest.approx(1, abs=1e-5)
        wanted = expected_psf(33, 30.8, sign)
        np.testing.assert_allclose(psf, wanted, atol=1e-3 * wanted.max())  # it ends at 4 deviations
    np.testing.assert_array_equal(sample.psf_b, sample.psf_a[:, :, ::-1])
    other = dual_view(0, (1, 1, 1), voxel_size_nm=100.0, fwhm_nm=(600.0, 300.0), tilt=45.0)
    side = len(other.psf_a)
    assert side % 4 == 1
    wanted = expected_psf(side, 45.0, 1, 6.0, 3.0)
    np.testing.assert_allclose(other.psf_a, wanted, atol=1e-3 * wanted.max())


def test_views_and_truth_are_of_the_same_points(bright):
    """Both views, blurred by the other's image of a point, agree, and so does the truth."""
    views = {"a": bright.view_a.astype(float), "b": bright.view_b.astype(float)}
    psfs = {"a": bright.psf_a, "b": bright.psf_b}
    z, y, x = np.indices((33, 33, 33)) - 16
    round_one = np.exp(-(z**2 + y**2 + x**2) / (2 * (3.5 / PER_DEVIATION) ** 2))
    inner = (slice(8, -8), slice(8, -8), slice(8, -8))
    for view, psf in psfs.items():
        blurred = signal.fftconvolve(bright.truth.astype(float), psf, "same")[inner]
        shown = signal.fftconvolve(views[view], round_one / round_one.sum(), "same")[inner]
        slopes = list(np.gradient(blurred))
        terms = np.stack([blurred, *slopes], -1).reshape(-1, 4)
        scale, *shifts = np.linalg.lstsq(terms, shown.ravel(), rcond=None)[0]
        assert np.corrcoef(blurred.ravel(), shown.ravel())[0, 1] > 0.98
        assert scale == pytest.approx(1, abs=0.05)  # as much light
        np.testing.assert_allclose(np.array(shifts) / scale, 0, atol=0.1)


def test_truth_is_sharper_along_the_blurred_axes(bright):
    """Along its own detection axis a view has little of what the truth and the other have."""
    sine, cosine = math.sin(math.radians(30.8)), math.cos(math.radians(30.8))
    scaled = bright.truth / bright.truth.max()
    for view, other, sign in (
        (bright.view_a, bright.view_b, 1),
        (bright.view_b, bright.view_a, -1),
    ):
        along = (cosine, sign * sine)
        seen = power_along(view / view.max(), along)
        assert seen < 0.1 * power_along(scaled, along)
        assert seen < 0.6 * power_along(other / other.max(), along)


def test_haze_is_shared():
    """Where there is no specimen both views have as many photons, which vary slowly."""
    hazy = dual_view(1, (16, 96, 96), signal=1e-6, haze=50.0)
    means = [ndimage.uniform_filter(v.astype(float), 9) for v in (hazy.view_a, hazy.view_b)]
    assert hazy.view_a.mean() == pytest.approx(50, rel=0.4)
    assert np.corrcoef(means[0].ravel(), means[1].ravel())[0, 1] > 0.9
    clear = dual_view(1, (16, 96, 96), signal=1e-6, haze=0.0)
    assert clear.view_a.mean() < 2


def test_signal_is_of_the_views_only():
    """More photons scale the truth, and leave the relative noise of views smaller."""
    dim, light = (dual_view(5, SHAPE, signal=value, haze=0.0) for value in (20.0, 2000.0))
    np.testing.assert_allclose(100 * dim.truth, light.truth, rtol=1e-5)
    noise = [
        np.std(
            each.view_a / each.view_a.mean()
            - ndimage.median_filter(each.view_a, 3) / each.view_a.mean()
        )
        for each in (dim, light)
    ]
    assert noise[0] > 1.5 * noise[1]


@pytest.mark.parametrize("structure", ["filaments", "puncta"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 40), (30, 9, 7)])
def test_any_shape_can_be_viewed(shape, structure):
    """Thin, small and single-voxel volumes are painted too."""
    sample = dual_view(1, shape, structure=structure)
    assert sample.view_a.shape == sample.view_b.shape == sample.truth.shape == shape


def test_refuses_what_has_no_views():
    """Each impossible argument is refused with its value."""
    for shape in ((0, 4, 4), (4, 4)):
        with pytest.raises(ValueError, match="three positive numbers"):
            dual_view(0, shape)
    for wrong, text in (
        ({"signal": 0.0}, "signal > 0, got 0"),
        ({"structure": "sheets"}, "filaments or puncta, got 'sheets'"),
        ({"haze": -1.0}, "haze >= 0, got -1"),
        ({"haze": math.nan}, "haze >= 0"),
        ({"tilt": 90.0}, "below 90 degrees, got 90"),
        ({"voxel_size_nm": 0.0}, "voxels of 0"),
        ({"fwhm_nm": (200.0, 300.0)}, "longest along the detection axis, got .*200.* and 300"),
    ):
        with pytest.raises(ValueError, match=text):
            dual_view(0, (4, 4, 4), **wrong)
