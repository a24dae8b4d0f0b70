"""A training that is ready to begin: data open, trainer made, schedule settled."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vemctl import registry
from vemctl.errors import DeviceError, OptionError, VemctlError
from vemctl.events import Listener, Noted
from vemctl.learning import Batch, Trainer, TrainingRequest
from vemctl.method import Method
from vemctl.nn import device as devices
from vemctl.nn.gradients import GradientSteps
from vemctl.sampling import Patches, Sample, Sampler, TrainingData
from vemctl.training import loader, patches
from vemctl.training.schedule import Schedule
from vemctl.training.world import World
from vemctl.weights import Resolved
from vemctl.workflows.peek import peek
from vemctl.workflows.train_options import DataOptions, TrainRequest
from vemctl.workflows.train_statistics import with_statistics
from vemctl.workflows.weights import files_for, resolve_for

if TYPE_CHECKING:
    import torch

WORKERS_ON_GPU = 4
MOST_STEPS_UNSEEN = 1000
"""Between validations and between checkpoints by default, however long an epoch is."""
MINUTE = 60.0
LOOK = 0x100C
"""In the seeds of samples that are looked at before the training."""


@dataclass(frozen=True)
class Session:
    """A training that is ready to begin.

    Attributes
    ----------
    trainer : Trainer
    gradients : GradientSteps
    data : DataDescription
    training : Patches
    validation : Patches, optional
    schedule : Schedule
    device : str
    weights : Resolved, optional
        From which it starts.
    files : mapping of str to Resolved
        What the method reads beside volumes and weights.
    """

    trainer: Trainer
    gradients: GradientSteps
    data: patches.DataDescription
    training: Patches
    validation: Patches | None
    schedule: Schedule
    device: str
    weights: Resolved | None
    files: Mapping[str, Resolved]


def method_of(request: TrainRequest) -> Method:
    """Return the method of a request, which it can train."""
    method = registry.get(request.method)
    options = method.train_options if request.command == "train" else method.finetune_options
    if options is None:
        raise OptionError(f"{method.name} has no {request.command}")
    return method


@contextlib.contextmanager
def session(
    request: TrainRequest,
    method: Method,
    world: World,
    device: str,
    listen: Listener,
    stop: threading.Event,
) -> Iterator[Session]:
    """Open the data and make the trainer; close the data afterwards."""
    import torch

    own = world.device(device)
    devices.be_exact()
    if request.compute.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # CUDA's libraries ask for it
    torch.use_deterministic_algorithms(request.compute.deterministic)
    wanted = method.training_data(request.method_options, request.volumes)
    _check_fraction(request.data, wanted)
    weights = None
    if request.command == "finetune":
        weights = resolve_for(method, request.weights, listen, stop)
    files = files_for(method, method.training_files(request.method_options), listen, stop)
    description = patches.open_data(
        wanted,
        axes=request.data.axes,
        level=request.data.level,
        channel=request.data.channel,
        timepoint=request.data.timepoint,
    )
    description = with_statistics(method, request.method_options, description, listen, stop)
    clip = request.schedule.clip
    average = world.average if world.size > 1 else None
    gradients = GradientSteps(own, request.compute.precision, clip, average)
    torch.manual_seed(request.compute.seed)
    trainer = method.trainer(
        request.method_options,
        TrainingRequest(
            data=description.facts,
            gradients=gradients,
            device=own,
            batch=request.schedule.batch,
            compile=request.compute.compile,
            weights=weights.path if weights else None,
            steps=request.schedule.steps,
            validation=description.validation.facts if description.validation else {},
            seed=request.compute.seed,
            warn=lambda text: listen(Noted(text, "warning")),
            look=lambda sampler, count: _look(request, description, sampler, count),
            peek=peek,
            volumes=request.volumes,
            files={name: found.path for name, found in files.items()},
        ),
    )
    loader.check_batch(trainer.batch, world.size, request.schedule.accumulate)
    world.start_alike(list(trainer.networks.values()))
    if request.schedule.patience is not None and trainer.best is None:
        raise OptionError(
            "--patience: this training has no score by which to stop; leave it out, or name "
            "--steps, --epochs or --minutes"
        )
    training, validation = patches.split(
        description, trainer.sampler, request.data.validation_fraction
    )
    if request.schedule.patience is not None and validation is None:
        raise OptionError(
            "--patience: nothing is kept for validation; leave it out, or let "
            "--validation-fraction be above 0"
        )
    with contextlib.ExitStack() as stack:
        for each in (training, validation):
            if each is not None:
                stack.callback(each.close)
        schedule = make_schedule(request, trainer)
        drawn = stack.enter_context(_decoded(request, training, own, listen, stop))
        yield Session(
            trainer, gradients, description, drawn, validation, schedule, own, weights, files
        )


def _check_fraction(options: DataOptions, wanted: TrainingData) -> None:
    """Refuse a fraction that would have no effect."""
    fraction = options.validation_fraction
    if fraction != DataOptions().validation_fraction and any(wanted.validation.values()):
        raise OptionError(
            f"--validation-fraction {fraction:g}: there are volumes of their own to validate on; "
            "leave it out"
        )


def _look(
    request: TrainRequest, description: patches.DataDescription, sampler: Sampler, count: int
) -> Iterator[Sample]:
    """Yield training samples, drawn from what is trained on."""
    import numpy as np

    training, validation = patches.split(description, sampler, request.data.validation_fraction)
    with contextlib.ExitStack() as stack:
        for each in (training, validation):
            if each is not None:
                stack.callback(each.close)
        for number in range(count):
            rng = np.random.default_rng([request.compute.seed, number, LOOK])
            yield sampler.draw(training, rng, number)


@contextlib.contextmanager
def _decoded(
    request: TrainRequest,
    lazy: patches.VolumePatches,
    device: str,
    listen: Listener,
    stop: threading.Event,
) -> Iterator[Patches]:
    """Return patches that are read as they are asked for or, if so wished, all decoded before."""
    if request.data.cache == "chunks":
        yield lazy
        return
    with tempfile.TemporaryDirectory(prefix="vemctl-train-") as folder:
        where = Path(folder) if num_workers(request, device) else None
        with contextlib.closing(patches.decode_all(lazy, where, listen, stop)) as decoded:
            yield decoded


def num_workers(request: TrainRequest, device: str) -> int:
    """Return in how many processes samples are read."""
    asked = request.compute.workers
    if asked is None:
        return WORKERS_ON_GPU if device.startswith("cuda") else 0
    return asked


def make_schedule(request: TrainRequest, trainer: Trainer) -> Schedule:
    """Return when what happens: as asked, or as the method usually does.

    Raises
    ------
    OptionError
        Two lengths were given.
    """
    asked, saving = request.schedule, request.saving
    if asked.steps is not None and asked.epochs is not None:
        raise OptionError("--steps and --epochs: expected one of them; leave one out")
    epoch = trainer.steps_per_epoch
    steps = asked.steps
    if steps is None and (asked.epochs is not None or asked.minutes is None):
        steps = (asked.epochs or trainer.num_epochs) * epoch
    minutes = saving.checkpoint_minutes
    return Schedule(
        steps=steps,
        seconds=None if asked.minutes is None else asked.minutes * MINUTE,
        validate_every=asked.validate_every or min(epoch, MOST_STEPS_UNSEEN),
        log_every=asked.log_every,
        checkpoint_steps=saving.checkpoint_steps or min(epoch, MOST_STEPS_UNSEEN),
        checkpoint_seconds=minutes * MINUTE if minutes else None,
        patience=asked.patience,
        seed=request.compute.seed,
    )


def make_batches(request: TrainRequest, ready: Session, world: World) -> Any:
    """Return what makes the batches from a step on, on this process' device."""

    def batches(first_step: int) -> Iterator[list[Batch]]:
        coming = loader.batches(
            ready.trainer.sampler,
            ready.training,
            seed=request.compute.seed,
            batch=ready.trainer.batch,
            first_step=first_step,
            last_step=ready.schedule.steps,
            accumulate=request.schedule.accumulate,
            rank=world.rank,
            world_size=world.size,
            workers=num_workers(request, ready.device),
            pin_memory=ready.device.startswith("cuda"),
        )
        with contextlib.closing(coming):
            for step in coming:
                yield [to_device(batch, ready.device) for batch in step]

    return batches


