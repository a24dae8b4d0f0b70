"""Everything that users get wrong: one line that cures, exit code 2, nothing written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import zarr

from e2e.conftest import Start
from e2e.processes import with_faults
from vemctl.__main__ import main

TILE = ("--tile", "5,16,16")
Make = Callable[[Path], Path]


def array(path: Path, values: np.ndarray) -> Path:
    np.save(path, values)
    return path


def good(folder: Path, shape: tuple[int, ...] = (5, 20, 20), dtype: str = "uint8") -> Path:
    return array(folder / "in.npy", np.full(shape, 7, dtype))


def truncated_tiff(folder: Path) -> Path:
    path = folder / "in.tif"
    tifffile.imwrite(path, np.zeros((8, 64, 64), np.uint8), imagej=True)
    path.write_bytes(path.read_bytes()[:9000])
    return path


def truncated_mrc(folder: Path) -> Path:
    import mrcfile

    path = folder / "in.mrc"
    with mrcfile.new(path) as file:
        file.set_data(np.zeros((8, 64, 64), np.int16))
    path.write_bytes(path.read_bytes()[:9000])
    return path


def torn_chunk(folder: Path) -> Path:
    path = folder / "in.zarr"
    stored = zarr.create_array(
        path, shape=(5, 20, 20), chunks=(5, 20, 20), dtype="uint8", fill_value=0
    )
    stored[:] = np.random.default_rng(0).integers(0, 256, (5, 20, 20), dtype=np.uint8)
    chunk = next(p for p in (path / "c").rglob("*") if p.is_file())
    chunk.write_bytes(chunk.read_bytes()[:50])
    return path


def not_a_number(folder: Path) -> Path:
    values = np.zeros((5, 20, 20), np.float32)
    values[2, 3, 4] = np.nan
    return array(folder / "in.npy", values)


def folder_of_text(folder: Path) -> Path:
    (folder / "in").mkdir()
    (folder / "in" / "notes.txt").write_text("no volume")
    return folder / "in"


INPUTS: dict[str, tuple[Make, str]] = {
    "missing file": (lambda f: f / "absent.tif", "absent.tif"),
    "directory that is no volume": (folder_of_text, "in"),
    "truncated TIFF": (truncated_tiff, "truncated"),
    "truncated MRC": (truncated_mrc, "9000 bytes"),
    "truncated Zarr chunk": (torn_chunk, "in.zarr"),
    "complex": (lambda f: good(f, dtype="complex64"), "complex"),
    "four axes without names": (lambda f: good(f, (2, 5, 20, 20)), "--axes czyx"),
    "five axes without names": (lambda f: good(f, (2, 2, 5, 20, 20)), "--axes tczyx"),
    "empty axis": (lambda f: good(f, (0, 20, 20)), "axis of length 0"),
    "not a number": (not_a_number, "--nan-to-num"),
}


@pytest.fixture
def refused(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Return a function that runs predict, checks the manners, and returns the one line."""

    def run(source: Path, *words: str, output: Path | None = None, weights: object = None) -> str:
        there = sorted(tmp_path.rglob("*"))
        target = output or tmp_path / "out.zarr"
        arguments = ["predict", "denoise", source, target, "-w", weights or checkpoint, *TILE]
        code = main([*map(str, arguments), *words])
        lines = capsys.readouterr().err.strip().splitlines()
        assert code == 2
        errors = [line for line in lines if line.startswith("error: ")]
        assert len(errors) == 1
        assert lines[-1] == errors[0]
        assert not any("Traceback" in line for line in lines)
        assert sorted(tmp_path.rglob("*")) == there, "something was written"
        return errors[0]

    return run


