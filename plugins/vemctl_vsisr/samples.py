"""Draws samples: single pairs for a fine-tuning, whole tasks for a meta-training."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.errors import InputError
from vemctl.plugin import Patches, Sample, Triple, VolumeFacts
from vemctl_vsisr.data import GT, INPUT
from vemctl_vsisr.pairs import Floats, Pairs, enlarged, in_unit, pairs_in, tasks_in
from vemctl_vsisr.proportions import FRAMES, PLANES

STEP = 0x57E9
"""In the seeds of what is drawn for a whole step."""


def smoothed(truth: Floats, sigma: float) -> Floats:
    """Smooth planes (n, y, x) by a Gaussian of `sigma` pixels, mirrored at their edges."""
    from scipy import ndimage

    if sigma == 0:
        return truth
    smooth: Floats = ndimage.gaussian_filter(truth, (0, sigma, sigma))
    return smooth


def check_enough(count: int, batch: int) -> None:
    """Refuse a batch in which a pair would come twice.

    Raises
    ------
    InputError
        There are fewer pairs than that.
    """
    if count < batch:
        raise InputError(
            f"{count} pairs to train on, fewer than the {batch} of a step; expected more pairs, or "
            f"--batch {max(1, count)}"
        )


def drawn_together(
    rng_of_step: Sequence[int], count: int, batch: int
) -> npt.NDArray[np.integer[Any]]:
    """Return which of `count` things the samples of a step get; none gets what another has.

    Parameters
    ----------
    rng_of_step : sequence of int
        The seed, and the step.
    count, batch : int
    """
    rng = np.random.default_rng([*rng_of_step, STEP])
    return rng.choice(count, batch, replace=False)


@dataclass(frozen=True)
class PairSampler:
    """Draws a pair for each sample; those of a step differ.

    Attributes
    ----------
    patch, validation_patch : (z, y, x)
        Of inputs; of a whole cell to validate on, of several the smallest.
    paths, validation_paths : tuple of Path
        Of the inputs, for errors.
    batch : int
        Samples of a step, over all devices.
    seed : int
    gt_sigma : float
        Width of the Gaussian that smooths the truth, in pixels.
    mask_threshold : float
        See `vemctl_vsisr.judging.foreground`.
    num_validation : int
        Pairs to validate on; of cells all windows are.
    cells : bool
        Whether whole cells are validated on, not pairs.
    """

    patch: Triple
    validation_patch: Triple
    paths: tuple[Path, ...]
    validation_paths: tuple[Path, ...]
    batch: int
    seed: int
    gt_sigma: float
    mask_threshold: float
    num_validation: int
    cells: bool

    def draw(self, patches: Patches, rng: np.random.Generator, number: int) -> Sample:  # noqa: ARG002
        """Return ``input``, (7, y, x), and ``gt``, (3, 1.5 y, 1.5 x), of a pair."""
        pairs = pairs_in(patches)
        check_enough(len(pairs), self.batch)
        step, place = divmod(number, self.batch)
        chosen = drawn_together((self.seed, step), len(pairs), self.batch)[place]
        seen, truth = pairs.read_varied(patches, int(chosen), self.paths)
        return {"input": seen, "gt": smoothed(truth, self.gt_sigma)}

    def draw_validation(self, patches: Patches, rng: np.random.Generator, number: int) -> Sample:  # noqa: ARG002
        """Return a window of a cell, or a pair, as `vemctl_vsisr.judging.judge` takes it."""
        from vemctl_vsisr.judging import foreground

        if self.cells:
            cell, window, windows = window_of(patches.facts(INPUT), number)
            facts = patches.facts(INPUT)[cell]
            seen = patches.read(INPUT, cell, (window, 0, 0), (FRAMES, *facts.shape[1:]))
            first = window + (FRAMES - PLANES) // 2
            truth = patches.read(GT, cell, (first, 0, 0), enlarged(facts, PLANES))
            path = self.validation_paths[facts.file_index]
            seen, truth = in_unit(seen, str(path)), in_unit(truth, f"the truth of {path}")
            scored, place = slice(PLANES // 2, PLANES // 2 + 1), (cell, window, windows)
        else:
            pairs = pairs_in(patches)
            chosen = number * len(pairs) // self.num_validation
            seen, truth = pairs.read(patches, chosen, self.validation_paths)
            scored, place = slice(0, PLANES), (0, number, self.num_validation)
        truth = smoothed(truth, self.gt_sigma)
        mask = [foreground(plane, self.mask_threshold) for plane in truth[scored]]
        return {
            "input": seen,
            "gt": truth,
            "mask": np.stack(mask).astype(np.uint8),
            "place": np.asarray(place, np.int64),
        }


def num_windows(facts: Sequence[VolumeFacts]) -> int:
    """Return how many windows of seven slices there are in some cells."""
    return sum(each.shape[0] - FRAMES + 1 for each in facts)


def window_of(facts: Sequence[VolumeFacts], number: int) -> tuple[int, int, int]:
    """Return the cell of a window, which one of it that is, and how many it has."""
    counts = [num_windows([each]) for each in facts]
    ends = list(itertools.accumulate(counts))
    cell = next(index for index, end in enumerate(ends) if number < end)
    return cell, number - ends[cell] + counts[cell], counts[cell]


@dataclass(frozen=True)
class TaskSampler:
    """Draws a task for each sample, and some of its pairs; the tasks of a step differ.

    Attributes
    ----------
    patch, validation_patch : (z, y, x)
        Of inputs.
    paths, validation_paths : tuple of Path
        Of the inputs, for errors.
    batch : int
        Tasks of a step, over all devices.
    seed : int
    gt_sigma : float
        Width of the Gaussian that smooths the truth, in pixels.
    pairs, validation_pairs : int
        How many of a task.
    num_validation : int
        Tasks to validate on.
    """

    patch: Triple
    validation_patch: Triple
    paths: tuple[Path, ...]
    validation_paths: tuple[Path, ...]
    batch: int
    seed: int
    gt_sigma: float
    pairs: int
    validation_pairs: int
    num_validation: int

    def draw(self, patches: Patches, rng: np.random.Generator, number: int) -> Sample:
        """Return ``input``, (pairs, 7, y, x), and ``gt``, (pairs, 3, 1.5 y, 1.5 x)."""
        tasks = tasks_in(patches)
        check_tasks(tasks, self.paths, patches.facts(INPUT), self.batch, self.pairs)
        step, place = divmod(number, self.batch)
        task = tasks[drawn_together((self.seed, step), len(tasks), self.batch)[place]]
        chosen = rng.choice(len(task), self.pairs, replace=False)
        return self._of([task.read_varied(patches, int(k), self.paths) for k in chosen])

    def draw_validation(self, patches: Patches, rng: np.random.Generator, number: int) -> Sample:
        """Return the same of a task to validate on, with `validation_pairs`."""
        tasks = tasks_in(patches)
        task = tasks[number * len(tasks) // self.num_validation]
        chosen = rng.choice(len(task), min(self.validation_pairs, len(task)), replace=False)
        return self._of([task.read(patches, int(k), self.validation_paths) for k in chosen])

    def _of(self, pairs: Sequence[tuple[Floats, Floats]]) -> Sample:
        return {
            "input": np.stack([seen for seen, _ in pairs]),
            "gt": np.stack([smoothed(truth, self.gt_sigma) for _, truth in pairs]),
        }


def check_tasks(
    tasks: Sequence[Pairs],
    paths: Sequence[Path],
    facts: Sequence[VolumeFacts],
    batch: int,
    pairs: int,
) -> None:
    """Refuse a step that would have a task twice, and a task that would have a pair twice.

    Parameters
    ----------
    tasks : sequence of Pairs
    paths : sequence of Path
        Of the files of the inputs.
    facts : sequence of VolumeFacts
        Of all inputs.
    batch, pairs : int
        Tasks of a step, and pairs of each.

    Raises
    ------
    InputError
        There are too few.
    """
    if len(tasks) < batch:
        raise InputError(
            f"{len(tasks)} tasks to train on, fewer than the {batch} of a step; expected more "
            f"folders with input and gt, or --batch {len(tasks)}"
        )
    for task in tasks:
        if len(task) < pairs:
            path = paths[facts[task.volumes[0]].file_index]
            raise InputError(
                f"{path}: {len(task)} pairs to train on, fewer than the {pairs} that are drawn of "
                f"a task; expected more, or a smaller --pairs-per-task"
            )
