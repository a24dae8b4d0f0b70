"""Raw files to deskewed volumes, from files to files."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from parity import load_fixture
from vemctl_vsisr.counts import crop_rows
from vemctl_vsisr.deskewing import Shear, header_word
from vemctl_vsisr.prepare import preparation_data
from vemctl_vsisr.prepare_options import PrepareOptions
from vsisr_raw_data import SPACING, opened, prepared, refusal, write_raw

from vemctl.errors import Interrupted, OptionError
from vemctl.plugin import Workplace
from vemctl.volumes.open import open_volume
from vemctl.workflows.new_volumes import VolumeMaker

PLAIN = PrepareOptions()
SINE = math.sin(math.radians(30.8))


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Return counts about the background, some of them bright."""
    rng = np.random.default_rng(seed)
    return (90 + rng.gamma(0.5, 200, shape)).astype(np.uint16)


def deskewed(slices: np.ndarray, options: PrepareOptions = PLAIN) -> np.ndarray:
    """Return a whole volume (z, y, x) without shear along x and background, as (z, x, y)."""
    depth, _, length = slices.shape
    shear = Shear(
        depth,
        length,
        angle_degrees=options.angle,
        dy=header_word(SPACING[2]),
        dz=header_word(SPACING[0]),
        interpolation=options.interpolation,
        single=True,
    )
    made = np.stack([shear.apply(plane, z).T for z, plane in enumerate(slices)])
    return np.maximum(made - np.float32(options.background), 0)


def stretched(volume: np.ndarray, low: float | None = None, high: float | None = None):
    """Return counts of a range, by default that of the volume, halves up."""
    low = float(volume.min()) if low is None else low
    high = float(volume.max()) if high is None else high
    scaled = (volume.astype(np.float64) - low) / (high - low)
    return np.floor(65535 * scaled.clip(0, 1) + 0.5).astype(np.uint16)


def phase_mean(sections: np.ndarray, phases: int = 3) -> np.ndarray:
    """Average neighbouring sections."""
    whole = len(sections) // phases * phases
    return sections[:whole].reshape(-1, phases, *sections.shape[1:]).mean(axis=1)


def test_a_raw_file_becomes_a_deskewed_volume(tmp_path: Path) -> None:
    """Phases averaged, y the deskewed axis and x the other one, background off, stretched."""
    sections = noise(15, 9, 24)
    raw = write_raw(tmp_path / "cell_St1.mrc", sections)
    made = prepared(tmp_path / "out", PLAIN, raw)
    expected = stretched(deskewed(phase_mean(sections)))
    assert expected.shape == (5, math.ceil(250 * 5 * math.cos(math.radians(30.8)) / 90 + 24), 9)
    np.testing.assert_array_equal(made.volume("cell_St1"), expected)
    assert made.voxel_size("cell_St1") == pytest.approx((250 * SINE, 90, 90.5))
    assert made.warnings == []
    (planned,), (record,) = made.plan["volumes"], made.record["volumes"]
    assert planned["shape"] == list(expected.shape)
    assert planned["file"] == record["file"] == str(raw)
    assert planned["name"] == record["name"] == "cell_St1.zarr"
    assert made.plan["uncompressed_bytes"] == expected.nbytes
    assert record["low"] == 0
    assert record["high"] == pytest.approx(float(deskewed(phase_mean(sections)).max()))


def test_x_is_what_the_sheet_is_not_sheared_along(tmp_path: Path) -> None:
    """A line along the scan of the file stays one where it was; the shear moves y only."""
    sections = np.full((4, 8, 30), 100, np.uint16)
    sections[:, 5, 10:20] = 1000
    write_raw(tmp_path / "a.mrc", sections)
    options = replace(PLAIN, phases=1)
    made = prepared(tmp_path / "x", options, tmp_path / "a.mrc").volume("a")
    assert set(np.nonzero(made)[2]) == {5}
    middles = [np.average(np.arange(made.shape[1]), weights=plane[:, 5]) for plane in made]
    step = 250 / 90 * math.cos(math.radians(30.8))
    np.testing.assert_allclose(np.diff(middles), -step, atol=0.1)
    write_raw(
        tmp_path / "b.mrc", np.ascontiguousarray(sections.transpose(0, 2, 1)), (250, 90, 90.5)
    )
    turned = prepared(tmp_path / "y", replace(options, deskew_axis="y"), tmp_path / "b.mrc")
    np.testing.assert_array_equal(turned.volume("b"), made)
    assert turned.voxel_size("b") == pytest.approx((250 * SINE, 90, 90.5))


