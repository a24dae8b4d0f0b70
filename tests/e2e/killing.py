"""A run that is killed time and again, each time at another moment, and goes on each time.

It runs in a process of its own, which forks one for each attempt: all is imported there already.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import faults
import zarr  # noqa: F401 - so that who is forked has it

import vemctl.cli.app
import vemctl.volumes.array_volume
import vemctl.workflows.predict  # noqa: F401
from vemctl.__main__ import main
from vemctl.workflows.standing import status
from vemctl.workflows.verifying import verify_output

FEW = 16
"""Changes of files: less than to finish an output takes."""


def attempt(
    words: list[str], told: Path, *, change: int | None = None, seconds: float = 0.0
) -> int:
    """Run vemctl until a change of files or for some time, then kill it; return its exit code."""
    child = os.fork()
    if not child:
        file = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 2)
        os.close(file)
        if change:
            faults.die_at(change, "out.zarr")
        code = main(words)
        sys.stderr.flush()
        os._exit(code)
    if not change:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_often(words: list[str], count: int, seed: int) -> None:
    """Kill a run so many times on its way, then at its end at every third change.

    Parameters
    ----------
    words : list of str
        Of a run that was begun, without what makes it go on.
    count : int
    seed : int
    """
    moments = random.Random(seed)
    told = Path("told.txt")
    kills = 0
    while kills < count:
        how = moments.choice((["--resume"], ["--resume"], ["--shard", "1/2"], ["--shard", "2/2"]))
        block = moments.choice(("2,16,16", "2,32,16", "4,16,32"))
        line = [*words, *how, "--block", block]
        if kills % 4 == 3:
            code = attempt(line, told, seconds=moments.uniform(0.02, 0.3))
        else:
            code = attempt(line, told, change=moments.randint(1, FEW))
        kills += check(code, told)
    for change in range(3, 10_000, 3):
        code = attempt([*words, "--resume"], told, change=change)
        if code == 0:
            break
        kills += check(code, told)
        look(Path(words[3]))
    print(kills)


def look(output: Path) -> None:
    """See that whoever looks at what was killed changes nothing, and finds nothing that is wrong.

    What was being written again when it was killed may be missing.
    """
    before = state(output.parent)
    found = verify_output(output)
    if any(each["what"] != "missing" for each in found["damaged"]):
        sys.exit(f"verify found {found}")
    if found["finished"] != (status(output)["state"] == "finished"):
        sys.exit("verify and status disagree")
    if state(output.parent) != before:
        sys.exit("somebody who only looked has changed something")


def state(folder: Path) -> dict[Path, int]:
    """Return when each file and folder was changed."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def check(code: int, told: Path) -> int:
    """Return 1 for a process that was killed, 0 for a shard that was done; else end all."""
    if code in (0, -signal.SIGKILL):
        return int(code != 0)
    print(told.read_text())
    sys.exit(1)
