"""From options and data to what a trainer is made of: generator, samplers, facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vemctl.errors import OptionError, WeightsError
from vemctl.nn.state_dict import read_state_dict
from vemctl.plugin import TrainingRequest, Triple, VolumeFacts
from vemctl_vsisr.adapting import Losses
from vemctl_vsisr.checkpoints import (
    GeneratorConfiguration,
    build_discriminator,
    build_generator,
)
from vemctl_vsisr.data import GT, INPUT, training_data
from vemctl_vsisr.discriminator import Discriminator
from vemctl_vsisr.losses import reconstruction_loss
from vemctl_vsisr.memory import NUM_BLOCKS
from vemctl_vsisr.network import Generator
from vemctl_vsisr.pairs import (
    Pairs,
    by_task,
    check_cell,
    check_pairs,
    check_types,
    is_cell,
)
from vemctl_vsisr.proportions import FRAMES, PLANES
from vemctl_vsisr.samples import (
    PairSampler,
    TaskSampler,
    check_enough,
    check_tasks,
    num_windows,
)
from vemctl_vsisr.train_options import FinetuneOptions, PairOptions, TrainOptions

FINETUNE_BATCH, META_BATCH = 20, 3
VALIDATION_PAIRS = 32
"""On which a fine-tuning is validated where there is no cell."""
VALIDATION_TASKS = 8
"""The most that a meta-training is validated on."""

Paths = Mapping[str, tuple[Path, ...]]


def generator_for(
    request: TrainingRequest, start: Path | None, blocks: int | None = None
) -> Generator:
    """Make the generator that is asked for, or load that of a file, onto its device.

    Parameters
    ----------
    request : TrainingRequest
    start : Path, optional
        The file.
    blocks : int, optional
        That it shall have.

    Raises
    ------
    WeightsError
        The file is of another network.
    OptionError
        It has another number of blocks than is asked for.
    """
    if start is None:
        return GeneratorConfiguration(num_blocks=blocks or NUM_BLOCKS).build().to(request.device)
    network = build_generator(read_state_dict(start), start)
    if blocks not in {None, network.num_blocks}:
        raise OptionError(f"--blocks {blocks}: {start} has {network.num_blocks}; leave it out")
    if (network.in_channels, network.out_channels) != (FRAMES, PLANES):
        raise WeightsError(
            f"{start}: a generator that makes {network.out_channels} planes of "
            f"{network.in_channels} slices; expected one that makes {PLANES} of {FRAMES}"
        )
    return network.to(request.device)


def discriminator_for(request: TrainingRequest, start: Path | None, planes: int) -> Discriminator:
    """Make a discriminator of so many planes, or load that of a file, onto its device.

    Raises
    ------
    WeightsError
        The file is of another network.
    """
    if start is None:
        return Discriminator(planes).to(request.device)
    return build_discriminator(read_state_dict(start), start).to(request.device)


def make_losses(
    options: TrainOptions,
    request: TrainingRequest,
    generator: Generator,
    discriminator: Discriminator,
) -> Losses:
    """Return what both networks are to minimise."""

    def reconstruction(truth: Tensor, restored: Tensor) -> Tensor:
        return reconstruction_loss(
            truth,
            restored,
            ssim_weight=options.ssim_weight,
            spectrum_weight=options.spectrum_weight,
            double=options.double_precision_loss,
        )

    compiled: list[Any] = [
        torch.compile(network) if request.compile else network
        for network in (generator, discriminator)
    ]
    autocast = request.gradients.autocast
    return Losses(compiled[0], compiled[1], reconstruction, options.gan_weight, autocast)


def pair_sampler(options: FinetuneOptions, request: TrainingRequest) -> PairSampler:
    """Check the pairs of a fine-tuning, and return what draws them.

    Raises
    ------
    InputError
        They are no pairs, too few, or the cell to validate on has no fitting truth.
    """
    paths, held = _paths(options, request)
    size = _checked(request, paths)
    batch = request.batch or FINETUNE_BATCH
    check_enough(len(Pairs.of(request.data[INPUT])), batch)
    patch: Triple = (FRAMES, *size)
    own = request.validation
    cells = bool(own) and all(is_cell(own, index) for index in range(len(own[INPUT])))
    seen, count = patch, VALIDATION_PAIRS
    if own:
        check_types(own, held)
        if cells:
            for each, truth in zip(own[INPUT], own[GT], strict=True):
                check_cell(each, truth, held)
            y, x = (min(each.shape[axis] for each in own[INPUT]) for axis in (1, 2))
            seen, count = (FRAMES, y // 2 * 2, x // 2 * 2), num_windows(own[INPUT])
        else:
            seen = (FRAMES, *check_pairs(own, held))
            count = min(count, len(Pairs.of(own[INPUT])))
    return PairSampler(
        patch,
        seen,
        paths[INPUT],
        held.get(INPUT) or paths[INPUT],
        batch,
        request.seed,
        options.gt_sigma,
        options.mask_threshold,
        count,
        cells,
    )


def task_sampler(options: TrainOptions, request: TrainingRequest) -> TaskSampler:
    """Check the tasks of a meta-training, and return what draws them.

    Raises
    ------
    InputError
        They are no pairs, or too few.
    """
    paths, held = _paths(options, request)
    size = _checked(request, paths)
    batch, facts = request.batch or META_BATCH, request.data[INPUT]
    tasks = by_task(facts)
    check_tasks(tasks, paths[INPUT], facts, batch, options.pairs_per_task)
    # Where pairs are stacked, so many slices are read, and kept from training to validate on.
    stacked = all(each.shape[0] >= FRAMES * options.pairs_per_task for each in facts)
    patch = (FRAMES * options.pairs_per_task if stacked else FRAMES, *size)
    judged = (FRAMES * options.validation_pairs if stacked else FRAMES, *size)
    own = request.validation
    if own:
        check_types(own, held)
        judged = (FRAMES, *check_pairs(own, held))
        tasks = by_task(own[INPUT])
        check_tasks(tasks, held[INPUT], own[INPUT], 1, options.validation_support + 1)
    return TaskSampler(
        patch,
        judged,
        paths[INPUT],
        held.get(INPUT) or paths[INPUT],
        batch,
        request.seed,
        options.gt_sigma,
        options.pairs_per_task,
        options.validation_pairs,
        min(len(tasks), VALIDATION_TASKS),
    )


def _paths(options: PairOptions, request: TrainingRequest) -> tuple[Paths, Paths]:
    data = training_data(options, request.volumes)
    return data.volumes, data.validation


def _checked(request: TrainingRequest, paths: Paths) -> tuple[int, int]:
    check_types(request.data, paths)
    return check_pairs(request.data, paths)


def facts_of(
    network: Generator, options: PairOptions, request: TrainingRequest, patch: Triple, stage: str
) -> dict[str, Any]:
    """Return what is stored beside the weights, of JSON types.

    Parameters
    ----------
    network : Generator
    options : PairOptions
    request : TrainingRequest
    patch : (z, y, x)
        Of inputs.
    stage : {"meta", "fine-tuned"}
    """
    configuration = GeneratorConfiguration(
        network.in_channels, network.num_blocks, network.out_channels
    )
    return {
        "network": {"name": "Meta-VSI-SR", **configuration.to_json()},
        "normalisation": {"input": "min-max"},
        "tile": [FRAMES, *patch[1:]],
        "stage": stage,
        "gt_sigma": options.gt_sigma,
        "voxel_size": _voxel_size(request.data[INPUT]),
    }


def _voxel_size(facts: Sequence[VolumeFacts]) -> list[float] | None:
    """Return the voxel size (z, y, x) of the inputs, in nanometres, if all have one."""
    sizes = {each.voxel_size for each in facts}
    size = sizes.pop() if len(sizes) == 1 else None
    return None if size is None else list(size)
