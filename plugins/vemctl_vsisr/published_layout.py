"""Where pairs are written: volumes of pairs, or the folders of the published programs."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from vemctl.plugin import Triple, Workplace
from vemctl_vsisr.data import ROLES
from vemctl_vsisr.prepare_tasks import TEST, TRAIN, Task

Counts = npt.NDArray[np.uint16]
VoxelSize = tuple[float, float, float]


class PairWriter(Protocol):
    """Takes the pairs of a task, slice by slice."""

    def append(self, role: str, slices: Counts) -> None:
        """Add slices (z, y, x) of a role, ``"input"`` or ``"gt"``, to the pair."""

    def end_pair(self) -> None:
        """Tell that the pair is whole."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Finish what is written, unless the run ended before."""


class StackedPairs:
    """Writes pairs one after the other along z, into a volume of each role.

    Parameters
    ----------
    place : Workplace
    folder : str
        In the output.
    count : int
        Pairs.
    shapes : mapping of str to (z, y, x)
        Of a pair, by role.
    voxel_sizes : mapping of str to (z, y, x), optional
        Nanometres.
    """

    def __init__(
        self,
        place: Workplace,
        folder: str,
        count: int,
        shapes: dict[str, Triple],
        voxel_sizes: dict[str, VoxelSize | None],
    ) -> None:
        self._volumes = {
            role: place.make_volume(
                f"{folder}/{role}",
                (count * shapes[role][0], *shapes[role][1:]),
                "uint16",
                voxel_sizes[role],
            )
            for role in ROLES
        }

    def append(self, role: str, slices: Counts) -> None:
        """Add slices; see `PairWriter`."""
        self._volumes[role].append(slices)

    def end_pair(self) -> None:
        """Do nothing: where pairs end is known from their number of slices."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            for volume in self._volumes.values():
                volume.close()


class TiffPairs:
    """Writes a TIFF for each pair into ``input`` and ``gt``, numbered with eight digits.

    Parameters
    ----------
    folder : Path
    first : int
        Number of the first pair.
    """

    def __init__(self, folder: Path, first: int = 0) -> None:
        self._folder = folder
        self._number = first
        self._open: dict[str, Any] = {}
        self._closing = contextlib.ExitStack()
        for role in ROLES:
            (folder / role).mkdir(parents=True, exist_ok=True)

    def append(self, role: str, slices: Counts) -> None:
        """Add slices; see `PairWriter`."""
        import tifffile

        if role not in self._open:
            path = self._folder / role / f"{self._number:08d}.tif"
            self._open[role] = self._closing.enter_context(tifffile.TiffWriter(path))
        for plane in slices:
            self._open[role].write(plane, photometric="minisblack", contiguous=True)

    def end_pair(self) -> None:
        """Finish the files of the pair."""
        self._closing.close()
        self._open.clear()
        self._number += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._closing.close()


def published_folder(form: str, task: Task, number: int) -> tuple[str, int]:
    """Return where the published programs read a task.

    Parameters
    ----------
    form : {"train", "finetune"}
        Which of the programs.
    task : Task
    number : int
        Of the task among those of its part, from 0.

    Returns
    -------
    folder : str
        In the output.
    first : int
        Number of its first file.
    """
    if form == "finetune":
        return ("train", 0) if task.part == TRAIN else ("test", number)
    if task.part == TEST:
        return "meta_test", number
    if task.part == TRAIN:
        return f"meta_train/task{number + 1:03d}", 0
    return f"meta_val/task{number + 1}", 0
