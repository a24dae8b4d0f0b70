"""Ctrl-C and damage while a Zarr array is read: one line, the exit code, and nothing after it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zarr

# Started in the background of a shell, this process and its children would ignore Ctrl-C.
HEEDING = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from vemctl.__main__ import main; sys.exit(main())"
)


def begin(*words: object) -> subprocess.Popen[str]:
    """Start vemctl in a process of its own that heeds Ctrl-C."""
    return subprocess.Popen(
        [sys.executable, "-c", HEEDING, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def slow(tmp_path) -> Path:
    """Return an array without voxels on disk, of which a plane takes seconds: 65536 chunks."""
    path = tmp_path / "slow.zarr"
    zarr.create_array(path, shape=(64, 4096, 4096), chunks=(32, 16, 16), dtype="u1")
    return path


@pytest.mark.parametrize("words", [["preview", "slow.png"], ["evaluate", "--slabs", "40"]])
def test_ctrl_c_while_zarr_reads_says_one_line(slow, words):
    """What zarr still had to do is told to nobody."""
    name, *others = words
    with begin(
        name, slow, *(slow.parent / word if "." in word else word for word in others)
    ) as run:
        assert run.stderr is not None
        told = []
        while not told or ": 0/" not in told[-1]:
            told.append(run.stderr.readline())
            assert told[-1], told
        time.sleep(1)  # of several that the read takes
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=120)
    assert run.returncode == 130
    assert out == ""
    *progress, last = err.splitlines()
    assert last == "interrupted"
    assert all("reading" in line or "slabs" in line for line in progress), err
    assert not list(slow.parent.glob("*.png*"))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_damaged_chunk_among_many_says_one_line(tmp_path, zarr_format):
    """The chunks that were still to be decoded when one failed are told to nobody."""
    path = tmp_path / "damaged.zarr"
    array = zarr.create_array(
        path, shape=(16, 512, 512), chunks=(16, 32, 32), dtype="u1", zarr_format=zarr_format
    )
    array[:] = np.random.default_rng(0).integers(0, 9, (16, 512, 512), dtype=np.uint8)
    chunk = path / ("c/0/0/1" if zarr_format == 3 else "0.0.1")
    chunk.write_bytes(b"no chunk")
    with begin("preview", path, tmp_path / "a.png", "--slice", "z=0", "-q") as run:
        out, err = run.communicate(timeout=120)
    assert (run.returncode, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith(f"error: {path}: cannot read z 0:1")
