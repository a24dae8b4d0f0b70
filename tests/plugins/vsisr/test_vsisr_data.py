"""Which folders hold pairs to learn from, and to validate on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from fractions import Fraction
from pathlib import Path

import pytest
from vemctl_vsisr.data import GT, INPUT, training_data
from vemctl_vsisr.train_options import FinetuneOptions, TrainOptions

from vemctl.errors import InputError, OptionError
from vemctl.workflows.settings import settings_of


def stores(root: Path, *names: str) -> None:
    """Make Zarr stores, as far as their names tell."""
    for name in names:
        for role in (INPUT, GT):
            (root / name / f"{role}.zarr").mkdir(parents=True)


def tiffs(root: Path, name: str, files: Iterable[str]) -> None:
    """Make TIFFs, as far as their names tell."""
    for role in (INPUT, GT):
        (root / name / role).mkdir(parents=True)
        for file in files:
            (root / name / role / file).touch()


def inputs(paths: Iterable[Path], root: Path) -> list[str]:
    """Return paths within a folder."""
    return [path.relative_to(root).as_posix() for path in paths]


def test_a_prepared_set_has_tasks_and_what_to_validate_on(tmp_path: Path) -> None:
    """In the order of their names; what else is there is passed over."""
    stores(tmp_path, "train/b", "train/a", "valid/c")
    (tmp_path / "train" / "notes").mkdir()
    data = training_data(TrainOptions(), (tmp_path,))
    assert inputs(data.volumes[INPUT], tmp_path) == ["train/a/input.zarr", "train/b/input.zarr"]
    assert inputs(data.volumes[GT], tmp_path) == ["train/a/gt.zarr", "train/b/gt.zarr"]
    assert inputs(data.validation[INPUT], tmp_path) == ["valid/c/input.zarr"]
    assert data.scale == {GT: (Fraction(3, 7), Fraction(3, 2), Fraction(3, 2))}
    assert data.paired == ()


def test_the_published_folders_are_read(tmp_path: Path) -> None:
    """Of meta-training: a folder of TIFFs is a volume, with a time point for each."""
    for task in ("meta_train/task000", "meta_train/task001", "meta_val/task1"):
        tiffs(tmp_path, task, ["00000000.tif", "00000001.tif"])
    tiffs(tmp_path, "meta_test", ["00000000.tif"])
    data = training_data(TrainOptions(), (tmp_path,))
    assert inputs(data.volumes[GT], tmp_path) == ["meta_train/task000/gt", "meta_train/task001/gt"]
    assert inputs(data.validation[INPUT], tmp_path) == ["meta_val/task1/input"]


def test_the_published_folders_of_fine_tuning_are_read(tmp_path: Path) -> None:
    """The cells in test differ in size: each TIFF there is a volume."""
    tiffs(tmp_path, "train", ["00000000.tif", "00000001.tif"])
    tiffs(tmp_path, "test", ["00000000.tif", "00000001.tif"])
    data = training_data(FinetuneOptions(), (tmp_path,))
    assert inputs(data.volumes[INPUT], tmp_path) == ["train/input"]
    assert inputs(data.validation[GT], tmp_path) == ["test/gt/00000000.tif", "test/gt/00000001.tif"]
    assert training_data(TrainOptions(), (tmp_path,)).validation == {}


def test_tasks_may_be_named_one_by_one(tmp_path: Path) -> None:
    """In their order, as may be what is validated on; a single TIFF is a volume itself."""
    stores(tmp_path, "a", "b", "c", "set/train/d", "set/valid/e")
    tiffs(tmp_path, "single", ["cell.tif"])
    data = training_data(
        TrainOptions(validation=(tmp_path / "single",)),
        (tmp_path / "b", tmp_path / "a", tmp_path / "set"),
    )
    found = inputs(data.volumes[INPUT], tmp_path)
    assert found == ["b/input.zarr", "a/input.zarr", "set/train/d/input.zarr"]
    assert inputs(data.validation[INPUT], tmp_path) == ["single/input/cell.tif"]
    assert training_data(TrainOptions(), (tmp_path / "a",)).validation == {}
    assert len(training_data(TrainOptions(), (tmp_path,)).volumes[INPUT]) == 4


@pytest.mark.parametrize("options", [TrainOptions(), FinetuneOptions()])
def test_what_has_no_pairs_is_told(options, tmp_path: Path) -> None:
    """One line says what was expected."""
    with pytest.raises(OptionError, match=r"^no pairs to learn from: name a folder"):
        training_data(options, ())
    with pytest.raises(InputError, match=r"nowhere: no such folder"):
        training_data(options, (tmp_path / "nowhere",))
    (tmp_path / "input.zarr").mkdir()  # without its truth
    with pytest.raises(OptionError, match=r"no pairs in it; expected input\.zarr and gt\.zarr"):
        training_data(options, (tmp_path,))


def test_folders_that_do_not_fit_are_told(tmp_path: Path) -> None:
    """Without TIFFs, with other numbers of cells, or with what is trained on."""
    tiffs(tmp_path, "empty", [])
    with pytest.raises(InputError, match=r"empty/input: no TIFFs"):
        training_data(TrainOptions(), (tmp_path / "empty",))
    stores(tmp_path, "a")
    tiffs(tmp_path, "cells", ["0.tif", "1.tif"])
    (tmp_path / "cells" / GT / "1.tif").unlink()
    with pytest.raises(InputError, match=r"cells: 2 files in input and 1 in gt"):
        training_data(FinetuneOptions(validation=(tmp_path / "cells",)), (tmp_path / "a",))
    with pytest.raises(OptionError, match=r"--validation .*a: it is trained on too"):
        training_data(TrainOptions(validation=(tmp_path / "a",)), (tmp_path / "a",))


@pytest.mark.parametrize("options", [TrainOptions, FinetuneOptions])
def test_options_become_flags(options) -> None:
    """Every one has a help of its own."""
    settings = settings_of(options)
    assert len(settings) == len(fields(options))
    assert len({setting.help for setting in settings}) == len(settings)
