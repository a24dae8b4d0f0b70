"""Batches that depend on the seed, the step and the place in the batch alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vemctl.errors import OptionError
from vemctl.sampling import Patches, Sample, Sampler
from vemctl.training.workers import Task, drawn_elsewhere

if TYPE_CHECKING:
    import torch

VALIDATION = 2**32 - 1
"""In the place of a step, so that validation samples are no training samples."""
KEPT_BYTES = 2**30
"""Of validation samples that are kept from the first validation on."""

Tensors = dict[str, "torch.Tensor"]


def check_batch(batch: int, world_size: int, accumulate: int) -> None:
    """Refuse a batch that cannot be divided among processes and parts.

    Raises
    ------
    OptionError
        It cannot.
    """
    if batch < 1 or batch % (world_size * accumulate):
        raise OptionError(
            f"--batch {batch}: cannot be divided among --devices {world_size} and --accumulate "
            f"{accumulate}: expected a multiple of {world_size * accumulate}"
        )


def batches(
    sampler: Sampler,
    patches: Patches,
    *,
    seed: int,
    batch: int,
    first_step: int = 0,
    last_step: int | None = None,
    accumulate: int = 1,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    pin_memory: bool = False,
) -> Generator[list[Tensors], None, None]:
    """Return the batches of the steps from `first_step` to before `last_step`.

    They are the same for any number of workers, and wherever one begins. Close the iterator to
    end the workers.

    Parameters
    ----------
    sampler : Sampler
    patches : Patches
    seed : int
    batch : int
        Samples per step, over all devices.
    first_step : int
        Counted from 0.
    last_step : int, optional
        None for no end.
    accumulate : int
        Micro-batches per step on each device.
    rank, world_size : int
        Which of how many devices; sample k is for device k modulo `world_size`.
    workers : int
        Processes that draw; 0 for this one.
    pin_memory : bool
        Put the tensors where CUDA copies them from without waiting.

    Yields
    ------
    list of dict of str to tensor, (n, ...)
        The micro-batches of a step; float32 where the sampler gave no integers.

    Raises
    ------
    OptionError
        The batch cannot be divided so.
    TrainingError
        A worker died.
    """
    check_batch(batch, world_size, accumulate)
    mine = range(rank, batch, world_size)
    size = len(mine) // accumulate
    tasks = (
        (step, tuple(mine[first : first + size]))
        for step in (
            itertools.count(first_step) if last_step is None else range(first_step, last_step)
        )
        for first in range(0, len(mine), size)
    )
    draw = Drawing(sampler, patches, seed, batch)
    if workers == 0:
        return _here(draw, tasks, accumulate, pin_memory=pin_memory)
    return drawn_elsewhere(draw, tasks, accumulate, workers, pin_memory=pin_memory and _has_cuda())


@dataclass(frozen=True)
class Drawing:
    """Draws micro-batches; it is copied into worker processes."""

    sampler: Sampler
    patches: Patches
    seed: int
    batch: int

    def __call__(self, task: Task, unwanted: Callable[[], bool] = lambda: False) -> Tensors:
        """Draw the samples of a micro-batch, as long as they are wanted."""
        step, numbers = task
        samples = []
        for k in numbers:
            if unwanted():
                return {}
            rng = np.random.default_rng([self.seed, step, k])
            samples.append(self.sampler.draw(self.patches, rng, step * self.batch + k))
        return _collate(samples)


def _collate(samples: Sequence[Sample]) -> Tensors:
    import torch

    tensors = {}
    for name in samples[0]:
        stacked = np.stack([np.asarray(sample[name]) for sample in samples])
        kind = stacked.dtype.newbyteorder("=") if stacked.dtype.kind in "iub" else np.float32
        tensors[name] = torch.from_numpy(np.ascontiguousarray(stacked, kind))
    return tensors


def _here(
    draw: Drawing, tasks: Iterator[Task], accumulate: int, *, pin_memory: bool
) -> Generator[list[Tensors], None, None]:
    pin = pin_memory and _has_cuda()
    while parts := [draw(task) for task in itertools.islice(tasks, accumulate)]:
        yield [{n: t.pin_memory() for n, t in part.items()} for part in parts] if pin else parts


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


class ValidationSamples:
    """Samples to validate on, one at a time, the same whenever they are gone through.

    Parameters
    ----------
    sampler : Sampler
    patches : Patches
    seed : int
    count : int
    kept_bytes : int
        Up to which samples are kept in memory from the first time on.
    """

    def __init__(
        self,
        sampler: Sampler,
        patches: Patches,
        *,
        seed: int,
        count: int,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self._sampler = sampler
        self._patches = patches
        self._seed = seed
        self._count = count
        self._room = kept_bytes
        self._kept: dict[int, Tensors] = {}

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Tensors]:
        for k in range(self._count):
            sample = self._kept.get(k)
            if sample is None:
                rng = np.random.default_rng([self._seed, VALIDATION, k])
                sample = _collate([self._sampler.draw_validation(self._patches, rng, k)])
                size = sum(tensor.nbytes for tensor in sample.values())
                if size > self._room:
                    yield sample
                    continue
                self._room -= size
                self._kept[k] = sample
            # a copy: those who get it may write into it
            yield {name: tensor.clone() for name, tensor in sample.items()}
