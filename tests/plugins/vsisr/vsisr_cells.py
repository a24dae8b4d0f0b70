"""Cells on disk as the authors' microscope makes them, and the pairs that are to be cut of them.

Shared by the tests of `vemctl prepare vsisr --pairs`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from vemctl_vsisr.deskewing import Shear, header_word
from vemctl_vsisr.foreground import blur_difference
from vemctl_vsisr.prepare_options import PrepareOptions
from vsisr_raw_data import SPACING, Prepared, write_raw

TRAIN = PrepareOptions(pairs="train", patch_size=16, patches_per_cell=4, valid_patches=4)
FINETUNE = PrepareOptions(pairs="finetune", patch_size=16, patches_per_cell=3)
TRUE_SPACING = (SPACING[0], SPACING[1] / 1.5, SPACING[2] / 1.5)
SHAPE = (12, 26, 36)
"""Of the slices of raw data, (z, y, x)."""
RAW = "Illum488_Cyc1_Ch1_St{}.mrc"
TRUTH = "Illum488_Cyc1_Ch1_St5-wiener0.02-fixk0-Fd.mrc"


def write_cell(folder: Path, seed: int, levels=(1, 2), shape=SHAPE) -> None:
    """Write raw data of some levels and a reconstruction with bright spots."""
    rng = np.random.default_rng(seed)
    depth, height, width = shape
    truth = rng.normal(0, 5, (depth, height * 3 // 2, width * 3 // 2)).astype(np.float32)
    z, y, x = np.ogrid[tuple(slice(0, n) for n in truth.shape)]
    for _ in range(6):
        at = [rng.uniform(0.2 * n, 0.8 * n) for n in truth.shape]
        far = ((z - at[0]) / 3) ** 2 + ((y - at[1]) / 3) ** 2 + ((x - at[2]) / 3) ** 2
        truth += (rng.uniform(300, 900) * np.exp(-far / 2)).astype(np.float32)
    write_raw(folder / TRUTH, truth, TRUE_SPACING)
    rows = (np.arange(height) * 1.5).astype(int)
    columns = (np.arange(width) * 1.5).astype(int)
    seen = np.repeat(truth[:, rows][:, :, columns].clip(0), 3, axis=0)
    for level in levels:
        noisy = rng.poisson(100 + seen * level / 5).astype(np.uint16)
        write_raw(folder / RAW.format(level), noisy)


def write_tree(folder: Path) -> Path:
    """Write two structures of two and three cells at two levels, and return the folder."""
    for seed, (structure, cell) in enumerate(
        [("actin", "cell2"), ("actin", "cell10"), *(("er", f"c{n}") for n in range(3))]
    ):
        write_cell(folder / structure / cell, seed)
    return folder


def read(path: Path, dtype: str, shape: tuple[int, int, int]) -> np.ndarray:
    """Read a file that `write_raw` made."""
    return np.fromfile(path, dtype, offset=1024).reshape(shape)


def counts(slices: np.ndarray, spacing: tuple[float, float, float], background: float):
    """Deskew a whole volume along x, which becomes y, and stretch it to 16 bit."""
    depth, _, length = slices.shape
    dy, dz = header_word(spacing[2]), header_word(spacing[0])
    shear = Shear(depth, length, angle_degrees=30.8, dy=dy, dz=dz, single=True)
    made = np.stack([shear.apply(plane, z).T for z, plane in enumerate(slices)])
    made = np.maximum(made - np.float32(background), 0).astype(np.float64)
    return np.floor(65535 * (made - made.min()) / (made.max() - made.min()) + 0.5)


def cell_volumes(folder: Path, level: int, shape=SHAPE) -> dict[str, np.ndarray]:
    """Return input and truth of a cell, whole."""
    depth, height, width = shape
    raw = read(folder / RAW.format(level), "<u2", (3 * depth, height, width))
    truth = read(folder / TRUTH, "<f4", (depth, height * 3 // 2, width * 3 // 2))
    slices = raw.reshape(depth, 3, height, width).mean(axis=1)
    return {"input": counts(slices, SPACING, 100), "gt": counts(truth, TRUE_SPACING, 0)}


def check_pairs(made: Prepared, tree: Path, part: str, task: str, size: int = 16) -> None:
    """Compare every pair of a task with whole volumes, at the places that the table tells."""
    rows = [row for row in made.rows() if (row["part"], row["task"]) == (part, task)]
    inputs, truths = (made.volume(f"{part}/{task}/{role}") for role in ("input", "gt"))
    assert inputs.shape == (7 * len(rows), size, size)
    assert truths.shape == (3 * len(rows), size * 3 // 2, size * 3 // 2)
    assert inputs.dtype == truths.dtype == np.uint16
    for number, row in enumerate(rows):
        assert int(row["number"]) == number
        whole = cell_volumes(tree / row["structure"] / row["cell"], int(row["snr"]))
        z, y, x = (int(row[axis]) for axis in "zyx")
        expected = whole["input"][z : z + 7, y : y + size, x : x + size]
        np.testing.assert_array_equal(inputs[7 * number : 7 * number + 7], expected)
        true = size * 3 // 2
        gt_z, gt_y, gt_x = (int(row[f"gt_{axis}"]) for axis in "zyx")
        expected = whole["gt"][gt_z : gt_z + 3, gt_y : gt_y + true, gt_x : gt_x + true]
        np.testing.assert_array_equal(truths[3 * number : 3 * number + 3], expected)
        assert gt_z == z + 2
        middle = (gt_z + 1, gt_y + true // 2 - 1, gt_x + true // 2 - 1)
        assert abs((middle[1] + 1) / 1.5 - y - size / 2) <= 0.5
        assert abs((middle[2] + 1) / 1.5 - x - size / 2) <= 0.5
        assert blur_difference(whole["gt"][middle[0]] / 65535)[middle[1:]] > 0.02


def described(made: Prepared) -> list[tuple]:
    """Return what is recorded of tasks, which was planned."""
    assert made.record["tasks"] == made.plan["tasks"]
    names = ("part", "name", "structure", "snr", "cells", "count")
    return [tuple(task[name] for name in names) for task in made.record["tasks"]]
