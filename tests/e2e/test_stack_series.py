"""A folder of stacks, one per time point, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from e2e.conftest import Run

SHAPE = (3, 5, 16, 16)


@pytest.fixture
def series(tmp_path: Path) -> np.ndarray:
    """Write three stacks, the last of which comes second by its letters."""
    (tmp_path / "series").mkdir()
    stacks = np.random.default_rng(5).integers(0, 256, SHAPE, dtype=np.uint8)
    for number, stack in zip((1, 2, 10), stacks, strict=True):
        tifffile.imwrite(tmp_path / f"series/t{number}.tif", stack, compression="zlib")
    return stacks


def test_every_stack_of_a_folder_is_restored(
    here: Run, tmp_path: Path, checkpoint: Path, series: np.ndarray
) -> None:
    """The series is told and restored as one array with its time points would be."""
    told = json.loads(here("info", "series", "--json").stdout)
    assert told["format"] == "folder of stacks (TIFF)"
    assert (told["axes"], told["stored_shape"]) == ("tzyx", list(SHAPE))
    options = ("-w", checkpoint, "--tile", "5,16,16")
    np.save(tmp_path / "whole.npy", series)
    for words in (("series", "a.npy"), ("whole.npy", "b.npy", "--axes", "tzyx")):
        done = here("predict", "denoise", *words, *options)
        assert done.returncode == 0, done.stderr
    restored = np.load(tmp_path / "a.npy")
    assert restored.shape == SHAPE
    assert np.array_equal(restored, np.load(tmp_path / "b.npy"))
    assert not np.array_equal(restored[1], restored[2])


def test_a_changed_stack_is_noticed_on_resuming(
    here: Run, tmp_path: Path, checkpoint: Path, series: np.ndarray
) -> None:
    """An output of a series is not taken for that of another, which differs in one file."""
    words = ("predict", "denoise", "series", "out.npy", "-w", checkpoint, "--tile", "5,16,16")
    assert here(*words).returncode == 0
    assert here(*words, "--resume").returncode == 0
    tifffile.imwrite(tmp_path / "series/t2.tif", 255 - series[1])
    done = here(*words, "--resume")
    assert done.returncode == 2
    assert "sample_sha256" in done.stderr
