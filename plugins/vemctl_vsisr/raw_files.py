"""Which files are raw data, and which belong together; by their names alone. Imports no numpy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vemctl.errors import InputError, OptionError, nearest
from vemctl.plugin import volumes_by_suffix

RECONSTRUCTION = "-wiener"
"""In the names of reconstructions that the authors' microscope writes beside the raw data."""
DELTAVISION = ".dv"
ZARR = ".zarr"
ZARR_METADATA = ("zarr.json", ".zarray", ".zgroup")


def natural(path: Path) -> tuple[list[tuple[int, int | str]], str]:
    """Return what to sort by: numbers in names count as numbers."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(p)) if p.isdecimal() else (1, p) for p in parts if p], str(path)


def compiled(flag: str, pattern: str) -> re.Pattern[str]:
    """Compile a regular expression that a user gave.

    Raises
    ------
    OptionError
        It is none.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        raise OptionError(f"{flag} {pattern}: no regular expression: {error}") from None


def raw_files(inputs: Sequence[Path], pattern: str | None) -> tuple[Path, ...]:
    """Return raw files: those that are named, and those in folders, in natural order.

    Parameters
    ----------
    inputs : sequence of Path
    pattern : str, optional
        What in a folder is raw data; without, all volumes that are no reconstructions.

    Raises
    ------
    OptionError
        A reconstruction is named, or a folder has no raw data.
    """
    wanted = None if pattern is None else compiled("--raw-pattern", pattern)
    found: list[Path] = []
    for path in inputs:
        if _is_folder(path):
            inside = [p for p in volumes_of(path) if _is_raw(p, wanted)]
            if not inside:
                raise OptionError(
                    f"{path}: no raw data in this folder; expected "
                    + (
                        f"names like {pattern}"
                        if pattern
                        else f"volumes without {RECONSTRUCTION} in their names"
                    )
                    + _where_instead(path)
                )
            found.extend(sorted(inside, key=natural))
        elif wanted is None and RECONSTRUCTION in path.name:
            raise OptionError(
                f"{path}: a reconstruction by its name, no raw data; leave it out, or give the "
                "folder, of which raw data are taken"
            )
        else:
            found.append(path)
    return tuple(dict.fromkeys(found))


def volumes_of(folder: Path) -> list[Path]:
    """Return what is a volume by its name in a folder, DeltaVision files too."""
    deltavision = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() == DELTAVISION and not path.name.startswith(".")
    ]
    return [*volumes_by_suffix(folder), *deltavision]


def _where_instead(folder: Path) -> str:
    """Return what to do where not a folder but those inside it have volumes."""
    inside = _folders(folder)
    if any(volumes_of(each) for each in inside):
        return "; folders inside it have volumes: give one of these"
    if any(volumes_of(cell) for each in inside for cell in _folders(each)):
        return "; it is like a folder STRUCTURE/CELL, of which --pairs makes training pairs"
    return ""


def _is_folder(path: Path) -> bool:
    """Tell whether a path is a mere folder, and no volume."""
    return path.is_dir() and not any((path / name).exists() for name in ZARR_METADATA)


def _is_raw(path: Path, wanted: re.Pattern[str] | None) -> bool:
    if wanted is not None:
        return wanted.search(path.name) is not None
    return RECONSTRUCTION not in path.name


@dataclass(frozen=True)
class Cell:
    """The files of a cell.

    Attributes
    ----------
    structure, name : str
        Of its folders.
    raw : mapping of int to Path
        By signal-to-noise level.
    truth : Path
        Its reconstruction.
    """

    structure: str
    name: str
    truth: Path
    raw: Mapping[int, Path] = field(hash=False)


