"""pssr from the command line: the published programs' results, and runs from data to use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from parity import load_fixture

from e2e.conftest import Run
from vemctl.nn.own_weights import write_weights
from vemctl.samples import synthetic_em
from vemctl.volumes.open import open_volume
from vemctl.volumes.provenance import read_provenance

EXPORT = Path(__file__).parent.parent / "assets" / "pssr_export"
SMALL = (
    "--encoder", "wnresnet18", "--width", "4", "--patch", "1,16,16", "-b", "2",
    "--validation-samples", "2",
)  # fmt: skip


@pytest.fixture(scope="module")
def tissue() -> np.ndarray:
    """Return clean synthetic tissue."""
    return synthetic_em((6, 160, 176), seed=3)


@pytest.fixture(autouse=True)
def images(tmp_path: Path, tissue: np.ndarray) -> None:
    """Write good images, as a stack and as single ones, and a poor one."""
    np.save(tmp_path / "good.npy", tissue)
    (tmp_path / "many").mkdir()
    for number, plane in enumerate(tissue):
        np.save(tmp_path / "many" / f"{'abcdef'[number]}.npy", plane[None, :128, : 128 + number])
    write_tiff(tmp_path / "poor.tif", tissue[:3, ::4, ::4])


def write_tiff(path: Path, values: np.ndarray, axes: str = "ZYX") -> None:
    """Write a TIFF of 8 nm pixels."""
    tifffile.imwrite(
        path,
        values,
        imagej=True,
        resolution=(125, 125),
        metadata={"axes": axes, "unit": "um", "spacing": 0.03},
    )


def whole(path: Path, **where: int) -> np.ndarray:
    """Read a volume."""
    volume = open_volume(path)
    z, y, x = (slice(0, n) for n in volume.header.shape)
    return volume.read((z, y, x), **where)


def published(tmp_path: Path, name: str) -> tuple[dict[str, np.ndarray], Path]:
    """Write a fixture's weights with what its export tells; return its arrays and their path."""
    spec, arrays, tensors = load_fixture(name)
    told = spec["params"]
    means, stds = (
        told[key] if isinstance(told[key], list) else [told[key]] for key in ("mean", "std")
    )
    facts = {
        "normalisation": {"mean": means, "std": stds, "input": True, "target": True},
        "tile": {"input": told["x_size"], "target": told["size"]},
        "classes": {"input": "fastai.vision.image.ImageImageList", "target": ""},
    }
    path = tmp_path / f"{name}.safetensors"
    write_weights(path, tensors, facts)
    return arrays, path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "result"), [("pssr_pipeline", "result8"), ("pssr_pipeline_em", "result16")]
)
def test_stacks_become_what_the_published_programs_write(
    name: str, result: str, here: Run, tmp_path: Path
) -> None:
    """`--as-original` gives the script's 8 bit and the notebook's 16 bit, to one grey level."""
    arrays, weights = published(tmp_path, name)
    write_tiff(tmp_path / "in.tif", arrays["volume"])
    done = here("predict", "pssr", "in.tif", "out.tif", "-w", weights, "--as-original", "-q")
    assert done.returncode == 0, done.stderr
    made, expected = (
        whole(tmp_path / "out.tif"),
        arrays[result].reshape(-1, *arrays[result].shape[-2:]),
    )
    assert made.dtype == expected.dtype
    difference = np.abs(made.astype(int) - expected)
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.01


