"""Point spread functions: theoretical ones, files, and where the published program puts them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from vemctl_rldfn.psfs import (
    VOXEL_SIZE,
    centred,
    default_fwhms,
    is_misplaced,
    lost_energy,
    lost_energy_by_axis,
    middle,
    placement,
    read_psf,
    theoretical_psf,
)

from vemctl.errors import InputError, OptionError


def gaussian(shape, peak, sigma: float = 1.5) -> np.ndarray:
    """Return a round function with its peak at a place."""
    grid = np.indices(shape) - np.reshape(peak, (3, 1, 1, 1))
    return np.exp(-(grid**2).sum(0) / (2 * sigma**2)).astype(np.float32)


def width_along(psf: np.ndarray, direction) -> float:
    """Return the full width at half maximum along a line (z, y, x) through the middle, voxels."""
    steps = np.arange(-16, 16.001, 0.01)
    line = np.reshape(direction, (3, 1)) * steps + np.reshape(psf.shape, (3, 1)) // 2
    profile = ndimage.map_coordinates(psf, line, order=3)
    return 0.01 * np.count_nonzero(profile >= profile.max() / 2)


@pytest.mark.parametrize(("view", "sign"), [("a", 1), ("b", -1)])
def test_the_default_is_as_long_and_as_tilted_as_the_authors_figure(view, sign: int):
    """11.2 voxels along (x, z) = (+sin, +cos) in A, (-sin, +cos) in B; 3.5 across and along y."""
    psf = theoretical_psf(view)
    assert psf.shape == (33, 33, 33)
    assert psf.dtype == np.float32
    sine, cosine = math.sin(math.radians(30.8)), math.cos(math.radians(30.8))
    assert width_along(psf, (cosine, 0, sign * sine)) == pytest.approx(11.2, abs=0.05)
    assert width_along(psf, (-sign * sine, 0, cosine)) == pytest.approx(3.5, abs=0.05)
    assert width_along(psf, (0, 1, 0)) == pytest.approx(3.5, abs=0.05)


@pytest.mark.parametrize(("view", "sign"), [("a", 1), ("b", -1)])
def test_the_long_axis_lies_where_the_second_moments_have_it(view, sign: int):
    """At another tilt, on other voxels, and of another size."""
    psf = theoretical_psf(
        view, tilt=20, fwhm_lateral=300, fwhm_axial=800, voxel_size=100, size=41
    ).astype(np.float64)
    z, y, x = np.indices(psf.shape) - 20
    moments = [[(psf * i * j).sum() / psf.sum() for i in (x, z)] for j in (x, z)]
    values, vectors = np.linalg.eigh(moments)
    along = vectors[:, 1] * np.sign(vectors[1, 1])
    expected = (sign * math.sin(math.radians(20)), math.cos(math.radians(20)))
    np.testing.assert_allclose(along, expected, atol=1e-4)
    np.testing.assert_allclose(np.sqrt(values) * 2.3548, (3.0, 8.0), rtol=1e-3)
    assert np.sqrt((psf * y * y).sum() / psf.sum()) * 2.3548 == pytest.approx(3.0, rel=1e-3)


def test_the_views_mirror_each_other():
    """Along x as well as along z."""
    psf_a, psf_b = theoretical_psf("a"), theoretical_psf("b")
    np.testing.assert_array_equal(psf_b, psf_a[:, :, ::-1])
    np.testing.assert_array_equal(psf_b, psf_a[::-1])
    assert np.abs(psf_a - psf_b).max() > 0.3


def test_default_widths_are_in_nanometres():
    """So that they hold for any voxel size."""
    lateral, axial = default_fwhms()
    assert (lateral, axial) == pytest.approx((216.055, 691.376))
    np.testing.assert_array_equal(
        theoretical_psf("a", fwhm_lateral=lateral, fwhm_axial=axial, voxel_size=VOXEL_SIZE),
        theoretical_psf("a"),
    )


@pytest.mark.parametrize(
    ("wrong", "flag"),
    [
        ({"tilt": 120.0}, "--tilt"),
        ({"fwhm_lateral": 0.2}, "--fwhm-lateral"),
        ({"fwhm_axial": math.nan}, "--fwhm-axial"),
        ({"voxel_size": 0.06}, "--voxel-size"),
        ({"size": 0}, "--psf-size"),
    ],
)
def test_impossible_numbers_are_refused(wrong, flag: str):
    """In one line that names the flag."""
    with pytest.raises(OptionError, match=f"^{flag} ") as caught:
        theoretical_psf("a", **wrong)
    assert "\n" not in str(caught.value)


def test_a_file_is_read_page_by_page(tmp_path):
    """As float32, whether a TIFF or a .npy, of whole numbers or not."""
    psf = gaussian((5, 6, 7), (2, 3, 3))
    tifffile.imwrite(tmp_path / "psf.tif", psf, photometric="minisblack")
    counts = np.rint(1000 * psf).astype(np.uint16)
    tifffile.imwrite(tmp_path / "counts.TIFF", counts, photometric="minisblack")
    np.save(tmp_path / "psf.npy", psf.astype(np.float64)[None])
    np.testing.assert_array_equal(read_psf(tmp_path / "psf.tif"), psf)
    np.testing.assert_array_equal(read_psf(tmp_path / "counts.TIFF"), counts)
    np.testing.assert_array_equal(read_psf(tmp_path / "psf.npy"), psf)
    assert read_psf(tmp_path / "counts.TIFF").dtype == np.float32


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.ones((8, 8)), r"the shape \(8, 8\)"),
        (np.ones((2, 4, 8, 8)), "the shape"),
        (np.zeros((0, 8, 8)), "no voxels"),
        (np.zeros((4, 8, 8)), "adds up to 0"),
        (-np.ones((4, 8, 8)), "adds up to -256"),
        (np.full((4, 8, 8), np.nan), "not finite"),
        (np.full((4, 8, 8), 1e300), "not finite"),
        (np.ones((4, 8, 8), np.complex64), "holds complex64"),
    ],
)
def test_what_is_no_point_spread_function_is_refused(tmp_path, values, why: str):
    """In one line that names the file."""
    path = tmp_path / "psf.npy"
    np.save(path, values)
    with pytest.raises(InputError, match=why) as caught:
        read_psf(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["psf.tif", "psf.npy", "psf.npz", "psf.mrc", "none.tif"])
def test_unreadable_files_are_refused(tmp_path, name: str):
    """Damaged ones, archives, those of another kind, and those that are not there."""
    path = tmp_path / name
    if name != "none.tif":
        path.write_bytes(b"II*\0damaged")
    with pytest.raises(InputError, match="expected a point spread function") as caught:
        read_psf(path)
    assert "\n" not in str(caught.value)


def test_an_archive_of_arrays_is_refused(tmp_path):
    """Even under the name of an array."""
    with (tmp_path / "psf.npy").open("wb") as file:
        np.savez(file, psf=np.ones((3, 3, 3)))
    with pytest.raises(InputError, match="archive"):
        read_psf(tmp_path / "psf.npy")


@pytest.mark.parametrize(
    ("side", "misplaced"), [(33, False), (31, True), (34, False), (32, True), (15, True)]
)
def test_the_published_alignment_shifts_some_sides(side: int, misplaced: bool):
    """4k + 3 in the deconvolution, 4k in the degradation; what is centred is shifted nowhere."""
    psf = gaussian((17, 17, side), (8, 8, side // 2))
    assert is_misplaced(psf) is misplaced
    mended = centred(psf)
    assert not is_misplaced(mended)
    assert {n % 4 for n in mended.shape} == {1}
    assert mended.sum() == pytest.approx(psf.sum(), rel=1e-5)


@pytest.mark.parametrize("side", range(5, 25))
def test_a_centred_function_comes_to_the_middle_of_tiles(side: int):
    """Of all that are a multiple of four long, be they longer or shorter, and of the kernel."""
    (mended,) = {len(centred(gaussian((side, 17, 17), (side // 2, 8, 8))))}
    for length, centre in [(4 * k, 2 * k) for k in range(1, 12)] + [(19, 9)]:
        taken, put = placement(mended, length)
        assert mended // 2 - taken.start + put.start == centre


def test_a_centred_function_stays_as_it_is():
    """With all its values."""
    psf = theoretical_psf("a")
    np.testing.assert_array_equal(centred(psf), psf)


def test_a_peak_aside_comes_to_the_middle():
    """Zeros are put around, and no value is lost; hot voxels and noise do not mislead."""
    rng = np.random.default_rng(3)
    psf = gaussian((16, 21, 30), (9.2, 6.8, 14.1)) + 0.02 * rng.random((16, 21, 30))
    psf = psf.astype(np.float32)
    psf[2, 17, 25] = 3
    np.testing.assert_allclose(middle(psf), (9.2, 6.8, 14.1), atol=0.1)
    mended = centred(psf)
    assert mended.shape == (21, 29, 33)
    np.testing.assert_array_equal(mended[1:17, 7:28, 2:32], psf)
    assert mended.sum(dtype=np.float64) == pytest.approx(psf.sum(dtype=np.float64))


def test_what_is_cut_off_is_told():
    """As counted by hand, along each axis and in all; nothing in tiles that are large enough."""
    psf = np.ones((5, 9, 13), np.float32)
    assert lost_energy(psf, (8, 12, 16)) == 0
    assert lost_energy(psf, (5, 9, 13)) == 0
    assert lost_energy(psf, (4, 12, 8)) == pytest.approx(1 - 4 / 5 * 8 / 13)
    np.testing.assert_allclose(lost_energy_by_axis(psf, (4, 12, 8)), (1 / 5, 0, 5 / 13))


def test_a_thin_tile_cuts_off_what_theory_says():
    """Planes -8 to 7 of a Gaussian remain, as wide along z as its tilted axes make it."""
    sine, cosine = math.sin(math.radians(30.8)), math.cos(math.radians(30.8))
    sigma = math.hypot(11.2 * cosine, 3.5 * sine) / 2.3548
    inside = (math.erf(7.5 / sigma / math.sqrt(2)) + math.erf(8.5 / sigma / math.sqrt(2))) / 2
    lost = lost_energy_by_axis(theoretical_psf("a"), (16, 33, 33))
    assert lost[0] == pytest.approx(1 - inside, abs=2e-3)
    assert lost[1:] == (0, 0)


def test_halves_are_rounded_to_even_numbers():
    """For lengths and sides of all remainders."""
    for side, length in itertools.product(range(1, 9), range(1, 9)):
        taken, put = placement(side, length)
        assert taken.stop - taken.start == put.stop - put.start == min(side, length)
        exact = abs(length - side) / 2
        start = max(taken.start, put.start)
        assert start == (int(exact) if exact % 1 == 0 else 2 * math.floor(exact / 2 + 0.5))
