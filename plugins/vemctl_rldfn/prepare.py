"""What `vemctl prepare rldfn` does: deskewed stacks to two views of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vemctl.plugin import Preparation, PreparationRequest, TrainingData, volumes_at
from vemctl_rldfn.prepare_options import PrepareOptions, check_options

STACK = "stack"


def preparation_data(options: PrepareOptions, inputs: Sequence[Path]) -> TrainingData:
    """Return the stacks, those of a folder in the order of the numbers in their names.

    Parameters
    ----------
    options : PrepareOptions
    inputs : sequence of Path
        Deskewed stacks, and folders of some.

    Raises
    ------
    OptionError
        An option cannot be read, or a folder has no stacks.
    """
    check_options(options)
    found = [volume for path in inputs for volume in sorted(volumes_at(path), key=_natural)]
    # A dark time point of a series becomes black views, with a warning.
    return TrainingData({STACK: tuple(dict.fromkeys(found))}, may_be_constant=True)


def preparation(options: PrepareOptions, request: PreparationRequest) -> Preparation:
    """Return what splits stacks.

    Parameters
    ----------
    options : PrepareOptions
    request : PreparationRequest

    Raises
    ------
    OptionError, InputError
        The options do not fit the stacks.
    """
    from vemctl_rldfn.prepare_views import ViewPreparation

    return ViewPreparation(options, request, STACK)


def _natural(path: Path) -> tuple[list[tuple[int, int | str]], str]:
    """Return what to sort by: numbers in names count as numbers."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(p)) if p.isdecimal() else (1, p) for p in parts if p], str(path)