def test_a_real_export_gives_what_it_gave(here: Run, tmp_path: Path) -> None:
    """Read without executing it; straight through the network, and in the input's units."""
    with np.load(EXPORT / "small_export_check.npz") as stored:
        image, expected = stored["input"], stored["prediction"]
    np.save(tmp_path / "image.npy", image.astype(np.float32))
    done = here(
        "predict", "pssr", "image.npy", "out.npy", "-w", EXPORT / "small_export.pkl",
        "--resample", "direct", "--scale-range", "0,1", "-q",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    np.testing.assert_allclose(whole(tmp_path / "out.npy"), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("tiling", [(), ("--tiling", "even", "--overlap", "0,2,2")])
def test_size_units_and_place_of_the_result(
    tiling: tuple[str, ...], here: Run, tmp_path: Path
) -> None:
    """Four times the pixels of a quarter of the size; values of the input's range and type."""
    done = here(
        "predict", "pssr", "poor.tif", "out.zarr", "-w", EXPORT / "small_export.pkl", *tiling
    )
    assert done.returncode == 0, done.stderr
    volume = open_volume(tmp_path / "out.zarr")
    assert volume.header.shape == (3, 160, 176)
    assert volume.header.dtype == np.uint8
    assert volume.header.voxel_size[1:] == (2, 2)
    assert volume.header.translation[1:] == (-3, -3)
    again = here(
        "predict", "pssr", "poor.tif", "cut.zarr", "-w", EXPORT / "small_export.pkl", *tiling,
        "--chunk-shape", "1,32,32", "--shard-shape", "1,64,64", "--block", "1,64,64", "-q",
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    np.testing.assert_array_equal(whole(tmp_path / "cut.zarr"), whole(tmp_path / "out.zarr"))


def test_a_run_is_trained_and_used(here: Run, tmp_path: Path) -> None:
    """From good images alone; its tile, range and pixels are those of the training."""
    done = here("train", "pssr", "good.npy", *SMALL, "--steps", "2", "-o", "run", "-q")
    assert done.returncode == 0, done.stderr
    made = here("predict", "pssr", "poor.tif", "out.zarr", "-w", "run", "--json")
    assert made.returncode == 0, made.stderr
    assert "warning" not in made.stderr
    plan = json.loads(made.stdout)["plan"]
    assert plan["tile_shape"] == [1, 18, 18]
    settled = (read_provenance(tmp_path / "out.zarr") or {})["settled"]
    assert (settled["resample"], settled["tiling"]) == ("direct", "even")
    assert (settled["tile"], settled["range"]) == ([1, 16, 16], "dtype")
    assert whole(tmp_path / "out.zarr").shape == (3, 160, 176)
    better = here(
        "finetune", "pssr", "--hr", "many", "-w", "run", "--patch", "1,16,16", "-b", "2",
        "--steps", "1", "-o", "more", "-q",
    )  # fmt: skip
    assert better.returncode == 0, better.stderr
    out = here("weights", "import", "more", "more.pth", "--method", "pssr", "--layout", "original")
    assert out.returncode == 0, out.stderr
    lacking = here("predict", "pssr", "poor.tif", "other.zarr", "-w", "more.pth")
    assert lacking.returncode == 2
    assert "--mean and --std" in lacking.stderr
    named = here(
        "predict", "pssr", "poor.tif", "other.zarr", "-w", "more.pth", "--mean", "0.5",
        "--std", "0.2", "--tile", "1,16,16", "-q",
    )  # fmt: skip
    assert named.returncode == 0, named.stderr


def test_a_stopped_training_continues_as_if_it_had_not_been(here: Run, tmp_path: Path) -> None:
    """The cycle, both moments, the sums of the batch normalisations: the very weights."""
    words = ("train", "pssr", "many", *SMALL, "--steps", "3", "--validate-every", "1",
             "--log-every", "1", "--accumulate", "1")  # fmt: skip
    assert here(*words, "-o", "whole", "-q").returncode == 0
    assert here(*words, "-o", "parts", "--minutes", "0.00001", "-q").returncode == 0
    done = here(*words, "-o", "parts", "--resume", "-q")
    assert done.returncode == 0, done.stderr
    for name in ("metrics.csv", "checkpoints/last.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_a_prepared_set_is_trained_on_and_pairs_are(
    here: Run, tmp_path: Path, tissue: np.ndarray
) -> None:
    """Three frames along z, written and read back; then real pairs of two sizes."""
    done = here(
        "prepare", "pssr", "good.npy", "set", "--frames", "3", "--size", "64", "--num-train", "5",
        "--num-valid", "0", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"] == {"train": 5, "valid": 0}
    assert whole(tmp_path / "set" / "train" / "lr.zarr").shape == (15, 16, 16)
    trained = here("train", "pssr", "set", *SMALL, "--steps", "1", "-o", "three", "-q")
    assert trained.returncode == 0, trained.stderr
    used = here("predict", "pssr", "poor.tif", "out.zarr", "-w", "three", "-q")
    assert used.returncode == 0, used.stderr
    np.save(tmp_path / "poor.npy", tissue[:, ::4, ::4])
    paired = here(
        "train", "pssr", "--lr", "poor.npy", "--hr", "good.npy", *SMALL, "--steps", "1", "-o", "p",
        "-q",
    )  # fmt: skip
    assert paired.returncode == 0, paired.stderr


def test_frames_over_time_keep_their_number_or_lose_the_ends(here: Run, tmp_path: Path) -> None:
    """A time lapse through weights for three frames: as long as it was, or as published."""
    movie = np.random.default_rng(0).integers(0, 255, (5, 20, 24), dtype=np.uint8)
    write_tiff(tmp_path / "movie.tif", movie, "TYX")
    write_tiff(tmp_path / "stack.tif", movie)
    larger = np.random.default_rng(0).integers(0, 255, (5, 64, 64), dtype=np.uint8)
    write_tiff(tmp_path / "larger.tif", larger, "TYX")
    done = here(
        "train", "pssr", "larger.tif", "--validation-hr", "larger.tif", "--frames", "3", *SMALL,
        "--steps", "1", "-o", "run", "-q",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name, words in (("t", ()), ("z", ("--frames", "z"))):
        source = "movie.tif" if name == "t" else "stack.tif"
        done = here("predict", "pssr", source, f"{name}.zarr", "-w", "run", *words, "-q")
        assert done.returncode == 0, done.stderr
    over_time = np.concatenate([whole(tmp_path / "t.zarr", timepoint=t) for t in range(5)])
    np.testing.assert_array_equal(over_time, whole(tmp_path / "z.zarr"))
    done = here("predict", "pssr", "movie.tif", "o.zarr", "-w", "run", "--as-original", "-q")
    assert done.returncode == 0, done.stderr
    assert open_volume(tmp_path / "o.zarr").header.num_timepoints == 3


BAD = [
    (("rgb.tif",), "convert it to grey values"),
    (("negative.npy",), "--scale-range -0.5,HIGH"),
    (("line.npy",), "at least 2 x 2"),
    (("poor.tif", "--tiling", "original", "--resample", "direct"), "leave one of them out"),
    (("poor.tif", "--as-original", "--overlap", "0,4,4"), "no such option"),
    (("poor.tif", "--mean", "0.1"), "--mean and --std belong together"),
]


@pytest.mark.parametrize(("words", "cure"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_gets_one_line(
    words: tuple[str, ...], cure: str, here: Run, tmp_path: Path
) -> None:
    """What, where, what was expected, and how to mend it; nothing is written."""
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((40, 48, 3), np.uint8), photometric="rgb")
    np.save(tmp_path / "negative.npy", np.full((1, 20, 20), -0.5, np.float32))
    np.save(tmp_path / "line.npy", np.ones((1, 1, 40), np.uint8))
    done = here("predict", "pssr", *words, "out.zarr", "-w", EXPORT / "small_export.pkl", "-q")
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0
    assert cure in done.stderr
    assert not (tmp_path / "out.zarr").exists()
    assert not list(tmp_path.glob("*.partial"))


BAD_TRAINING = [
    (("good.npy", "--crappifier", "em_Ag"), "em_AG"),
    (("good.npy", "--crappifier", "em_AG_P_D_001"), "cannot run"),
    (("good.npy", "--frames", "2"), "an odd number"),
    (("good.npy", "--lr-range", "0,9"), "--lr-range without --lr"),
    (("good.npy", "--frames", "9"), "expected"),
    (("--lr", "good.npy", "--hr", "good.npy"), "6 x 640 x 704"),
    (("good.npy", "--patch", "1,16,24"), "as many pixels along y as along x"),
    (("good.npy", "--loss", "1*PSNR"), "--loss"),
    (("good.npy", "-b", "1"), "at least 2 samples"),
    (("good.npy", "--hr-range", "slice"), "one range for a volume"),
    (("good.npy", "--crappifier", "no_crap", "--noise-level", "1"), "no such noise"),
]


@pytest.mark.parametrize(
    ("words", "cure"), BAD_TRAINING, ids=[" ".join(words) for words, _ in BAD_TRAINING]
)
def test_bad_training_gets_one_line(
    words: tuple[str, ...], cure: str, here: Run, tmp_path: Path
) -> None:
    """Before a step is made; no run is left."""
    done = here("train", "pssr", *words, "--width", "4", "--steps", "1", "-o", "run", "-q")
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0
    assert cure in done.stderr
    assert not (tmp_path / "run").exists()


def test_other_networks_are_told_apart(here: Run, tmp_path: Path) -> None:
    """Weights of the successor, and of something else, are refused by name."""
    import torch

    for name, key in (("successor", "encoder.0.weight"), ("other", "conv.weight")):
        torch.save({key: torch.zeros(1)}, tmp_path / f"{name}.pth")
        done = here("predict", "pssr", "poor.tif", "out.zarr", "-w", f"{name}.pth")
        assert done.returncode == 2
        assert done.stderr.strip().count("\n") == 0
        assert ("PSSR2" in done.stderr) == (name == "successor")
