"""One output made by several processes: on this machine, and on a dask cluster."""

from __future__ import annotations

import inspect
import json
import multiprocessing
import os
import re
import socket
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from e2e.conftest import Run, Start, digests
from e2e.processes import BLOCKS, CUT, Cluster, error_in, started, told_by, wait_until, with_faults
from vemctl.crew import clients, clusters

ONE = ("--threads", "1")
"""As a worker of two on two cores has; the number is recorded."""

pytestmark = pytest.mark.usefixtures("moody")


@pytest.fixture
def quick_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let worker processes be forked where torch is imported already; else they are spawned.

    Only for runs in this process. Most of the time of a test would go into imports.
    """
    method = "distributed.worker.multiprocessing-method"
    monkeypatch.setitem(clients._CONFIGURATION, method, "forkserver")
    loaded = ["torch", "zarr", "distributed", "vemctl.workflows.predict"]
    multiprocessing.set_forkserver_preload(loaded)


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """Return two channels of 12 units each."""
    path = tmp_path / "several.npy"
    np.save(path, np.random.default_rng(6).integers(0, 999, (2, 4, 18, 34), dtype=np.uint16))
    return path


def predict(volume: Path | str, output: str, *more: object) -> list[str]:
    return ["predict", "moody", str(volume), output, *CUT, *map(str, more)]


def forget_run(folder: Path, name: str) -> None:
    """Take out of the sidecars in two folders what the runs took; a store has a file for that."""
    for place in ("plain", "spread"):
        sidecar = folder / place / f"{name}.vemctl.json"
        facts = json.loads(sidecar.read_bytes())
        del facts["run"]
        sidecar.write_text(json.dumps(facts))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("out.zarr", ("--axes", "czyx", "--stretch", *BLOCKS)),
        ("out.ome.tif", ("--axes", "czyx", "--blend", "crop", "--channel", "1")),
    ],
)
@pytest.mark.usefixtures("quick_workers")
def test_two_workers_give_the_same_bytes(
    name: str, options: tuple[str, ...], here: Run, several: Path, tmp_path: Path
) -> None:
    """Linear and cropped windows, a stretched result, channels, TIFF; progress as of one."""
    cut = CUT if name.endswith(".zarr") else ("--device", "cpu")
    words = ["predict", "moody", str(several), "-", *cut, *ONE, *options]
    for folder, more in (("plain", ()), ("spread", ("--workers", "2", "--json"))):
        words[3] = f"{folder}/{name}"
        done = here(*words, *more)
        assert done.returncode == 0, done.stderr
    if name.endswith(".tif"):
        forget_run(tmp_path, name)
    assert digests(tmp_path / "spread") == digests(tmp_path / "plain")
    assert len(digests(tmp_path / "plain")) > 1
    facts = json.loads(done.stdout)
    assert facts["processes"] == 2
    assert facts["plan"]["tiles_computed"] > 0
    tiles = re.findall(r"restoring: (\d+)/(\d+) tiles", done.stderr)
    total = facts["plan"]["tiles_computed"]
    assert {int(of) for _, of in tiles} == {total}
    counts = [int(count) for count, _ in tiles]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, total)
    assert f"wrote {words[3]} in" in done.stderr
    assert "warning" not in done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("quick_workers")
def test_what_one_block_does_concerns_no_other(here: Run, noisy: Path, tmp_path: Path) -> None:
    """One raises, one kills its process: three tries each, all others are written, exit code 1."""
    mood = tmp_path / "mood"
    mood.touch()
    options = (*BLOCKS, *ONE, "--refuse", "0,0,0", "--poison", "4,0,0", "--mood", mood)
    bad = here(*predict(noisy, "out/out.zarr", *options, "--workers", 2, "--no-progress"))
    assert bad.returncode == 1
    *notes, last = bad.stderr.splitlines()
    refused, poisoned = "z 0:2, y 0:16, x 0:32 of series 0", "z 4:6, y 0:16, x 0:32 of series 0"
    reason = r"ValueError: I do not like the tile at \(0, 0, 0\) \(on \w+:\d+\)"
    died = r"the process \S+:\d+ died while at it \(was its memory short\?\)"
    assert re.match(
        rf"error: out/out\.zarr: 2 blocks could not be restored, all others are: "
        rf"({refused}: {reason}; {poisoned}: {died}|{poisoned}: {died}; {refused}: {reason})\. "
        rf"Mend that, then run it again with --resume$",
        last,
    ), last
    for place, why in ((refused, reason), (poisoned, died)):
        about = [note for note in notes if place in note and re.search(why, note)]
        assert sum("it will be tried again" in note for note in about) == 2, notes
        assert sum("given up after 3 tries" in note for note in about) == 1, notes
        assert len(about) == 3, notes
    found = json.loads(here("status", "out/out.zarr", "--json").stdout)
    assert found["state"] == "stopped"
    assert found["blocks"] == {"done": 16, "failed": 2, "missing": 0, "total": 18}
    assert sorted(each["start"] for each in found["failures"]) == [[0, 0, 0], [4, 0, 0]]
    assert sum(found["writers"][0]["workers"].values()) == found["units"]["done"] == 23
    shown = here("status", "out/out.zarr").stdout
    assert "failed: z 0:2, y 0:16, x 0:32, channel 0, time point 0: ValueError: I do not" in shown

    mood.unlink()
    mended = here(*predict(noisy, "out/out.zarr", *options, "--resume", "--workers", 2))
    assert mended.returncode == 0, mended.stderr
    assert here(*predict(noisy, "plain/out.zarr", *options)).returncode == 0
    assert digests(tmp_path / "out") == digests(tmp_path / "plain")


@pytest.mark.slow
@pytest.mark.usefixtures("quick_workers")
def test_a_shard_on_workers(here: Run, noisy: Path, tmp_path: Path) -> None:
    """A task of a job array may have several devices of its own."""
    one = here(*predict(noisy, "out/out.zarr", *BLOCKS, *ONE, "--shard", "1/2", "--workers", "2"))
    assert one.returncode == 0, one.stderr
    found = json.loads(here("status", "out/out.zarr", "--json").stdout)
    assert [each["done"] for each in found["shards"]] == [9, 0]
    assert found["writers"][0]["name"] == "shard 1/2"
    other = here(*predict(noisy, "out/out.zarr", *BLOCKS, *ONE, "--shard", "2/2"))
    assert other.returncode == 0, other.stderr
    assert here("finish", "out/out.zarr").returncode == 0
    assert here(*predict(noisy, "plain/out.zarr", *BLOCKS, *ONE)).returncode == 0
    assert digests(tmp_path / "out") == digests(tmp_path / "plain")


@pytest.mark.slow
def test_a_cluster_that_is_there(here: Run, fork: Start, noisy: Path, tmp_path: Path) -> None:
    """Its workers make the same bytes, run after run, and read again what could not be read.

    A run waits for a worker. One that sees no input or has other packages ends it in one line.
    """
    with Cluster(fork, tmp_path) as cluster:
        to = ("--scheduler", cluster.address)
        first = started(fork, *predict(noisy, "spread/out.zarr", *BLOCKS, *to))
        wait_until(lambda: "has no workers yet; waiting for one" in told_by(first), "it waits")
        faults = {
            "FAULT_READS": "2:crop.zarr/0/c/1/1/0",
            "FAULT_AFTER": str(tmp_path / "spread" / "again.zarr.partial"),
        }
        for _ in range(2):
            cluster.hire(**with_faults(**faults))
        _, told = first.communicate()
        assert first.returncode == 0, told
        assert here(*predict(noisy, "plain/out.zarr", *BLOCKS)).returncode == 0
        for name, volume, more in (
            ("crop.zarr", noisy, (*BLOCKS, "--blend", "crop")),
            ("stretched.zarr", noisy, (*BLOCKS, "--stretch")),
            ("again.zarr", tmp_path / "plain" / "crop.zarr", BLOCKS),
        ):
            assert here(*predict(volume, f"plain/{name}", *more)).returncode == 0
            done = here(*predict(volume, f"spread/{name}", *more, *to, "--no-progress"))
            assert done.returncode == 0, done.stderr
        assert "reading again what failed" in done.stderr
        assert digests(tmp_path / "spread") == digests(tmp_path / "plain")

        blind = here(*predict("/proc/self/cwd/noisy.npy", "blind.zarr", *to, "--no-progress"))
        assert blind.returncode == 2
        last = error_in(blind.stderr)
        host = re.escape(socket.gethostname())
        assert re.match(
            rf"error: a worker on {host} cannot take part: /proc/self/cwd/noisy\.npy: no such file",
            last,
        ), last

        facts = tmp_path / "elsewhere" / "torch-1.2.3.dist-info" / "METADATA"
        facts.parent.mkdir(parents=True)
        facts.write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.2.3\n")
        cluster.hire(PYTHONPATH=f"{tmp_path / 'elsewhere'}:{os.environ['PYTHONPATH']}")
        with Client(cluster.address) as client:
            client.wait_for_workers(3, timeout=60)
        other = here(*predict(noisy, "other/out.zarr", *BLOCKS, *to))
        assert other.returncode == 2
        assert re.search(
            rf"^error: a worker on {host} cannot take part: it differs from where the run was "
            rf"begun: versions\.torch was '{re.escape(version('torch'))}', now '1\.2\.3'$",
            other.stderr,
            re.MULTILINE,
        ), other.stderr


def test_a_cluster_that_is_not_there(
    here: Run, noisy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One line with the address and the cure, and nothing is begun."""
    connecting = inspect.unwrap(clusters.existing_cluster)
    monkeypatch.setitem(connecting.__kwdefaults__, "wait_seconds", 0.5)
    none = here(*predict(noisy, "out.zarr", "--scheduler", "tcp://127.0.0.1:9"))
    assert none.returncode == 2
    assert none.stderr.count("\n") == 1, none.stderr
    assert none.stderr.startswith("error: --scheduler tcp://127.0.0.1:9: no dask scheduler answer")
    assert "start one with: dask scheduler" in none.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["noisy.npy"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--scheduler tcp://a:1 --slurm jobs=1", "--scheduler and --slurm: expected one of them"),
        ("--workers 2 --slurm jobs=1", "--workers and --slurm: expected one of them"),
        ("--shard 1/2 --scheduler tcp://a:1", "--shard and --scheduler: expected one of them"),
        ("--shard 1/2 --slurm jobs=1", "--shard and --slurm: expected one of them"),
        ("--scheduler a:1", "--scheduler a:1: expected tcp://HOST:PORT"),
        ("--slurm queue", "--slurm"),
        ("--workers 0", "--workers"),
        ("--shard 3/2", "--shard 3/2: expected I/N with I from 1 to N"),
        ("--shard auto", "--shard auto: SLURM_ARRAY_TASK_ID"),
    ],
)
def test_flags_that_make_no_sense(
    flags: str, told: str, here: Run, noisy: Path, tmp_path: Path
) -> None:
    """One line names them, and nothing is begun."""
    none = here(*predict(noisy, "out.zarr", *flags.split()))
    assert none.returncode == 2
    assert none.stderr.count("\n") == 1, none.stderr
    assert told in none.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["noisy.npy"]


@pytest.mark.parametrize(
    ("flags", "purpose", "extra"),
    [
        (["--workers", "2"], "several worker processes", "dask"),
        (["--scheduler", "tcp://127.0.0.1:9"], "a dask cluster", "dask"),
        (["--slurm", "jobs=1"], "workers by SLURM", "slurm"),
    ],
)
def test_without_the_extra(
    flags: list[str], purpose: str, extra: str, noisy: Path, fork: Start, tmp_path: Path
) -> None:
    """One line names what is to be installed, and nothing is begun."""
    fake = tmp_path / "site" / "distributed.py"
    fake.parent.mkdir()
    fake.write_text("raise ImportError('no module named distributed')")
    path = f"{fake.parent}:{os.environ['PYTHONPATH']}"
    process = started(fork, *predict(noisy, "out.zarr", *flags), PYTHONPATH=path)
    _, told = process.communicate()
    assert process.returncode == 2
    assert told == f"error: {purpose} needs an optional package: pip install 'vemctl[{extra}]'\n"
    assert {path.name for path in tmp_path.iterdir()} == {"noisy.npy", "site"}
