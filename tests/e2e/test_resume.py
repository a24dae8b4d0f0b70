"""Runs that are killed or stopped, and resumed."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from e2e.conftest import Run, Start, digests
from e2e.processes import CUT
from vemctl.__main__ import main

KILLS = 3

pytestmark = pytest.mark.usefixtures("moody")


def predict(noisy: Path, output: str, *more: str) -> list[str]:
    return ["predict", "moody", str(noisy), output, *CUT, "--no-progress", "--delay", "0.04", *more]


def wait_for_units(ledger: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until the ledger notes more than `count` units, or the process ends."""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if ledger.exists() and ledger.read_text().count("\n") > count + 1:
            return
        time.sleep(0.02)


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_bytes(
    here: Run, start: Start, noisy: Path, tmp_path: Path
) -> None:
    """Kill -9 at random moments, resumed with other block sizes: the store is byte-identical."""
    whole = here(*predict(noisy, "whole.zarr", "--block", "6,48,48"))
    assert whole.returncode == 0, whole.stderr
    moments = random.Random(0)
    ledger = tmp_path / "killed.zarr.partial" / "ledger.jsonl"
    blocks = ("2,16,16", "4,16,16", "2,32,16")
    for i in range(KILLS):
        resume = ["--resume"] if i else []
        words = predict(noisy, "killed.zarr", "--block", blocks[i], *resume)
        before = ledger.read_text().count("\n") if ledger.exists() else 0
        process = start(*words)
        wait_for_units(ledger, before, process)
        time.sleep(moments.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (tmp_path / "killed.zarr").exists()
    done = here(*predict(noisy, "killed.zarr", "--resume"))
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "killed.zarr.partial").exists()
    one, other = digests(tmp_path / "whole.zarr"), digests(tmp_path / "killed.zarr")
    names = {"zarr.json"}  # the image is called after its file
    assert {k: v for k, v in one.items() if k not in names} == {
        k: v for k, v in other.items() if k not in names
    }


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_how_to_continue(
    number: int, here: Run, start: Start, noisy: Path, tmp_path: Path
) -> None:
    """Ctrl-C and SIGTERM end with 130, keep what is written and print the command to continue."""
    process = start(*predict(noisy, "out.zarr", "--block", "2,16,16"))
    wait_for_units(tmp_path / "out.zarr.partial" / "ledger.jsonl", 1, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "continue with: vemctl predict moody" in errors
    assert "--resume" in errors
    assert not (tmp_path / "out.zarr").exists()
    assert (tmp_path / "out.zarr.partial").is_dir()

    again = here(*predict(noisy, "out.zarr"))
    assert again.returncode == 2
    assert "--resume" in again.stderr
    other = here(*predict(noisy, "out.zarr", "--stretch", "--resume"))
    assert other.returncode == 2
    assert "stretch was False, now True" in other.stderr


@pytest.mark.slow
def test_a_torn_unit_is_restored_again(
    here: Run, start: Start, noisy: Path, tmp_path: Path
) -> None:
    """A unit that the ledger notes and the disk lost is found on resuming, and mended."""
    process = start(*predict(noisy, "out.zarr", "--block", "2,16,16"))
    wait_for_units(tmp_path / "out.zarr.partial" / "ledger.jsonl", 2, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    units = sorted((tmp_path / "out.zarr.partial" / "volume.zarr" / "0" / "c").rglob("*"))
    torn = next(path for path in units if path.is_file())
    torn.write_bytes(torn.read_bytes()[:-7])
    done = here(*predict(noisy, "out.zarr", "--resume"))
    assert done.returncode == 0, done.stderr
    assert "1 damaged units are restored again" in done.stderr
    whole = here(*predict(noisy, "whole.npy"))
    assert whole.returncode == 0, whole.stderr
    from vemctl.volumes.open import open_volume

    volume = open_volume(tmp_path / "out.zarr")
    made = volume.read((slice(0, 6), slice(0, 34), slice(0, 34)))
    np.testing.assert_array_equal(made, np.load(tmp_path / "whole.npy"))


def test_resuming_what_is_finished(
    noisy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is done twice, and an output that was made otherwise is not taken for the result."""
    output = tmp_path / "out.zarr"
    words = predict(noisy, str(output), "--roi", "0:4,0:24,0:24")
    assert main(words) == 0
    before = digests(output)
    assert main([*words, "--resume"]) == 0
    assert "nothing to resume" in capsys.readouterr().err
    assert main([*words, "--stretch", "--resume"]) == 2
    assert "request.method_options.stretch was False, now True" in capsys.readouterr().err
    assert main([*words, "--overwrite", "--resume"]) == 0
    assert digests(output) == before
    assert main([*words, "--stretch", "--overwrite", "--resume"]) == 0
    assert digests(output) != before


def test_the_bits_do_not_depend_on_the_blocks(noisy: Path, tmp_path: Path) -> None:
    """The network's float results are the same from one shard a block and from all at once."""
    stores = []
    for i, block in enumerate(("2,16,16", "6,48,48")):
        output = tmp_path / f"out{i}.zarr"
        cut = ["--dtype", "float32", "--block", block, "--roi", "0:4,0:20,0:20"]
        assert main(predict(noisy, str(output), *cut)) == 0
        stores.append({k: v for k, v in digests(output).items() if k != "zarr.json"})
    assert stores[0] == stores[1]
