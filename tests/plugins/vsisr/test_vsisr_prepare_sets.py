"""Which sets of pairs are made of cells: to fine-tune on, to validate on, as TIFFs."""

from __future__ import annotations

import itertools
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from vsisr_cells import (
    FINETUNE,
    TRAIN,
    cell_volumes,
    check_pairs,
    described,
    write_cell,
    write_tree,
)
from vsisr_raw_data import opened, prepared

from vemctl.errors import Interrupted
from vemctl.plugin import Workplace
from vemctl.workflows.new_volumes import VolumeMaker


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two structures of two and three cells at two levels."""
    return write_tree(tmp_path_factory.mktemp("tree"))


def test_cells_to_fine_tune_on_are_all_but_the_last(tree: Path, tmp_path: Path) -> None:
    """That one is validated on as a whole, without its border."""
    made = prepared(tmp_path / "out", replace(FINETUNE, structure="er"), tree)
    assert described(made) == [
        ("train", "er-snr1", "er", 1, ["c0", "c1"], 6),
        ("valid", "c2", "er", 1, ["c2"], 1),
    ]
    check_pairs(made, tree, "train", "er-snr1")
    whole = cell_volumes(tree / "er" / "c2", 1)
    row = made.rows()[-1]
    assert (row["part"], row["task"], row["cell"], row["number"]) == ("valid", "c2", "c2", "0")
    for role, prefix in (("input", ""), ("gt", "gt_")):
        found = made.volume(f"valid/c2/{role}")
        z, y, x = (int(row[prefix + axis]) for axis in "zyx")
        assert z == 0
        expected = whole[role][:, y : y + found.shape[1], x : x + found.shape[2]]
        np.testing.assert_array_equal(found, expected)
    (depth, height, width), length = made.volume("valid/c2/input").shape, whole["input"].shape[1]
    assert (depth, height, width) == (12, length - 4 - length % 2, 22)
    assert made.volume("valid/c2/gt").shape == (12, height * 3 // 2, 33)
    assert "candidates" not in made.record["cells"]["er/c2"]


@pytest.mark.parametrize(
    ("changes", "train", "valid"),
    [
        ({"train_cells": ("c1",)}, ["c1"], ["c2"]),
        ({"train_cells": ("c2,c0",)}, ["c2", "c0"], ["c1"]),
        ({"valid_cells": ("c0",)}, ["c1", "c2"], ["c0"]),
        ({"train_cells": ("c2",), "valid_cells": ("c0", "c1")}, ["c2"], ["c0", "c1"]),
        ({"train_cells": ("c0", "c1", "c2")}, ["c0", "c1", "c2"], []),
    ],
)
def test_cells_may_be_named(changes: dict, train: list, valid: list, tree: Path) -> None:
    """What is not named of the two follows."""
    options = replace(FINETUNE, structure="er", snr=2, **changes)
    found = opened(options, [tree]).plan()["tasks"]
    assert [task["cells"] for task in found if task["part"] == "train"] == [train]
    assert [task["cells"][0] for task in found if task["part"] == "valid"] == valid
    assert {task["snr"] for task in found} == {2}


def test_tiffs_are_those_of_the_published_programs(tree: Path, tmp_path: Path) -> None:
    """The same pairs, a file for each, in folders of their names."""
    options = replace(TRAIN, patches_per_cell=2, valid_patches=1)
    pairs = replace(FINETUNE, structure="er", train_cells=("c0",), valid_cells=("c1", "c2"))
    for wanted, places in (
        (options, {
            "train/actin-snr1": "meta_train/task001", "train/actin-snr2": "meta_train/task002",
            "train/er-snr2": "meta_train/task003", "valid/er-snr1": "meta_val/task1",
        }),
        (pairs, {"train/er-snr1": "train", "valid/c1": "test", "valid/c2": "test"}),
    ):  # fmt: skip
        name = wanted.pairs
        stacked = prepared(tmp_path / f"{name}-zarr", wanted, tree)
        made = prepared(tmp_path / f"{name}-tiff", replace(wanted, layout="tiff"), tree)
        found = {p for p in made.folder.rglob("*") if p.is_file()}
        expected = {made.folder / "pairs.csv"}
        for (task, place), role in itertools.product(places.items(), ("input", "gt")):
            whole = stacked.volume(f"{task}/{role}")
            is_cell = task.startswith("valid/c")
            slices = len(whole) if is_cell else {"input": 7, "gt": 3}[role]
            for number in range(len(whole) // slices):
                at = int(task[-1]) - 1 if is_cell else number
                path = made.folder / place / role / f"{at:08d}.tif"
                image = tifffile.imread(path)
                assert image.dtype == np.uint16
                np.testing.assert_array_equal(image, whole[slices * number :][:slices])
                expected.add(path)
        tests = [row for row in made.rows() if row["part"] == "test"]
        assert len(tests) == len([p for p in found - expected if "meta_test" in p.parts]) / 2
        assert {p for p in found if "meta_test" not in p.parts} == expected
        assert [row for row in made.rows() if row not in tests] == stacked.rows()


def test_the_published_meta_training_has_something_to_look_at(tree: Path, tmp_path: Path) -> None:
    """A square in the middle of the first cell of what is trained on at the lowest level."""
    made = prepared(tmp_path / "out", replace(TRAIN, layout="tiff"), tree)
    (row,) = (row for row in made.rows() if row["part"] == "test")
    assert (row["structure"], row["cell"], row["snr"], row["number"]) == (
        "actin", "cell2", "1", "0"
    )  # fmt: skip
    assert described(made)[-1] == ("test", "actin-snr1", "actin", 1, ["cell2"], 1)
    whole = cell_volumes(tree / "actin" / "cell2", 1)
    folder = made.folder / "meta_test"
    for role, prefix, depth, edge in (("input", "", 7, 20), ("gt", "gt_", 3, 30)):
        (path,) = (folder / role).iterdir()
        assert path.name == "00000000.tif"
        z, y, x = (int(row[prefix + axis]) for axis in "zyx")
        expected = whole[role][z : z + depth, y : y + edge, x : x + edge]
        np.testing.assert_array_equal(tifffile.imread(path), expected)
        middle = np.array(whole[role].shape[1:]) / 2
        np.testing.assert_allclose((y + edge / 2, x + edge / 2), middle, atol=1)
    size = sum(tifffile.imread(p).nbytes for p in made.folder.rglob("*.tif"))
    assert made.plan["uncompressed_bytes"] == size
    others = replace(TRAIN, layout="tiff", valid_task=("none",))
    found = described(prepared(tmp_path / "others", others, tree))
    assert [task[1] for task in found if task[0] == "test"] == ["actin-snr1", "er-snr1"]


def test_the_end_of_an_only_cell_is_validated_on(tmp_path: Path) -> None:
    """As a whole, and nothing of it is trained on; of a cell of few slices nothing is kept."""
    shape = (50, 26, 36)
    write_cell(tmp_path / "tree" / "er" / "c0", 0, levels=(1,), shape=shape)
    options = replace(FINETUNE, patches_per_cell=40)
    made = prepared(tmp_path / "out", options, tmp_path / "tree")
    assert described(made) == [
        ("train", "er-snr1", "er", 1, ["c0"], 40), ("valid", "c0", "er", 1, ["c0"], 1)
    ]  # fmt: skip
    assert made.warnings == [
        "there is no other cell to validate on than c0: its last 10 slices are kept for that, and "
        "no pairs are cut of them"
    ]
    *rows, last = made.rows()
    assert max(int(row["z"]) for row in rows) + 7 <= 40
    whole = cell_volumes(tmp_path / "tree" / "er" / "c0", 1, shape)
    for role, prefix in (("input", ""), ("gt", "gt_")):
        found = made.volume(f"valid/c0/{role}")
        y, x = (int(last[prefix + axis]) for axis in "yx")
        assert int(last[prefix + "z"]) == 40
        expected = whole[role][40:, y : y + found.shape[1], x : x + found.shape[2]]
        np.testing.assert_array_equal(found, expected)
    write_cell(tmp_path / "few" / "er" / "c0", 0, levels=(1,))
    few = prepared(tmp_path / "none", FINETUNE, tmp_path / "few")
    assert [task[0] for task in described(few)] == ["train"]
    assert few.warnings[0].startswith("nothing is kept to validate on: pairs of the cells that")


def test_memory_is_what_was_planned(tmp_path: Path) -> None:
    """Though two cells to validate on are written, one after the other."""
    for n in range(3):
        folder = tmp_path / "tree" / "er" / f"c{n}"
        write_cell(folder, n, levels=(1,), shape=(24, 60, 70))
    options = replace(FINETUNE, valid_cells=("c1", "c2"))
    prepared(tmp_path / "first", options, tmp_path / "tree")  # what is imported stays
    made = opened(options, [tmp_path / "tree"])
    (tmp_path / "out").mkdir()
    maker = VolumeMaker(tmp_path / "out")
    is_open: list[int] = []

    def advance(*_: object) -> None:
        is_open.append(sum(bool(volume._waiting) for volume in maker._made.values()))

    tracemalloc.start()
    try:
        made.run(Workplace(tmp_path / "out", maker, advance))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    planned = made.plan()["memory_bytes"]
    assert planned / 4 < peak <= planned
    assert max(is_open) == 2  # input and truth


def test_pairs_are_numbered_as_they_are_written(tmp_path: Path) -> None:
    """Though the first cell of a structure lacks the level that is written first."""
    for number, levels in enumerate([(2,), (1, 2)]):
        write_cell(tmp_path / "tree" / "er" / f"c{number}", number, levels=levels)
    options = replace(TRAIN, valid_task=("none",))
    made = prepared(tmp_path / "out", options, tmp_path / "tree")
    for task in ("er-snr1", "er-snr2"):
        check_pairs(made, tmp_path / "tree", "train", task)


def test_what_is_made_is_what_a_training_reads(tree: Path, tmp_path: Path) -> None:
    """In either layout, to train and to fine-tune."""
    from vemctl_vsisr.data import training_data
    from vemctl_vsisr.train_options import FinetuneOptions, TrainOptions

    trained = prepared(tmp_path / "zarr", TRAIN, tree)
    data = training_data(TrainOptions(), [trained.folder])
    assert [p.parent.name for p in data.volumes["gt"]] == ["actin-snr1", "actin-snr2", "er-snr2"]
    assert [p.parent.name for p in data.validation["input"]] == ["er-snr1"]
    pairs = replace(FINETUNE, structure="er", layout="tiff")
    made = prepared(tmp_path / "tiff", pairs, tree)
    data = training_data(FinetuneOptions(), [made.folder])
    assert data.volumes["input"] == (made.folder / "train" / "input",)
    assert data.validation["gt"] == (made.folder / "test" / "gt" / "00000000.tif",)


def test_a_run_can_be_stopped(tree: Path, tmp_path: Path) -> None:
    """In any part of it; what was begun is left as it is."""
    for layout, when in itertools.product(("zarr", "tiff"), (3, 30, 80)):
        made = opened(replace(FINETUNE, structure="er", layout=layout), [tree])
        folder = tmp_path / f"{layout}{when}"
        folder.mkdir()

        def stop(_: str, done: int, __: int, when: int = when) -> None:
            if done == when:
                raise Interrupted

        with pytest.raises(Interrupted):
            made.run(Workplace(folder, VolumeMaker(folder), stop))
