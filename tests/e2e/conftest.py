"""What the end-to-end tests share: the whole program, real files, real processes to be killed."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from parity import load_fixture

from vemctl.__main__ import main
from vemctl.registry import method_entry_points
from vemctl.workflows.checksums import NAME as CHECKSUMS
from vemctl.workflows.run_record import RECORD

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Return a function that runs vemctl in a folder of its own, where torch is imported already.

    That is in this process: most of the time of a fresh one goes into imports.
    """
    monkeypatch.chdir(tmp_path)

    def run(*words: object, **changed: str) -> subprocess.CompletedProcess[str]:
        with mock.patch.dict(os.environ, changed):  # what a run sets, such as --offline, goes too
            code = main([str(word) for word in words])
        told = capsys.readouterr()
        return subprocess.CompletedProcess([], code, told.out, told.err)

    return run


@pytest.fixture
def start(fork: Start) -> Start:
    """Return a function that starts vemctl in a process of its own, and does not wait for it.

    It is forked where torch is imported already, in the test's folder.
    """

    def begin(*words: object, **changed: str) -> subprocess.Popen[str]:
        given = f"import sys; sys.argv[1:] = {[*map(str, words)]}"
        return fork(f"{given}; from vemctl.__main__ import main; sys.exit(main())", **changed)

    return begin


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return seeded weights in the layout of the published ones."""
    state = load_fixture("denoise_tiled")[2]
    path = tmp_path_factory.mktemp("weights") / "checkpoint.pth"
    torch.save({"epoch": 3, "state_dict": state, "optimizer": {}, "best_psnr": 30.5}, path)
    return path


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """Return a volume of noise: 27 units where `processes.CUT` cuts it, in 18 blocks."""
    path = tmp_path / "noisy.npy"
    np.save(path, np.random.default_rng(5).integers(0, 256, (6, 34, 34), dtype=np.uint8))
    return path


@pytest.fixture
def moody(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Install the method `moody`, for this process and those that it starts.

    It needs no weights, takes as long as one likes, and fails when it is told to.
    """
    site = tmp_path_factory.mktemp("site")
    facts = site / "vemctl_moody-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: vemctl-moody\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[vemctl.methods]\nmoody = vemctl_moody:METHOD\n")
    places = [str(site), str(Path(__file__).parents[1] / "assets" / "vemctl-moody")]
    known = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*places, *known]))
    for place in places:
        monkeypatch.syspath_prepend(place)
    method_entry_points.cache_clear()
    yield
    method_entry_points.cache_clear()


def _content(path: Path) -> bytes:
    """Read a file, of the checksums only those of units: the metadata tell the store's name."""
    data = path.read_bytes()
    return data.partition(b"\n")[2] if path.name == CHECKSUMS else data


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below `folder` by its relative path, but of times."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(_content(path)).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != RECORD
    }
