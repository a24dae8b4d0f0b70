"""One output made by the tasks of a job array, by and by, in any order, with accidents."""

from __future__ import annotations

import json
import random
import signal
import socket
import time
from pathlib import Path

import pytest

from e2e.conftest import Run, Start
from e2e.processes import BLOCKS, CUT, files

pytestmark = pytest.mark.usefixtures("moody")


def words(noisy: Path, output: str, *more: str) -> list[str]:
    return ["predict", "moody", str(noisy), output, *CUT, *BLOCKS, "--no-progress", *more]


def test_shards_in_any_order_give_the_same_bytes(here: Run, noisy: Path, tmp_path: Path) -> None:
    """Each writes its own blocks only; status, verify and finish say what is missing."""
    whole = here(*words(noisy, "whole.zarr"))
    assert whole.returncode == 0, whole.stderr
    order = ["1/4", "2/4", "3/4", "4/4"]
    random.Random(3).shuffle(order)
    for number, share in enumerate(order):
        early = here("finish", "out.zarr")
        assert early.returncode == (1 if number else 2), early.stderr
        done = here(*words(noisy, "out.zarr", "--shard", share, "--json"))
        assert done.returncode == 0, done.stderr
        assert f"shard {share} of out.zarr is done" in done.stderr
        assert json.loads(done.stdout)["shard"] == int(share[0])
        found = json.loads(here("status", "out.zarr", "--json").stdout)
        assert found["state"] == "stopped"
        by_shard = {each["shard"]: each for each in found["shards"]}
        for other in order:
            is_done = by_shard[int(other[0])]["done"] == by_shard[int(other[0])]["total"]
            assert is_done == (other in order[: number + 1])
        assert here("verify", "out.zarr").returncode == 0
    assert "27 of 27 written" in here("status", "out.zarr").stdout
    finished = here("finish", "out.zarr", "--json")
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["units"] == 27
    assert files(tmp_path / "out.zarr") == files(tmp_path / "whole.zarr")
    assert {path.name for path in tmp_path.iterdir()} == {"noisy.npy", "out.zarr", "whole.zarr"}
    again = here(*words(noisy, "out.zarr", "--shard", "2/4"))
    assert again.returncode == 0
    assert "nothing to resume" in again.stderr
    assert here("finish", "out.zarr").returncode == 0
    assert "finished" in here("status", "out.zarr").stdout


def test_finish_names_the_shards_that_are_missing(here: Run, noisy: Path, tmp_path: Path) -> None:
    """One line, exit code 1; a damaged unit counts as missing, and its shard restores it again."""
    for share in ("1/3", "3/3"):
        done = here(*words(noisy, "out.zarr", "--shard", share))
        assert done.returncode == 0, done.stderr
    early = here("finish", "out.zarr", "--no-progress")
    assert early.returncode == 1
    assert "of shards 2/3; run vemctl predict with these again" in early.stderr
    assert early.stderr.count("\n") == 1
    volume = tmp_path / "out.zarr.partial" / "volume.zarr" / "0" / "c"
    unit = min(path for path in volume.rglob("*") if path.is_file())
    data = bytearray(unit.read_bytes())
    data[len(data) // 2] ^= 1
    unit.write_bytes(data)
    damaged = here("verify", "out.zarr", "--no-progress")
    assert damaged.returncode == 2
    assert "1 damaged: z 0:2, y 0:16, x 0:16" in damaged.stderr
    assert here(*words(noisy, "out.zarr", "--shard", "2/3")).returncode == 0
    early = here("finish", "out.zarr", "--no-progress")
    assert early.returncode == 1
    assert "1 of 27 units are missing or damaged, of shards 1/3" in early.stderr
    mended = here(*words(noisy, "out.zarr", "--shard", "1/3"))
    assert mended.returncode == 0, mended.stderr
    assert here("finish", "out.zarr").returncode == 0
    assert here(*words(noisy, "whole.zarr")).returncode == 0
    assert files(tmp_path / "out.zarr") == files(tmp_path / "whole.zarr")


@pytest.mark.slow
def test_the_same_shard_twice_is_refused(
    here: Run, start: Start, noisy: Path, tmp_path: Path
) -> None:
    """The second says by whom it is held; another shard joins in; a whole run is refused."""
    first = start(*words(noisy, "out.zarr", "--shard", "1/2", "--delay", "0.1"))
    locks = tmp_path / ".out.zarr.locks"
    ledger = tmp_path / "out.zarr.partial" / "ledger-shard-1-of-2.jsonl"
    until = time.monotonic() + 60
    while not ledger.exists() and time.monotonic() < until:
        time.sleep(0.02)
    first.send_signal(signal.SIGSTOP)
    try:
        second = here(*words(noisy, "out.zarr", "--shard", "1/2", "--delay", "0.1"))
        assert second.returncode == 2
        assert f"shard 1/2 on {socket.gethostname()} (process {first.pid}" in second.stderr
        alone = here(*words(noisy, "out.zarr", "--resume", "--delay", "0.1"))
        assert alone.returncode == 2
        assert "shard 1/2" in alone.stderr
        other = here(*words(noisy, "out.zarr", "--shard", "2/2", "--delay", "0.1"))
        assert other.returncode == 0, other.stderr
        assert json.loads(here("status", "out.zarr", "--json").stdout)["state"] == "running"
        split = here(*words(noisy, "out.zarr", "--shard", "2/5", "--delay", "0.1"))
        assert split.returncode == 2
        assert "was begun in 2 shares" in split.stderr
    finally:
        first.send_signal(signal.SIGCONT)
    _, told = first.communicate(timeout=120)
    assert first.returncode == 0, told
    assert here("finish", "out.zarr").returncode == 0
    assert not locks.exists()


def test_a_run_with_other_settings_does_not_join(here: Run, noisy: Path) -> None:
    """The difference is named."""
    assert here(*words(noisy, "out.zarr", "--shard", "1/2")).returncode == 0
    other = here(*words(noisy, "out.zarr", "--shard", "2/2", "--stretch"))
    assert other.returncode == 2
    assert "stretch was False, now True" in other.stderr


def test_shares_may_be_cut_anew_when_none_is_at_work(
    here: Run, noisy: Path, tmp_path: Path
) -> None:
    """What is written stays, and a run without shards does the rest."""
    assert here(*words(noisy, "out.zarr", "--shard", "1/2")).returncode == 0
    assert here(*words(noisy, "out.zarr", "--shard", "5/6")).returncode == 0
    rest = here(*words(noisy, "out.zarr", "--resume"))
    assert rest.returncode == 0, rest.stderr
    assert here(*words(noisy, "whole.zarr")).returncode == 0
    assert files(tmp_path / "out.zarr") == files(tmp_path / "whole.zarr")
