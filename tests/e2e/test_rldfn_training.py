"""rldfn from the command line: stacks to views, and networks learned from these."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import load_file

from e2e.conftest import Run
from e2e.rldfn_files import VOXEL, psf_of, whole, write_fusion, write_volume
from vemctl.__main__ import main
from vemctl.samples import reflective_stack
from vemctl.volumes.open import open_volume
from vemctl.volumes.provenance import read_provenance

SPLIT = ("--voxel-size", f"92.6,{VOXEL},{VOXEL}", "--angles", "0", "--split-range", "-3,3")
VIEWS = ("--view-a", "views/ViewA", "--view-b", "views/ViewB")
SMALL = (
    "--patch", "16,16,20", "--psf-size", "13", "--validation-samples", "1", "--log-every", "1",
    "--validate-every", "1", "--checkpointing", "off", "--device", "cpu",
)  # fmt: skip
TILE = ("--tile", "24,24,28", "--margin", "4", "--roi", "0:4,0:4,0:8")
NETWORKS = ("net_FA", "net_FB", "net_G", "netD_A", "netD_B")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the views of a stack, and with a run that learned two steps of them."""
    folder = tmp_path_factory.mktemp("made")
    np.save(folder / "stack.npy", reflective_stack(1, (32, 24, 16)).stack)
    views = folder / "views"
    assert main(["prepare", "rldfn", f"{folder}/stack.npy", str(views), *SPLIT, "-q"]) == 0
    named = ("--view-a", f"{views}/ViewA", "--view-b", f"{views}/ViewB")
    assert (
        main(["train", "rldfn", *named, *SMALL, "--steps", "2", "-o", f"{folder}/run", "-q"]) == 0
    )
    return folder


@pytest.fixture(scope="module")
def own(made: Path) -> Path:
    """Return both views fused with the run and nothing else."""
    named = (f"{made}/views/ViewA", f"{made}/own.zarr", "--view-b", f"{made}/views/ViewB")
    assert main(["predict", "rldfn", *named, "-w", f"{made}/run", *TILE, "-q"]) == 0
    return made / "own.zarr"


@pytest.fixture
def views(made: Path, tmp_path: Path) -> str:
    """Return the folder of the views."""
    (tmp_path / "views").symlink_to(made / "views")
    return "views"


@pytest.fixture
def run(made: Path, views: str, tmp_path: Path) -> str:
    """Return the folder of the run."""
    (tmp_path / "run").symlink_to(made / "run")
    return "run"


