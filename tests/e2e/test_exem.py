"""exem from the command line: the published program's volume, and a run from data to use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from parity import load_fixture
from safetensors.torch import load_file

from e2e.conftest import Run
from vemctl.volumes.open import open_volume
from vemctl.volumes.provenance import read_provenance

SMALL = ("--generator-channels", "4,4,8,8,16", "--discriminator-filters", "4", "--patch", "2,32,32")
DATA = ("--lm", "lm.npy", "--em", "em.npy")


def shades(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return grey values of all groups."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(autouse=True)
def volumes(tmp_path: Path) -> None:
    """Write a volume of each kind, of different types and shapes."""
    np.save(tmp_path / "lm.npy", shades((8, 40, 48), 1).astype(np.uint16) * 257)
    np.save(tmp_path / "em.npy", shades((7, 48, 33), 2))
    np.save(tmp_path / "thin.npy", shades((1, 48, 33), 3))


@pytest.fixture
def run(here: Run) -> str:
    """Train two steps, and return the folder of the run."""
    done = here("train", "exem", *DATA, *SMALL, "--steps", "2", "-o", "run", "-q")
    assert done.returncode == 0, done.stderr
    return "run"


def whole(path: Path) -> np.ndarray:
    """Read a volume."""
    volume = open_volume(path)
    z, y, x = (slice(0, n) for n in volume.header.shape)
    return volume.read((z, y, x))


@pytest.mark.slow
def test_a_region_equals_the_originals(here: Run, tmp_path: Path) -> None:
    """`--as-original` gives the published program's floats to 1e-4, of a Zarr array."""
    import zarr

    _, arrays, state = load_fixture("exem_tiled")
    zarr.create_array(tmp_path / "volume.zarr", data=arrays["volume"], chunks=(4, 32, 32))
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "G_AB_6000.pth")
    done = here(
        "predict", "exem", "volume.zarr", "out.zarr", "-w", "G_AB_6000.pth", "--as-original",
        "--tile", "4,32,32", "--overlap", "2,16,16", "--roi", "1:8,0:57,5:70",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = whole(tmp_path / "out.zarr")
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, arrays["result"], atol=1e-4)


def test_a_run_is_trained_and_used(here: Run, run: str, tmp_path: Path) -> None:
    """Both directions, in the types asked for; the tile is the patch unless another is named."""
    for name, words in (
        ("lm16", ("lm.npy",)),
        ("lm8", ("lm.npy", "--dtype", "uint8")),
        ("raw", ("lm.npy", "--dtype", "float32")),
        ("back", ("em.npy", "--direction", "em-to-lm")),
        ("thin", ("thin.npy", "--direction", "em-to-lm", "--overlap", "0,8,8")),
    ):
        done = here("predict", "exem", words[0], f"{name}.zarr", "-w", run, "-q", *words[1:])
        assert done.returncode == 0, done.stderr
        assert "warning" not in done.stderr
    raw = whole(tmp_path / "raw.zarr")
    assert raw.std() > 0
    wide, narrow = whole(tmp_path / "lm16.zarr"), whole(tmp_path / "lm8.zarr")
    assert (wide.dtype, narrow.dtype) == (np.uint16, np.uint8)
    np.testing.assert_array_equal(narrow, np.rint(np.clip(raw * np.float32(255), 0, 255)))
    np.testing.assert_array_equal(wide, np.rint(np.clip(raw * np.float32(65535), 0, 65535)))
    assert whole(tmp_path / "back.zarr").shape == (7, 48, 33)
    assert whole(tmp_path / "thin.zarr").shape == (1, 48, 33)
    made_by = read_provenance(tmp_path / "lm8.zarr") or {}
    assert made_by["method"] == "exem"
    other = here("predict", "exem", "em.npy", "other.zarr", "-w", run, "--tile", "2,48,32")
    assert other.returncode == 0
    assert "trained on patches of 2,32,32" in other.stderr


