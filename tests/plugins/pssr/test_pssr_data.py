"""Which images a training of pssr reads."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vemctl_pssr.data import PreparedSet, prepared_set, split_by_files
from vemctl_pssr.method import METHOD
from vemctl_pssr.selecting import SKETCH
from vemctl_pssr.train_options import FinetuneOptions, TrainOptions

from vemctl.errors import InputError, OptionError, VemctlError

A, B, C, D = (Path(f"{name}.tif") for name in "abcd")
MANY = tuple(Path(f"{number:02d}.zarr") for number in range(20))
LARGER = {"hr": (1, 4, 4)}
RECORD = {
    "frames": 5, "counts": {"train": 40, "valid": 8}, "voxel_size": [30, 2, 2],
    "crappifier": "em_AG_D_sameas_preprint", "size": 64, "range": "max",
}  # fmt: skip


def refusal(options: TrainOptions, *volumes: Path) -> str:
    """Return the one line of the error."""
    with pytest.raises(VemctlError) as error:
        METHOD.training_data(options, volumes)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Write the record of a prepared set."""
    (tmp_path / "prepare.json").write_text(json.dumps(RECORD))
    return tmp_path


def test_good_images_are_named_with_or_without_a_flag(tmp_path: Path) -> None:
    """Folders stand for what is in them; of a single file slices are kept."""
    for name in ("b.tif", "a.zarr", "notes.txt"):
        (tmp_path / name).touch()
    inside = (tmp_path / "a.zarr", tmp_path / "b.tif")
    for data in (
        METHOD.training_data(TrainOptions(held_out="slices"), (tmp_path, C)),
        METHOD.training_data(TrainOptions(hr=(tmp_path, C), held_out="slices"), ()),
    ):
        assert data.volumes == {"hr": (*inside, C)}
        assert (data.paired, data.validation, data.scale) == ((), {}, {})
    assert METHOD.training_data(FinetuneOptions(), (A,)).volumes == {"hr": (A,)}
    assert METHOD.training_data(TrainOptions(), (A,)).validation == {}


def test_files_are_kept_to_validate_on() -> None:
    """A tenth, at least one, spread over all of them; pairs stay together."""
    alone = METHOD.training_data(TrainOptions(), MANY)
    assert alone.validation == {"hr": (MANY[9], MANY[19])}
    assert alone.volumes == {"hr": (*MANY[:9], *MANY[10:19])}
    pairs = METHOD.training_data(TrainOptions(hr=(A, B), lr=(C, D), held_out="files"), ())
    assert pairs.volumes == {"lr": (C,), "hr": (A,)}
    assert pairs.validation == {"lr": (D,), "hr": (B,)}
    named = METHOD.training_data(TrainOptions(validation_hr=(C,)), (A, B))
    assert (named.volumes, named.validation) == ({"hr": (A, B)}, {"hr": (C,)})


@given(st.integers(2, 300))
def test_files_are_split_evenly(count: int) -> None:
    """Every file is in one part; those kept are as far apart as can be."""
    train, kept = split_by_files(count)
    assert sorted(train + kept) == list(range(count))
    assert train
    assert len(kept) == max(1, round(count / 10))
    gaps = {after - before for before, after in zip([-1, *kept], kept, strict=False)}
    assert max(gaps) - min(gaps) <= 1


def test_pairs_are_of_two_sizes() -> None:
    """Good ones have four pixels for one along y and x, and are read with the poor ones."""
    options = TrainOptions(hr=(A,), lr=(B,), validation_hr=(C,), validation_lr=(D,))
    data = METHOD.training_data(options, ())
    assert data.volumes == {"lr": (B,), "hr": (A,)}
    assert data.validation == {"lr": (D,), "hr": (C,)}
    assert data.paired == (("lr", "hr"),)
    assert data.scale == LARGER
    assert data.scaled((1, 24, 24), "hr") == (1, 96, 96)


