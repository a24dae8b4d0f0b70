"""Which volumes a training reads, from flags and from names."""

from __future__ import annotations

from pathlib import Path

import pytest
from vemctl_denoise.data import paired_by_name
from vemctl_denoise.method import METHOD
from vemctl_denoise.train_options import FinetuneOptions, TrainOptions

from vemctl.errors import OptionError
from vemctl.plugin import volumes_at

A, B, C, D = (Path(f"{name}.tif") for name in "abcd")


def folder_of(path: Path, *names: str) -> Path:
    """Make empty files, and folders where a name ends in a slash."""
    path.mkdir(parents=True, exist_ok=True)
    for name in names:
        (path / name).mkdir() if name.endswith("/") else (path / name).touch()
    return path


def refusal(options: TrainOptions, *volumes: Path) -> str:
    """Return the one line of the error."""
    with pytest.raises(OptionError) as error:
        METHOD.training_data(options, volumes)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_flags_name_pairs() -> None:
    """In the order in which they are given; validation has pairs of its own."""
    data = METHOD.training_data(
        TrainOptions(
            supervised=True, fast=(A, C), slow=(B, D), validation_fast=(C,), validation_slow=(D,)
        ),
        (),
    )
    assert data.volumes == {"fast": (A, C), "slow": (B, D)}
    assert data.paired == (("fast", "slow"),)
    assert data.validation == {"fast": (C,), "slow": (D,)}


def test_names_in_a_folder_make_pairs(tmp_path: Path) -> None:
    """The rest of the name, of whatever case and suffix, tells which belong together."""
    folder = folder_of(
        tmp_path, "fast_b.tif", "a_FAST.zarr/", "slow_b.tiff", "a_slow.zarr/", "notes_fast.txt",
        "other.tif", ".fast_b.tif",
    )  # fmt: skip
    data = METHOD.training_data(FinetuneOptions(supervised=True), [folder])
    assert [path.name for path in data.volumes["fast"]] == ["fast_b.tif", "a_FAST.zarr"]
    assert [path.name for path in data.volumes["slow"]] == ["slow_b.tiff", "a_slow.zarr"]
    assert data.validation == {}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "no volumes with 'fast' and 'slow'"),
        (("other.tif",), "no volumes with 'fast' and 'slow'"),
        (("fast_a.tif", "slow_b.tif"), "fast_a.tif: no volume of this name with 'slow'"),
        (("slow_a.tif",), "slow_a.tif: no volume of this name with 'fast'"),
        (("fast_a.tif", "fast_a.zarr/", "slow_a.tif"), "fast_a.tif and fast_a.zarr: two volumes"),
        (("fast_slow.tif",), "fast_slow.tif: both 'fast' and 'slow'"),
    ],
)
def test_names_that_make_no_pairs_are_told(names, words: str, tmp_path: Path) -> None:
    """Each error names the volume and the way out."""
    with pytest.raises(OptionError, match="--fast and --slow") as error:
        paired_by_name(folder_of(tmp_path, *names))
    assert words in str(error.value)


def test_one_way_to_learn_is_asked_for() -> None:
    """Neither and both are refused."""
    assert "--supervised" in refusal(TrainOptions(), A)
    assert "not both" in refusal(TrainOptions(supervised=True, self_supervised=True), A)


@pytest.mark.parametrize(
    ("options", "volumes", "words"),
    [
        (TrainOptions(supervised=True), (), "--supervised without volumes"),
        (TrainOptions(supervised=True), (A,), "a.tif: --supervised takes one folder"),
        (TrainOptions(supervised=True, fast=(A,), slow=(B,)), (C,), "c.tif: --fast and --slow"),
        (TrainOptions(supervised=True, fast=(A, C), slow=(B,)), (), "2 times --fast and 1 times"),
        (TrainOptions(supervised=True, slow=(B,)), (), "0 times --fast and 1 times --slow"),
        (TrainOptions(supervised=True, fast=(A,), slow=(A,)), (), "a.tif: given for --fast and"),
        (
            TrainOptions(supervised=True, fast=(A,), slow=(B,), validation_fast=(C,)),
            (),
            "1 times --validation-fast and 0 times --validation-slow",
        ),
        (
            TrainOptions(supervised=True, fast=(A,), slow=(B,), validation_noisy=(C,)),
            (),
            "--supervised with --validation-noisy",
        ),
        (TrainOptions(self_supervised=True), (), "--self-supervised without volumes"),
        (TrainOptions(self_supervised=True, fast=(A,)), (B,), "--self-supervised with --fast"),
        (
            TrainOptions(self_supervised=True, validation_slow=(A,)),
            (B,),
            "--self-supervised with --validation-slow",
        ),
    ],
)
def test_what_does_not_fit_is_refused(options: TrainOptions, volumes, words: str) -> None:
    """In one line that says what and how to mend it."""
    assert words in refusal(options, *volumes)


def test_noisy_volumes_are_taken_as_named(tmp_path: Path) -> None:
    """Files, stores and folders of planes are volumes; a mere folder stands for what is in it."""
    planes = folder_of(tmp_path / "planes", "z_001.tif", "z_002.tif", "z_010.tif")
    store = folder_of(tmp_path / "store", "zarr.json", "0/")
    several = folder_of(tmp_path / "several", "b.tif", "a.zarr/", "c.mrc", "readme.txt")
    options = TrainOptions(self_supervised=True, validation_noisy=(several / "b.tif",))
    data = METHOD.training_data(options, [A, planes, store, several])
    expected = (A, planes, store, several / "a.zarr", several / "b.tif", several / "c.mrc")
    assert data.volumes == {"noisy": expected}
    assert data.paired == ()
    assert data.validation == {"noisy": (several / "b.tif",)}


def test_one_stack_in_a_folder_is_taken(tmp_path: Path) -> None:
    """As the published program takes it; two with different names are two volumes."""
    folder = folder_of(tmp_path, "stack_z25.tif")
    assert volumes_at(folder) == (folder / "stack_z25.tif",)
    folder_of(tmp_path, "other_z25.tif")
    assert len(volumes_at(folder)) == 2


def test_a_folder_without_volumes_is_refused(tmp_path: Path) -> None:
    """The kinds that are expected are named."""
    with pytest.raises(OptionError, match=r"no volumes in this folder; expected \.tif"):
        volumes_at(folder_of(tmp_path, "readme.txt"))
