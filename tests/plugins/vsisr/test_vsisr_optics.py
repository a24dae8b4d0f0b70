"""Transfer functions: built from numbers or from beads, and read from files."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from vemctl_vsisr.optics import Optics, load_optics, load_optics_files, resized_band
from vemctl_vsisr.transfer_functions import (
    build_optics,
    ideal_otf,
    otf_of_beads,
    pattern_shift,
    shifted_pair,
)

from vemctl.errors import InputError, OptionError, WeightsError

MICROSCOPE = {
    "numerical_aperture": 1.0,
    "emission": 520.0,
    "excitation_aperture": 0.4,
    "excitation": 488.0,
    "pixel": 92.6,
}


def save_folder(folder, optics: Optics) -> None:
    """Write the three files as the authors have them: PackBits, and floats for the apodisation."""
    for name, values in (("OTF0", optics.otf0), ("OTF1", optics.otf1)):
        counts = np.rint(65535 * values).astype(np.uint16)
        Image.fromarray(counts).save(folder / f"{name}.tif", compression="packbits")
    apodisation = Image.fromarray(optics.apodisation.astype(np.float32))
    apodisation.save(folder / "apo_0.9_1.5.tif")


@pytest.fixture
def small_optics() -> Optics:
    """Return transfer functions of few pixels."""
    otf0 = ideal_otf(32, 12.0)
    return Optics(otf0, shifted_pair(otf0, 4), ideal_otf(48, 18.0) ** 0.9, 92.6)


@pytest.mark.parametrize(("wavelength", "shift"), [(488, 77), (560, 67), (642, 59)])
def test_the_pattern_lies_where_the_published_files_have_it(wavelength: float, shift: int):
    """For the authors' lattice and pixel."""
    assert pattern_shift(0.4, wavelength, 92.6) == shift


def test_an_ideal_transfer_function_is_the_overlap_of_two_pupils():
    """Its value is the area that two discs share, which can be counted."""
    radius, size = 40, 256
    axis = np.arange(size) - size // 2
    pupil = np.hypot(axis[:, None] + 0.5, axis[None] + 0.5) <= radius
    counted = [(pupil & np.roll(pupil, shift, axis=0)).sum() / pupil.sum() for shift in (0, 20, 60)]
    otf = ideal_otf(256, 2.0 * radius)
    np.testing.assert_allclose([otf[128 + s, 128] for s in (0, 20, 60)], counted, atol=0.01)
    assert otf.max() == otf[128, 128] == 1
    assert otf[128, 128 + 2 * radius] == 0


def test_side_bands_lie_along_y():
    """Both are there, none comes in again on the other side, and the highest value is 1."""
    pair = shifted_pair(ideal_otf(64, 20.0), 20)
    assert pair.max() == 1
    assert pair.min() == 0
    assert pair[12, 32] == pair[52, 32] == 1
    assert (pair[:2] == shifted_pair(ideal_otf(64, 20.0), 20)[:2]).all()
    assert not pair[:, :12].any()
    np.testing.assert_allclose(pair[0, 32], ideal_otf(64, 20.0)[20, 32])


def test_what_is_built_has_the_grids_of_the_published_files():
    """The apodisation reaches 1.5 times as far on 1.5 times as many pixels."""
    optics = build_optics(**MICROSCOPE)
    assert optics.otf0.shape == optics.otf1.shape == (512, 512)
    assert optics.apodisation.shape == (768, 768)
    cutoff = 2e3 / 520 * 512 * 0.0926
    assert np.count_nonzero(optics.otf0[256]) == 2 * int(cutoff) + 1
    assert np.count_nonzero(optics.apodisation[384]) == 2 * int(1.5 * cutoff) + 1
    measured = build_optics(**MICROSCOPE, otf0=optics.otf0[128:384, 128:384])
    assert measured.apodisation.shape == (384, 384)
    assert measured.otf1.shape == (256, 256)


