"""The files of the published program: one for each network and iteration. Imports no torch."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from vemctl.errors import WeightsError

NAMED = 5


def name_of(network: str, iteration: int) -> str:
    """Return the name of a file, such as ``G_AB_6000.pth``."""
    return f"{network}_{iteration}.pth"


def files_of_iteration(folder: Path, choice: str | None) -> dict[str, Path]:
    """Return the networks of one iteration, by what comes before their keys in one file.

    Parameters
    ----------
    folder : Path
        Such as ``saved_models/myEXP``.
    choice : str, optional
        The iteration; it may be left out where there is only one.

    Raises
    ------
    WeightsError
        There is no such iteration, or several.
    """
    found: dict[int, dict[str, Path]] = defaultdict(dict)
    for path in sorted(folder.iterdir()):
        match = re.fullmatch(r"(G_AB|G_BA|D_A|D_B)_(\d+)\.pth", path.name)
        if match:
            found[int(match[2])][f"{match[1]}."] = path
    if not found:
        raise WeightsError(
            f"{folder}: no networks of exem; expected files such as G_AB_6000.pth, or name one file"
        )
    iterations = sorted(found)
    there = ", ".join(f"{folder}@{number}" for number in iterations[-NAMED:])
    if choice is None and len(iterations) > 1:
        raise WeightsError(
            f"{folder}: networks of {len(iterations)} iterations; choose one, such as {there}"
        )
    wanted = iterations[0] if choice is None else int(choice) if choice.isdecimal() else -1
    if wanted not in found:
        raise WeightsError(f"{folder}@{choice}: no such iteration; it has {there}")
    return found[wanted]