def test_a_folder_is_a_time_series_that_is_opened_as_one(tmp_path: Path) -> None:
    """Each file by its own range, without reconstructions, in natural order."""
    frames = {number: noise(6, 8, 20, seed=number) * (number + 1) for number in (0, 9, 10)}
    for number, sections in frames.items():
        write_raw(tmp_path / "raw" / f"t{number}_St5.mrc", sections)
    write_raw(tmp_path / "raw" / "t0_St5-wiener0.02-fixk0.mrc", noise(2, 12, 30))
    made = prepared(tmp_path / "out", PLAIN, tmp_path / "raw")
    assert [each["name"] for each in made.record["volumes"]] == [
        "t0_St5.zarr", "t9_St5.zarr", "t10_St5.zarr"
    ]  # fmt: skip
    with contextlib.closing(open_volume(tmp_path / "out")) as series:
        assert series.header.num_timepoints == 3
        for t, sections in enumerate(frames.values()):
            region = tuple(slice(0, n) for n in series.header.shape)
            expected = stretched(deskewed(phase_mean(sections)))
            np.testing.assert_array_equal(series.read(region, timepoint=t), expected)


def test_all_volumes_may_have_one_range(tmp_path: Path) -> None:
    """Then a brighter time point stays brighter."""
    frames = [noise(6, 8, 20, seed=n) * (n + 1) for n in range(3)]
    for number, sections in enumerate(frames):
        write_raw(tmp_path / "raw" / f"t{number}.mrc", sections)
    made = prepared(tmp_path / "out", replace(PLAIN, common_range=True), tmp_path / "raw")
    volumes = [deskewed(phase_mean(sections)) for sections in frames]
    high = max(float(volume.max()) for volume in volumes)
    for number, volume in enumerate(volumes):
        np.testing.assert_array_equal(made.volume(f"t{number}"), stretched(volume, 0, high))
    assert {each["high"] for each in made.record["volumes"]} == {high}


def test_counts_may_be_kept(tmp_path: Path) -> None:
    """Those above the background, rounded halves up and clipped, with or without a shear."""
    sections = noise(9, 8, 20)
    sections[0, 0, 0] = sections[1, 0, 0] = sections[2, 0, 0] = 65535
    raw = write_raw(tmp_path / "a.mrc", sections)
    options = replace(PLAIN, normalise=False, background=10.0)
    made = prepared(tmp_path / "out", options, raw)
    expected = np.floor(deskewed(phase_mean(sections), options) + 0.5).clip(0, 65535)
    np.testing.assert_array_equal(made.volume("a"), expected)
    plain = replace(options, deskew=False, phases=1, background=0.0)
    kept = prepared(tmp_path / "plain", plain, raw)
    np.testing.assert_array_equal(kept.volume("a"), sections.transpose(0, 2, 1))
    assert kept.voxel_size("a") == (250, 90, 90.5)


def test_interpolation_and_angle_are_chosen(tmp_path: Path) -> None:
    """And sizes are stated where a file has none."""
    sections = noise(9, 8, 20)
    raw = write_raw(tmp_path / "a.mrc", sections, None)
    assert refusal(PLAIN, raw) == (
        f"{raw}: its voxel size is not known; expected --dy (pixel, along x of the file) and --dz "
        "(from slice to slice) in nanometres, or --no-deskew"
    )
    turned = replace(PLAIN, deskew_axis="y", dz=250.0)
    assert "expected --dy (pixel, along y of the file) in nanometres" in refusal(turned, raw)
    options = replace(PLAIN, interpolation="spline", angle=20.0, dy=90.0, dz=250.0)
    made = prepared(tmp_path / "out", options, raw)
    expected = stretched(deskewed(phase_mean(sections), options))
    np.testing.assert_array_equal(made.volume("a"), expected)
    depth = 250 * math.sin(math.radians(20))
    assert made.voxel_size("a") == pytest.approx((depth, 90, 90))
    bare = prepared(tmp_path / "bare", replace(PLAIN, deskew=False), raw)
    assert bare.voxel_size("a") is None


