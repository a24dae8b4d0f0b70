"""Which transfer functions a prediction takes, and for which channel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from e2e.vsisr_files import write_microscope
from vemctl_vsisr.microscope import Pixel, files_of, optics_of, per_channel
from vemctl_vsisr.optics import PUBLISHED_PIXEL, Optics
from vemctl_vsisr.predict_options import PredictOptions
from vemctl_vsisr.transfer_functions import build_optics, otf_of_beads

from vemctl.errors import OptionError, WeightsError

BUILT = PredictOptions(na=1.1, emission="525", excitation="488")
HERE = Pixel(PUBLISHED_PIXEL)


def optics(
    options: PredictOptions,
    files: dict[str, Path] | None = None,
    pixel: Pixel = HERE,
    num_channels: int = 1,
) -> tuple[list[Optics], list[str]]:
    """Return what is chosen, and what the user is told."""
    told: list[str] = []
    return optics_of(options, files or {}, pixel, num_channels, told.append), told


@pytest.mark.parametrize(
    ("voxel_size", "changes", "size"),
    [
        ((200.0, 90.0, 80.0), {}, 80.0),
        ((200.0, 90.0, 80.0), {"sr_axis": "y"}, 90.0),
        ((200.0, 90.0, 80.0), {"pixel_size": 70.0, "sr_axis": "y"}, 70.0),
        (None, {"pixel_size": 70.0}, 70.0),
        (None, {}, None),
    ],
)
def test_the_pixel_is_that_of_the_resolved_axis(voxel_size, changes, size):
    """Unless the user names it."""
    assert Pixel.of(voxel_size, PredictOptions(**changes)) == Pixel(size)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (PredictOptions(wavelength="488"), ["vsisr/otf-488"]),
        (PredictOptions(wavelength="642.0,488"), ["vsisr/otf-642", "vsisr/otf-488"]),
        (PredictOptions(otf=(Path("one"), Path("two"))), ["one", "two"]),
    ],
)
def test_files_are_numbered_by_channel(options: PredictOptions, expected: list[str]):
    """Published ones by their names, others by their paths."""
    assert files_of(options) == {f"otf-{n}": name for n, name in enumerate(expected)}


def test_what_is_built_needs_no_files():
    """Numbers are enough."""
    assert files_of(BUILT) == {}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "needs the transfer functions"),
        ({"wavelength": "488", "otf": (Path("one"),)}, "--wavelength with --otf"),
        ({"wavelength": "488", "na": 1.1}, "--wavelength with --na"),
        ({"otf": (Path("one"),), "emission": "525"}, "--otf with --emission"),
        ({"na": 1.1, "emission": "525"}, "--na: expected"),
        ({"na_excitation": 0.4}, "--na-excitation: expected"),
        ({"wavelength": "488,500"}, "--wavelength 500: expected 488, 560, 642"),
        ({"wavelength": "nan"}, "--wavelength nan: expected 488"),
        ({"wavelength": "488;560"}, "expected nanometres"),
        ({"wavelength": ""}, "expected nanometres"),
        ({"wavelength": "488", "beads": Path("bead.tif")}, "--beads: no effect without --na"),
        ({"otf": (Path("one"),), "bead_pixel": 50.0}, "--bead-pixel: no effect"),
        (
            {"na": 1.1, "emission": "525", "excitation": "488", "bead_pixel": 50.0},
            "without --beads",
        ),
        ({"wavelength": "488", "pixel_size": 80.0}, "--pixel-size: no effect with --wavelength"),
    ],
)
def test_one_source_is_named_completely(changes: dict, words: str):
    """Otherwise one line says what is missing, or too much."""
    with pytest.raises(OptionError, match=words) as error:
        files_of(PredictOptions(**changes))
    assert "\n" not in str(error.value)


def test_numbers_of_channels_are_read():
    """One, several, or none."""
    assert per_channel(None, "--emission") == []
    assert per_channel("525", "--emission") == [525.0]
    assert per_channel("525, 600.5", "--emission") == [525.0, 600.5]


def test_every_channel_has_its_files_in_order(tmp_path: Path):
    """Also the eleventh, whose number comes after the second by its letters."""
    folders = {}
    for number in reversed(range(11)):
        write_microscope(tmp_path / f"{number}", 20.0 + number / 2)
        folders[f"otf-{number}"] = tmp_path / f"{number}"
    options = PredictOptions(otf=tuple(folders.values()))
    made, told = optics(options, folders, num_channels=11)
    passing = [np.count_nonzero(each.otf0) for each in made]
    assert passing == sorted(passing)
    assert len(set(passing)) == 11
    assert not told


def test_one_microscope_is_for_all_channels(tmp_path: Path):
    """The very same object, so that filters are computed once; other numbers are refused."""
    write_microscope(tmp_path / "one")
    files = {"otf-0": tmp_path / "one", "otf-1": tmp_path / "one"}
    options = PredictOptions(otf=(tmp_path / "one",))
    made, _ = optics(options, {"otf-0": files["otf-0"]}, num_channels=3)
    assert len(made) == 3
    assert made[0] is made[1] is made[2]
    for count in (1, 3):
        with pytest.raises(OptionError, match=f"--otf: 2 for {count} channels"):
            optics(options, files, num_channels=count)


def test_files_of_ones_own_are_for_the_pixel_of_the_volume(tmp_path: Path):
    """Or for the published one where nobody knows."""
    write_microscope(tmp_path / "one")
    options, files = PredictOptions(otf=(tmp_path / "one",)), {"otf-0": tmp_path / "one"}
    for pixel, expected in ((80.0, 80.0), (None, PUBLISHED_PIXEL)):
        made, told = optics(options, files, Pixel(pixel))
        assert made[0].pixel == expected
        assert not told
    (tmp_path / "one" / "apo.npy").unlink()
    with pytest.raises(WeightsError, match=r"expected one apo\*"):
        optics(options, files)


@pytest.mark.parametrize(("pixel", "warns"), [(92.6, 0), (92.0, 0), (None, 0), (100.0, 1)])
def test_published_files_are_for_one_pixel(pixel: float | None, warns: int, tmp_path: Path):
    """Another is told, with what to do about it; it is restored all the same."""
    write_microscope(tmp_path / "one")
    options = PredictOptions(wavelength="488")
    made, told = optics(options, {"otf-0": tmp_path / "one"}, Pixel(pixel))
    assert made[0].pixel == PUBLISHED_PIXEL
    assert len(told) == warns
    assert all("100 nm: give --otf or --na" in line for line in told)


def test_transfer_functions_are_built_for_each_channel():
    """Of its own light; the lattice has the authors' aperture unless another is named."""
    options = PredictOptions(na=1.1, emission="525,600", excitation="488,560")
    made, _ = optics(options, num_channels=2)
    for each, emission, excitation in zip(made, (525.0, 600.0), (488.0, 560.0), strict=True):
        expected = build_optics(
            numerical_aperture=1.1,
            emission=emission,
            excitation_aperture=0.4,
            excitation=excitation,
            pixel=PUBLISHED_PIXEL,
        )
        np.testing.assert_array_equal(each.otf1, expected.otf1)
        np.testing.assert_array_equal(each.apodisation, expected.apodisation)
    with pytest.raises(OptionError, match="--emission: 2 for 3 channels"):
        optics(options, num_channels=3)
    narrow = PredictOptions(na=1.1, emission="525", excitation="488", na_excitation=0.3)
    assert np.abs(optics(narrow)[0][0].otf1 - made[0].otf1).max() > 0.1


