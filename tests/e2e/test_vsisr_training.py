"""vsisr from the command line: raw data to volumes and pairs, and networks learned from these."""

from __future__ import annotations

import csv
import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from e2e.conftest import Run, Start
from e2e.vsisr_files import PIXEL, PREDICT, whole, write_all, write_cell, write_deltavision
from vemctl.volumes.open import open_volume
from vemctl.volumes.provenance import read_provenance

PAIRS = ("--patch-size", "16", "--patches-per-cell", "4")
TUNE = ("-w", "small.pth", "-b", "2", "--validate-every", "1", "--log-every", "1")
SMALL_TASKS = (
    "--blocks", "1", "-b", "1", "--pairs-per-task", "2", "--support", "1", "--rounds", "1",
    "--generator-steps", "1", "--validation-pairs", "2", "--validation-support", "1",
)  # fmt: skip


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    """Write a microscope and weights, and raw sections of two time points."""
    write_all(tmp_path)
    for number in range(2):
        rng = np.random.default_rng(number)
        seen = np.kron(rng.random((10, 8, 9)), np.ones((3, 3, 3)))
        sections = rng.poisson(100 + 200 / (number + 1) * seen).astype(np.uint16)
        write_deltavision(tmp_path / "raw" / f"t{number}_St1.mrc", sections)


@pytest.fixture
def pairs(here: Run, tmp_path: Path) -> str:
    """Make pairs to fine-tune on, and return their folder."""
    for seed in range(3):
        write_cell(tmp_path / "cells" / "actin" / f"cell{seed + 1}", seed)
    done = here("prepare", "vsisr", "--pairs", "finetune", "cells", "pairs", *PAIRS, "-q")
    assert done.returncode == 0, done.stderr
    return "pairs"


