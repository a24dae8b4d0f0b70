"""What machines do to long runs: whatever it is, nothing is lost, and the bytes are the same."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import torch

from e2e.conftest import Run, Start, digests
from e2e.processes import (
    BEFORE,
    BLOCKS,
    CUT,
    FAULTS,
    Cluster,
    error_in,
    family,
    kill,
    standing,
    started,
    units_done,
    wait_for_ends,
    wait_until,
    with_faults,
    workers_of,
)

QUIET = ("--threads", "1", "--no-progress")

pytestmark = pytest.mark.usefixtures("moody")


def predict(volume: Path, output: str, *more: object) -> list[str]:
    return ["predict", "moody", str(volume), output, *CUT, *QUIET, *map(str, more)]


@pytest.mark.slow
def test_a_worker_is_killed(here: Run, fork: Start, noisy: Path, tmp_path: Path) -> None:
    """Its blocks go elsewhere, another takes its place, and meanwhile the status tells of it."""
    words = predict(noisy, "out/out.zarr", *BLOCKS)
    run = started(fork, *words, "--workers", "2", MOODY_DELAY="0.1")
    output = tmp_path / "out" / "out.zarr"
    workers = wait_until(lambda: len(workers_of(output)) == 2 and workers_of(output), "both work")
    assert set(workers) <= set(family(run.pid))
    shown = here("status", output).stdout
    assert "running, by moody" in shown
    assert f"run on {os.uname().nodename} (process {run.pid}, cpu): at work" in shown
    for worker in workers:
        assert re.search(rf":{worker}: \d+ units", shown)
    kill(workers[0])
    done = units_done(output)
    _, told = run.communicate()
    assert run.returncode == 0, told
    assert (
        f":{workers[0]} died while at it (was its memory short?); it will be tried again" in told
        or done == 27
    )
    assert here(*predict(noisy, "plain/out.zarr", *BLOCKS)).returncode == 0
    assert digests(tmp_path / "out") == digests(tmp_path / "plain")


@pytest.mark.slow
def test_fifty_kills(here: Run, fork: Start, noisy: Path, tmp_path: Path) -> None:
    """Two of a run's processes, its client, then 47 whole runs and shards; then at its end.

    The workers of a client that was killed end within seconds. The bytes are the same.
    """
    chosen = random.Random(0)
    words = predict(noisy, "out/out.zarr")
    output = tmp_path / "out" / "out.zarr"
    run = started(fork, *words, *BLOCKS, "--workers", "2")
    for _ in range(2):
        relatives = wait_until(lambda: family(run.pid), "there are workers")
        kill(chosen.choice(relatives))
    wait_until(lambda: units_done(output), "something is written")
    relatives = family(run.pid)
    kill(run.pid)
    run.communicate()
    wait_for_ends(relatives)
    assert standing(output)["state"] == "stopped"

    path = os.pathsep.join([str(FAULTS), str(Path(__file__).parents[1]), os.environ["PYTHONPATH"]])
    driver = fork(
        f"from e2e.killing import kill_often; kill_often({words}, 47, seed=1)", PYTHONPATH=path
    )
    said, told = driver.communicate(240)
    assert driver.returncode == 0, said + told
    assert int(said) >= 47 + 10
    assert here(*predict(noisy, "plain/out.zarr")).returncode == 0
    assert digests(tmp_path / "out") == digests(tmp_path / "plain")


@pytest.mark.slow
def test_the_scheduler_is_killed(here: Run, fork: Start, noisy: Path, tmp_path: Path) -> None:
    """One line tells of it, and the run goes on elsewhere."""
    words = predict(noisy, "out/out.zarr", *BLOCKS)
    output = tmp_path / "out" / "out.zarr"
    with Cluster(fork, tmp_path) as cluster:
        cluster.hire(MOODY_DELAY="0.1")
        run = started(fork, *words, "--scheduler", cluster.address)
        wait_until(lambda: units_done(output), "something is written")
        cluster.scheduler.kill()
        _, told = run.communicate()
    assert run.returncode == 2, told
    assert re.fullmatch(
        rf"error: the scheduler at {cluster.address} is gone: .*; what is written stays; run the "
        r"same command with --resume",
        error_in(told),
    ), told
    assert 0 < units_done(output) < 27
    assert here(*words, "--resume").returncode == 0
    assert here(*predict(noisy, "plain/out.zarr", *BLOCKS)).returncode == 0
    assert digests(tmp_path / "out") == digests(tmp_path / "plain")


FULL = """
import ctypes, os, shutil, sys
import faults
if not faults.mount_disk("disk", 65536):
    sys.exit(77)
