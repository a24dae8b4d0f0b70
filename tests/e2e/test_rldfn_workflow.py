"""The examples: raw reflective data to a fused volume, by the script and by Snakemake."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socketserver
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from e2e.conftest import Run
from e2e.rldfn_files import whole, write_fusion
from e2e.vsisr_files import PIXEL, write_deltavision, write_generator, write_microscope
from vemctl.samples import reflective_raw
from vemctl.volumes.provenance import read_provenance

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRIPT, SNAKEFILE = EXAMPLES / "rlls_vsim.sh", EXAMPLES / "Snakefile"
SETTINGS = {
    "VSISR_WEIGHTS": "small.pth",
    "OTF": "my optics",
    "RLDFN_WEIGHTS": "fusion",
    "PSF_A": "",
    "PSF_B": "",
    "DEVICE": "cpu",
    "SPLIT_OPTIONS": "--angles 0 --split-range -1,1",  # noise has no mirror
    "FUSION_OPTIONS": "--margin 4",
}
FINE = PIXEL / 1.5
ASKING = """#!{python} -IS
import json, os, socket, sys
with socket.create_connection(("127.0.0.1", {port})) as asked:
    asked.sendall(json.dumps([sys.argv[1:], dict(os.environ)]).encode())
    asked.shutdown(socket.SHUT_WR)
    code, out, err = json.load(asked.makefile())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""
"""A command that has the process of the test run vemctl, in the folder of the test."""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Write raw data, microscope and weights; return an environment that has vemctl in its path."""
    raw = reflective_raw(1, (14, 48, 16))
    steps = tuple(1000 * step for step in raw.spacing_um[::-1])
    write_deltavision(
        tmp_path / "raw" / "my cell.mrc", np.ascontiguousarray(raw.phases.transpose()), steps
    )
    write_microscope(tmp_path / "my optics")
    write_generator(tmp_path / "small.pth")
    write_fusion(tmp_path / "fusion")
    command = tmp_path / "bin" / "vemctl"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m vemctl "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join((str(command.parent), os.environ["PATH"]))
    return os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}


class Here(socketserver.TCPServer):
    """Runs what `ASKING` asks for, with the fixture `here`."""

    timeout = 0.05

    def __init__(self, here: Run) -> None:
        class Answer(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                words, environment = json.load(self.rfile)
                done = here(*words, **environment)
                told = [done.returncode, done.stdout, done.stderr]
                self.wfile.write(json.dumps(told).encode())

        super().__init__(("127.0.0.1", 0), Answer)


@pytest.fixture
def quick(environment: dict[str, str], here: Run, tmp_path: Path) -> Iterator[Run]:
    """Return what runs the script with settings, whose commands are carried out in this process."""

    def run_script(*words: object, **settings: str) -> subprocess.CompletedProcess[str]:
        with (tmp_path / "out.txt").open("w+") as out, (tmp_path / "err.txt").open("w+") as err:
            process = subprocess.Popen(
                [SCRIPT, *map(str, words)],
                cwd=tmp_path,
                env=environment | settings,
                stdout=out,
                stderr=err,
            )
            while process.poll() is None:
                server.handle_request()
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess([], process.returncode, out.read(), err.read())

    with Here(here) as server:
        text = ASKING.format(python=sys.executable, port=server.server_address[1])
        (tmp_path / "bin" / "vemctl").write_text(text)
        yield run_script


def run(
    words: list[object], folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder."""
    return subprocess.run(
        list(map(str, words)),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_raw_data_become_a_fused_volume(quick: Run, here: Run, tmp_path: Path) -> None:
    """Axes and voxels are right after every step; a second run makes nothing anew."""
    words = ("raw/my cell.mrc", "my results")
    done = quick(*words, **SETTINGS)
    assert done.returncode == 0, done.stderr
    steps = [line for line in done.stdout.splitlines() if line.startswith("step ")]
    assert [step[:11] for step in steps] == [f"step {n} of 4" for n in (1, 2, 3, 4)]
    expected = {
        "raw/my cell.mrc": ((42, 16, 24), (180.844, PIXEL, PIXEL)),
        "my results/deskewed": ((14, 48, 16), (PIXEL, PIXEL, PIXEL)),
        "my results/sr.zarr": ((8, 72, 24), (PIXEL, FINE, FINE)),
        "my results/views/ViewA": ((3, 24, 72), (FINE, FINE, FINE)),
        "my results/views/ViewB": ((3, 24, 72), (FINE, FINE, FINE)),
        "my results/fused.zarr": ((3, 24, 72), (FINE, FINE, FINE)),
    }
    for path, (shape, voxel_size) in expected.items():
        told = json.loads(here("info", path, "--json").stdout)
        assert told["axes"].endswith("zyx"), path
        assert tuple(told["shape"]) == shape, path
        assert told["voxel_size_nm"] == pytest.approx(voxel_size, rel=1e-4), path
    fused = whole(tmp_path / "my results" / "fused.zarr")
    assert fused.dtype == np.float32
    assert fused.std() > 0
    settled = (read_provenance(tmp_path / "my results" / "fused.zarr") or {})["settled"]
    assert settled["psf"] == "theoretical"
    assert settled["voxel_size"] == pytest.approx(FINE, rel=1e-4)

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "my results").rglob("*")}
    done = quick(*words, **SETTINGS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" is there") == 2
    assert done.stderr.count("nothing to resume") == 2
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "my results").rglob("*")} == (
        before
    )
    other = SETTINGS | {"FUSION_OPTIONS": "--margin 8"}
    done = quick(*words, **other)
    assert done.returncode == 2
    assert "margin was 4, now 8" in done.stderr


