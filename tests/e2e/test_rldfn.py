"""rldfn from the command line: two views in, one volume out."""

from __future__ import annotations

import json
import random
import shutil
import signal as signals
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from scipy import signal
from vemctl_rldfn.deconvolving import DualViewDeconvolution

from e2e.conftest import Run, Start, digests
from e2e.rldfn_files import (
    PREDICT,
    PSFS,
    SHAPE,
    SMALL,
    VOXEL,
    WEIGHTS,
    psf_of,
    views_of,
    whole,
    write_all,
    write_fusion,
    write_published,
    write_volume,
    write_zarr,
)
from e2e.vsisr_files import write_generator
from vemctl.volumes.open import open_volume
from vemctl.volumes.provenance import read_provenance

Fuse = Callable[..., np.ndarray]
VIEWS = ("a.tif", "--view-b", "b.tif")
SHARDS = ("--chunk-shape", "12,12,12", "--shard-shape", "12,12,12")


@pytest.fixture
def files(tmp_path: Path) -> None:
    """Write views, point spread functions and weights."""
    write_all(tmp_path)


@pytest.fixture
def fuse(here: Run, files: None, tmp_path: Path) -> Fuse:
    """Return a function that fuses two files without a warning, and returns the result."""

    def restore(output: str, *words: object, a: str = "a.tif", b: str = "b.tif") -> np.ndarray:
        done = here("predict", "rldfn", a, output, "--view-b", b, *words)
        assert done.returncode == 0, done.stderr
        assert "warning" not in done.stderr
        return whole(tmp_path / output)

    return restore


def without_names(folder: Path) -> dict[str, str]:
    """Return the digests of a store but for its description, which has its name."""
    return {name: digest for name, digest in digests(folder).items() if name != "zarr.json"}


@pytest.mark.parametrize(
    ("words", "expected"), [((), "out_step4"), (("--normalize", "none"), "out_test")]
)
def test_as_original_is_what_the_published_scripts_write(
    words: tuple[str, ...], expected: str, here: Run, tmp_path: Path
) -> None:
    """From their files, to their floats; what they leave out of the field is 0."""
    arrays = write_published(tmp_path)
    done = here(
        "predict", "rldfn", "A.tif", "out.zarr", "--view-b", "B.tif", "-w", "published",
        "--psf-a", "psf_A.tif", "--psf-b", "psf_B.tif", "--as-original", "--tile", "12,24,16",
        *words,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = whole(tmp_path / "out.zarr")
    assert (made.dtype, made.shape) == (np.float32, arrays["view_A"].shape)
    planes, rows, columns = arrays[expected].shape
    kept = min(planes, len(made))
    np.testing.assert_allclose(
        made[:kept, :rows, :columns], arrays[expected][:kept], rtol=2e-4, atol=1e-4
    )
    assert not made[:, rows:].any()
    assert not made[:, :, columns:].any()


def test_the_bytes_do_not_depend_on_how_a_run_is_cut(fuse: Fuse, tmp_path: Path) -> None:
    """Blocks and memory; of tiles in batches the last digits may differ."""
    stores = []
    for number, words in enumerate(
        ((), ("--block", "12,12,12"), ("--block", "12,24,24", "-b", "1"), ("--memory", "80MiB"))
    ):
        made = fuse(f"{number}.zarr", *PREDICT, *SHARDS, *words)
        stores.append(without_names(tmp_path / f"{number}.zarr"))
    assert len(stores[0]) >= 4
    assert all(store == stores[0] for store in stores)
    np.testing.assert_allclose(fuse("b.npy", *PREDICT, "-b", "4"), made, rtol=1e-4)
    assert np.abs(fuse("c.npy", *PREDICT, "--margin", "8", "--tile", "4,28,28") - made).max() > 0


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_bytes(
    fuse: Fuse, here: Run, start: Start, tmp_path: Path
) -> None:
    """Kill -9 in the middle, twice; resumed with another block size."""
    for view, values in zip("ab", views_of((4, 12, 84)), strict=True):
        write_volume(tmp_path / f"{view}.tif", values)
    words = ("predict", "rldfn", "a.tif", "killed.zarr", "--view-b", "b.tif", *PREDICT, *SHARDS)
    ledger = tmp_path / "killed.zarr.partial" / "ledger.jsonl"
    moments = random.Random(0)
    for resume in ((), ("--resume",)):
        before = ledger.read_text().count("\n") if ledger.exists() else 1
        process = start(*words, "-q", "--device", "cpu", "--block", "12,12,12", *resume)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if ledger.exists() and ledger.read_text().count("\n") > before:
                break
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.1))
        process.kill()
        process.communicate()
        assert process.returncode == -signals.SIGKILL
    done = here(*words, "--device", "cpu", "--block", "12,24,24", "--resume")
    assert done.returncode == 0, done.stderr
    fuse("whole.zarr", *PREDICT, *SHARDS, "--device", "cpu")
    assert without_names(tmp_path / "killed.zarr") == without_names(tmp_path / "whole.zarr")


