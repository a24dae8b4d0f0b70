"""A stranger's wheel: built, installed, listed, and used like a method of our own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from vemctl import registry
from vemctl.__main__ import main
from vemctl.volumes.open import open_volume

SAMPLE = Path(__file__).parents[1] / "assets" / "vemctl-echo"
VOLUME = np.random.default_rng(7).integers(0, 200, (13, 40, 52), dtype=np.uint8)
SHOW_TORCH = (
    "import sys\nfrom vemctl.__main__ import main\n"
    "code = main(sys.argv[1:])\nprint('torch' in sys.modules)\nsys.exit(code)"
)


def python(*words: str, path: Path | None = None, folder: Path) -> tuple[int, str, str]:
    """Run Python in a process of its own, in `folder` and with `path` in front of its modules."""
    done = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "COLUMNS": "120", **({"PYTHONPATH": str(path)} if path else {})},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sample's wheel and install it into a folder of its own; nothing is fetched."""
    folder = tmp_path_factory.mktemp("echo")
    source, target = folder / "source", folder / "site"
    shutil.copytree(SAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", "*.dist-info"))
    code, _, error = python("-m", "hatchling", "build", "-t", "wheel", folder=source)
    assert code == 0, error
    (wheel,) = (source / "dist").glob("*.whl")
    pip = ["-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--no-index"]
    code, _, error = python(*pip, "--target", str(target), str(wheel), folder=folder)
    assert code == 0, error
    return target


@pytest.fixture
def with_echo(installed: Path, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs vemctl in a fresh process that has the sample installed."""
    np.save(tmp_path / "in.npy", VOLUME)

    def run(*words: str) -> tuple[int, str, str]:
        return python("-m", "vemctl", *words, path=installed, folder=tmp_path)

    return run


@pytest.fixture
def here(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the installed sample known to this process."""
    monkeypatch.syspath_prepend(str(installed))
    registry.method_entry_points.cache_clear()
    yield
    registry.method_entry_points.cache_clear()


def read(path: Path) -> np.ndarray:
    """Return the whole volume at `path`."""
    volume = open_volume(path)
    z, y, x = (slice(0, n) for n in volume.header.shape)
    values = volume.read((z, y, x))
    volume.close()
    return values


def test_the_method_is_listed_with_its_distribution(with_echo):
    """`vemctl methods` says which package brings it, beside our own."""
    code, out, error = with_echo("methods", "--json")
    assert code == 0, error
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["echo"]["usable"]
    assert rows["echo"]["distribution"] == "vemctl-echo 0.1.0"
    assert "denoise" in rows


def test_the_method_is_a_sub_command(with_echo):
    """`vemctl predict --help` shows it."""
    code, out, error = with_echo("predict", "--help")
    assert code == 0, error
    assert "echo" in out
    assert "from vemctl-echo 0.1.0" in out


def test_its_options_are_flags_and_its_help_loads_no_torch(installed, tmp_path):
    """The help shows ranges, choices and defaults, from a module that is light."""
    code, out, error = python(
        "-c", SHOW_TORCH, "predict", "echo", "--help", path=installed, folder=tmp_path
    )
    assert code == 0, error
    text = " ".join(out.split())
    assert text.endswith("False")
    for words in ("--gain NUMBER [0<=x<=16] Factor on every voxel.", "--offset", "none|box"):
        assert words in text


def test_it_restores_a_volume_and_the_run_can_be_repeated(with_echo, tmp_path):
    """Voxels are those of the method, clipped to the type; `rerun` needs the output alone."""
    code, _, error = with_echo("predict", "echo", "in.npy", "out.zarr", "--gain", "2", "-q")
    assert code == 0, error
    expected = np.clip(VOLUME.astype(int) * 2, 0, 255)
    np.testing.assert_array_equal(read(tmp_path / "out.zarr"), expected)
    code, _, error = with_echo("rerun", "out.zarr", "again.zarr", "-q")
    assert code == 0, error
    np.testing.assert_array_equal(read(tmp_path / "again.zarr"), expected)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--gain", "20"], "--gain is '20', expected a number from 0 to 16"),
        (["--as-original"], "echo has no original program; leave it out"),
        (["--smooth", "box", "--tile", "2,64,64"], "is all halo"),
    ],
)
def test_an_unusable_option_is_one_line(here, flags, words, tmp_path, capsys):
    """Whether the core or the method refuses: exit code 2, one line, and no output."""
    source, output = tmp_path / "in.npy", tmp_path / "out.npy"
    np.save(source, VOLUME)
    assert main(["predict", "echo", str(source), str(output), *flags]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not output.exists()


@pytest.mark.parametrize(
    "cut",
    [
        [],
        ["--tile", "8,20,24"],
        ["--tile", "8,20,24", "--batch", "3"],
        ["--tile", "8,20,24", "--overlap", "2,4,6", "--blend", "linear"],
        ["--tile", "8,20,24", "--shard-shape", "4,16,16", "--chunk-shape", "4,16,16",
         "--block", "4,32,16"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_the_cut_makes_no_difference(here, cut, tmp_path):
    """Tiles, batches and blocks of any shape give what a filter of the whole volume gives."""
    source, output = tmp_path / "in.npy", tmp_path / "out.npy"
    np.save(source, VOLUME)
    assert main(["predict", "echo", str(source), str(output), "--smooth", "box", "-q", *cut]) == 0
    mean = uniform_filter(VOLUME.astype(np.float64), size=3, mode="nearest")
    np.testing.assert_array_equal(np.load(output), np.rint(mean))