@pytest.mark.parametrize(
    ("wrong", "flag"),
    [
        ({"emission": 0.52}, "--emission"),
        ({"excitation": 4880.0}, "--excitation"),
        ({"numerical_aperture": 0.0}, "--na "),
        ({"excitation_aperture": 5.0}, "--na-excitation"),
        ({"pixel": 0.0926}, "--pixel-size"),
        ({"pixel": 900.0}, "--pixel-size"),
    ],
)
def test_numbers_in_other_units_are_refused(wrong, flag: str):
    """In one line that names the flag."""
    with pytest.raises(OptionError, match=flag) as caught:
        build_optics(**{**MICROSCOPE, **wrong})
    assert "\n" not in str(caught.value)


def test_beads_show_the_transfer_function_that_blurred_them():
    """A Gaussian bead on a coarser stack has the Gaussian spectrum, on the wanted grid."""
    sigma, bead_pixel, pixel = 120.0, 50.0, 92.6  # nm
    point = np.zeros((9, 64, 70))
    point[4, 30, 33] = 1e6
    beads = 100 + ndimage.gaussian_filter(point, (1.5, sigma / bead_pixel, sigma / bead_pixel))
    otf = otf_of_beads(beads, bead_pixel=bead_pixel, pixel=pixel, size=128)
    frequency = np.arange(64) / (128 * pixel)  # per nm
    expected = np.exp(-2 * (np.pi * sigma * frequency) ** 2)
    expected[expected < 0.0101] = 0
    np.testing.assert_allclose(otf[64, 64:], expected, atol=0.015)
    np.testing.assert_allclose(otf[64:, 64], expected, atol=0.015)
    assert otf[64, 64] == 1


@pytest.mark.parametrize(
    "beads", [np.full((3, 16, 16), 90), np.zeros((16, 16)), np.full((3, 16, 16), np.nan)]
)
def test_stacks_without_a_bead_are_refused(beads):
    """In one line."""
    with pytest.raises(InputError, match="bead") as caught:
        otf_of_beads(beads, bead_pixel=50.0, pixel=92.6)
    assert "\n" not in str(caught.value)


def test_files_are_read_as_published(tmp_path, small_optics: Optics):
    """Counts of 16 bits, compressed by PackBits, become parts of one; floats stay."""
    save_folder(tmp_path, small_optics)
    loaded = load_optics(tmp_path)
    np.testing.assert_allclose(loaded.otf0, small_optics.otf0, atol=0.5 / 65535 + 1e-12)
    np.testing.assert_allclose(loaded.otf1, small_optics.otf1, atol=0.5 / 65535 + 1e-12)
    assert loaded.apodisation.dtype == np.float32
    np.testing.assert_array_equal(loaded.apodisation, small_optics.apodisation.astype(np.float32))
    assert loaded.pixel == 92.6


def test_arrays_of_ones_own_are_read(tmp_path, small_optics: Optics):
    """Saved by numpy, in double precision."""
    paths = [tmp_path / f"{name}.npy" for name in ("OTF0", "OTF1", "apo")]
    arrays = small_optics.otf0, small_optics.otf1, small_optics.apodisation
    for path, array in zip(paths, arrays, strict=True):
        np.save(path, array)
    for loaded in (load_optics_files(*paths, pixel=100.0), load_optics(tmp_path, pixel=100.0)):
        np.testing.assert_array_equal(loaded.otf0, small_optics.otf0)
        np.testing.assert_array_equal(loaded.otf1, small_optics.otf1)
        np.testing.assert_array_equal(loaded.apodisation, small_optics.apodisation)
        assert loaded.pixel == 100


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((32, 32), np.uint16), "not all zero"),
        (np.ones((32, 32), np.uint8), "uint16"),
        (np.ones((32, 30), np.float32), "square"),
        (np.ones((33, 33), np.float32), "even"),
        (np.full((32, 32), np.nan, np.float32), "finite"),
        (-np.ones((32, 32)), "negative"),
        (60000 * ideal_otf(32, 8.0), "at most 1"),
        (np.fft.ifftshift(ideal_otf(32, 8.0)) * (np.arange(32) < 16), "centre of mass"),
    ],
)
def test_what_is_no_transfer_function_is_refused(tmp_path, small_optics: Optics, array, message):
    """In one line that names the file."""
    save_folder(tmp_path, small_optics)
    (tmp_path / "OTF0.tif").unlink()
    np.save(tmp_path / "OTF0.npy", array)
    with pytest.raises(WeightsError, match=message) as caught:
        load_optics(tmp_path)
    assert "OTF0.npy" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_damaged_files_are_named(tmp_path, small_optics: Optics):
    """A missing folder, a missing file, two of a kind, a damaged one, another size."""
    with pytest.raises(WeightsError, match="no such folder"):
        load_optics(tmp_path / "nowhere")
    save_folder(tmp_path, small_optics)
    np.save(tmp_path / "OTF1.npy", small_optics.otf1)
    with pytest.raises(WeightsError, match=r"OTF1\.npy, OTF1\.tif"):
        load_optics(tmp_path)
    (tmp_path / "OTF1.tif").write_bytes(b"II*\0 no more")
    (tmp_path / "OTF1.npy").unlink()
    with pytest.raises(WeightsError, match=r"OTF1\.tif: cannot be read"):
        load_optics(tmp_path)
    (tmp_path / "OTF1.tif").unlink()
    with pytest.raises(WeightsError, match="found none"):
        load_optics(tmp_path)
    np.save(tmp_path / "OTF1.npy", ideal_otf(34, 12.0))
    with pytest.raises(WeightsError, match="expected the same"):
        load_optics(tmp_path)


