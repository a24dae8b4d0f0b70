"""Processes that tests start, watch and kill: runs, and the parts of a dask cluster."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

import psutil

from e2e.conftest import Start, digests
from vemctl.errors import VemctlError
from vemctl.workflows.standing import status

CUT = ("--chunk-shape", "2,8,8", "--shard-shape", "2,16,16", "--device", "cpu")
BLOCKS = ("--block", "2,16,32")
FAULTS = Path(__file__).parents[1] / "assets" / "faults"
"""Where a `sitecustomize` lies that brings the faults which the environment asks for."""


def wait_until(true: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    """Wait for something to come true, and return it; busy machines take long."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.03)
    return found


def started(fork: Start, *words: object, before: str = "", **changed: str) -> subprocess.Popen[str]:
    """Start vemctl where torch is imported already, after the statement `before`."""
    given = f"import sys; sys.argv[1:] = {[*map(str, words)]}"
    code = f"{given}\n{before}\nfrom vemctl.__main__ import main; sys.exit(main())"
    return fork(code, **changed)


def with_faults(**asked: str) -> dict[str, str]:
    """Return the environment of a process that has faults, and so have those that it starts."""
    known = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": os.pathsep.join([str(FAULTS), known]), **asked}


BEFORE = "import faults; faults.begin()"
"""What brings faults to a process that is forked: `sitecustomize` came before."""


def told_by(process: subprocess.Popen[str]) -> str:
    """Return what a forked process has written to standard error, while it runs."""
    return Path(f"/proc/{process.pid}/fd/2").read_text()


def error_in(told: str) -> str:
    """Return the one line of an error, behind nothing but notes."""
    *notes, last = told.splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", note) for note in notes), told
    assert last.startswith("error: "), told
    return last


def standing(output: Path) -> dict[str, Any]:
    """Return how an unfinished output stands; nothing before it was begun."""
    try:
        return status(output)
    except VemctlError:
        return {}


def units_done(output: Path) -> int:
    """Return how many units are written."""
    done: int = standing(output).get("units", {}).get("done", 0)
    return done


def workers_of(output: Path) -> list[int]:
    """Return the processes that have restored something, as the status names them."""
    named = [each["workers"] for each in standing(output).get("writers", [])]
    return [int(worker.partition(":")[2]) for each in named for worker in each]


def lives(pid: int) -> bool:
    """Tell whether a process is there, and not just waiting to be reaped."""
    try:
        return psutil.Process(pid).status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return False


def family(pid: int) -> list[int]:
    """Return all that a process has started, and they."""
    return [each.pid for each in psutil.Process(pid).children(recursive=True)]


def kill(pid: int) -> None:
    """Kill -9, unless it has ended."""
    if lives(pid):
        os.kill(pid, signal.SIGKILL)


def wait_for_ends(pids: Iterable[int]) -> None:
    """Wait until processes have ended: without being told to, and within seconds."""
    pids = list(pids)
    wait_until(lambda: not any(map(lives, pids)), f"{pids} end by themselves", 60)


def files(store: Path) -> dict[str, str]:
    """Return the digests of a store, but of what has the image's name."""
    return {name: digest for name, digest in digests(store).items() if name != "zarr.json"}


class Cluster:
    """A dask scheduler and workers as their users start them; they end with the block.

    Parameters
    ----------
    fork : callable
        The fixture.
    folder : Path
        Where they leave what they write.

    Attributes
    ----------
    scheduler : process
    address : str
    """

    def __init__(self, fork: Start, folder: Path, **changed: str) -> None:
        self._fork = fork
        self._folder = folder
        self._processes: list[subprocess.Popen[str]] = []
        place = folder / "scheduler.json"
        words = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        self.scheduler = self._dask("scheduler", *words, "--scheduler-file", place, **changed)
        self.address = wait_until(lambda: self._read(place), "the scheduler is there")

    def hire(self, **changed: str) -> subprocess.Popen[str]:
        """Start a worker; it is in a folder of its own."""
        words = ["--no-nanny", "--nthreads", "2", "--memory-limit", "0", "--no-dashboard"]
        return self._dask("worker", self.address, *words, **changed)

    def _dask(self, what: str, *words: object, **changed: str) -> subprocess.Popen[str]:
        folder = self._folder / f"elsewhere-{what}"
        folder.mkdir(exist_ok=True)
        code = (
            f"import os; os.chdir({str(folder)!r})\n"
            f"{BEFORE if any('FAULT_' in name for name in changed) else ''}\n"
            f"from distributed.cli.dask_{what} import main; main({[*map(str, words)]})"
        )
        self._processes.append(self._fork(code, **changed))
        return self._processes[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.communicate()

    @staticmethod
    def _read(place: Path) -> str:
        try:
            return str(json.loads(place.read_bytes())["address"])
        except (OSError, ValueError):
            return ""
