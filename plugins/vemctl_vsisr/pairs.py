"""Pairs of input slices and true planes: where they lie, whether they fit, what they are read as.

A volume of the role ``input`` has seven slices for each pair, stacked along z, and one of ``gt``
three planes of 1.5 times as many pixels along y and x. A whole cell, to validate on, has as many
true slices as others.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from vemctl.errors import InputError
from vemctl.plugin import Patches, Triple, VolumeFacts
from vemctl_vsisr.data import GT, INPUT
from vemctl_vsisr.proportions import COUNTS, FRAMES, PLANES, enlarged_size

SMALLEST_EDGE = 14
"""Of a patch: the loss fades the spectra out over ten pixels at each edge of the true plane."""
TOLERANCE = 1e-3
"""By which floating values may be outside [0, 1]."""

Floats = npt.NDArray[np.float32]
Facts = Mapping[str, Sequence[VolumeFacts]]
Paths = Mapping[str, Sequence[Path]]


def enlarged(facts: VolumeFacts, slices: int) -> Triple:
    """Return the shape (z, y, x) of the truth of an input volume, with so many slices."""
    return slices, *enlarged_size(*facts.shape[1:])


def is_cell(facts: Facts, index: int) -> bool:
    """Tell whether a volume has a true plane for each slice, rather than pairs."""
    return facts[GT][index].shape[0] == facts[INPUT][index].shape[0]


@dataclass(frozen=True)
class Pairs:
    """Pairs in some volumes, counted through.

    Attributes
    ----------
    volumes : tuple of int
        Indices in their roles.
    ends : tuple of int
        The number of pairs up to the end of each.
    """

    volumes: tuple[int, ...]
    ends: tuple[int, ...]

    @classmethod
    def of(cls, facts: Sequence[VolumeFacts], volumes: Sequence[int] | None = None) -> Pairs:
        """Count pairs; `facts` are those of all inputs, `volumes` those that count."""
        chosen = range(len(facts)) if volumes is None else volumes
        ends = itertools.accumulate(facts[index].shape[0] // FRAMES for index in chosen)
        return cls(tuple(chosen), tuple(ends))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def place(self, number: int) -> tuple[int, int]:
        """Return in which volume a pair is, and which pair of it."""
        place = bisect_right(self.ends, number)
        return self.volumes[place], number - (self.ends[place - 1] if place else 0)

    def read(self, patches: Patches, number: int, paths: Sequence[Path]) -> tuple[Floats, Floats]:
        """Return a pair, in [0, 1].

        Parameters
        ----------
        patches : Patches
        number : int
        paths : sequence of Path
            Of the files of the role ``input``, for errors.

        Returns
        -------
        input : ndarray, (7, y, x)
        truth : ndarray, (3, 1.5 y, 1.5 x)

        Raises
        ------
        InputError
            It has values that it should not have.
        """
        index, first = self.place(number)
        facts = patches.facts(INPUT)[index]
        seen = patches.read(INPUT, index, (FRAMES * first, 0, 0), (FRAMES, *facts.shape[1:]))
        truth = patches.read(GT, index, (PLANES * first, 0, 0), enlarged(facts, PLANES))
        path = paths[facts.file_index]
        return in_unit(seen, str(path)), in_unit(truth, f"the truth of {path}")

    def read_varied(
        self, patches: Patches, number: int, paths: Sequence[Path]
    ) -> tuple[Floats, Floats]:
        """Return a pair as `read` does, and refuse one that is blank.

        Raises
        ------
        InputError
            Its input, or all of its truth, is of one value.
        """
        seen, truth = self.read(patches, number, paths)
        if seen.min() == seen.max() or truth.min() == truth.max():
            index, first = self.place(number)
            facts = patches.facts(INPUT)[index]
            raise InputError(
                f"{paths[facts.file_index]}: of pair {facts.timepoint or first}, counted from 0, "
                f"the input or the truth is of one value, from which nothing can be learned; leave "
                f"it out"
            )
        return seen, truth


def by_task(facts: Sequence[VolumeFacts]) -> tuple[Pairs, ...]:
    """Return the pairs of each task: of each file, or folder, and channel."""
    tasks: dict[tuple[int, int], list[int]] = {}
    for index, each in enumerate(facts):
        tasks.setdefault((each.file_index, each.channel), []).append(index)
    return tuple(Pairs.of(facts, volumes) for volumes in tasks.values())


def pairs_in(patches: Patches) -> Pairs:
    """Return all pairs of some patches."""
    return _counted(cast("Hashable", patches))[0]


def tasks_in(patches: Patches) -> tuple[Pairs, ...]:
    """Return the pairs of each task of some patches."""
    return _counted(cast("Hashable", patches))[1]


# Where each pair is a file there may be many thousands, too many to count for every sample.
@lru_cache(maxsize=2)
def _counted(patches: Any) -> tuple[Pairs, tuple[Pairs, ...]]:
    facts = patches.facts(INPUT)
    return Pairs.of(facts), by_task(facts)


def in_unit(values: npt.NDArray[Any], where: str = "") -> Floats:
    """Return stored values, uint16 or from 0 to 1, as float32 in [0, 1].

    Raises
    ------
    InputError
        Floating values are not in this range; names `where`.
    """
    if values.dtype.kind != "f":
        return (values / np.float32(COUNTS)).astype(np.float32)
    if values.min() < -TOLERANCE or values.max() > 1 + TOLERANCE:
        raise InputError(
            f"{where}: floating values from {values.min():g} to {values.max():g}; expected 0 to 1, "
            f"or uint16: prepare the pairs again"
        )
    return values.astype(np.float32)


def check_types(facts: Facts, paths: Paths) -> None:
    """Refuse stored types that no published pair has, and roles that do not belong together.

    Raises
    ------
    InputError
        One line, which names the file.
    """
    for role, each in facts.items():
        for one in each:
            if one.dtype != "uint16" and not one.dtype.startswith("float"):
                raise InputError(
                    f"{paths[role][one.file_index]}: stored as {one.dtype}; expected uint16, of "
                    f"which {COUNTS} is 1, or floating values from 0 to 1: prepare the pairs again"
                )
    found = [[(f.file_index, f.timepoint, f.channel) for f in facts[role]] for role in (INPUT, GT)]
    for ours, theirs in itertools.zip_longest(*found):
        if ours != theirs:
            odd = ours if theirs is None or (ours is not None and ours < theirs) else theirs
            role = INPUT if odd == ours else GT
            raise InputError(
                f"{paths[role][odd[0]]}: time point {odd[1]}, channel {odd[2]} (a pair, where each "
                f"is a TIFF) has no partner in the other folder; expected as many there"
            )


def check_pairs(facts: Facts, paths: Paths) -> tuple[int, int]:
    """Return the size (y, x) of the inputs of all pairs, which must be one.

    Raises
    ------
    InputError
        Shapes are not those of pairs, or not of one size.
    """
    size = None
    for seen, truth in zip(facts[INPUT], facts[GT], strict=True):
        path, other = paths[INPUT][seen.file_index], paths[GT][truth.file_index]
        count, rest = divmod(seen.shape[0], FRAMES)
        if rest or not count:
            raise InputError(
                f"{path}: {shown(seen.shape)} voxels (z, y, x); expected a multiple of {FRAMES} "
                f"slices, {FRAMES} for each pair: see vemctl prepare vsisr"
            )
        if truth.shape != (wanted := enlarged(seen, PLANES * count)):
            raise InputError(
                f"{other}: {shown(truth.shape)} voxels (z, y, x); expected {shown(wanted)} for the "
                f"{count} pairs in {path}: {PLANES} planes each, 1.5 times as large"
            )
        size = seen.shape[1:] if size is None else size
        if min(size) < SMALLEST_EDGE or any(length % 2 for length in size):
            raise InputError(
                f"{path}: patches of {size[0]} x {size[1]} pixels; expected even numbers from "
                f"{SMALLEST_EDGE} on: cut other ones"
            )
        if seen.shape[1:] != size:
            raise InputError(
                f"{path}: patches of {seen.shape[1]} x {seen.shape[2]} pixels, others have "
                f"{size[0]} x {size[1]}; expected one size: cut them alike"
            )
    assert size is not None, "the core has refused a training without volumes"
    return size


def check_cell(seen: VolumeFacts, truth: VolumeFacts, paths: Paths) -> None:
    """Refuse a cell that no window fits into, or whose truth is of another size.

    Raises
    ------
    InputError
        One line.
    """
    path = paths[INPUT][seen.file_index]
    if seen.shape[0] < FRAMES or min(seen.shape[1:]) < SMALLEST_EDGE:
        raise InputError(
            f"{path}: {shown(seen.shape)} voxels (z, y, x); expected a cell of at least {FRAMES} "
            f"slices of {SMALLEST_EDGE} x {SMALLEST_EDGE}"
        )
    if truth.shape != (wanted := enlarged(seen, seen.shape[0])):
        raise InputError(
            f"{paths[GT][truth.file_index]}: {shown(truth.shape)} voxels (z, y, x); expected "
            f"{shown(wanted)}, as many slices as {path}, 1.5 times as large"
        )


def shown(shape: Sequence[int]) -> str:
    """Write a shape for people."""
    return " x ".join(map(str, shape))