def test_raw_files_are_prepared_and_restored(here: Run, tmp_path: Path) -> None:
    """One to a volume, and a folder of them to a series."""
    done = here("prepare", "vsisr", "raw/t0_St1.mrc", "one")
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    (made,) = (tmp_path / "one").glob("*.zarr")
    header = open_volume(made).header
    depth, height, width = header.shape
    assert (depth, width) == (10, 24)  # x was y of the file
    assert height > 27
    assert header.voxel_size[1:] == pytest.approx((PIXEL, PIXEL), rel=1e-4)
    done = here("predict", "vsisr", made, "one_sr.zarr", *PREDICT)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    assert whole(tmp_path / "one_sr.zarr").shape == (4, height * 3 // 2, 36)
    assert here("prepare", "vsisr", "raw", "all", "-q").returncode == 0
    done = here("predict", "vsisr", "all", "all_sr.zarr", *PREDICT, "--time-range", "timepoint")
    assert done.returncode == 0, done.stderr
    assert open_volume(tmp_path / "all_sr.zarr").header.num_timepoints == 2
    np.testing.assert_array_equal(
        whole(tmp_path / "all_sr.zarr", timepoint=0), whole(tmp_path / "one_sr.zarr")
    )


def test_sections_that_are_no_slices_are_told(here: Run, tmp_path: Path) -> None:
    """Some too many with a warning, too few in one line that leaves nothing."""
    sections = np.random.default_rng(0).integers(90, 400, (11, 12, 14), np.uint16)
    write_deltavision(tmp_path / "many.mrc", sections)
    write_deltavision(tmp_path / "few.mrc", sections[:2])
    done = here("prepare", "vsisr", "many.mrc", "made")
    assert done.returncode == 0, done.stderr
    assert "11 sections are no multiple of 3 phases; the last 2 are left out" in done.stderr
    done = here("prepare", "vsisr", "few.mrc", "none", "-q")
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0
    assert "--phases" in done.stderr
    assert not (tmp_path / "none").exists()


def test_a_network_is_fine_tuned_and_used(here: Run, pairs: str, tmp_path: Path) -> None:
    """What was gained is printed as a table, unless lines of JSON are asked for."""
    done = here("finetune", "vsisr", pairs, *TUNE, "--steps", "2", "-o", "run")
    assert done.returncode == 0, done.stderr
    table = [line.split() for line in done.stdout.strip().splitlines()]
    assert table[0][0] == "before"
    assert [line[0] for line in table[1:]] == ["val_psnr_masked", "val_psnr"]
    with (tmp_path / "run" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "1", "2"]
    measured = [float(row["val_psnr_masked"]) for row in rows]
    step = int(table[0][-1])
    assert measured[step] == max(measured)
    assert [float(number) for number in table[1][1:]] == pytest.approx(
        [measured[0], measured[step]], abs=0.01
    )
    used = here("predict", "vsisr", "in.tif", "tuned.zarr", "-w", "run", "--otf", "optics")
    assert used.returncode == 0, used.stderr
    assert "warning" not in used.stderr
    before = here("predict", "vsisr", "in.tif", "before.zarr", *PREDICT)
    assert before.returncode == 0, before.stderr
    tuned = whole(tmp_path / "tuned.zarr")
    assert tuned.shape == (4, 33, 27)
    assert not np.array_equal(tuned, whole(tmp_path / "before.zarr"))
    lines = here("finetune", "vsisr", pairs, *TUNE, "--steps", "1", "-o", "lines", "--json")
    assert lines.returncode == 0, lines.stderr
    events = [json.loads(line)["event"] for line in lines.stdout.splitlines()]
    assert events[0] == "validation"
    assert events[-1] == "finished"


def test_folders_of_tiffs_give_the_same(here: Run, pairs: str, tmp_path: Path) -> None:
    """The published programs' layout is fine-tuned on alike, and an export of it is read."""
    words = ("--pairs", "finetune", "cells", "tiffs", *PAIRS, "--layout", "tiff", "-q")
    assert here("prepare", "vsisr", *words).returncode == 0
    for source in (pairs, "tiffs"):
        done = here("finetune", "vsisr", source, *TUNE, "--steps", "2", "-o", f"on_{source}", "-q")
        assert done.returncode == 0, done.stderr
    one, other = (tmp_path / f"on_{source}" / "metrics.csv" for source in (pairs, "tiffs"))
    assert one.read_bytes() == other.read_bytes()
    out = here(
        "weights", "import", "on_tiffs", "t.pth", "--method", "vsisr", "--layout", "original"
    )
    assert out.returncode == 0, out.stderr
    made = []
    for weights in ("on_tiffs", "t.pth"):
        done = here(
            "predict", "vsisr", "in.tif", f"{weights}.npy", "-w", weights, "--otf", "optics"
        )
        assert done.returncode == 0, done.stderr
        made.append(np.load(tmp_path / f"{weights}.npy"))
    np.testing.assert_array_equal(*made)


@pytest.mark.slow
def test_a_killed_fine_tuning_continues_as_if_it_had_not_been(
    here: Run, start: Start, pairs: str, tmp_path: Path
) -> None:
    """The very metrics and weights, whether it was killed or its time was up."""
    words = ("finetune", "vsisr", pairs, *TUNE, "--steps", "5", "--device", "cpu", "-q")
    process = start(*words, "-o", "parts")
    checkpoints = tmp_path / "parts" / "checkpoints"
    while not list(checkpoints.glob("step-*.pt")) and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert here(*words, "-o", "whole").returncode == 0
    for more in (("--minutes", "0.00001"), ()):
        done = here(*words, "-o", "parts", "--resume", *more)
        assert done.returncode == 0, done.stderr
    for name in ("metrics.csv", "checkpoints/last.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


@pytest.mark.slow
def test_tasks_are_learned_from_and_fine_tuned_on(here: Run, pairs: str, tmp_path: Path) -> None:
    """Raw cells to tasks, to a meta-model that says what it is, to a network for one structure."""
    for seed, structure in enumerate(("er", "tubules"), start=3):
        write_cell(tmp_path / "cells" / structure / "cell1", seed)
    done = here(
        "prepare", "vsisr", "--pairs", "train", "cells", "tasks", *PAIRS, "--valid-patches", "2",
        "--json", "-q",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "tasks" / "valid").iterdir()} == {"er-snr1"}
    words = ("train", "vsisr", "tasks", *SMALL_TASKS, "--generator", "small.pth", "--steps", "1")
    done = here(*words, "-o", "meta", "-q")
    assert done.returncode == 0, done.stderr
    head = (tmp_path / "meta" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"loss", "D", "val_loss", "val_D", "lr_G", "lr_D"} <= set(head)
    used = here("predict", "vsisr", "in.tif", "meta.zarr", "-w", "meta", "--otf", "optics")
    assert used.returncode == 0, used.stderr
    assert "never fine-tuned" in used.stderr
    tuned = here("finetune", "vsisr", pairs, "-w", "meta", *TUNE[2:], "--steps", "1", "-o", "mine")
    assert tuned.returncode == 0, tuned.stderr
    used = here("predict", "vsisr", "in.tif", "mine.zarr", "-w", "mine", "--otf", "optics")
    assert used.returncode == 0, used.stderr
    assert "warning" not in used.stderr
    made = read_provenance(tmp_path / "mine.zarr") or {}
    assert made["method"] == "vsisr"
