"""What the tests of vsisr's training share: folders of tasks, their arrays, and small trainers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import vemctl_vsisr.building
from torch.nn import functional
from vemctl_vsisr.data import GT, INPUT, training_data
from vemctl_vsisr.train_options import FinetuneOptions, PairOptions, TrainOptions
from vemctl_vsisr.trainer import make_trainer

from vemctl.nn.gradients import GradientSteps
from vemctl.plugin import TrainingRequest, VolumeFacts

EDGE = 16
SMALL = {"blocks": 1}
"""Of a generator that is quick."""


class SmallDiscriminator(torch.nn.Module):
    """Takes the place of the published one, which is slow on a CPU."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        shapes = ((4, in_channels, 3, 3), (4,), (1, 4), (1,))
        self.vars = torch.nn.ParameterList(
            [torch.nn.Parameter(0.2 * torch.randn(shape)) for shape in shapes]
        )

    def forward(self, planes: torch.Tensor, weights: Any = None) -> torch.Tensor:
        """Return probabilities, (n, 1)."""
        convolved, shift, linear, bias = list(self.vars) if weights is None else weights
        maps = functional.leaky_relu(functional.conv2d(planes, convolved, shift, padding=1), 0.1)
        return torch.sigmoid(functional.linear(maps.mean((2, 3)), linear, bias))


def pair_volumes(counts: Sequence[int], edge: int = EDGE, seed: int = 0) -> dict[str, list[Any]]:
    """Return arrays by role with so many pairs in each, in which every pair is another."""
    rng = np.random.default_rng(seed)
    larger = 3 * edge // 2
    return {
        INPUT: [rng.integers(0, 65536, (7 * n, edge, edge), np.uint16) for n in counts],
        GT: [rng.integers(0, 65536, (3 * n, larger, larger), np.uint16) for n in counts],
    }


class TaskPatches:
    """Patches of arrays by role, of which each is a file, or a time point of the first."""

    def __init__(self, volumes: dict[str, list[np.ndarray]], *, in_time: bool = False) -> None:
        self.volumes, self.in_time = volumes, in_time

    def facts(self, role: str) -> list[VolumeFacts]:
        """Return shapes and types, and where each is."""
        return [
            VolumeFacts(
                volume.shape,
                volume.dtype.name,
                file_index=0 if self.in_time else index,
                timepoint=index if self.in_time else 0,
            )
            for index, volume in enumerate(self.volumes[role])
        ]

    def read(self, role: str, index: int, corner: Any, size: Any) -> np.ndarray:
        """Read a patch, which must lie inside."""
        z, y, x = (slice(start, start + n) for start, n in zip(corner, size, strict=True))
        patch = self.volumes[role][index][z, y, x]
        assert patch.shape == tuple(size)
        return patch

    def all_facts(self) -> dict[str, list[VolumeFacts]]:
        """Return the facts of both roles."""
        return {role: self.facts(role) for role in (INPUT, GT)}


def task_folders(folder: Path, names: Sequence[str]) -> tuple[Path, ...]:
    """Make folders that look like tasks, with Zarr stores that nobody opens."""
    for name, role in itertools.product(names, (INPUT, GT)):
        (folder / name / f"{role}.zarr").mkdir(parents=True)
    return tuple(folder / name for name in names)


def request_of(
    folder: Path,
    patches: TaskPatches,
    options: PairOptions,
    held: TaskPatches | None = None,
    **wishes: Any,
) -> tuple[PairOptions, TrainingRequest]:
    """Return options and request for volumes of which each is a task in a folder."""
    files = {each.file_index for each in patches.facts(INPUT)}
    tasks = task_folders(folder, [f"task{n}" for n in sorted(files)])
    if held is not None:
        files = {each.file_index for each in held.facts(INPUT)}
        cells = task_folders(folder, [f"held{n}" for n in sorted(files)])
        options = replace(options, validation=cells)
    training_data(options, tasks)
    told: dict[str, Any] = {
        "data": patches.all_facts(),
        "gradients": GradientSteps(),
        "volumes": tasks,
        "validation": held.all_facts() if held else {},
        **wishes,
    }
    return options, TrainingRequest(**told)


def make(
    folder: Path,
    patches: TaskPatches,
    options: PairOptions | None = None,
    held: TaskPatches | None = None,
    *,
    discriminator: Any = SmallDiscriminator,
    **wishes: Any,
) -> Any:
    """Make a small trainer of the volumes, the same every time."""
    options = options or TrainOptions(**SMALL)
    if isinstance(options, FinetuneOptions) and "weights" not in wishes:
        wishes["weights"] = small_weights(folder)
    options, request = request_of(folder, patches, options, held, **wishes)
    torch.manual_seed(0)
    with mock.patch.object(vemctl_vsisr.building, "Discriminator", discriminator):
        return make_trainer(options, request)


def small_weights(folder: Path) -> Path:
    """Write weights of a small generator."""
    from vemctl_vsisr.network import Generator

    torch.manual_seed(1)
    path = folder / "small.pth"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(Generator(7, 1, 1, 3).state_dict(), path)
    return path


def batch_of(sampler: Any, patches: TaskPatches, step: int = 0) -> dict[str, torch.Tensor]:
    """Return the batch of a step as the loader makes it."""
    samples = [
        sampler.draw(patches, np.random.default_rng([0, step, k]), step * sampler.batch + k)
        for k in range(sampler.batch)
    ]
    return {n: torch.from_numpy(np.stack([s[n] for s in samples])) for n in samples[0]}


def held_out(trainer: Any, patches: TaskPatches) -> list[dict[str, torch.Tensor]]:
    """Return the samples to validate on as the loader makes them."""
    drawn = (
        trainer.sampler.draw_validation(patches, np.random.default_rng(n), n)
        for n in range(trainer.num_validation)
    )
    return [{n: torch.from_numpy(np.stack([a])) for n, a in sample.items()} for sample in drawn]
