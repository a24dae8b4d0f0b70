"""Cells to training pairs: what the network is to see, and what it is to make of it.

Cell by cell, the truth is gone through once for its range and once for its foreground, the input
once for its range; then just what pairs are made of is read. A structure's tasks are written side
by side, so that the foreground of a cell is found once for all signal-to-noise levels.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vemctl.plugin import PreparationRequest, Triple, Workplace
from vemctl_vsisr.cell_volumes import (
    CellVolumes,
    cut,
    pair_shapes,
    volumes_by_file,
)
from vemctl_vsisr.data import GT, INPUT, ROLES
from vemctl_vsisr.deskewed_volume import CountedVolume, VoxelSize
from vemctl_vsisr.patch_places import Window
from vemctl_vsisr.prepare_options import PrepareOptions
from vemctl_vsisr.prepare_progress import Progress
from vemctl_vsisr.prepare_tasks import (
    TRAIN,
    VALID,
    Task,
    cells_of_names,
    patches_per_cell,
    tasks_of,
)
from vemctl_vsisr.published_layout import PairWriter, StackedPairs, TiffPairs, published_folder

SAME_SIZE = 1e-3
"""Relative difference up to which voxel edges are one that was rounded twice."""
COLUMNS = ["part", "task", "structure", "cell", "snr", "number", "z", "y", "x", "gt_z", "gt_y",
           "gt_x"]  # fmt: skip
"""Of the table of pairs: corners in the deskewed volumes, counted from 0."""


@dataclass(frozen=True)
class _Writing:
    """A task that is being written."""

    task: Task
    writer: PairWriter


class PairPreparation:
    """Makes pairs of the cells of structures.

    Parameters
    ----------
    options : PrepareOptions
    request : PreparationRequest

    Raises
    ------
    OptionError, InputError
        The options do not fit the files, or these each other.
    """

    def __init__(self, options: PrepareOptions, request: PreparationRequest) -> None:
        self._options = options
        self._tasks = tasks_of(options, cells_of_names(options, request.names))
        raw, truth = (volumes_by_file(request, role) for role in ("raw", "truth"))
        self._cells: dict[tuple[str, str], CellVolumes] = {}
        for task in self._tasks:
            for cell in task.cells:
                key = (cell.structure, cell.name)
                if key not in self._cells:
                    self._cells[key] = CellVolumes(
                        options,
                        request,
                        cell,
                        {snr: raw[str(path)] for snr, path in cell.raw.items()},
                        truth[str(cell.truth)],
                    )
                if not task.is_whole:
                    self._cells[key].check_size()
        if not any(task.part == VALID for task in self._tasks):
            request.warn(
                "nothing is kept to validate on: expected a second "
                + ("structure, or --valid-task" if options.pairs == "train" else "cell")
            )
        self._voxel_sizes = {task: self._sizes_of(task) for task in self._tasks}
        if any(size is None for sizes in self._voxel_sizes.values() for size in sizes.values()):
            request.warn(
                "cells of a task have different voxel sizes, or some have none; none is stored"
            )

    def plan(self) -> Mapping[str, Any]:
        """Return how many pairs of which size will be made of which cells."""
        shapes = {task: self._shapes(task) for task in self._tasks}
        voxels = sum(
            self._count(task) * z * y * x
            for task, by_role in shapes.items()
            for z, y, x in by_role.values()
        )
        cut_cells = {
            (c.structure, c.name) for task in self._tasks if not task.is_whole for c in task.cells
        }
        return {
            "pairs": self._options.pairs,
            "layout": self._options.layout,
            "tasks": self._described(),
            "uncompressed_bytes": 2 * voxels,
            "memory_bytes": max(
                cell.memory(is_cut=key in cut_cells) for key, cell in self._cells.items()
            ),
        }

    def run(self, place: Workplace) -> Mapping[str, Any]:
        """Write the pairs, and a table of where they are from."""
        progress = Progress(place.advance, "preparing", self._num_parts())
        cells: dict[str, Any] = {}
        with (place.folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            for structure in dict.fromkeys(task.structure for task in self._tasks):
                with contextlib.ExitStack() as closing:
                    writings = []
                    for task in (t for t in self._tasks if t.structure == structure):
                        writer = closing.enter_context(self._writer(task, place))
                        writings.append(_Writing(task, writer))
                    for key in (key for key in self._cells if key[0] == structure):
                        table.writerows(self._write_cell(key, writings, progress, cells))
        progress.finish()
        return {"pairs": self._options.pairs, "tasks": self._described(), "cells": cells}

    def _write_cell(
        self,
        key: tuple[str, str],
        writings: list[_Writing],
        progress: Progress,
        records: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """Write what tasks take of a cell, and return the rows of the table."""
        cell = self._cells[key]
        mine = [w for w in writings if cell.cell in w.task.cells]
        truth = cell.opened(cell.truth, progress)
        record: dict[str, Any] = {"truth": cell.truth.name}
        candidates = None
        if not all(w.task.is_whole for w in mine):
            candidates = cell.candidates(truth, progress)
            record |= {"candidates": len(candidates), "mask_threshold": candidates.threshold}
        records["/".join(key)] = record
        rows = []
        for writing in mine:
            task = writing.task
            seen = cell.opened(cell.raw[task.snr], progress)
            if task.is_whole:
                windows = iter([cell.whole()])
            else:
                assert candidates is not None, "found where a task needs them"
                windows = cell.drawn(candidates, task.snr, patches_per_cell(self._options))
            first = task.cells.index(cell.cell) * patches_per_cell(self._options)
            for number, pair in enumerate(windows, 0 if task.is_whole else first):
                _write_pair(writing, (seen, truth), pair, progress)
                rows.append(_row(task, cell.cell.name, number, pair))
        return rows

    def _writer(self, task: Task, place: Workplace) -> PairWriter:
        if self._options.layout == "zarr":
            folder = f"{task.part}/{task.name}"
            sizes = self._voxel_sizes[task]
            return StackedPairs(place, folder, self._count(task), self._shapes(task), sizes)
        assert self._options.pairs is not None, "a preparation of pairs"
        same_part = [each for each in self._tasks if each.part == task.part]
        name, first = published_folder(self._options.pairs, task, same_part.index(task))
        return TiffPairs(place.folder / name, first)

    def _count(self, task: Task) -> int:
        return 1 if task.is_whole else len(task.cells) * patches_per_cell(self._options)

    def _shapes(self, task: Task) -> dict[str, Triple]:
        if not task.is_whole:
            return pair_shapes(self._options)
        cell = task.cells[0]
        seen, truth = self._cells[cell.structure, cell.name].whole()
        return {INPUT: seen.size, GT: truth.size}

    def _sizes_of(self, task: Task) -> dict[str, VoxelSize | None]:
        """Return the voxel sizes that all cells of a task have, by role."""
        cells = [self._cells[cell.structure, cell.name] for cell in task.cells]
        found: dict[str, VoxelSize | None] = {}
        for role in ROLES:
            sizes = [(c.truth if role == GT else c.raw[task.snr]).voxel_size for c in cells]
            found[role] = sizes[0] if all(_alike(sizes[0], size) for size in sizes) else None
        return found

    def _described(self) -> list[dict[str, Any]]:
        described = []
        for task in self._tasks:
            shapes = self._shapes(task)
            described.append(
                {
                    "part": task.part,
                    "name": task.name,
                    "structure": task.structure,
                    "snr": task.snr,
                    "cells": [cell.name for cell in task.cells],
                    "count": self._count(task),
                    "input_shape": list(shapes[INPUT]),
                    "gt_shape": list(shapes[GT]),
                }
            )
        return described

    def _num_parts(self) -> int:
        """Return how many slices and pairs are gone through, unless thresholds are lowered."""
        slices = pairs = 0
        for task in self._tasks:
            depths = [self._cells[c.structure, c.name].truth.shape[0] for c in task.cells]
            slices += (2 if task.is_whole else 1) * sum(depths)
            pairs += 0 if task.is_whole else self._count(task)
        cut_cells = {c for task in self._tasks if task.part == TRAIN for c in task.cells}
        for key, cell in self._cells.items():
            slices += cell.truth.shape[0] * (
                1 + any((c.structure, c.name) == key for c in cut_cells)
            )
        return slices + pairs


def _write_pair(
    writing: _Writing,
    volumes: tuple[CountedVolume, CountedVolume],
    pair: tuple[Window, Window],
    progress: Progress,
) -> None:
    """Write a pair: patches at once, whole cells slice by slice."""
    for role, volume, window in zip(ROLES, volumes, pair, strict=True):
        z, y, x = window.corner
        depth, height, width = window.size
        count = 1 if writing.task.is_whole else depth
        for first in range(z, z + depth, count):
            if role == INPUT:
                progress()
            slices = cut(volume, Window((first, y, x), (count, height, width)))
            writing.writer.append(role, slices)
    writing.writer.end_pair()


def _alike(one: VoxelSize | None, other: VoxelSize | None) -> bool:
    """Tell whether two voxel sizes differ by rounding at most."""
    if one is None or other is None:
        return one is other
    return all(abs(a - b) <= SAME_SIZE * a for a, b in zip(one, other, strict=True))


def _row(task: Task, cell: str, number: int, pair: tuple[Window, Window]) -> dict[str, Any]:
    seen, truth = pair
    corners = dict(zip(COLUMNS[6:], (*seen.corner, *truth.corner), strict=True))
    names = {"structure": task.structure, "cell": cell, "snr": task.snr}
    return {"part": task.part, "task": task.name, **names, "number": number, **corners}
