"""What `vemctl prepare rldfn` refuses, and what it tells to be doubtful."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rldfn_stacks import FLAT, askew, prepared, reflected, refusal, write
from vemctl_rldfn.prepare import preparation_data
from vemctl_rldfn.prepare_options import PrepareOptions, angles_of

from vemctl.errors import OptionError


def test_noise_is_doubtful(tmp_path: Path) -> None:
    """In one sentence, and in the record; what is found in it is used all the same."""
    noise = np.random.default_rng(0).poisson(100, (40, 100, 120)).astype(np.uint16)
    path = write(tmp_path / "a.npy", noise)
    made = prepared(tmp_path / "out", PrepareOptions(voxel_size="90,60,60", margin=9), path)
    (told,) = made.warnings
    assert told.startswith(
        f"{path}: the mirror that was found is doubtful: no mirror image stands out in the "
        "projection along y (its correlation is 0.0"
    )
    assert "\n" not in told
    (record,) = made.record["volumes"]
    assert record["doubts"]
    assert all(doubt in told for doubt in record["doubts"])


def test_ends_of_ranges_are_doubtful(tmp_path: Path) -> None:
    """There may be something better beyond, in shifts and in angles."""
    path = write(tmp_path / "a.npy", reflected(40, 24.0))
    near = replace(FLAT, split_range="-3,9", margin=4)
    made = prepared(tmp_path / "near", near, path)
    assert made.record["volumes"][0]["shift"] == 8
    assert any("the shift 8 is at the end of" in each for each in made.warnings)
    clear = prepared(tmp_path / "clear", replace(FLAT, margin=4), path)
    assert clear.record["volumes"][0]["shift"] == 8
    assert clear.warnings == []
    stack = askew((40, 150, 200), tilt=31.0, angle=1.5, mirror=21.0, count=400)
    path = write(tmp_path / "b.npy", stack)
    askewed = PrepareOptions(voxel_size="90,60,60", tilt=31.0, angles="0.1:0.5:0.1", margin=4)
    made = prepared(tmp_path / "askew", askewed, path)
    assert made.record["volumes"][0]["angle"] == 0.5
    assert "the angle 0.5 is at the end of --angles 0.1:0.5:0.1" in made.warnings[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"angles": "a"}, "--angles a: expected LOW:HIGH:STEP in degrees"),
        ({"angles": "0:1"}, "--angles 0:1: expected LOW:HIGH:STEP in degrees"),
        ({"angles": "0:nan:1"}, "--angles 0:nan:1: expected LOW:HIGH:STEP in degrees"),
        ({"angles": "1:0:0.1"}, "--angles 1:0:0.1: expected LOW not above HIGH"),
        ({"angles": "0:1:0"}, "--angles 0:1:0: expected LOW not above HIGH, a STEP above 0"),
        ({"angles": "0:60:1"}, "--angles 0:60:1: expected angles from -45 to 45 degrees"),
        (
            {"tilt": 79.0, "tilt_corrections": "-2,2,1"},
            "--tilt-corrections -2,2,1: expected angles from -1 to 1 degrees",
        ),
        ({"split_range": "1"}, "--split-range 1: expected two whole numbers, such as -30,30"),
        ({"split_range": "2,2"}, "--split-range 2,2: expected HIGH above LOW"),
        ({"voxel_size": "1,2"}, "--voxel-size 1,2: expected three lengths in nanometres"),
        ({"voxel_size": "1,0,0"}, "--voxel-size 1,0,0: expected three lengths in nanometres"),
    ],
)
def test_texts_that_cannot_be_read_are_refused(changes: dict, words: str, tmp_path: Path) -> None:
    """Before anything is looked at, in one line."""
    with pytest.raises(OptionError) as error:
        preparation_data(replace(PrepareOptions(), **changes), (tmp_path,))
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


def test_angles_are_as_written() -> None:
    """As multiples of their step, so that 0 is 0 and is not interpolated."""
    expected = tuple(n / 10 for n in range(-9, 10))
    assert angles_of("--angles", "-0.9:0.9:0.1", 45) == expected
    assert angles_of("--angles", "-0.9, 0.9, 0.1", 45) == expected
    assert angles_of("--angles", "0.25", 45) == (0.25,)
    assert angles_of("--angles", "0:1:0.4", 45) == (0, 0.4, 0.8)


def test_what_does_not_fit_a_stack_is_refused(tmp_path: Path) -> None:
    """With the file and what would help, in one line."""
    path = write(tmp_path / "a.npy", reflected(30, 16.0))
    assert refusal(PrepareOptions(), path) == (
        f"{path}: its voxel size is not known; expected --voxel-size Z,Y,X in nanometres"
    )
    assert refusal(replace(FLAT, voxel_size="90,60,65"), path) == (
        f"{path}: its pixels are 60 x 65 nm (y, x); expected squares: pass --voxel-size Z,Y,X "
        "where the file is wrong"
    )
    assert refusal(replace(FLAT, margin=18), path) == (
        f"--margin 18: leaves nothing of the 70 pixels along y of {path}; expected at most 17"
    )
    assert refusal(replace(FLAT, split_range="20,40"), path) == (
        f"--split-range 20,40: {path} has 30 planes; expected shifts from -15 to 15"
    )
    other = write(tmp_path / "other" / "a.npy", reflected(30, 16.0))
    assert refusal(FLAT, path, other).startswith(f"{path}, {other}: what is made of both would be")