def find_cells(
    tree: Path,
    raw_pattern: str,
    truth_patterns: Sequence[str],
    structures: Sequence[str] = (),
    flag: str = "--structures",
) -> tuple[Cell, ...]:
    """Return the cells of a folder STRUCTURE/CELL/*, in natural order.

    Parameters
    ----------
    tree : Path
    raw_pattern : str
        Of the names of raw files; its group is the signal-to-noise level.
    truth_patterns : sequence of str
        Of the names of reconstructions, the preferred first.
    structures : sequence of str
        Those to look at; all where there are none.
    flag : str
        Which names them.

    Raises
    ------
    OptionError
        There are no cells, or a pattern is not usable.
    InputError
        A cell lacks files, or has several for the same.
    """
    level = compiled("--raw-pattern", raw_pattern)
    if level.groups != 1:
        raise OptionError(
            f"--raw-pattern {raw_pattern}: has {level.groups} groups; with --pairs expected one in "
            r"parentheses, the signal-to-noise level, such as _St(\d+)\.mrc$"
        )
    truths = [compiled("--truth-pattern", pattern) for pattern in truth_patterns]
    known = {folder.name: folder for folder in _folders(tree)}
    if not any(map(_folders, known.values())):
        raise OptionError(f"{tree}: no cells; {_level_of(tree, known.values())}")
    for name in structures:
        if name not in known:
            raise OptionError(
                f"{flag} {name}: {tree} has no such folder; expected one of "
                f"{', '.join(known)}.{nearest(name, known)}"
            )
    folders = [folder for name, folder in known.items() if not structures or name in structures]
    cells = tuple(
        cell_of(folder.name, inside, level, truths)
        for folder in folders
        for inside in _folders(folder)
    )
    if not cells:
        raise OptionError(f"{flag} {','.join(structures)}: no cells in {tree}; expected others")
    return cells


def _level_of(tree: Path, folders: Iterable[Path]) -> str:
    """Return what to give in place of a folder without cells."""
    above = tree.absolute().parent
    if any(map(volumes_of, folders)):
        return f"those in it seem to be cells of one structure: give its parent, {above}"
    if volumes_of(tree):
        return f"it seems to be a cell: give the parent of its structure, {above.parent}"
    return "expected folders STRUCTURE/CELL with raw data"


def cell_of(
    structure: str,
    folder: Path,
    level: re.Pattern[str],
    truths: Iterable[re.Pattern[str]],
) -> Cell:
    """Return the files of a cell in a folder; see `find_cells`."""
    paths = sorted(volumes_of(folder), key=natural)
    raw: dict[int, Path] = {}
    for path in paths:
        match = level.search(path.name)
        if match is None:
            continue
        if not (match[1] or "").isdecimal():
            raise OptionError(
                f"--raw-pattern {level.pattern}: its group is {match[1]!r} in {path}; expected a "
                "number, the signal-to-noise level"
            )
        number = int(match[1])
        if number in raw:
            raise InputError(
                f"{path}: of the same signal-to-noise level {number} as {raw[number].name}; "
                "expected one file: tell them apart with --raw-pattern"
            )
        raw[number] = path
    if not raw:
        raise InputError(f"{folder}: no raw data; expected names like {level.pattern}")
    for pattern in truths:
        matching = [p for p in paths if pattern.search(p.name) and p not in raw.values()]
        if len(matching) > 1:
            raise InputError(
                f"{folder}: {len(matching)} reconstructions are like {pattern.pattern}; expected "
                "one: tell them apart with --truth-pattern"
            )
        if matching:
            return Cell(structure, folder.name, matching[0], dict(sorted(raw.items())))
    raise InputError(
        f"{folder}: no reconstruction to learn from; expected Illum*_Cyc1_Ch*_St5-wiener*-fixk0, "
        "or a name like --truth-pattern"
    )


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise OptionError(f"{folder}: no folder; expected one with folders STRUCTURE/CELL in it")
    inside = [
        p for p in folder.iterdir() if p.is_dir() and p.name[0] != "." and p.suffix.lower() != ZARR
    ]
    return sorted(inside, key=natural)
