"""Which pairs a training reads, by the names of folders. Imports no torch.

A task is a folder with ``input`` and ``gt``: two Zarr arrays, in which pair after pair is stacked
along z, as `vemctl prepare vsisr` makes them, or two folders with a TIFF for each pair, as the
published program reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from vemctl.errors import InputError, OptionError
from vemctl.plugin import TrainingData, volumes_by_suffix
from vemctl_vsisr.proportions import FRAMES, PLANES
from vemctl_vsisr.train_options import FinetuneOptions, PairOptions

INPUT, GT = "input", "gt"
ROLES = (INPUT, GT)
"""Of a pair: what the network sees, and of what it makes the middle ones."""
SCALE = (Fraction(PLANES, FRAMES), Fraction(3, 2), Fraction(3, 2))
"""Voxels of the truth per voxel of the input, (z, y, x)."""
TRAIN = ("train", "meta_train")
VALID = ("valid", "meta_val")
VALID_OF_FINETUNING = ("valid", "test")

Paths = tuple[Path, ...]


def training_data(options: PairOptions, volumes: Sequence[Path]) -> TrainingData:
    """Return the pairs to learn from, and what to validate on.

    Parameters
    ----------
    options : PairOptions
        `TrainOptions` or `FinetuneOptions`.
    volumes : sequence of Path
        Each a task, a folder of tasks, or one that has these in ``train`` (``meta_train``), where
        ``valid`` (``meta_val``, of a fine-tuning ``test``) beside it is validated on.

    Returns
    -------
    TrainingData
        Roles ``"input"`` and ``"gt"``; every task, or every cell to validate on, is a volume.

    Raises
    ------
    InputError
        A folder is missing.
    OptionError
        It has no pairs.
    """
    if not volumes:
        raise OptionError(
            "no pairs to learn from: name a folder that vemctl prepare vsisr --pairs has made, or "
            "folders with input and gt in each"
        )
    finetuning = isinstance(options, FinetuneOptions)
    tasks, beside = [], []
    for path in volumes:
        inside = _first(path, TRAIN)
        tasks += _tasks(path if inside is None else inside)
        if inside is not None:
            valid = _first(path, VALID_OF_FINETUNING if finetuning else VALID)
            beside += [] if valid is None else [valid]
    held = [task for path in options.validation or beside for task in _tasks(path)]
    twice = [task for task in held if task in tasks]
    if twice:
        raise OptionError(
            f"--validation {twice[0]}: it is trained on too; expected other pairs, or none for the "
            f"last ones of every task"
        )
    return TrainingData(
        _volumes(tasks, apart=False),
        # Whole cells have as many true slices as others, so that shapes are compared by us.
        validation=_volumes(held, apart=finetuning) if held else {},
        scale={GT: SCALE},
        # A blank pair is told when it is drawn: there may be too many to look at all of them.
        may_be_constant=True,
    )


def _first(path: Path, names: Sequence[str]) -> Path | None:
    return next((path / name for name in names if (path / name).is_dir()), None)


def _tasks(path: Path) -> list[Path]:
    """Return the tasks that a folder is or has."""
    if not path.exists():
        raise InputError(f"{path}: no such folder; check the path")
    if path.is_dir():
        if _is_task(path):
            return [path]
        found = sorted(each for each in path.iterdir() if each.is_dir() and _is_task(each))
        if found:
            return found
    raise OptionError(
        f"{path}: no pairs in it; expected input.zarr and gt.zarr, or folders input and gt with a "
        f"TIFF for each pair, in this folder or in those inside it"
    )


def _is_task(path: Path) -> bool:
    return all(_has(path, role) for role in ROLES)


def _has(path: Path, role: str) -> bool:
    return (path / f"{role}.zarr").is_dir() or (path / role).is_dir()


def _volumes(tasks: Sequence[Path], *, apart: bool) -> dict[str, Paths]:
    """Return the volumes of each role, task by task.

    With `apart` every TIFF is a volume, for cells differ in size; otherwise the TIFFs of a folder
    are one, with a time point for each.
    """
    found: dict[str, list[Path]] = {role: [] for role in ROLES}
    for task in tasks:
        own = {role: _volumes_of(task, role, apart=apart) for role in ROLES}
        if len(own[INPUT]) != len(own[GT]):
            raise InputError(
                f"{task}: {len(own[INPUT])} files in input and {len(own[GT])} in gt; expected as "
                f"many, of the same names"
            )
        for role in ROLES:
            found[role] += own[role]
    return {role: tuple(paths) for role, paths in found.items()}


def _volumes_of(task: Path, role: str, *, apart: bool) -> list[Path]:
    stack, folder = task / f"{role}.zarr", task / role
    if stack.is_dir():
        return [stack]
    inside = volumes_by_suffix(folder)
    if not inside:
        raise InputError(f"{folder}: no TIFFs in this folder; expected one for each pair")
    return inside if apart or len(inside) == 1 else [folder]