def test_the_script_stops_at_the_first_error(environment: dict[str, str], tmp_path: Path) -> None:
    """With what vemctl says, and nothing half done; without arguments it tells its usage."""
    done = run([SCRIPT, "none.mrc", "results"], tmp_path, environment | SETTINGS)
    assert done.returncode == 2
    assert "none.mrc" in done.stderr
    assert "step 2" not in done.stdout
    assert not list((tmp_path / "results").iterdir())
    done = run([SCRIPT, "none.mrc"], tmp_path, environment)
    assert done.returncode == 2
    assert done.stderr == "usage: rlls_vsim.sh RAW OUT_FOLDER\n"


def commands_of(lines: list[str]) -> list[list[str]]:
    """Return commands word by word; what a variable stands for is ``_``, and what is told left out.

    Words that may be none at all are left out, too.
    """
    commands = []
    for line in lines:
        words = []
        for word in shlex.split(re.sub(r" > \{log:q\} 2>&1$", "", line)):
            if re.search(r"_OPTIONS:-\}|params\.more|psfs", word):
                continue
            words.append(re.sub(r"\$\{?[\w\[\]@]+\}?|\{[\w.:]+\}", "_", word))
        commands.append(words)
    return commands


def test_the_snakefile_has_the_commands_and_defaults_of_the_script() -> None:
    """Four commands each, whose folders go by other names; the settings in small letters."""
    script = re.sub(r"\\\n\s*", "", SCRIPT.read_text(encoding="utf-8"))
    theirs = re.findall(r"^ +(vemctl .+)$", script, re.MULTILINE)
    snakefile = SNAKEFILE.read_text(encoding="utf-8")
    shells = re.findall(r'shell:\n((?: +".*"\n)+)', snakefile)
    ours = ["".join(re.findall(r'"(.*)"\n', shell)) for shell in shells]
    assert len(ours) == 4
    folders = r"_/(?:deskewed|sr\.zarr|views|fused\.zarr)"
    stripped = [[re.sub(folders, "_", word) for word in words] for words in commands_of(theirs)]
    assert stripped == commands_of(ours)
    assert all("more" in shell for shell in ours)
    assert ["psfs" in line for line in theirs] == ["psfs" in line for line in ours]

    defaults = dict(re.findall(r'^    "(\w+)": "(.*)",$', snakefile, re.MULTILINE))
    assert (defaults.pop("raw"), defaults.pop("out")) == ("raw/{stack}.mrc", "fused")
    settings = dict(re.findall(r"\$\{([A-Z_]+):?-([^}]*)\}", script))
    assert {name.lower(): default for name, default in settings.items()} == defaults


@pytest.mark.slow
def test_snakemake_makes_the_same(environment: dict[str, str], tmp_path: Path) -> None:
    """A real run of the Snakefile where Snakemake is installed: all rules, and then nothing."""
    snakemake = shutil.which("snakemake")
    if snakemake is None:
        pytest.skip("snakemake is not installed")
    settings = {name.lower(): value for name, value in SETTINGS.items()}
    settings |= {"raw": "raw/{stack}.mrc", "out": "my results"}
    (tmp_path / "settings.yaml").write_text(json.dumps(settings), encoding="utf-8")
    words = [snakemake, "-s", SNAKEFILE, "--configfile", "settings.yaml", "--cores", "1"]
    done = run(words, tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert whole(tmp_path / "my results" / "my cell" / "fused.zarr").shape == (3, 24, 72)
    done = run(words, tmp_path, environment)
    assert "Nothing to be done" in done.stderr + done.stdout