def fused(here: Run, output: str, *words: object) -> np.ndarray:
    """Fuse both views."""
    done = here(
        "predict", "rldfn", "views/ViewA", output, "--view-b", "views/ViewB", *words, *TILE, "-q"
    )
    assert done.returncode == 0, done.stderr
    return np.load(output)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the only line of an error."""
    assert done.returncode == 2, done.stderr
    *_, line = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert done.stderr.count("error: ") == 1
    return line


def test_a_stack_becomes_two_views(here: Run, tmp_path: Path) -> None:
    """With what was found told and recorded; TIFFs have the very values; a dry run writes none."""
    np.save(tmp_path / "stack.npy", reflective_stack(1, (32, 24, 16)).stack)
    planned = here("prepare", "rldfn", "stack.npy", "views", *SPLIT, "--dry-run", "--json", "-q")
    assert planned.returncode == 0, planned.stderr
    assert not (tmp_path / "views").exists()
    done = here("prepare", "rldfn", "stack.npy", "views", *SPLIT)
    assert done.returncode == 0, done.stderr
    assert "mirror at a shift of" in done.stderr
    record = json.loads((tmp_path / "views" / "prepare.json").read_text())
    (told,) = record["volumes"]
    (plan,) = json.loads(planned.stdout)["volumes"]
    assert plan["planes_at_most"] >= told["shape"][0] > 10
    assert told["shape"][1:] == plan["shape"][1:] == [24, 36]
    tiffs = here("prepare", "rldfn", "stack.npy", "tiffs", *SPLIT, "--layout", "tiff", "-q")
    assert tiffs.returncode == 0, tiffs.stderr
    for view in ("ViewA", "ViewB"):
        header = open_volume(tmp_path / "views" / view / "stack.zarr").header
        assert list(header.shape) == told["shape"]
        assert header.voxel_size == pytest.approx((VOXEL,) * 3, rel=1e-4)
        made = whole(tmp_path / "views" / view / "stack.zarr")
        assert (made.min(), made.max()) == (0, 65535)
        other = open_volume(tmp_path / "tiffs" / view / "stack.tif").header
        assert other.voxel_size == pytest.approx((VOXEL,) * 3, rel=1e-4)
        np.testing.assert_array_equal(whole(tmp_path / "tiffs" / view / "stack.tif"), made)


def test_a_run_is_used_with_its_point_spread_functions(
    here: Run, run: str, own: Path, tmp_path: Path
) -> None:
    """As with these from files, and otherwise than with theoretical ones of the usual size."""
    with (tmp_path / run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows][-2:] == ["1", "2"]
    assert {"loss", "cycle_a", "d_b", "tv", "val_cycle", "lr_G", "lr_D"} <= set(rows[0])
    weights = load_file(tmp_path / run / "checkpoints" / "last.safetensors")
    assert {key.partition(".")[0] for key in weights} == {*NETWORKS, "psf_A", "psf_B"}
    made = whole(own)
    for view in "AB":
        np.save(tmp_path / f"{view}.npy", weights[f"psf_{view}"].numpy())
    files = fused(here, "files.npy", "-w", run, "--psf-a", "A.npy", "--psf-b", "B.npy")
    np.testing.assert_array_equal(made, files)
    stated = fused(here, "stated.npy", "-w", run, "--voxel-size", "61.7")
    np.testing.assert_array_equal(made, stated)
    other = fused(here, "other.npy", "-w", run, "--fwhm-axial", "400")
    assert np.abs(other - made).max() > 0
    record = read_provenance(own) or {}
    assert record["settled"]["psf"] == "weights"


def test_the_published_programs_files_come_and_go(
    here: Run, run: str, own: Path, tmp_path: Path
) -> None:
    """A run becomes five files, which fuse alike, and one file again."""
    done = here("weights", "import", run, "saved", "--method", "rldfn", "--layout", "original")
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "saved").iterdir())
    assert names == sorted(f"{name}.pth" for name in NETWORKS)
    back = here("weights", "import", "saved", "all.safetensors", "--method", "rldfn", "--json")
    assert back.returncode == 0, back.stderr
    ours = load_file(tmp_path / run / "checkpoints" / "last.safetensors")
    theirs = load_file(tmp_path / "all.safetensors")
    assert set(ours) - set(theirs) == {"psf_A", "psf_B"}
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    psf = ("--psf-size", "13")
    outputs = [
        fused(here, f"{number}.npy", "-w", weights, *psf)
        for number, weights in enumerate((run, "saved", "all.safetensors"))
    ]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])
    np.testing.assert_array_equal(outputs[0], whole(own))


def test_the_published_files_are_fine_tuned(here: Run, views: str, tmp_path: Path) -> None:
    """All five are begun with, the spare one stays; of two networks the rest begins anew."""
    write_fusion(tmp_path / "five", NETWORKS)
    write_fusion(tmp_path / "two" / "checkpoints" / "iteration7")
    for view in "ab":
        tifffile.imwrite(tmp_path / f"psf_{view}.tif", psf_of(view))
    psfs = ("--psf-a", "psf_a.tif", "--psf-b", "psf_b.tif")
    words = (*VIEWS, *psfs, *(w for w in SMALL if w not in ("--psf-size", "13")), "--steps", "1")
    still = ("--learning-rate", "0", "--discriminator-learning-rate", "0")
    done = here("finetune", "rldfn", *words, *still, "-w", "five", "-o", "tuned")
    assert done.returncode == 0, done.stderr
    assert "anew" not in done.stderr
    after = load_file(tmp_path / "tuned" / "checkpoints" / "last.safetensors")
    for name in NETWORKS:
        before = torch.load(tmp_path / "five" / f"{name}.pth", weights_only=True)
        for key, value in before.items():
            if "running" not in key and "tracked" not in key:
                assert torch.equal(after[f"{name}.{key}"], value), f"{name}.{key}"
    np.testing.assert_array_equal(after["psf_A"].numpy(), psf_of("a"))
    done = here("finetune", "rldfn", *words, "-w", "two@7", "-o", "other", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "without discriminators, which begin anew" in done.stderr
    assert not (tmp_path / "other").exists()


def test_a_stopped_training_continues_as_if_it_had_not_been(
    here: Run, run: str, tmp_path: Path
) -> None:
    """The very weights and metrics."""
    words = ("train", "rldfn", *VIEWS, *SMALL, "-o", "parts", "-q")
    assert here(*words, "--steps", "1").returncode == 0
    done = here(*words, "--steps", "2", "--resume")
    assert done.returncode == 0, done.stderr
    for name in ("metrics.csv", "checkpoints/last.safetensors"):
        assert (tmp_path / run / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_a_dry_run_trains_nothing(here: Run, views: str, tmp_path: Path) -> None:
    """It tells what a step takes, and what the first losses are."""
    words = (*VIEWS, *SMALL, "--steps", "2", "-o", "new", "--dry-run", "--json", "-q")
    done = here("train", "rldfn", *words)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["step_memory_bytes"] > 4 * 5 * sum(plan["parameters"].values())
    assert set(plan["parameters"]) == {"FA", "FB", "G", "D_A", "D_B"}
    assert plan["first_losses"]["loss"] > 0
    assert not (tmp_path / "new").exists()


ERRORS = [
    (("--view-a", "views/ViewA"), "expected as many of each view"),
    (("--view-a", "views/ViewA", "--view-b", "views/ViewA/stack.zarr"), "expected folders of both"),
    (("--view-a", "views/ViewA", "--view-b", "views/ViewA"), "given as view A too"),
    (("--view-a", "views/ViewA", "--view-b", "lone"), "no file of this name in"),
    (("--view-a", "views/ViewA/stack.zarr", "--view-b", "lone/cell.tif"), "cell.tif"),
    (("views/ViewA",), "of which view is it?"),
    ((), "no volumes: rldfn learns from pairs of views"),
    ((*VIEWS, "--psf-a", "psf.tif"), "--psf-a psf.tif: the other view's is missing"),
    ((*VIEWS, "--patch", "16,16,64"), "expected a smaller one, such as --patch 16,16,36"),
    ((*VIEWS, "--patch", "16,18,20"), "--patch 16,18,20: expected multiples of 4"),
    ((*VIEWS, "--patch", "12,16,20"), "--patch 12,16,20: fitted sections"),
    ((*VIEWS, "--sections", "original"), "original sections at a tilt of 30.8 degrees need"),
    ((*VIEWS, "--view-a", "none", "--view-b", "other"), "none"),
]


@pytest.mark.parametrize(("words", "error"), ERRORS, ids=[error[:30] for _, error in ERRORS])
def test_bad_input_gets_one_line(
    words: tuple[str, ...], error: str, here: Run, views: str, tmp_path: Path
) -> None:
    """What, where, what was expected, how to mend it; and nothing is left behind."""
    write_volume(tmp_path / "lone" / "cell.tif", np.ones((15, 24, 30), np.uint16))
    small = SMALL if "--patch" not in words else SMALL[2:]
    small = small if "--psf-a" not in words else small[:2]
    done = here("train", "rldfn", *words, *small, "--steps", "1", "-o", "bad")
    assert error in one_line(done)
    assert not (tmp_path / "bad").exists()
