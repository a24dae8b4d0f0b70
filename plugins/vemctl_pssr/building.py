"""From options and data to a trainer: network, normalisation, samplers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vemctl.errors import InputError, OptionError
from vemctl.plugin import Sampler, TrainingRequest, VolumeFacts
from vemctl_pssr.architecture import SCALE, Architecture, standard
from vemctl_pssr.checkpoints import Checkpoint, Normalisation, forget, read_checkpoint
from vemctl_pssr.data import (
    HR,
    LR,
    PreparedSet,
    prepared_set,
    range_option,
    training_data,
)
from vemctl_pssr.making_poor import PoorMaker
from vemctl_pssr.memory import LARGE, num_parameters
from vemctl_pssr.network import build as build_network
from vemctl_pssr.ranges import range_of_training, rule_for
from vemctl_pssr.samples import Frames, MadeSampler, PairSampler
from vemctl_pssr.selecting import Selection
from vemctl_pssr.structure import BLOCKS, FILTERS
from vemctl_pssr.train_options import FinetuneOptions, TrainOptions
from vemctl_pssr.trainer import BATCH, Learned, PssrTrainer

EPOCH_STEPS = 500
LOOKED_AT = 64
"""Samples of which mean and standard deviation are those of the training."""
ENCODER = "wnresnet34"


def make_trainer(options: TrainOptions, request: TrainingRequest) -> PssrTrainer:
    """Make or load the network, and settle what it is shown.

    Parameters
    ----------
    options : TrainOptions
    request : TrainingRequest

    Raises
    ------
    WeightsError
        The weights to start from are of another method.
    OptionError
        An option does not fit the network or the data.
    """
    prepared = prepared_set(request.volumes)
    found = read_checkpoint(request.weights) if request.weights else None
    architecture = _architecture(options, prepared, found)
    _check(options, architecture, request)
    frames = Frames(architecture.frames, in_time=_in_time(options, architecture, request))
    sampler, facts = _sampler(options, prepared, frames, request)
    normalisation = _normalisation(sampler, found, options, request)
    if found is None:
        network = build_network(architecture, detach_skips=options.detach_skips)
    else:
        network = found.network(detach_skips=options.detach_skips)
    forget()
    parameters = num_parameters(architecture)
    if parameters > LARGE:
        request.warn(
            f"{architecture.name} has {parameters / 1e6:.0f} million parameters; expect it to be "
            f"slow, and see --dry-run for the memory that it takes"
        )
    learned = Learned(network.to(request.device), architecture, normalisation, facts)
    batch = request.batch or BATCH
    steps = options.epoch_steps or (
        EPOCH_STEPS if prepared is None else max(1, prepared.counts[0] // batch)
    )
    if request.steps is None:
        request.warn(
            "neither --steps nor --epochs: the cycle of the learning rate is that of "
            f"{PssrTrainer.num_epochs} epochs; where the training ends before, its rate is high"
        )
    return PssrTrainer(learned, sampler, steps, options, request)


def _architecture(
    options: TrainOptions, prepared: PreparedSet | None, found: Checkpoint | None
) -> Architecture:
    """Return the network that is asked for, or that of the weights."""
    frames = prepared.frames if prepared else options.frames
    if found is None:
        name = options.encoder or ENCODER
        if name == "rrdb":
            return standard(
                name,
                frames,
                filters=options.width or FILTERS,
                blocks=options.blocks or BLOCKS,
                growth=options.width or FILTERS,
            )
        if options.blocks is not None:
            raise OptionError(f"--blocks: {name} has as many as its name says; leave it out")
        more: dict[str, Any] = {} if options.width is None else {"width": options.width}
        return standard(
            name, frames, **more, wrapped=True, attention=options.attention, bottle=options.bottle
        )
    usual = TrainOptions()
    given = [
        f"--{name}"
        for name in ("encoder", "width", "blocks", "attention", "bottle")
        if getattr(options, name) != getattr(usual, name)
    ]
    if given:
        raise OptionError(
            f"{', '.join(given)}: the network is that of the weights, "
            f"{found.architecture.name}; leave it out"
        )
    if frames not in {1, found.architecture.frames}:
        raise OptionError(
            f"--frames {frames}: the weights take {found.architecture.frames}; leave it out"
        )
    if prepared and frames != found.architecture.frames:
        raise OptionError(
            f"{prepared.folder}: prepared with {frames} frames, the weights take "
            f"{found.architecture.frames}; prepare another set"
        )
    return found.architecture


def _check(options: TrainOptions, architecture: Architecture, request: TrainingRequest) -> None:
    single = architecture.encoder == "wnresnet" and request.batch == 1
    if single:
        raise OptionError(
            "--batch 1: this network normalises one pixel per sample over the batch; expected at "
            "least 2 samples on each device"
        )
    if architecture.encoder == "rrdb":
        usual = TrainOptions()
        for name in ("freeze", "detach_skips", "attention", "bottle", "encoder_learning_rate"):
            if getattr(options, name) != getattr(usual, name):
                flag = name.replace("_", "-")
                raise OptionError(f"--{flag}: rrdb has no encoder and decoder; leave it out")
    if architecture.frames == 1 and options.frames_axis is not None:
        raise OptionError(
            f"--frames-axis {options.frames_axis}: the network takes one frame; leave it out, or "
            f"give --frames"
        )


def _in_time(options: TrainOptions, architecture: Architecture, request: TrainingRequest) -> bool:
    if architecture.frames == 1:
        return False
    facts = request.data[LR if LR in request.data else HR]
    several = any(each.timepoint for each in facts)
    if options.frames_axis == "t" and not several:
        raise InputError("--frames-axis t: the images have one time point; expected several")
    return options.frames_axis == "t" or (options.frames_axis is None and several)


def _sampler(
    options: TrainOptions,
    prepared: PreparedSet | None,
    frames: Frames,
    request: TrainingRequest,
) -> tuple[Sampler, dict[str, Any]]:
    """Return what draws samples, and what is told of them beside the weights."""
    common = (options.patch[1], frames, options.augment, options.max_zoom)
    texts: dict[str, str | None] = {
        role: "dtype" if prepared else range_option(options, role)[0] for role in request.data
    }
    _check_ranges(options, texts, request)
    seen = LR if LR in request.data else HR
    facts: dict[str, Any] = {
        "range": range_of_training(texts[seen], [each.dtype for each in request.data[seen]]),
        "voxel_size": _voxel_size(request.data[seen], 1 if seen == LR else SCALE),
    }
    if seen == LR:
        if prepared is not None:
            facts |= {"range": prepared.range, "crappifier": prepared.crappifier}
        return PairSampler(*common, texts, prepared is not None), facts
    poor = PoorMaker.of(
        options,
        request.peek,
        training_data(options, request.volumes).volumes[HR],
        request.warn,
    )
    facts |= {"crappifier": poor.name, "crappifier_parameters": poor.to_json()}
    selection = Selection() if options.select else None
    return MadeSampler(*common, texts[HR], poor, selection), facts


def _check_ranges(
    options: TrainOptions, texts: Mapping[str, str | None], request: TrainingRequest
) -> None:
    """Refuse files whose values do not fit their range, before a step is made."""
    data = training_data(options, request.volumes)
    for given, paths in ((request.data, data.volumes), (request.validation, data.validation)):
        for role, everything in given.items():
            for facts in everything:
                rule = rule_for(texts[role], range_option(options, role)[1], facts.dtype)
                rule.ranges_of(facts, str(paths[role][facts.file_index]))


def _normalisation(
    sampler: Sampler, found: Checkpoint | None, options: TrainOptions, request: TrainingRequest
) -> Normalisation:
    """Return the statistics of poor images: those of the weights, or of many samples."""
    if found is not None and isinstance(options, FinetuneOptions):
        # What comes out is normalised by the training in any case.
        stored = found.normalisation(options.mean, options.std)
        return replace(stored, inputs=True, outputs=True)
    images = [sample[LR] for sample in request.look(sampler, LOOKED_AT)]
    values = np.stack(images)
    mean, std = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64, ddof=1))
    if not std > 0:
        raise InputError(
            f"every pixel of the poor images is {mean:g}: nothing can be learned from them; "
            f"expected images, see --hr-range"
        )
    return Normalisation((mean,), (std,))


def _voxel_size(facts: Sequence[VolumeFacts], scale: int) -> list[float] | None:
    """Return the voxel size (z, y, x) of poor images, in nanometres, if all have one."""
    sizes = {each.voxel_size for each in facts}
    size = sizes.pop() if len(sizes) == 1 else None
    return None if size is None else [size[0], scale * size[1], scale * size[2]]