def test_pixels_of_a_camera_are_square(tmp_path: Path) -> None:
    """One that is stated is that of both axes; where a file says otherwise it is told, once."""
    paths = [write_raw(tmp_path / f"t{n}.mrc", noise(6, 8, 20), (250, 100, 90)) for n in (0, 1)]
    made = prepared(tmp_path / "out", PLAIN, *paths)
    assert made.voxel_size("t0") == pytest.approx((250 * SINE, 90, 100))
    assert made.warnings == [
        f"{paths[0]}: its pixels are 90 x 100 nm (y, x) after deskewing, and prediction, which "
        "turns planes, needs squares; expected --dy where the file is wrong"
    ]
    for axis, length in (("x", 90.0), ("y", 100.0)):
        options = replace(PLAIN, dy=length, deskew_axis=axis)
        stated = prepared(tmp_path / axis, options, paths[0])
        assert stated.voxel_size("t0") == pytest.approx((250 * SINE, length, length))
        assert stated.warnings == []


def test_a_dark_time_point_is_black(tmp_path: Path) -> None:
    """And no reason to refuse a series, though nothing can be learned from it; it is told."""
    sections = [noise(6, 8, 20), np.full((6, 8, 20), 100, np.uint16), noise(6, 8, 20, seed=1)]
    sections.append(np.full((6, 8, 20), 500, np.uint16))
    paths = [write_raw(tmp_path / "raw" / f"t{n}.mrc", each) for n, each in enumerate(sections)]
    made = prepared(tmp_path / "out", PLAIN, tmp_path / "raw")
    assert [made.volume(f"t{n}").any() for n in range(4)] == [True, False, True, False]
    assert made.warnings == [
        f"{paths[n]}: nothing in it is above the background of 100 counts, or all of it is one "
        "value; its result is 0 all over"
        for n in (1, 3)
    ]
    np.testing.assert_array_equal(made.volume("t2"), stretched(deskewed(phase_mean(sections[2]))))


def test_channels_are_no_time_points(tmp_path: Path) -> None:
    """Nor are levels of noise; which to choose is told by a pattern that does it."""
    names = [f"Illum{nm}_Cyc1_Ch{c}_St1.mrc" for nm, c in ((488, 1), (560, 1), (560, 2))]
    for name in names:
        write_raw(tmp_path / "raw" / name, noise(3, 8, 20))
    write_raw(tmp_path / "raw" / "Illum560_Cyc1_Ch2_St5-wiener0.02-fixk0.mrc", noise(2, 12, 30))
    (told,) = prepared(tmp_path / "out", PLAIN, tmp_path / "raw").warnings
    assert told == (
        "the files are of several channels by their names, Illum488_Ch1, Illum560_Ch1, "
        "Illum560_Ch2, and no time series: choose one, such as with --raw-pattern "
        r"Illum560.*_Ch2.*_St\d+\.mrc$"
    )
    one = replace(PLAIN, raw_pattern=told.split()[-1])
    made = prepared(tmp_path / "one", one, tmp_path / "raw")
    assert [each["name"] for each in made.record["volumes"]] == ["Illum560_Cyc1_Ch2_St1.zarr"]
    assert made.warnings == []
    cycles = [write_raw(tmp_path / f"Illum488_Cyc{n}_Ch1_St1.mrc", noise(3, 8, 20)) for n in (1, 2)]
    assert prepared(tmp_path / "cycles", PLAIN, *cycles).warnings == []