def test_a_bead_takes_the_place_of_the_ideal(tmp_path: Path):
    """It is a file of the prediction; its own pixel may be named."""
    axis = np.arange(64.0) - 32
    plane = 100 + 2000 * np.exp(-(axis[:, None] ** 2 + axis**2) / (2 * 2.0**2))
    np.save(tmp_path / "bead.npy", np.stack([plane] * 3).astype(np.float32))
    options = replace(BUILT, beads=tmp_path / "bead.npy")
    assert files_of(options) == {"beads": str(tmp_path / "bead.npy")}
    files = {"beads": tmp_path / "bead.npy"}
    beads = np.load(tmp_path / "bead.npy")
    for bead_pixel in (None, 50.0):
        made, _ = optics(replace(options, bead_pixel=bead_pixel), files)
        expected = otf_of_beads(
            beads, bead_pixel=bead_pixel or PUBLISHED_PIXEL, pixel=PUBLISHED_PIXEL
        )
        np.testing.assert_array_equal(made[0].otf0, expected)
    assert not np.allclose(made[0].otf0, optics(BUILT)[0][0].otf0, atol=0.05)


@pytest.mark.parametrize(
    ("changes", "pixel", "words"),
    [
        ({"emission": "525,600"}, 92.6, "as many of one as of the other"),
        ({"emission": "green"}, 92.6, "--emission green: expected nanometres"),
        ({"emission": "0.525"}, 92.6, "--emission 0.525: expected a number in nanometres"),
        ({}, None, "expected --pixel-size"),
        ({}, 0.0926, "--pixel-size"),
    ],
)
def test_numbers_that_build_nothing_are_refused(changes: dict, pixel: float | None, words: str):
    """In one line that names the flag."""
    options = PredictOptions(**{"na": 1.1, "emission": "525", "excitation": "488", **changes})
    with pytest.raises(OptionError, match=words) as error:
        optics(options, pixel=Pixel(pixel))
    assert "\n" not in str(error.value)