def test_a_stopped_training_continues_as_if_it_had_not_been(here: Run, tmp_path: Path) -> None:
    """With a replay buffer, a schedule and two micro-batches: the very weights and metrics."""
    words = (
        "train", "exem", *DATA, *SMALL, "-b", "2", "--accumulate", "2", "--replay-buffer", "2",
        "--rate-schedule", "cosine-restarts", "--restart-steps", "3", "--validate-every", "2",
        "--log-every", "1", "--sampling", "original", "--checkpointing",
    )  # fmt: skip
    assert here(*words, "--steps", "4", "-o", "whole", "-q").returncode == 0
    assert here(*words, "--steps", "2", "-o", "parts", "-q").returncode == 0
    done = here(*words, "--steps", "4", "-o", "parts", "--resume", "-q")
    assert done.returncode == 0, done.stderr
    for name in ("metrics.csv", "checkpoints/last.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    assert not (tmp_path / "whole" / "checkpoints" / "best.safetensors").exists()
    head = (tmp_path / "whole" / "metrics.csv").read_text().splitlines()[0]
    assert {"loss", "D_A", "content_B3", "val_polarity", "lr_G"} <= set(head.split(","))


def test_ranges_of_the_training_are_never_guessed(here: Run, tmp_path: Path) -> None:
    """Of several a prediction asks for one, and a finetuning says what it does otherwise."""
    done = here("train", "exem", *DATA, "--lm", "em.npy", "--lm-range", "0,65535",
                "--lm-range", "9,200", "--em-range", "1%,99%", *SMALL, "--steps", "1",
                "-o", "several", "-q")  # fmt: skip
    assert done.returncode == 0, done.stderr
    words = ("predict", "exem", "lm.npy", "out.npy", "-w", "several")
    asked = here(*words)
    assert asked.returncode == 2
    assert (
        "LM volumes with ranges of their own; say which this one has: --input-range"
        in (asked.stderr.strip().splitlines()[-1])
    )
    assert not (tmp_path / "out.npy").exists()
    assert here(*words, "--input-range", "0,65535", "-q").returncode == 0
    tuned = here("finetune", "exem", *DATA, "--patch", "2,32,32", "--steps", "1",
                 "-w", "several", "-o", "tuned")  # fmt: skip
    assert tuned.returncode == 0, tuned.stderr
    assert "LM volumes are scaled by dtype, those that" in tuned.stderr
    assert "trained on by a range for each volume; --lm-range" in tuned.stderr
    assert "trained on by 1%,99%; --em-range" in tuned.stderr


def test_the_published_programs_files_come_and_go(here: Run, run: str, tmp_path: Path) -> None:
    """A run becomes one file for each network, and these become one file again."""
    done = here("weights", "import", run, "saved", "--method", "exem", "--layout", "original")
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "saved").iterdir())
    assert names == ["D_A_2.pth", "D_B_2.pth", "G_AB_2.pth", "G_BA_2.pth"]
    back = here("weights", "import", "saved@2", "all.safetensors", "--method", "exem", "--json")
    assert json.loads(back.stdout)["network"]["networks"] == ["G_AB", "G_BA", "D_A", "D_B"]
    ours = load_file(tmp_path / run / "checkpoints" / "last.safetensors")
    theirs = load_file(tmp_path / "all.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    for direction, file in (("lm-to-em", "G_AB_2.pth"), ("em-to-lm", "G_BA_2.pth")):
        outputs = []
        for number, weights in enumerate((f"saved/{file}", "all.safetensors")):
            output = f"{direction}{number}.npy"
            done = here("predict", "exem", "em.npy", output, "-w", weights, "--tile", "2,32,32",
                        "--direction", direction, "-q")  # fmt: skip
            assert done.returncode == 0, done.stderr
            outputs.append(np.load(tmp_path / output))
        np.testing.assert_array_equal(*outputs)


def test_finetuning_takes_what_is_there(here: Run, run: str, tmp_path: Path) -> None:
    """All networks of a run; of a single published file that one, and a warning names the rest."""
    assert here("weights", "import", run, "saved", "--method", "exem",
                "--layout", "original").returncode == 0  # fmt: skip
    ours = ("finetune", "exem", *DATA, "--patch", "2,32,32", "--learning-rate", "0", "--steps", "1")
    done = here(*ours, "-w", run, "-o", "tuned")
    assert done.returncode == 0, done.stderr
    assert "begin anew" not in done.stderr
    before = load_file(tmp_path / run / "checkpoints" / "last.safetensors")
    after = load_file(tmp_path / "tuned" / "checkpoints" / "last.safetensors")
    assert all(torch.equal(before[key], after[key]) for key in before)
    part = here(*ours, "-w", "saved/G_AB_2.pth", "--discriminator-filters", "4", "-o", "part")
    assert part.returncode == 0, part.stderr
    assert "G_AB_2.pth: without G_BA, D_A, D_B, which begin anew" in part.stderr
    after = load_file(tmp_path / "part" / "checkpoints" / "last.safetensors")
    same = {key for key in before if torch.equal(before[key], after[key])}
    assert {key for key in before if key.startswith("G_AB.")} <= same
    assert any(key.startswith("G_BA.") and key not in same for key in before)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("lm.npy",), "lm.npy: of which kind is it?"),
        (("--lm", "lm.npy"), "no volumes for --em"),
        ((*DATA, "--patch", "2,40,32"), "--patch 2,40,32: expected multiples of 16"),
        ((*DATA, "--patch", "2,16,32"), "need at least 32"),
        ((*DATA, "--patch", "2,32,48"), "em.npy: its shape 7 x 48 x 33 is smaller than the patch"),
        ((*DATA, "--lm-range", "9,3"), "--lm-range 9,3: expected the lower end first"),
        ((*DATA, "--em-range", "dtype", "--em-range", "0,1"), "2 times --em-range for 1 volumes"),
        ((*DATA, "--generator-channels", "4,4,8,8,24"), "24 channels have no groups"),
        ((*DATA, "--validation-lm", "lm.npy"), "expected some of both, or none"),
        ((*DATA, "--patience", "3"), "--patience: this training has no score"),
        (("--lm", "none.npy", "--em", "em.npy"), "none.npy"),
    ],
)
def test_bad_input_gets_one_line(words, error: str, here: Run, tmp_path: Path) -> None:
    """What, where, what was expected, how to mend it; and nothing is left behind."""
    small = SMALL[:4] if "--generator-channels" not in words else SMALL[2:4]
    patch = () if "--patch" in words else SMALL[4:]
    done = here("train", "exem", *words, *small, *patch, "--steps", "1", "-o", "bad")
    assert done.returncode == 2, done.stderr
    last = [line for line in done.stderr.strip().splitlines() if line.startswith("error: ")]
    assert len(last) == 1
    assert error in last[0]
    assert not (tmp_path / "bad").exists()
