"""Cells to training pairs, from files to files."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from vemctl_vsisr.prepare import preparation_data
from vemctl_vsisr.prepare_options import PrepareOptions
from vsisr_cells import (
    FINETUNE,
    RAW,
    SHAPE,
    TRAIN,
    TRUE_SPACING,
    TRUTH,
    check_pairs,
    described,
    read,
    write_cell,
    write_tree,
)
from vsisr_raw_data import SPACING, Prepared, opened, prepared, refusal, write_raw

from vemctl.errors import VemctlError
from vemctl.plugin import Workplace
from vemctl.workflows.new_volumes import VolumeMaker


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two structures of two and three cells at two levels."""
    return write_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def trained(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Return a set to train on."""
    return prepared(tmp_path_factory.mktemp("made") / "out", TRAIN, tree)


def test_tasks_are_structures_at_levels(trained: Prepared) -> None:
    """The second structure at its lowest level is kept to validate on, of it enough cells."""
    cells = {"actin": ["cell2", "cell10"], "er": ["c0", "c1", "c2"]}
    assert described(trained) == [
        ("train", "actin-snr1", "actin", 1, cells["actin"], 8),
        ("train", "actin-snr2", "actin", 2, cells["actin"], 8),
        ("train", "er-snr2", "er", 2, cells["er"], 12),
        ("valid", "er-snr1", "er", 1, ["c0"], 4),
    ]
    assert trained.record["pairs"] == trained.plan["pairs"] == "train"
    assert trained.warnings == []
    json.dumps(trained.record)
    size = sum(
        trained.volume(f"{t['part']}/{t['name']}/{role}").nbytes
        for t, role in itertools.product(trained.record["tasks"], ("input", "gt"))
    )
    assert trained.plan["uncompressed_bytes"] == size


@pytest.mark.parametrize(
    "task", ["train/actin-snr1", "train/actin-snr2", "train/er-snr2", "valid/er-snr1"]
)
def test_pairs_are_cut_where_the_table_says(trained: Prepared, tree: Path, task: str) -> None:
    """Of volumes as published, though never more than a part of these is there."""
    check_pairs(trained, tree, *task.split("/"))
    sine = math.sin(math.radians(30.8))
    z, x, y = SPACING
    assert trained.voxel_size(f"{task}/input") == pytest.approx((z * sine, y, x))
    assert trained.voxel_size(f"{task}/gt") == pytest.approx((z * sine, y / 1.5, x / 1.5))


def test_candidates_are_recorded(trained: Prepared, tree: Path) -> None:
    """How many there are in each cell, by which threshold, and of which file."""
    assert set(trained.record["cells"]) == {
        "actin/cell2", "actin/cell10", "er/c0", "er/c1", "er/c2"
    }  # fmt: skip
    for name, cell in trained.record["cells"].items():
        assert cell["truth"] == str(tree / name / TRUTH)
        assert cell["candidates"] >= 1000 or cell["mask_threshold"] < 1e-90
        assert cell["mask_threshold"] <= 0.05


def test_places_depend_on_the_seed_and_the_cell(trained: Prepared, tree: Path, tmp_path) -> None:
    """Not on what else is prepared; each level has its own."""
    alone = replace(TRAIN, structures=("er",), valid_task=("none",), snrs=("2",))
    made = prepared(tmp_path / "alone", alone, tree)
    for role in ("input", "gt"):
        np.testing.assert_array_equal(
            made.volume(f"train/er-snr2/{role}"), trained.volume(f"train/er-snr2/{role}")
        )
    other = prepared(tmp_path / "other", alone, tree, seed=1)
    assert (other.volume("train/er-snr2/gt") != made.volume("train/er-snr2/gt")).any()
    places = {
        snr: [(r["z"], r["y"], r["x"]) for r in trained.rows() if r["task"] == f"actin-snr{snr}"]
        for snr in (1, 2)
    }
    assert places[1] != places[2]
    assert made.warnings[0].startswith("nothing is kept to validate on")


def test_tasks_to_validate_on_may_be_named(tree: Path, tmp_path: Path) -> None:
    """Several, or none; levels are chosen, too."""
    options = replace(TRAIN, valid_task=("actin:2", "er:2"), valid_patches=8)
    made = prepared(tmp_path / "out", options, tree)
    assert [entry[:3] + entry[4:] for entry in described(made)] == [
        ("train", "actin-snr1", "actin", ["cell2", "cell10"], 8),
        ("train", "er-snr1", "er", ["c0", "c1", "c2"], 12),
        ("valid", "actin-snr2", "actin", ["cell2", "cell10"], 8),
        ("valid", "er-snr2", "er", ["c0", "c1"], 8),
    ]
    for task in ("actin-snr2", "er-snr2"):
        check_pairs(made, tree, "valid", task)


def test_patches_read_what_they_are_made_of_alone(tree: Path, tmp_path: Path) -> None:
    """Never a whole volume at once, of patches no whole slice."""
    made = opened(replace(TRAIN, structures=("actin",), valid_task=("none",)), [tree])
    patches = made._cells["actin", "cell2"].raw[1]._patches
    sizes: list[tuple[int, int, int]] = []
    usual = type(patches).read

    def watched(self, role, index, corner, size):
        sizes.append(size)
        return usual(self, role, index, corner, size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(patches), "read", watched)
        (tmp_path / "out").mkdir()
        maker = VolumeMaker(tmp_path / "out")
        made.run(Workplace(tmp_path / "out", maker, lambda *_: None))
    assert max(size[0] for size in sizes) == 3
    cut = [size for size in sizes if size[1] in (16, 24)]
    # At most two levels of two cells, four patches of 7 slices each, and of 3 slices of the truth.
    assert 0 < len(cut) <= 2 * 2 * 4 * (7 + 3)
    assert all(size[2] < 36 * 1.5 for size in cut)


def test_the_order_of_axes_is_one_for_both(tree: Path, tmp_path: Path) -> None:
    """Files that are sheared along y give the same pairs."""
    for name in ("cell2", "cell10"):
        source, folder = tree / "actin" / name, tmp_path / "tree" / "actin" / name
        depth, height, width = SHAPE
        raw = read(source / RAW.format(1), "<u2", (3 * depth, height, width))
        truth = read(source / TRUTH, "<f4", (depth, height * 3 // 2, width * 3 // 2))
        for path, volume, spacing in (
            (folder / RAW.format(1), raw, SPACING), (folder / TRUTH, truth, TRUE_SPACING)
        ):  # fmt: skip
            turned = np.ascontiguousarray(volume.transpose(0, 2, 1))
            write_raw(path, turned, (spacing[0], spacing[2], spacing[1]))
    plain = replace(FINETUNE, structure="actin")
    one = prepared(tmp_path / "one", plain, tree)
    other = prepared(tmp_path / "other", replace(plain, deskew_axis="y"), tmp_path / "tree")
    for task, role in itertools.product(("train/actin-snr1", "valid/cell10"), ("input", "gt")):
        name = f"{task}/{role}"
        np.testing.assert_array_equal(one.volume(name), other.volume(name))
        assert one.voxel_size(name) == pytest.approx(other.voxel_size(name))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (replace(TRAIN, valid_task=("er:3",)), "--valid-task er:3: no such task; expected"),
        (replace(TRAIN, snrs=("1,7",)), "of this signal-to-noise level; expected some of 1, 2"),
        (replace(TRAIN, snrs=("low",)), "--snrs low: expected numbers"),
        (replace(TRAIN, structures=("mt",)), "has no such folder; expected one of actin, er."),
        (
            replace(TRAIN, valid_task=("er:1", "er:2", "actin:1", "actin:2")),
            "--valid-task: no task is left to train on",
        ),
        (FINETUNE, "--structure: there are 2, actin, er; expected the one"),
        (replace(FINETUNE, structure="er", snr=4), "--snr 4: er has no raw data of this level;"),
        (replace(FINETUNE, structure="er", train_cells=("c7",)), "--train-cells c7: no such cell"),
        (
            replace(FINETUNE, structure="er", train_cells=("c1",), valid_cells=("c1",)),
            "--valid-cells c1: is trained on too",
        ),
        (
            replace(FINETUNE, structure="er", valid_cells=("c0,c1,c2",)),
            "--valid-cells: no cell is left to train on",
        ),
        (replace(TRAIN, patch_size=64), "are no more than the 96 x 96 of a patch; expected a sm"),
        (replace(TRAIN, phases=2), "has 12 slices, "),
        (replace(TRAIN, phases=12), "3 of its phases; expected as many: check --phases"),
    ],
)
def test_what_is_not_there_is_told(options: PrepareOptions, words: str, tree: Path) -> None:
    """Before anything is made."""
    assert words in refusal(options, tree)


def test_cells_that_cannot_be_cut_are_told(tmp_path: Path) -> None:
    """Too thin, of another size than their truth, without a reconstruction, or one for all."""
    write_cell(tmp_path / "thin" / "er" / "a", 0, shape=(8, 26, 36))
    assert "has 8 slices; expected at least 9" in refusal(TRAIN, tmp_path / "thin")
    folder = tmp_path / "wide" / "er" / "a"
    write_cell(folder, 0)
    write_raw(folder / TRUTH, np.random.default_rng(0).random((12, 44, 54), np.float32),
              TRUE_SPACING)  # fmt: skip
    assert "expected 1.5 times the 65 x 26 of" in refusal(TRAIN, tmp_path / "wide")
    (folder / TRUTH).unlink()
    assert "no reconstruction to learn from" in refusal(TRAIN, tmp_path / "wide")
    with pytest.raises(VemctlError, match="--pairs: 2 inputs; expected one folder"):
        preparation_data(TRAIN, [tmp_path, tmp_path])


def test_files_of_several_channels_are_refused(tmp_path: Path) -> None:
    """Which of them belongs to which truth nobody knows."""
    folder = tmp_path / "er" / "a"
    write_cell(folder, 0, levels=(1,))
    raw = folder / RAW.format(1)
    noise = np.random.default_rng(0).integers(90, 900, (72, 26, 36)).astype(np.uint16)
    write_raw(raw, noise, waves=2)
    assert refusal(TRAIN, tmp_path).startswith(f"{raw}: has several channels or time points;")


def test_a_truth_without_anything_is_told(tmp_path: Path) -> None:
    """One that is nowhere above 0, and one in which nothing stands out but at the border."""
    folder = tmp_path / "tree" / "er" / "a"
    write_cell(folder, 0, levels=(1,))
    truth = np.full((12, 39, 54), -1, np.float32)
    truth[0, 0, 0] = -2
    write_raw(folder / TRUTH, truth, TRUE_SPACING)
    for number, words in enumerate(
        ("nothing in it is above the background", "nothing in it stands out from its surroundings")
    ):
        with pytest.raises(VemctlError, match=words):
            prepared(tmp_path / f"out{number}", TRAIN, tmp_path / "tree")
        truth[0, 20, 20] = 5
        write_raw(folder / TRUTH, truth, TRUE_SPACING)


def test_progress_ends_with_the_run(trained: Prepared) -> None:
    """However often thresholds were lowered."""
    told = trained.advanced
    totals = {total for _, _, total in told}
    assert len(totals) == 1
    done = [each for _, each, _ in told]
    assert done == sorted(done)
    assert done[-1] == totals.pop() > done[-2]