def make_samples(ready: Session, seed: int) -> Any:
    """Return what makes the samples to validate on, or None where nothing is kept for that."""
    patches_to_judge = ready.validation
    if patches_to_judge is None:
        return None
    kept = loader.ValidationSamples(
        ready.trainer.sampler, patches_to_judge, seed=seed, count=ready.trainer.num_validation
    )

    def samples() -> Iterable[Batch]:
        return (to_device(sample, ready.device) for sample in kept)

    return samples


def to_device(batch: Batch, device: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a batch on a device."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def no_memory(
    error: Exception, ready: Session, accumulate: int, world: World
) -> VemctlError | None:
    """Return the error of a step that did not fit, with what would; None for other errors."""
    import torch

    text = str(error)
    if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not (
        "not enough memory" in text or "out of memory" in text
    ):
        return None
    trainer = ready.trainer
    samples = trainer.batch // world.size // accumulate
    needed = trainer.memory(samples)
    free = devices.free_memory(ready.device)
    advice = "use a smaller --patch"
    if samples > 1:
        advice = f"use --accumulate {accumulate * 2} or a smaller --batch"
    elif free and needed > free:
        tile = trainer.facts().get("tile")
        if isinstance(tile, list | tuple):
            factor = (free / needed) ** 0.5
            y, x = (max(16, int(n * factor) // 16 * 16) for n in tile[1:])
            advice = f"a patch that fits is about --patch {tile[0]},{y},{x}"
    return DeviceError(
        f"{ready.device}: out of memory in a step of {samples} sample(s), which takes about "
        f"{needed / 2**30:.1f} GiB; {advice}"
    )