@pytest.mark.parametrize("intervals", ["one", "all", "none"])
def test_headers_without_a_stamp_are_understood(tmp_path: Path, intervals: str) -> None:
    """Micrometres that a standard reader takes for Angstrom; the user is told."""
    import struct

    numbers = {"one": (1, 1, 1), "all": (120, 100, 9), "none": (0, 1, 1)}[intervals]
    raw = write_raw(tmp_path / "a.mrc", noise(9, 100, 120), stamp=False)
    content = bytearray(raw.read_bytes())
    struct.pack_into("<3i", content, 28, *numbers)
    raw.write_bytes(content)
    made = prepared(tmp_path / "out", PLAIN, raw)
    assert made.voxel_size("a") == pytest.approx((250 * SINE, 90, 90.5), rel=1e-5)
    assert made.warnings == [
        f"{raw}: its header is read as micrometres per voxel, 250 x 90.5 x 90 nm (z, y, x); "
        "expected --dy and --dz where that is wrong"
    ]
    stated = prepared(tmp_path / "stated", replace(PLAIN, dy=90.0, dz=250.0), raw)
    np.testing.assert_array_equal(stated.volume("a"), made.volume("a"))
    assert stated.warnings == []
    absurd = write_raw(tmp_path / "b.mrc", noise(9, 8, 20), (1e-3, 1e-3, 1e-3), stamp=False)
    assert refusal(PLAIN, absurd).startswith(f"{absurd}: its voxel size is not known;")


def test_surplus_sections_are_left_out(tmp_path: Path) -> None:
    """With a warning; too few are an error."""
    sections = noise(8, 8, 20)
    raw = write_raw(tmp_path / "a.mrc", sections)
    made = prepared(tmp_path / "out", PLAIN, raw)
    expected = stretched(deskewed(phase_mean(sections)))
    np.testing.assert_array_equal(made.volume("a"), expected)
    assert made.warnings == [
        f"{raw}: 8 sections are no multiple of 3 phases; the last 2 are left out"
    ]
    few = write_raw(tmp_path / "few.mrc", sections[:2])
    assert refusal(PLAIN, few).startswith(f"{few}: 2 sections are fewer than the 3 phases of a")


def test_every_channel_is_a_volume(tmp_path: Path) -> None:
    """Named by its number; that they are no time series is told."""
    sections = noise(12, 8, 20)
    raw = write_raw(tmp_path / "a.dv", sections, waves=2)
    made = prepared(tmp_path / "out", PLAIN, raw)
    with contextlib.closing(open_volume(raw)) as volume:
        region = tuple(slice(0, n) for n in volume.header.shape)
        channels = [volume.read(region, channel=c) for c in range(2)]
    for number, channel in enumerate(channels):
        expected = stretched(deskewed(phase_mean(channel)))
        np.testing.assert_array_equal(made.volume(f"c{number}/a"), expected)
    assert [text.split(":")[0] for text in made.warnings] == ["there are several channels"]


def test_a_movie_becomes_numbered_volumes(tmp_path: Path) -> None:
    """With as many digits as the last one has."""
    sections = noise(33, 8, 20)
    raw = write_raw(tmp_path / "a.dv", sections, times=11)
    made = prepared(tmp_path / "out", PLAIN, raw)
    names = [each["name"] for each in made.record["volumes"]]
    assert names == [f"a_t{t:02d}.zarr" for t in range(11)]
    expected = stretched(deskewed(phase_mean(sections[21:24])))
    np.testing.assert_array_equal(made.volume("a_t07"), expected)


def test_files_of_one_name_are_refused(tmp_path: Path) -> None:
    """For one would replace the other."""
    paths = [write_raw(tmp_path / folder / "a.mrc", noise(3, 8, 20)) for folder in "xy"]
    assert refusal(PLAIN, *paths).startswith(
        f"{paths[0]}, {paths[1]}: what is made of both would be called a;"
    )