def test_time_points_are_fused_one_by_one(fuse: Fuse, tmp_path: Path) -> None:
    """Of a file with a t axis, and of folders of stacks: each is divided by its own maximum."""
    shape = (4, 8, 8)
    for view in range(2):
        name = "ab"[view]
        stacks = np.stack([views_of(shape, seed)[view] // (1 + seed) for seed in range(2)])
        write_volume(tmp_path / f"{name}_series.tif", stacks, axes="TZYX")
        for number, stack in enumerate(stacks):
            write_volume(tmp_path / f"{name}_folder" / f"t{number}.tif", stack)
    series = ("--chunk-shape", "4,8,8", *WEIGHTS, *PSFS, "--tile", "4,8,8", "--margin", "0")
    fuse("file.zarr", *series, a="a_series.tif", b="b_series.tif")
    fuse("folder.zarr", *series, a="a_folder", b="b_folder")
    for point in range(2):
        alone = fuse(
            f"{point}.npy", *series[2:], a=f"a_folder/t{point}.tif", b=f"b_folder/t{point}.tif"
        )
        for many in ("file.zarr", "folder.zarr"):
            np.testing.assert_array_equal(whole(tmp_path / many, timepoint=point), alone)
    one, other = (open_volume(tmp_path / many).header for many in ("file.zarr", "folder.zarr"))
    assert one.num_timepoints == other.num_timepoints == 2
    assert one.voxel_size == pytest.approx((VOXEL,) * 3, rel=1e-4)


def test_plain_deconvolution_needs_no_weights(fuse: Fuse, tmp_path: Path) -> None:
    """In one tile it is the published iteration with room around, in the units of the views."""
    shape, room = (12, 24, 20), 8
    views = [view.astype(np.float32) for view in views_of(shape)]
    for name, view in zip("ab", views, strict=True):
        np.save(tmp_path / f"{name}.npy", view)
    highest = [float(view.max()) for view in views]
    solver = DualViewDeconvolution(psf_of("a"), psf_of("b"), (28, 40, 36), "cpu")
    units = [
        torch.from_numpy(np.pad(view / high, room, mode="edge"))
        for view, high in zip(views, highest, strict=True)
    ]
    inner = (slice(room, -room),) * 3
    names = {"a": "a.npy", "b": "b.npy"}
    for words, iterations in (((), 3), (("--iterations", "5"), 5)):
        made = fuse(f"{iterations}.zarr", "--mode", "rl", *PSFS, *words, **names)
        expected = solver.restored(*units, iterations, normalised=False).numpy()[inner]
        np.testing.assert_allclose(made, expected * sum(highest) / 2, rtol=1e-4)
        made_by = read_provenance(tmp_path / f"{iterations}.zarr") or {}
        assert made_by["weights"] is None
    for name, view in zip("cd", views, strict=True):
        np.save(tmp_path / f"{name}.npy", view.astype(np.uint16))
    words = ("--mode", "rl", *PSFS, "--iterations", "5", "--dtype", "uint16")
    counts = fuse("counts.zarr", *words, a="c.npy", b="d.npy")
    np.testing.assert_array_equal(counts, np.rint(made.clip(0, 65535)).astype(np.uint16))
    words = ("--mode", "rl", "--values", "unit", *PSFS, "--iterations", "5")
    unit = fuse("unit.zarr", *words, **names)
    np.testing.assert_allclose(unit * sum(highest) / 2, made, rtol=1e-5)


def test_zarr_in_and_out_and_run_again(fuse: Fuse, here: Run, tmp_path: Path) -> None:
    """Voxels stay, the record tells what was used, and rerun gives the same bytes."""
    for view, values in zip("ab", views_of(), strict=True):
        write_zarr(tmp_path, view, values)
    made = fuse("out.zarr", *PREDICT, a="a.zarr", b="b.zarr")
    np.testing.assert_array_equal(made, fuse("out.npy", *PREDICT))
    header = open_volume(tmp_path / "out.zarr").header
    assert (header.shape, header.dtype) == (SHAPE, np.float32)
    assert header.voxel_size == pytest.approx((VOXEL,) * 3, rel=1e-4)
    record = read_provenance(tmp_path / "out.zarr") or {}
    assert record["method"] == "rldfn"
    assert record["settled"]["psf"] == "files"
    assert record["settled"]["normalize"] == "volume"
    assert set(record["files"]) == {"psf_a", "psf_b"}
    assert record["weights"]["name"] == "fusion"
    done = here("rerun", "out.zarr", "again.zarr")
    assert done.returncode == 0, done.stderr
    assert without_names(tmp_path / "again.zarr") == without_names(tmp_path / "out.zarr")
    write_fusion(tmp_path / "other", ["net_FB"])
    (tmp_path / "other" / "net_FB.pth").replace(tmp_path / "fusion" / "net_FA.pth")
    words = ("predict", "rldfn", "a.zarr", "out.zarr", "--view-b", "b.zarr", *PREDICT)
    assert "weights" in one_line(here(*words, "--resume"))


def test_a_dry_run_tells_what_is_settled_and_what_it_takes(
    files: None, here: Run, tmp_path: Path
) -> None:
    """As JSON, with bytes of the device; nothing is written."""
    plans = []
    large = ("--tile", "4,32,32", "--margin", "4")
    for words in ((*WEIGHTS, *PSFS, *large), (*WEIGHTS, *SMALL), ("--mode", "rl", *SMALL)):
        done = here(
            "predict", "rldfn", "a.tif", "out.zarr", "--view-b", "b.tif", *words, "--dry-run",
            "--json", "-q",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        plans.append(json.loads(done.stdout))
    assert all(plan["output_shape"] == list(SHAPE) for plan in plans)
    assert [plan["settled"]["psf"] for plan in plans] == ["files", "theoretical", "theoretical"]
    theory = plans[1]["settled"]
    assert (theory["tilt"], theory["size"]) == (30.8, 33)
    assert theory["voxel_size"] == pytest.approx(VOXEL, rel=1e-4)
    most, small, plain = (plan["network_memory_bytes"] for plan in plans)
    assert plain < small < most
    assert not list(tmp_path.glob("out.zarr*"))


@pytest.mark.parametrize("mode", ["network", "rl"])
def test_of_nothing_nothing_is_made(mode: str, fuse: Fuse, tmp_path: Path) -> None:
    """Views of zeros give zeros; a thin volume is no error either."""
    for view in "ab":
        write_volume(tmp_path / f"{view}.tif", np.zeros((3, 16, 16), np.uint16))
    weights = WEIGHTS if mode == "network" else ()
    assert not fuse("out.npy", "--mode", mode, *weights, *PSFS, *SMALL).any()
    for view, values in zip("ab", views_of((3, 16, 16)), strict=True):
        write_volume(tmp_path / f"{view}.tif", values)
    assert fuse("thin.npy", "--mode", mode, *weights, *PSFS, *SMALL).min() > 0


def test_doubts_are_told(files: None, here: Run, tmp_path: Path) -> None:
    """Swapped functions, those that tiles cut off, and those whose edges shift the result."""
    rng = np.random.default_rng(3)
    truth = np.where(rng.random((32, 24, 48)) > 0.995, 1.0, 0.0)
    words = ["predict", "rldfn", "a.tif", "out.zarr", "--view-b", "b.tif", "--mode", "rl"]
    words += ["--overwrite", "--margin", "0", "--tile"]
    for view in "ab":
        psf = psf_of(view, 21)
        blurred = signal.fftconvolve(truth, psf, mode="same").clip(0)
        write_volume(tmp_path / f"{view}.tif", (3e4 * blurred / blurred.max()).astype(np.uint16))
        tifffile.imwrite(tmp_path / f"odd_{view}.tif", psf_of(view, 15))
    right = here(*words, "32,24,48", *PSFS)
    assert right.returncode == 0, right.stderr
    assert "warning" not in right.stderr
    for names in (("b", "a"), ("a", "b")):
        swapped = names == ("b", "a")
        psfs = [f"psf_{name}.tif" for name in names]
        done = here(*words, "32,24,48", "--psf-a", psfs[0], "--psf-b", psfs[1])
        assert done.returncode == 0, done.stderr
        assert ("fit better with their point spread functions swapped" in done.stderr) == swapped
    off = here(*words, "32,24,48", "--psf-a", psfs[1], "--psf-b", psfs[0], "--no-check-orientation")
    assert "warning" not in off.stderr
    cut = here(*words, "32,4,4", *PSFS, "--no-check-orientation")
    assert cut.returncode == 0, cut.stderr
    assert "lie outside tiles of 48 x 4 x 4" in cut.stderr
    odd = ("--psf-a", "odd_a.tif", "--psf-b", "odd_b.tif", "--no-check-orientation")
    done = here(*words, "32,24,48", *odd)
    assert "odd_a.tif: of 15 x 15 x 15 voxels" in done.stderr
    done = here(*words, "32,24,48", *odd, "--centre-psf")
    assert "warning" not in done.stderr


OPTIONS = [
    (("--psf-a", "psf_a.tif"), "--psf-a psf_a.tif: the other view's is missing"),
    (("--psf-b", "psf_b.tif"), "expected --psf-a too"),
    ((*PSFS, "--fwhm-axial", "600"), "--fwhm-axial: has no effect"),
    ((*PSFS, "--iterations", "5"), "--iterations: is for --mode rl"),
    ((*PSFS, "--margin", "6"), "--margin 6: expected a multiple of 4"),
    (
        (*PREDICT, "--tile", "12,24,18", "--margin", "0"),
        "tile of 18 voxels along x: the network needs a multiple of 4",
    ),
    ((*PSFS, "--tile", "12,24,22", "--as-original"), "--tile 12,24,22: expected multiples of 4"),
    ((*PSFS, "--mode", "rl", "--normalize", "tile"), "--normalize tile: not for --mode rl"),
    (("--psf-a", "psf_a.tif", "--psf-b", "a.txt"), "a.txt"),
    (("--psf-size", "31"), "--psf-size 31: expected 4 k + 1"),
]


@pytest.mark.parametrize(("words", "error"), OPTIONS, ids=[" ".join(w[-2:]) for w, _ in OPTIONS])
def test_options_that_make_no_sense_get_one_line(
    words: tuple[str, ...], error: str, files: None, here: Run, tmp_path: Path
) -> None:
    """What was given, and what was expected; nothing is left behind."""
    done = here("predict", "rldfn", "a.tif", "bad.zarr", "--view-b", "b.tif", *WEIGHTS, *words)
    assert error in one_line(done)
    assert not list(tmp_path.glob("bad.zarr*"))


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the only line of an error."""
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.strip().splitlines() if "warning" not in line]
    (line,) = (line for line in errors if line.startswith("error: "))
    assert errors[-1] == line
    return line


def test_weights_of_something_else_get_one_line(here: Run, tmp_path: Path) -> None:
    """A part of what fuses, what only judges, another method's, and none."""
    write_all(tmp_path)
    shutil.copytree(tmp_path / "fusion", tmp_path / "lone")
    (tmp_path / "lone" / "net_G.pth").unlink()
    write_fusion(tmp_path / "judges", ["netD_A"])
    shutil.copy(tmp_path / "judges" / "netD_A.pth", tmp_path / "judge.pth")
    write_generator(tmp_path / "vsisr.pth")
    for name in ("mixed", "empty"):
        (tmp_path / name).mkdir()
    for name in ("net_FA", "net_G"):
        shutil.copy(tmp_path / "judge.pth", tmp_path / "mixed" / f"{name}.pth")
    for weights, error in (
        ("lone/net_FA.pth", "has no net_G.pth, only net_FA.pth"),
        ("judges/netD_A.pth", "weights of a discriminator, which only judges in training"),
        ("judge.pth", "weights of a discriminator"),
        ("mixed/net_G.pth", "weights of a discriminator by the name of net_FA"),
        ("vsisr.pth", "weights of another network"),
        ("lone", "has no net_G.pth, only net_FA.pth"),
        ("judges", "judges: has no net_FA.pth, only netD_A.pth"),
        ("empty", "empty: no networks of rldfn; expected net_FA.pth and net_G.pth in it"),
        ("none.pth", "none.pth: no such file"),
        ("rldfn/psf-a", "files of a microscope"),
    ):
        done = here("predict", "rldfn", "a.tif", "o.npy", "--view-b", "b.tif", "-w", weights, *PSFS)
        assert error in one_line(done), weights
    done = here("predict", "rldfn", "a.tif", "o.npy", "--view-b", "b.tif", *PSFS)
    assert "rldfn needs weights" in one_line(done)


def test_views_that_do_not_fit_get_one_line(files: None, here: Run, tmp_path: Path) -> None:
    """Other shapes, voxels that nobody tells, voxels that are no cubes or not the same."""
    a, b = views_of()
    np.save(tmp_path / "bare_a.npy", a)
    np.save(tmp_path / "bare_b.npy", b)
    write_volume(tmp_path / "short.tif", b[:-1])
    write_volume(tmp_path / "coarse.tif", b, nm=92.6)
    for name, values in (("flat_a", a), ("flat_b", b)):
        tifffile.imwrite(
            tmp_path / f"{name}.tif",
            values,
            imagej=True,
            resolution=(1e3 / VOXEL, 1e3 / VOXEL),
            metadata={"axes": "ZYX", "unit": "um", "spacing": 0.0926},
        )
    for first, second, error in (
        ("a.tif", "short.tif", "shape (3,"),
        ("bare_a.npy", "bare_b.npy", "--voxel-size: missing, and the views do not tell theirs"),
        ("flat_a.tif", "flat_b.tif", "expected cubes, such as vemctl prepare rldfn makes"),
        ("a.tif", "coarse.tif", "the voxels of the views differ"),
    ):
        words = ("predict", "rldfn", first, "out.npy", "--view-b", second, *WEIGHTS, *SMALL)
        assert error in one_line(here(*words)), first
    words = ("predict", "rldfn", "bare_a.npy", "out.npy", "--view-b", "bare_b.npy", "--mode", "rl")
    done = here(*words, "--voxel-size", "61.73")
    assert done.returncode == 0, done.stderr