@pytest.mark.parametrize(
    ("options", "volumes", "words"),
    [
        (TrainOptions(), (), "no images to learn from: name good ones, a folder of some, or what"),
        (TrainOptions(lr=(A,)), (), "no images to learn from: name good ones"),
        (TrainOptions(hr=(A,)), (B,), "b.tif: --hr is given too; expected good images either"),
        (TrainOptions(lr=(A,)), (B,), "b.tif: --lr is given too; expected good images either"),
        (TrainOptions(hr=(A, B), lr=(C,)), (), "--lr and --hr: 1 poor and 2 good images; expected"),
        (TrainOptions(hr=(A,), lr=(C,), validation_hr=(B,)), (),
         "--validation-lr and --validation-hr: 0 poor and 1 good images; expected as many, in one"),
        (TrainOptions(hr=(A,), lr=(C,), validation_lr=(B,)), (),
         "--validation-lr and --validation-hr: 1 poor and 0 good images"),
        (TrainOptions(validation_lr=(B,)), (A,),
         "--validation-lr without --lr: poor images are made; leave it out"),
        (TrainOptions(validation_hr=(B,), held_out="slices"), (A,),
         "--held-out with --validation-hr: expected one of them; leave one out"),
        (TrainOptions(held_out="files"), (A,),
         "--held-out files: there is one file only; expected several, or slices"),
        (TrainOptions(frames=4), (A,), "--frames 4: expected an odd number, with a middle"),
        (TrainOptions(patch=(3, 64, 64)), (A,), "--patch 3,64,64: expected 1 along z, and as many"),
        (TrainOptions(patch=(1, 64, 32)), (A,), "--patch 1,64,32: expected 1 along z, and as many"),
        (TrainOptions(patch=(1, 4, 4)), (A,), "--patch 1,4,4: expected at least 8 pixels"),
        (TrainOptions(crappifier="em_AP"), (A,), "--crappifier em_AP: there is no such"),
        (TrainOptions(loss="1*MSE+"), (A,), "--loss 1*MSE+: "),
    ],
)  # fmt: skip
def test_what_makes_up_no_training_is_refused(
    options: TrainOptions, volumes: tuple[Path, ...], words: str
) -> None:
    """Before anything is opened, in one line that says how to mend it."""
    assert refusal(options, *volumes).startswith(words)


def test_a_folder_without_volumes_is_refused(tmp_path: Path) -> None:
    """Wherever it is named."""
    (tmp_path / "notes.txt").touch()
    for options, volumes in (
        (TrainOptions(), (tmp_path,)),
        (TrainOptions(hr=(A,), lr=(tmp_path,)), ()),
        (TrainOptions(validation_hr=(tmp_path,)), (A,)),
    ):
        assert refusal(options, *volumes).startswith(f"{tmp_path}: no volumes in this folder")


def test_a_prepared_set_is_pairs_with_frames(prepared: Path) -> None:
    """Its poor images have as many slices as frames for each of a good one."""
    found = prepared_set((prepared,))
    crappifier = "em_AG_D_sameas_preprint"
    assert found == PreparedSet(prepared, 5, (40, 8), (30.0, 2.0, 2.0), crappifier, "max")
    for options in (TrainOptions(), TrainOptions(frames=5), FinetuneOptions(select=False)):
        data = METHOD.training_data(options, (prepared,))
        for part, paths in (("train", data.volumes), ("valid", data.validation)):
            assert paths == {
                "lr": (prepared / part / "lr.zarr",), "hr": (prepared / part / "hr.zarr",)
            }  # fmt: skip
        assert data.paired == (("lr", "hr"),)
        assert data.scale == {"lr": (Fraction(5), 1, 1), **LARGER}
    assert prepared_set((prepared, A)) is None
    assert prepared_set(()) is None
    assert prepared_set((A,)) is None