def test_the_reflecting_plane_is_removed_as_published(tmp_path: Path) -> None:
    """From the raw file to the square that the next program reads, within two counts."""
    spec, arrays, _ = load_fixture("vsisr_midplane")
    told = spec["params"]
    sections = np.ascontiguousarray(arrays["data"].transpose(2, 1, 0))
    spacing = (1000 * told["dz"], 80.0, 1000 * told["dy"])
    raw = write_raw(tmp_path / "a.mrc", sections, spacing)
    options = replace(
        PLAIN,
        midplane="er",
        midplane_gauss_window=told["gsWindow"],
        midplane_scale_factor=told["scaleFactor"],
        midplane_num_average=told["nAverage"],
    )
    whole = prepared(tmp_path / "whole", options, raw)
    expected = arrays["full"].transpose(2, 0, 1).astype(int)
    assert np.abs(whole.volume("a").astype(int) - expected).max() <= 2
    (record,) = whole.record["volumes"]
    assert record["midplane"]["shift"] == told["disp"]
    assert record["midplane"]["tilt"] == pytest.approx(told["angle"])
    assert record["midplane"]["ratio"] == pytest.approx(told["ratio"], rel=1e-6)
    cropped = prepared(tmp_path / "crop", replace(options, crop=True), raw)
    expected = expected[:, told["crop_rows"][0] - 1 : told["crop_rows"][1]]
    assert cropped.volume("a").shape == expected.shape
    assert np.abs(cropped.volume("a").astype(int) - expected).max() <= 2
    together = prepared(tmp_path / "common", replace(options, common_range=True), raw)
    np.testing.assert_array_equal(together.volume("a"), whole.volume("a"))
    assert together.record["volumes"][0]["midplane"] == record["midplane"]


def test_a_square_may_be_kept(tmp_path: Path) -> None:
    """Its range is that of the whole volume; one that is wider than long has none."""
    sections = noise(9, 12, 24)
    raw = write_raw(tmp_path / "a.mrc", sections)
    made = prepared(tmp_path / "out", replace(PLAIN, crop=True), raw)
    whole = stretched(deskewed(phase_mean(sections)))
    np.testing.assert_array_equal(made.volume("a"), whole[:, crop_rows(whole.shape[1], 12)])
    assert made.volume("a").shape[1:] == (12, 12)
    wide = write_raw(tmp_path / "wide.mrc", noise(3, 40, 24))
    assert "expected more rows for --crop" in refusal(replace(PLAIN, crop=True), wide)


def test_a_volume_below_the_background_is_told(tmp_path: Path) -> None:
    """Its result is 0."""
    raw = write_raw(tmp_path / "a.mrc", noise(3, 8, 20) % 50)
    made = prepared(tmp_path / "out", PLAIN, raw)
    assert not made.volume("a").any()
    assert made.warnings[0].startswith(f"{raw}: nothing in it is above the background of 100")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patch_size": 32}, "--patch-size: is for --pairs; leave it out"),
        ({"structure": "er"}, "--structure: is for --pairs; leave it out"),
        ({"midplane_modulation": 0.1}, "--midplane-modulation: needs --midplane; leave it out"),
        ({"deskew": False, "angle": 20.0}, "--angle: has no effect with --no-deskew"),
        ({"normalise": False, "common_range": True}, "--common-range: has no effect with"),
        ({"pairs": "train", "normalise": False}, "--no-normalise: is not for --pairs"),
        ({"pairs": "train", "midplane": "er"}, "--midplane: is not for --pairs"),
        ({"pairs": "train", "snr": 2}, "--snr: is for --pairs finetune"),
        ({"pairs": "finetune", "valid_task": ("a:1",)}, "--valid-task: is for --pairs train"),
        ({"pairs": "train", "patch_size": 30}, "--patch-size 30: expected a multiple of 4"),
    ],
)
def test_options_without_effect_are_refused(changes: dict, words: str, tmp_path: Path) -> None:
    """Before anything is looked at."""
    with pytest.raises(OptionError) as error:
        preparation_data(replace(PLAIN, **changes), (tmp_path,))
    assert str(error.value).startswith(words)


def test_progress_is_told_until_it_ends(tmp_path: Path) -> None:
    """One number that does not fall, and reaches the total once."""
    raw = write_raw(tmp_path / "a.mrc", noise(9, 8, 20))
    told = prepared(tmp_path / "out", PLAIN, raw).advanced
    assert {(phase, total) for phase, _, total in told} == {("preparing", 6)}
    assert [done for _, done, _ in told] == list(range(7))


def test_a_run_can_be_stopped(tmp_path: Path) -> None:
    """Between any two slices."""
    raw = write_raw(tmp_path / "a.mrc", noise(9, 8, 20))
    made = opened(PLAIN, [raw])

    def stop(_: str, done: int, __: int) -> None:
        if done == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        made.run(Workplace(tmp_path, VolumeMaker(tmp_path), stop))
