"""Which volumes a training of exem reads, and what is said of their grey values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from vemctl_exem.data import GREY, LOOK, ROLES, rules_of, warnings_of
from vemctl_exem.method import METHOD
from vemctl_exem.train_options import FinetuneOptions, TrainOptions

from vemctl.errors import OptionError

A, B, C, D = (Path(f"{name}.tif") for name in "abcd")
BOTH = TrainOptions(lm=(A,), em=(B,))


def noise(*shape: int, low: int = 0, high: int = 256) -> np.ndarray:
    """Return random grey values."""
    return np.random.default_rng(0).integers(low, high, shape).astype(np.uint8)


def refusal(options: TrainOptions, *volumes: Path) -> str:
    """Return the one line of the error."""
    with pytest.raises(OptionError) as error:
        METHOD.training_data(options, volumes)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_flags_name_volumes_of_both_kinds(tmp_path: Path) -> None:
    """In their order, folders for what is in them; nothing belongs together."""
    for name in ("b.tif", "a.zarr", "notes.txt"):
        (tmp_path / name).touch()
    options = FinetuneOptions(lm=(C, tmp_path), em=(B,), validation_lm=(D,), validation_em=(A, B))
    data = METHOD.training_data(options, ())
    assert data.volumes == {"lm": (C, tmp_path / "a.zarr", tmp_path / "b.tif"), "em": (B,)}
    assert data.validation == {"lm": (D,), "em": (A, B)}
    assert data.paired == ()
    assert METHOD.training_data(BOTH, ()).validation == {}
    assert tuple(data.volumes) == ROLES


@pytest.mark.parametrize(
    ("options", "volumes", "words"),
    [
        (TrainOptions(), (), "no volumes for --lm and --em: exem learns"),
        (TrainOptions(lm=(A,)), (), "no volumes for --em: exem learns"),
        (TrainOptions(em=(A,)), (), "no volumes for --lm: exem learns"),
        (BOTH, (C,), "c.tif: of which kind is it? Name volumes with --lm"),
        (TrainOptions(), (C,), "c.tif: of which kind is it?"),
        (replace(BOTH, validation_lm=(C,)), (), "expected some of both, or none"),
        (replace(BOTH, validation_em=(C,)), (), "expected some of both, or none"),
    ],
)
def test_what_does_not_fit_is_refused(options: TrainOptions, volumes, words: str) -> None:
    """In one line that says what and how to mend it."""
    assert words in refusal(options, *volumes)


def test_a_folder_without_volumes_is_refused(tmp_path: Path) -> None:
    """Of either kind."""
    assert "no volumes in this folder" in refusal(TrainOptions(lm=(A,), em=(tmp_path,)))


def test_each_file_may_have_a_range_of_its_own(tmp_path: Path) -> None:
    """Counted after folders are opened, those to validate on last; percentiles are asked for."""
    for name in ("a.tif", "b.zarr"):
        (tmp_path / name).touch()
    options = TrainOptions(
        lm=(tmp_path,), em=(A,), validation_lm=(B,), validation_em=(B,),
        lm_range=("dtype", "1,2", "5%,95%"), em_range=("0.5%,99.5%",),
    )  # fmt: skip
    training, validation = rules_of(options, "lm")
    assert [rule.text for rule in (*training, *validation)] == ["dtype", "1,2", "5%,95%"]
    asked = [
        METHOD.training_statistics(options, role, index, validation=validation)
        for role, index, validation in (
            ("lm", 0, False), ("lm", 1, False), ("lm", 0, True), ("em", 0, False), ("em", 0, True),
        )
    ]  # fmt: skip
    outer = ("percentile:0.5", "percentile:99.5")
    assert asked == [(), (), ("percentile:5.0", "percentile:95.0"), outer, outer]
    with pytest.raises(OptionError, match="3 times --em-range for 1 volumes and 1 to validate on"):
        rules_of(replace(options, em_range=("1,2",) * 3), "em")


def test_grey_values_on_both_sides_are_not_worth_a_word(files) -> None:
    """Also in volumes smaller than what is looked at; few voxels are read, always the same."""
    patches = files(lm=[noise(20, 200, 300), noise(3, 40, 50)], em=[noise(5, 90, 400)])
    options = replace(BOTH, lm=(A, B))
    assert METHOD.data_warnings(options, patches) == []
    first = list(patches.reads)
    assert all(n <= most for *_, size in first for n, most in zip(size, LOOK, strict=True))
    assert {read[:2] for read in first} == {("lm", 0), ("lm", 1), ("em", 0)}
    patches.reads.clear()
    warnings_of(options, patches)
    assert patches.reads == first


@pytest.mark.parametrize(
    ("lm", "em", "changes", "words"),
    [
        ((0, 100), (0, 256), {}, ["0.0% of LM voxels are above 110"]),
        ((120, 256), (0, 256), {}, ["100.0% of LM voxels are above 110"]),
        ((0, 256), (170, 256), {}, ["0.0% of EM voxels are between 120 and 160"]),
        ((0, 256), (130, 150), {}, ["100.0% of EM voxels are between 120 and 160"]),
        ((0, 100), (170, 256), {}, ["--lm-range or --lm-threshold", "--em-range or --em-thresho"]),
        ((0, 100), (0, 256), {"lm_threshold": 50.0}, []),
        ((0, 100), (0, 256), {"lm_range": ("0,100",)}, []),
        ((0, 256), (170, 256), {"em_thresholds": (180.0, 200.0)}, []),
        ((0, 256), (0, 256), {"lm_range": ("250,255",)}, ["of LM voxels are above 110"]),
        ((0, 100), (170, 256), {"content_weight": 0.0}, []),
    ],
)
def test_groups_without_voxels_are_told(lm, em, changes: dict, words: list[str], files) -> None:
    """After scaling, with the flags that mend it; not where the group loss is off."""
    patches = files(
        lm=[noise(8, 64, 64, low=lm[0], high=lm[1])], em=[noise(8, 64, 64, low=em[0], high=em[1])]
    )
    warnings = warnings_of(replace(BOTH, **changes), patches)
    assert len(warnings) == len(words)
    for warning, word in zip(warnings, words, strict=True):
        assert word in warning
        assert "\n" not in warning


def test_each_file_is_looked_at_by_its_own_range(files) -> None:
    """Percentiles are those that come with a volume."""
    wide = noise(8, 64, 64).astype(np.uint16) * 16
    patches = files(lm=[noise(8, 64, 64), wide], em=[wide])
    patches.statistics = {"em": [{"percentile:1.0": 0.0, "percentile:99.0": GREY * 16}]}
    options = replace(BOTH, lm=(A, B), em_range=("1%,99%",))
    assert warnings_of(replace(options, lm_range=("dtype", "0,4080")), patches) == []
    assert warnings_of(replace(options, em_range=("dtype",)), patches) != []