@pytest.mark.parametrize("case", INPUTS)
def test_an_unusable_input_is_refused(
    case: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    """The line names what is wrong with the input, or the flag that cures it."""
    make, words = INPUTS[case]
    assert words in refused(make(tmp_path))


def test_nan_is_accepted_when_asked_for(tmp_path: Path, checkpoint: Path) -> None:
    """`--nan-to-num` restores a volume with holes."""
    source = not_a_number(tmp_path)
    words = ["predict", "denoise", source, tmp_path / "out.npy", "-w", checkpoint, *TILE]
    assert main([*map(str, words), "--nan-to-num"]) == 0
    assert np.isfinite(np.load(tmp_path / "out.npy")).all()


def test_an_existing_output_is_kept(tmp_path: Path, refused: Callable[..., str]) -> None:
    """Without --overwrite an output that exists is not touched."""
    (tmp_path / "out.npy").write_bytes(b"precious")
    assert "--overwrite" in refused(good(tmp_path), output=tmp_path / "out.npy")
    assert (tmp_path / "out.npy").read_bytes() == b"precious"


def test_the_output_must_not_lie_in_the_input(tmp_path: Path, refused: Callable[..., str]) -> None:
    """An output inside the input's folder would change the input."""
    source = tmp_path / "in.zarr"
    zarr.create_array(source, shape=(5, 20, 20), dtype="uint8")[:] = 1
    assert "inside" in refused(source, output=source / "out.zarr")


def test_an_unknown_suffix_names_the_known_ones(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    """An output's suffix decides on its format."""
    assert ".zarr" in refused(good(tmp_path), output=tmp_path / "out.jpg")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--device", "cuda"), "--device cuda"),
        (("--device", "tpu"), "expected auto, cpu"),
        (("--roi", "0:9,0:5,0:5"), "axis z"),
        (("--roi", "0:9"), "Z0:Z1,Y0:Y1,X0:X1"),
        (("--channel", "3"), "has 1 channel"),
        (("--level", "2"), "level"),
        (("--dtype", "float8"), "uint16"),
        (("--memory", "lots"), "2GiB"),
        (("--memory", "1KB"), "--shard-shape"),
        (("--precision", "fp8"), "fp16"),
        (("--tile", "5,18,16"), "multiple of 4"),
        (("--tile", "5,16"), "--tile"),
        (("--tile", "5,16,16", "--overlap", "1,16,1"), "--overlap"),
        (("--low", "9", "--high", "3"), "low below high"),
        (("--shard-shape", "5,7,7", "--chunk-shape", "5,4,4"), "multiple of the chunk"),
        (("--colour", "red"), "--colour"),
        (("--tiff-format", "imagej"), "leave it out, or name the output .tif"),
        (("--axes", "zzy"), "zzy"),
    ],
)
def test_an_unusable_flag_value_is_refused(
    words: tuple[str, ...], expected: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    """The line names the flag and what was expected."""
    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    assert expected in refused(good(tmp_path), *words)


def test_a_checkpoint_of_another_network_is_refused(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    """The keys that are missing are named."""
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(3)}, path)
    assert "missing (feat_extract.0.weight" in refused(good(tmp_path), weights=path)


def test_a_pickle_is_never_executed(tmp_path: Path, refused: Callable[..., str]) -> None:
    """A file that would run code on loading is refused, and runs none."""
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "pwned"),)

    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(Evil()))
    torch.save({"state_dict": Evil()}, tmp_path / "evil2.pth")
    assert "weights" in refused(good(tmp_path), weights=path)
    assert "refused" in refused(good(tmp_path), weights=tmp_path / "evil2.pth")
    assert not (tmp_path / "pwned").exists()


def test_an_unknown_method_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt method is met with the nearest one."""
    assert main(["predict", "denoize", "a.tif", "b.zarr"]) == 2
    assert "denoise" in capsys.readouterr().err


MOUNTED = """
import os, sys
import faults
folder = {folder!r}
if not faults.mount_disk(folder, {size}, read_only={read_only}):
    sys.exit(77)
from vemctl.__main__ import main
code = main({words})
print(*os.listdir(folder))
sys.exit(code)
"""
Mounted = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def on_a_mount(fork: Start) -> Mounted:
    """Return what runs vemctl where `folder` is a file system of its own, and lists that."""

    def run(
        folder: Path, words: list[object], size: int, *, read_only: bool = False
    ) -> subprocess.CompletedProcess[str]:
        given = [*map(str, words)]
        code = MOUNTED.format(folder=str(folder), size=size, read_only=read_only, words=given)
        process = fork(code, **with_faults())
        out, err = process.communicate()
        if process.returncode == 77:
            pytest.skip("no disk can be mounted here")
        return subprocess.CompletedProcess([], process.returncode, out, err)

    return run


def test_a_folder_that_is_not_writable_is_refused(
    on_a_mount: Mounted, tmp_path: Path, checkpoint: Path
) -> None:
    """Whether the output can be written is checked before anything is computed."""
    output = tmp_path / "locked" / "out.zarr"
    words = ["predict", "denoise", good(tmp_path), output, "-w", checkpoint, *TILE]
    done = on_a_mount(tmp_path / "locked", words, 2**20, read_only=True)
    assert done.returncode == 2, done.stderr
    assert "not writable" in done.stderr.strip().splitlines()[-1]
    assert not done.stdout.strip()


@pytest.mark.parametrize("name", ["out.zarr", "out.tif"])
def test_a_full_disk_is_said_and_leaves_no_half_output(
    name: str, on_a_mount: Mounted, tmp_path: Path, checkpoint: Path
) -> None:
    """On a disk of 16 KiB a volume of noise does not fit: one line, and nothing that looks done."""
    source = array(
        tmp_path / "in.npy",
        np.random.default_rng(0).integers(0, 255, (5, 40, 40), dtype=np.uint8),
    )
    output = tmp_path / "small" / name
    words = ["predict", "denoise", source, output, "-w", checkpoint, *TILE, "--dtype", "float32"]
    done = on_a_mount(tmp_path / "small", words, 16 * 2**10)
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "disk full" in last or "free" in last
    assert name not in done.stdout.split()


def test_a_tile_larger_than_the_volume_works(tmp_path: Path, checkpoint: Path) -> None:
    """The tile shrinks to the volume, which is padded to a multiple of four and cropped."""
    source = good(tmp_path, (3, 17, 21))
    words = ["predict", "denoise", source, tmp_path / "out.npy", "-w", checkpoint]
    assert main([*map(str, words)]) == 0
    assert np.load(tmp_path / "out.npy").shape == (3, 17, 21)