def test_stacks_of_pages_are_refused(tmp_path, small_optics: Optics):
    """A transfer function is one image."""
    save_folder(tmp_path, small_optics)
    page = Image.fromarray(small_optics.otf0.astype(np.float32))
    page.save(tmp_path / "OTF0.tif", save_all=True, append_images=[page])
    with pytest.raises(WeightsError, match="pages"):
        load_optics(tmp_path)


def test_bands_are_widened_and_cut_about_their_centre():
    """Frequency zero stays at half of the size."""
    otf = ideal_otf(32, 12.0)
    wide, narrow = resized_band(otf, 1.5), resized_band(otf, 0.5)
    assert wide.shape == (48, 48)
    np.testing.assert_array_equal(wide[8:40, 8:40], otf)
    assert wide.sum() == pytest.approx(otf.sum())
    np.testing.assert_array_equal(narrow, otf[8:24, 8:24])


def test_the_physical_grid_follows_the_pixel(small_optics: Optics):
    """The detection has the same cut-off per nanometre whatever the pixel of the volume."""
    for pixel in (92.6, 80.0):
        placed = small_optics.on_physical_grid(pixel)
        size = len(placed.otf0)
        assert size == 2 * round(32 * 1.5 * 92.6 / pixel / 2)
        edge = 1 / (2 * pixel / 1.5)  # per nm, highest frequency of the result
        cutoff = np.count_nonzero(placed.otf0[size // 2] > 0) // 2 / (size / 2) * edge
        assert cutoff == pytest.approx(11 / (32 * 92.6), rel=0.03)


def test_side_bands_along_the_wrong_axis_are_refused(tmp_path, small_optics: Optics):
    """By them a volume would be joined wrongly, and look sharp."""
    lying = Optics(small_optics.otf0, small_optics.otf1.T, small_optics.apodisation)
    save_folder(tmp_path, lying)
    with pytest.raises(WeightsError, match=r"OTF1\.tif: its side bands lie along x"):
        load_optics(tmp_path)


def test_what_is_no_image_is_refused(tmp_path, small_optics: Optics, monkeypatch):
    """An archive by another name, and an image that is far too large."""
    save_folder(tmp_path, small_optics)
    (tmp_path / "OTF0.tif").unlink()
    with (tmp_path / "OTF0.npy").open("wb") as file:
        np.savez(file, otf0=small_optics.otf0)
    with pytest.raises(WeightsError, match=r"OTF0\.npy: an archive of arrays"):
        load_optics(tmp_path)
    (tmp_path / "OTF0.npy").unlink()
    save_folder(tmp_path, small_optics)
    monkeypatch.setattr("vemctl_vsisr.optics.LARGEST", 16)
    with pytest.raises(WeightsError, match="has 32 x 32 pixels; expected at most 16"):
        load_optics(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(WeightsError, match="too large"):
        load_optics(tmp_path)
