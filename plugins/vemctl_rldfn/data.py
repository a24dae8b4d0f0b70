"""Which pairs of views a training reads, by the names of files. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vemctl.errors import OptionError
from vemctl.plugin import (
    TrainingData,
    VolumeFacts,
    by_series,
    volumes_at,
    volumes_by_suffix,
)
from vemctl_rldfn.train_options import FusionOptions

VIEW_A, VIEW_B = "view_a", "view_b"
ROLES = (VIEW_A, VIEW_B)
MAXIMUM, MINIMUM = by_series("max"), by_series("min")
"""By which every view is divided: that of each channel at each time point by itself."""

Paths = tuple[Path, ...]


def training_data(options: FusionOptions, volumes: Sequence[Path]) -> TrainingData:
    """Return both views of everything, view A's first to view B's first.

    Without volumes of their own to validate on, those that are learned from are: nothing is kept
    from a training that is to fuse these very volumes, least of all the last slices, next to the
    mirror.

    Parameters
    ----------
    options : FusionOptions
    volumes : sequence of Path
        What was named without a flag.

    Raises
    ------
    OptionError
        A view is missing, or what is named for one does not fit what is named for the other.
    """
    if volumes:
        raise OptionError(
            f"{volumes[0]}: of which view is it? Name volumes with --view-a and --view-b"
        )
    if not options.view_a and not options.view_b:
        raise OptionError(
            "no volumes: rldfn learns from pairs of views; name them with --view-a and --view-b"
        )
    learned = _pairs(options.view_a, options.view_b, "--view-a", "--view-b")
    judged = learned
    if options.validation_a or options.validation_b:
        judged = _pairs(
            options.validation_a, options.validation_b, "--validation-a", "--validation-b"
        )
    return TrainingData(learned, paired=(ROLES,), validation=judged)


def training_statistics() -> Sequence[str]:
    """Return what is measured of every volume: its maximum, by which it is divided, and minimum."""
    return (MAXIMUM, MINIMUM)


def maximum_of(facts: VolumeFacts) -> float:
    """Return by what a volume is divided."""
    return float(facts.each_series[MAXIMUM][0])


def minimum_of(facts: VolumeFacts) -> float:
    """Return the least value of a volume."""
    return float(facts.each_series[MINIMUM][0])


def _pairs(a: Paths, b: Paths, flag_a: str, flag_b: str) -> dict[str, Paths]:
    """Return the volumes of both views; folders stand for what is in them."""
    if len(a) != len(b):
        raise OptionError(
            f"{flag_a} {len(a)} times and {flag_b} {len(b)} times: expected as many of each view, "
            f"in the same order"
        )
    found: dict[str, list[Path]] = {role: [] for role in ROLES}
    for path_a, path_b in zip(a, b, strict=True):
        if path_a == path_b:
            raise OptionError(
                f"{flag_b} {path_b}: given as view A too; expected another volume of the same "
                f"specimen"
            )
        inside_a, inside_b = _inside(path_a), _inside(path_b)
        if (inside_a is None) != (inside_b is None):
            folder, file = (path_a, path_b) if inside_b is None else (path_b, path_a)
            raise OptionError(
                f"{folder} is a folder of volumes, {file} is a volume: expected folders of both "
                f"views, or volumes of both"
            )
        if inside_a is not None and inside_b is not None:
            _check_names(path_a, inside_a, path_b, inside_b)
        for role, path, inside in ((VIEW_A, path_a, inside_a), (VIEW_B, path_b, inside_b)):
            # Stacks whose names differ in numbers alone are the time points of one volume.
            volumes = volumes_at(path)
            whole = inside is None or volumes == (path,)
            found[role] += volumes if whole else _in_order(inside or [], role)
        if len(found[VIEW_A]) != len(found[VIEW_B]):
            raise OptionError(
                f"{path_a} and {path_b}: the files of one differ in numbers alone, those of the "
                f"other do not; expected the same names in both"
            )
    return {role: tuple(paths) for role, paths in found.items()}


def _inside(path: Path) -> list[Path] | None:
    """Return what is in a mere folder; None for what is a volume itself, or is not there."""
    if not path.is_dir() or (volumes_at(path) == (path,) and not volumes_by_suffix(path)):
        return None
    return volumes_by_suffix(path)


def _check_names(
    folder_a: Path, inside_a: Sequence[Path], folder_b: Path, inside_b: Sequence[Path]
) -> None:
    names_a, names_b = (
        {_name(path, role): path for path in inside}
        for role, inside in ((VIEW_A, inside_a), (VIEW_B, inside_b))
    )
    for names, others, other in ((names_a, names_b, folder_b), (names_b, names_a, folder_a)):
        odd = next((path for name, path in names.items() if name not in others), None)
        if odd is not None:
            raise OptionError(
                f"{odd}: no file of this name in {other}; expected the same names in the folders "
                f"of both views, or names that end in _A and _B"
            )


def _in_order(inside: Sequence[Path], role: str) -> list[Path]:
    return sorted(inside, key=lambda path: _name(path, role))


def _name(path: Path, role: str) -> str:
    """Return what pairs a file: its name without an ending, and without its view's letter."""
    stem = re.sub(r"\.ome$", "", path.stem, flags=re.IGNORECASE)
    return re.sub(rf"[_-](view[_-]?)?{role[-1]}$", "", stem, flags=re.IGNORECASE)