from vemctl.__main__ import main
first = main({words} + {spread})
print(first, os.listdir("disk"))
REMOUNT = 32
assert not ctypes.CDLL(None).mount(b"none", b"disk", b"tmpfs", REMOUNT, b"size=10000000")
second = main({words} + ["--resume"])
print(second)
shutil.copytree("disk", "out")
"""


@pytest.mark.slow
@pytest.mark.parametrize("spread", [[], ["--workers", "2"]])
def test_the_disk_is_full(
    spread: list[str], here: Run, fork: Start, noisy: Path, tmp_path: Path
) -> None:
    """One line says so, also where a worker finds out; after making room the run goes on."""
    words = predict(noisy, "disk/out.zarr", *BLOCKS)
    process = fork(FULL.format(words=words, spread=spread), **with_faults())
    said, told = process.communicate()
    if process.returncode == 77:
        pytest.skip("no disk can be mounted here")
    assert process.returncode == 0, told
    assert said.splitlines() == ["2 ['out.zarr.partial']", "0"], told
    first, _, rest = told.partition("what is written stays\n")
    assert re.fullmatch(
        r"error: \S*disk/out\.zarr\.partial\S*: disk full, \S+ \w+ free; make room there and run "
        r"the same command with --resume: ",
        error_in(first),
    ), told
    assert "error" not in rest, told
    assert here(*predict(noisy, "plain/out.zarr", *BLOCKS)).returncode == 0
    assert digests(tmp_path / "out") == digests(tmp_path / "plain")


def test_a_file_grows_too_large(here: Run, fork: Start, noisy: Path, tmp_path: Path) -> None:
    """A limit of the system, here for the ledger: one line says so, and the run goes on later."""
    options = (*BLOCKS, "--shard-shape", "2,8,8")
    words = predict(noisy, "out/out.zarr", *options)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (12000, -1))"
    process = started(fork, *words, before=limit)
    _, told = process.communicate()
    assert process.returncode == 2, told
    ledger = "out/out.zarr.partial/ledger.jsonl"
    assert told == (
        f"error: {ledger}: cannot write {ledger}: File too large; mend that and run the same "
        "command with --resume\n"
    )
    assert 0 < units_done(tmp_path / "out" / "out.zarr") < 75
    assert here(*words, "--resume").returncode == 0
    assert here(*predict(noisy, "plain/out.zarr", *options)).returncode == 0
    assert digests(tmp_path / "out") == digests(tmp_path / "plain")


@pytest.mark.parametrize("more", [(), ("--stretch",)])
def test_files_are_damaged_between_runs(
    more: tuple[str, ...], here: Run, noisy: Path, tmp_path: Path
) -> None:
    """One is cut short, a bit of one flips, one goes, a line of the ledger is no line any more.

    `verify` names them all, and the run that goes on restores them again.
    """
    words = predict(noisy, "out/out.zarr", *BLOCKS, *more)
    assert here(*words, "--shard", "1/2").returncode == 0
    partial = tmp_path / "out" / "out.zarr.partial"
    volume = partial / ("scratch.zarr" if more else "volume.zarr") / "0" / "c"
    cut, flipped, gone, *_ = sorted(path for path in volume.rglob("*") if path.is_file())
    cut.write_bytes(cut.read_bytes()[:-5])
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 16
    flipped.write_bytes(data)
    gone.unlink()
    found = here("verify", "out/out.zarr", "--no-progress", "--json")
    assert found.returncode == 2
    damaged = {each["where"]: each["what"] for each in json.loads(found.stdout)["damaged"]}
    rest = "channel 0, time point 0"
    assert damaged == {
        f"z 0:2, y 0:16, x 0:16, {rest}": "other bytes",
        f"z 0:2, y 0:16, x 16:32, {rest}": "other bytes",
        f"z 0:2, y 0:16, x 32:34, {rest}": "missing",
    }
    assert "continue with --resume (or --shard)" in found.stderr
    ledger = partial / "ledger-shard-1-of-2.jsonl"
    *lines, last = ledger.read_text().splitlines()
    ledger.write_text("\n".join([*lines, last.replace('"', "'", 1)]) + "\n")
    job = partial / "job.json"
    described = job.read_bytes()
    for content in (b"{", None):
        job.unlink()
        if content:
            job.write_bytes(content)
        lost = here(*words, "--shard", "2/2")
        assert lost.returncode == 2
        assert error_in(lost.stderr)
        assert ledger.exists()
        job.write_bytes(described)
    done = here(*words, "--resume")
    assert done.returncode == 0, done.stderr
    assert "3 damaged units are restored again" in done.stderr
    assert here(*predict(noisy, "plain/out.zarr", *BLOCKS, *more)).returncode == 0
    assert digests(tmp_path / "out") == digests(tmp_path / "plain")
    assert here("verify", "out/out.zarr").returncode == 0


@pytest.mark.slow
def test_clocks_are_wrong(here: Run, fork: Start, noisy: Path, tmp_path: Path) -> None:
    """By a day, each in its own way: nobody is refused, and the status tells sensible times."""
    words = predict(noisy, "out/out.zarr", *BLOCKS)
    ahead, behind = with_faults(FAULT_CLOCK="86400"), with_faults(FAULT_CLOCK="-86400")
    shards = [
        started(fork, *words, "--shard", f"{number}/3", before=BEFORE, **clock, MOODY_DELAY="0.05")
        for number, clock in ((1, ahead), (2, behind))
    ]
    output = tmp_path / "out" / "out.zarr"
    found = wait_until(lambda: units_done(output) and standing(output), "something is written")
    assert found["state"] == "running"
    assert found["seconds_left"] is None or 0 < found["seconds_left"] < 3600
    for shard in shards:
        _, told = shard.communicate()
        assert shard.returncode == 0, told
    found = standing(output)
    assert all(0 < each["seconds"] < 3600 for each in found["writers"])
    days = [datetime.fromisoformat(each["began"]) for each in found["writers"]]
    assert timedelta(days=1.9) < days[0] - days[1] < timedelta(days=2.1)
    with Cluster(fork, tmp_path, **behind) as cluster:
        cluster.hire(**ahead)
        done = here(*words, "--resume", "--scheduler", cluster.address)
        assert done.returncode == 0, done.stderr
    assert here(*predict(noisy, "plain/out.zarr", *BLOCKS)).returncode == 0
    assert digests(tmp_path / "out") == digests(tmp_path / "plain")


def test_weights_change_between_runs(
    here: Run, noisy: Path, checkpoint: Path, tmp_path: Path
) -> None:
    """Whoever goes on with others is refused, and told so; with the first ones all ends well."""
    weights = tmp_path / "w.pth"
    shutil.copy(checkpoint, weights)
    cut = ("--tile", "4,24,24", "--roi", "0:4,0:20,0:20", *BLOCKS)
    words = ["predict", "denoise", str(noisy), "out.zarr", "-w", "w.pth", *CUT, *QUIET, *cut]
    assert here(*words, "--shard", "1/2").returncode == 0
    state = torch.load(weights)
    next(iter(state["state_dict"].values())).add_(1e-3)
    torch.save(state, weights)
    for how in (["--resume"], ["--shard", "1/2"], ["--shard", "2/2"]):
        other = here(*words, *how)
        assert other.returncode == 2
        assert other.stderr.count("\n") == 1, other.stderr
        assert "weights_sha256 was " in other.stderr
    shutil.copy(checkpoint, weights)
    assert here(*words, "--resume").returncode == 0


@pytest.mark.slow
def test_reads_fail(here: Run, fork: Start, noisy: Path, tmp_path: Path) -> None:
    """What fails for a moment is read again, as often as needed; what stays is named."""
    assert here(*predict(noisy, "in.zarr")).returncode == 0

    def attempt(output: str, count: int, after: str, *how: str) -> tuple[int | None, list[str]]:
        faults = with_faults(
            FAULT_READS=f"{count}:in.zarr/0/c/0/0/0", FAULT_AFTER=f"{output}.partial/{after}"
        )
        words = predict(Path("in.zarr"), output, "--block", "4,48,48", *how)
        quick = "from vemctl.prediction import blocks; blocks.PAUSES = (0.1, 0.2)"
        process = started(fork, *words, before=f"{BEFORE}; {quick}", **faults)
        _, told = process.communicate()
        return process.returncode, told.splitlines()

    code, told = attempt("plain/out.zarr", 2, "ledger.jsonl")
    assert code == 0, told
    assert sum("reading again what failed" in line for line in told) == 2

    why = r"in\.zarr: cannot read z 0:5, y 0:34, x 0:34: .*Input/output error.*"
    code, told = attempt("out/out.zarr", 1000, "ledger-shard-1-of-1.jsonl", "--shard", "1/1")
    assert code == 1, told
    assert re.fullmatch(
        r"error: out/out\.zarr: 1 block could not be restored, all others are: z 0:4, y 0:34, "
        rf"x 0:34 of series 0: {why} Mend that, then run --shard 1/1 again",
        told[-1],
    ), told
    assert units_done(tmp_path / "out" / "out.zarr") == 9
    code, told = attempt("out/out.zarr", 1000, "job.json", "--resume")
    assert code == 2
    assert re.fullmatch(r"error: in\.zarr: cannot read z .*Input/output error.*", told[-1]), told
    code, told = attempt("out/out.zarr", 2, "job.json", "--resume")
    assert code == 0, told
    assert digests(tmp_path / "out") == digests(tmp_path / "plain")
