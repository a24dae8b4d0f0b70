"""Cells to training pairs: what the network is to see, and what it is to make of it.

Cell by cell, the truth is gone through once for its range and once for its foreground, the input
once for its range; then just what pairs are made of is read. A structure's tasks are written side
by side, so that the foreground of a cell is found once for all signal-to-noise levels.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vemctl.plugin import PreparationRequest, Progress, Triple, Workplace
from vemctl_vsisr.cell_volumes import (
    CellVolumes,
    cut,
    pair_shapes,
    volumes_by_file,
)
from vemctl_vsisr.data import GT, INPUT, ROLES
from vemctl_vsisr.deskewed_volume import CountedVolume
from vemctl_vsisr.patch_places import Window
from vemctl_vsisr.prepare_memory import waiting_bytes
from vemctl_vsisr.prepare_options import PrepareOptions
from vemctl_vsisr.prepare_spacing import VoxelSize, warn_of_oblong
from vemctl_vsisr.prepare_tasks import (
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


@dataclass
class _Writing:
    """A task that is being written, and how many pairs of it are."""

    task: Task
    writer: PairWriter
    closing: contextlib.ExitStack
    count: int = 0


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
            self._tasks += self._to_validate(request)
        volumes = (volume for cell in self._cells.values() for volume in cell.raw.values())
        warn_of_oblong(((each.name, each.voxel_size) for each in volumes), request.warn)
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
        return {
            "pairs": self._options.pairs,
            "layout": self._options.layout,
            "tasks": self._described(),
            "uncompressed_bytes": 2 * voxels,
            "memory_bytes": max(self._memory(cell) for cell in self._cells.values()),
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
                        own = closing.enter_context(contextlib.ExitStack())
                        writer = own.enter_context(self._writer(task, place))
                        writings.append(_Writing(task, writer, own))
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
        seen: dict[int, CountedVolume] = {}
        rows = []
        for writing in mine:
            task = writing.task
            if task.snr not in seen:
                seen[task.snr] = cell.opened(cell.raw[task.snr], progress)
            if task.is_middle:
                windows = iter([_middle_of(task, cell)])
            else:
                assert candidates is not None, "found where a task needs them"
                windows = cell.drawn(candidates, task.snr, patches_per_cell(self._options))
            for pair in windows:
                _write_pair(writing, (seen[task.snr], truth), pair, progress)
                rows.append(_row(task, cell.cell.name, writing.count, pair))
                writing.count += 1
            if writing.count == self._count(task):
                writing.closing.close()  # what waits there is large
        return rows

    def _to_validate(self, request: PreparationRequest) -> tuple[Task, ...]:
        """Return the end of an only cell, where nothing else is kept to validate on."""
        task, finetuning = self._tasks[0], self._options.pairs == "finetune"
        if finetuning and len(task.cells) == 1:
            name = task.cells[0].name
            kept = self._cells[task.structure, name].keep_end()
            if kept:
                request.warn(
                    f"there is no other cell to validate on than {name}: its last {kept} slices "
                    "are kept for that, and no pairs are cut of them"
                )
                return (replace(task, part=VALID, name=name, is_whole=True),)
        request.warn(
            "nothing is kept to validate on: pairs of the cells that are trained on will be, which "
            "overlap, so that scores will be too good; expected a second "
            + ("cell" if finetuning else "structure, or --valid-task")
        )
        return ()

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
        return 1 if task.is_middle else len(task.cells) * patches_per_cell(self._options)

    def _shapes(self, task: Task) -> dict[str, Triple]:
        if not task.is_middle:
            return pair_shapes(self._options)
        cell = task.cells[0]
        seen, truth = _middle_of(task, self._cells[cell.structure, cell.name])
        return {INPUT: seen.size, GT: truth.size}

    def _memory(self, cell: CellVolumes) -> int:
        """Return about how many bytes the work on a cell takes, and what is being written."""
        used = cell.memory(is_cut=any(not t.is_whole for t in self._tasks if cell.cell in t.cells))
        if self._options.layout == "tiff":
            return used  # slices are written at once
        for task in (t for t in self._tasks if t.structure == cell.cell.structure):
            if not task.is_whole or cell.cell in task.cells:
                count = self._count(task)
                used += sum(
                    waiting_bytes((count * z, y, x)) for z, y, x in self._shapes(task).values()
                )
        return used

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
        parts = 0
        for cell in self._cells.values():
            mine = [task for task in self._tasks if cell.cell in task.cells]
            is_cut = not all(task.is_whole for task in mine)
            parts += cell.truth.shape[0] * (1 + is_cut + len({task.snr for task in mine}))
        for task in self._tasks:
            parts += self._shapes(task)[INPUT][0] if task.is_whole else self._count(task)
        return parts


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


def _middle_of(task: Task, cell: CellVolumes) -> tuple[Window, Window]:
    return cell.whole() if task.is_whole else cell.middle()


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