def test_a_prepared_set_may_have_nothing_to_validate_on(prepared: Path) -> None:
    """The training then keeps some of its samples; and it may have no voxel size."""
    record = RECORD | {"counts": {"train": 40, "valid": 0}, "voxel_size": None}
    (prepared / "prepare.json").write_text(json.dumps(record))
    assert METHOD.training_data(TrainOptions(), (prepared,)).validation == {}
    found = prepared_set((prepared,))
    assert found is not None
    assert found.voxel_size is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hr": (A,)}, " with --hr: a prepared set has its images already; leave one of them"),
        ({"lr": (A,)}, " with --lr: a prepared set"),
        ({"validation_hr": (A,), "held_out": "files"}, " with --validation-hr, --held-out: a prep"),
        ({"crappifier": "new_crap", "noise_level": 0.1, "blur": 1.0},
         " with --crappifier, --noise-level, --blur: a prepared set"),
        ({"hr_range": "max", "lr_range": "max"}, " with --hr-range, --lr-range: a prepared set"),
        ({"emulate_noise": (A,)}, " with --emulate-noise: a prepared set"),
        ({"as_published": True}, " with --as-published: a prepared set"),
    ],
)  # fmt: skip
def test_options_that_contradict_a_prepared_set_are_refused(
    changes: dict[str, Any], words: str, prepared: Path
) -> None:
    """All of them at once, whichever command has them."""
    for usual in (TrainOptions(), FinetuneOptions()):
        assert refusal(replace(usual, **changes), prepared).startswith(f"{prepared}{words}")


def test_other_numbers_of_frames_are_refused(prepared: Path) -> None:
    """With those of the set."""
    assert refusal(TrainOptions(frames=3), prepared) == (
        f"--frames 3: the set {prepared} was prepared with 5; leave it out, or prepare another"
    )


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "3", "null", '{"frames": 1}',
        *(json.dumps(RECORD | changes) for changes in (
            {"frames": "many"}, {"frames": None}, {"frames": 4}, {"frames": -1},
            {"counts": {"train": 3}}, {"counts": [3, 4]}, {"counts": {"train": 0, "valid": 1}},
            {"counts": {"train": 1, "valid": -1}}, {"voxel_size": [1, 2]}, {"voxel_size": "abc"},
        )),
    ],
)  # fmt: skip
def test_a_damaged_record_is_refused(text: str, prepared: Path) -> None:
    """With the file, and what to do."""
    (prepared / "prepare.json").write_text(text)
    with pytest.raises(InputError) as error:
        METHOD.training_data(TrainOptions(), (prepared,))
    line = str(error.value)
    assert line.startswith(f"{prepared / 'prepare.json'}: not what vemctl prepare pssr writes (")
    assert line.endswith("; prepare the set again")
    assert "\n" not in line


def test_statistics_are_those_of_ranges_and_of_the_choice_of_places() -> None:
    """Places are chosen only where poor images are made."""
    sketch = {f"percentile:{p}" for p in SKETCH}
    limits = {"bound:min", "bound:max", "min", "max"}  # as the type is not known yet
    for options, role, expected in (
        (TrainOptions(), "hr", limits | sketch),
        (TrainOptions(select=False), "hr", limits),
        (TrainOptions(hr_range="max"), "hr", {"min", "max"} | sketch),
        (TrainOptions(lr=(A,), hr_range="max"), "hr", {"min", "max"}),
        (TrainOptions(lr=(A,), hr_range="max"), "lr", {"min", "max"}),
        (TrainOptions(lr=(A,), lr_range="1%,2%"), "lr", {"percentile:1.0", "percentile:2.0"}),
        (TrainOptions(lr=(A,), lr_range="1%,2%"), "hr", limits),
        (TrainOptions(lr=(A,), hr_range="0,9"), "lr", set()),
    ):
        for validation in (False, True):
            found = METHOD.training_statistics(options, role, 0, validation=validation)
            assert set(found) == expected


@pytest.mark.parametrize(
    ("options", "role", "words"),
    [
        (TrainOptions(hr_range="slice"), "hr", "--hr-range slice: a training has one range"),
        (TrainOptions(hr_range="slice"), "lr", "--hr-range slice: a training has one range"),
        (TrainOptions(lr_range="first-slice"), "lr", "--lr-range first-slice: a training has one"),
        (TrainOptions(lr_range="9,1"), "lr", "--lr-range 9,1: expected the lower end first"),
    ],
)
def test_other_ranges_are_refused(options: TrainOptions, role: str, words: str) -> None:
    """With the flag that they are from."""
    with pytest.raises(OptionError) as error:
        METHOD.training_statistics(options, role, 0, validation=False)
    assert str(error.value).startswith(words)
