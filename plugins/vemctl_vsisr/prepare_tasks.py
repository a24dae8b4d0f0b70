"""Which cells pairs are made of, and what for: tasks to train and to validate on. Imports no numpy.

A task is a structure at one signal-to-noise level, as published.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from vemctl.errors import OptionError, nearest
from vemctl_vsisr.prepare_options import RAW_NAMES, PrepareOptions, listed
from vemctl_vsisr.raw_files import Cell

TRAIN: Final = "train"
VALID: Final = "valid"
TEST: Final = "test"
"""Looked at by the published meta-training, which learns nothing of it."""
PATCHES = {"train": 50, "finetune": 500}
"""Of each cell and signal-to-noise level, as published."""
VALID_PATCHES = 100
NONE = "none"


@dataclass(frozen=True)
class Task:
    """Cells whose pairs are written together.

    Attributes
    ----------
    part : {"train", "valid", "test"}
    name : str
        Of its folder.
    structure : str
    snr : int
        Signal-to-noise level of the raw data.
    cells : tuple of Cell
    is_whole : bool
        The whole cell is written, not patches of it.
    """

    part: Literal["train", "valid", "test"]
    name: str
    structure: str
    snr: int
    cells: tuple[Cell, ...]
    is_whole: bool = False

    @property
    def is_middle(self) -> bool:
        """Whether one pair is written, of the middle of a cell."""
        return self.is_whole or self.part == TEST


def patches_per_cell(options: PrepareOptions) -> int:
    """Return how many pairs are cut of a cell."""
    assert options.pairs is not None, "asked for pairs"
    return options.patches_per_cell or PATCHES[options.pairs]


def tasks_of(options: PrepareOptions, cells: Sequence[Cell]) -> tuple[Task, ...]:
    """Return what pairs are made of.

    Parameters
    ----------
    options : PrepareOptions
        With `pairs`.
    cells : sequence of Cell
        In natural order.

    Raises
    ------
    OptionError
        What is asked for is not there.
    """
    if options.pairs == "finetune":
        return _to_finetune(options, cells)
    return _to_train(options, cells)


def cells_of_names(options: PrepareOptions, names: Mapping[str, Sequence[str]]) -> tuple[Cell, ...]:
    """Return the cells whose files `preparation_data` chose.

    Parameters
    ----------
    options : PrepareOptions
    names : mapping of str to sequence of str
        Paths by role, ``"raw"`` and ``"truth"``.
    """
    level = re.compile(options.raw_pattern or RAW_NAMES)
    raw: dict[Path, dict[int, Path]] = {}
    for path in map(Path, names["raw"]):
        match = level.search(path.name)
        assert match is not None, "chosen by this pattern"
        raw.setdefault(path.parent, {})[int(match[1])] = path
    return tuple(
        Cell(p.parent.parent.name, p.parent.name, p, raw[p.parent])
        for p in map(Path, names["truth"])
    )


def _to_train(options: PrepareOptions, cells: Sequence[Cell]) -> tuple[Task, ...]:
    wanted = {_level(word) for word in listed(options.snrs)}
    tasks = {
        (structure, snr): tuple(c for c in cells if c.structure == structure and snr in c.raw)
        for structure in dict.fromkeys(cell.structure for cell in cells)
        for snr in sorted({n for c in cells if c.structure == structure for n in c.raw})
        if not wanted or snr in wanted
    }
    missing = wanted - {snr for _, snr in tasks}
    if missing:
        known = sorted({snr for cell in cells for snr in cell.raw})
        raise OptionError(
            f"--snrs {min(missing)}: no cell has raw data of this signal-to-noise level; expected "
            f"some of {', '.join(map(str, known))}"
        )
    held = _validated(options, tuple(tasks))
    count = -(-(options.valid_patches or VALID_PATCHES) // patches_per_cell(options))
    if not set(tasks) - set(held):
        raise OptionError("--valid-task: no task is left to train on; expected fewer of them")
    made = [
        Task(TRAIN, _task_name(*key), *key, mine) for key, mine in tasks.items() if key not in held
    ]
    made += [Task(VALID, _task_name(*key), *key, tasks[key][:count]) for key in held]
    if options.layout == "tiff":
        lowest = {structure: min(k for k in tasks if k[0] == structure) for structure, _ in tasks}
        made += [
            Task(TEST, _task_name(*key), *key, tasks[key][:1])
            for key in lowest.values()
            if key not in held
        ]
    return tuple(made)


def _validated(
    options: PrepareOptions, tasks: Sequence[tuple[str, int]]
) -> tuple[tuple[str, int], ...]:
    if options.valid_task == (NONE,):
        return ()
    known = {f"{structure}:{snr}": (structure, snr) for structure, snr in tasks}
    for word in options.valid_task:
        if word not in known:
            raise OptionError(
                f"--valid-task {word}: no such task; expected STRUCTURE:SNR of those there are, or "
                f"none.{nearest(word, known)}"
            )
    if options.valid_task:
        return tuple(dict.fromkeys(known[word] for word in options.valid_task))
    structures = list(dict.fromkeys(structure for structure, _ in tasks))
    if len(structures) < 2:
        return ()
    return (min(task for task in tasks if task[0] == structures[1]),)


def _to_finetune(options: PrepareOptions, cells: Sequence[Cell]) -> tuple[Task, ...]:
    structures = list(dict.fromkeys(cell.structure for cell in cells))
    structure = options.structure
    if structure is None:
        if len(structures) > 1:
            raise OptionError(
                f"--structure: there are {len(structures)}, {', '.join(structures)}; expected the "
                "one to fine-tune on"
            )
        structure = structures[0]
    mine = [cell for cell in cells if cell.structure == structure]
    levels = sorted({snr for cell in mine for snr in cell.raw})
    snr = levels[0] if options.snr is None else options.snr
    mine = [cell for cell in mine if snr in cell.raw]
    if not mine:
        raise OptionError(
            f"--snr {snr}: {structure} has no raw data of this level; expected one of "
            f"{', '.join(map(str, levels))}"
        )
    train, valid = _divided(options, [cell.name for cell in mine])
    by_name = {cell.name: cell for cell in mine}
    return (
        Task(TRAIN, _task_name(structure, snr), structure, snr, tuple(by_name[n] for n in train)),
        *(Task(VALID, name, structure, snr, (by_name[name],), is_whole=True) for name in valid),
    )


def _divided(options: PrepareOptions, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names of cells to train and to validate on."""
    train, valid = list(listed(options.train_cells)), list(listed(options.valid_cells))
    for flag, asked in (("--train-cells", train), ("--valid-cells", valid)):
        for name in asked:
            if name not in names:
                raise OptionError(
                    f"{flag} {name}: no such cell with raw data of this level; expected some of "
                    f"{', '.join(names)}.{nearest(name, names)}"
                )
    both = [name for name in train if name in valid]
    if both:
        raise OptionError(
            f"--valid-cells {both[0]}: is trained on too; expected another cell in one of the two"
        )
    left = [name for name in names if name not in train and name not in valid]
    if not valid and (train or len(left) > 1):
        valid = left[-1:]
    train = train or [name for name in left if name not in valid]
    if not train:
        raise OptionError("--valid-cells: no cell is left to train on; expected fewer of them")
    return list(dict.fromkeys(train)), list(dict.fromkeys(valid))


def _task_name(structure: str, snr: int) -> str:
    return f"{structure}-snr{snr}"


def _level(word: str) -> int:
    if not word.isdecimal():
        raise OptionError(f"--snrs {word}: expected numbers, the signal-to-noise levels")
    return int(word)
