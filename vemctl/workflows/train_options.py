"""The options that every method's `train` and `finetune` have, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vemctl.plugin import option

DATA, SCHEDULE, COMPUTE, SAVING, RUN = "Data", "Schedule", "Compute", "Saving", "Run control"


@dataclass(frozen=True)
class DataOptions:
    """How the volumes are read."""

    axes: str | None = option(
        None,
        panel=DATA,
        metavar="AXES",
        help="Axes of the volumes, letters out of tczyx, where the files do not say.",
    )
    level: int = option(
        0, panel=DATA, min=0, help="Resolution level of OME-Zarr pyramids; 0 is full resolution."
    )
    channel: str = option(
        "all", panel=DATA, metavar="N|all", help="Channel to learn from, counted from 0."
    )
    timepoint: str = option(
        "all", panel=DATA, metavar="N|all", help="Time point to learn from, counted from 0."
    )
    validation_fraction: float = option(
        0.1,
        panel=DATA,
        min=0,
        max=0.9,
        help="Part of each volume that is kept from training, its last slices; 0 for none.",
    )
    cache: Literal["chunks", "all"] = option(
        "chunks",
        panel=DATA,
        help="Keep recently read chunks in memory, at most 1 GiB per process, or decode everything "
        "once.",
    )


@dataclass(frozen=True)
class ScheduleOptions:
    """How long and how fast is learned."""

    steps: int | None = option(
        None, panel=SCHEDULE, min=1, help="Length of the training in steps (updates)."
    )
    epochs: int | None = option(
        None, panel=SCHEDULE, min=1, help="The same in epochs of the method."
    )
    minutes: float | None = option(
        None, panel=SCHEDULE, min=0, help="Stop after so many minutes; --resume goes on."
    )
    batch: int | None = option(
        None, panel=SCHEDULE, min=1, short="-b", help="Samples per step, over all devices."
    )
    accumulate: int = option(
        1, panel=SCHEDULE, min=1, help="Parts in which a batch is computed, to save memory."
    )
    clip: float | None = option(
        None, panel=SCHEDULE, min=0, help="Largest norm of the gradients of a network."
    )
    validate_every: int | None = option(
        None,
        panel=SCHEDULE,
        min=1,
        help="Steps between validations. Default: an epoch, at most 1000.",
    )
    patience: int | None = option(
        None, panel=SCHEDULE, min=1, help="Stop after so many validations without a better one."
    )
    log_every: int = option(
        10, panel=SCHEDULE, min=1, help="Steps to a row of metrics, which holds their mean."
    )


@dataclass(frozen=True)
class TrainComputeOptions:
    """On what the training runs."""

    device: str = option(
        "auto", panel=COMPUTE, metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps."
    )
    devices: int = option(
        1, panel=COMPUTE, min=1, help="Processes on this machine, one per GPU where there are some."
    )
    precision: Literal["fp32", "bf16", "fp16"] = option(
        "fp32", panel=COMPUTE, help="Arithmetic of the network; bf16 and fp16 are for GPUs."
    )
    compile: bool = option(
        False, panel=COMPUTE, help="Compile the network; the first step then takes minutes."
    )
    workers: int | None = option(
        None,
        panel=COMPUTE,
        min=0,
        help="Processes that read samples. Default: 0, on a GPU 4.",
    )
    seed: int = option(0, panel=COMPUTE, min=0, max=2**31 - 1, help="Of everything random.")
    deterministic: bool = option(
        False, panel=COMPUTE, help="Only operations that give the same bits again; slower on GPUs."
    )


@dataclass(frozen=True)
class SavingOptions:
    """What is kept, and how often."""

    checkpoint_steps: int | None = option(
        None,
        panel=SAVING,
        min=1,
        help="Steps between checkpoints. Default: an epoch, at most 1000.",
    )
    checkpoint_minutes: float | None = option(
        10.0,
        panel=SAVING,
        min=0,
        help="Minutes between checkpoints, whichever comes first; 0 for never by time.",
    )
    keep: int = option(2, panel=SAVING, min=1, help="How many of the newest checkpoints stay.")


@dataclass(frozen=True)
class TrainRunOptions:
    """How the run behaves."""

    resume: bool = option(False, panel=RUN, help="Continue the training in the folder.")
    allow_changes: bool = option(
        False, panel=RUN, help="Continue also with other options or data; the run notes it."
    )


@dataclass(frozen=True)
class TrainRequest:
    """Everything that a training depends on.

    Attributes
    ----------
    command : {"train", "finetune"}
    method : str
    volumes : tuple of Path
        Those without a flag.
    output : Path
        The folder of the run.
    weights : str, optional
        To start from; as for a prediction.
    method_options : object
        An instance of the method's `train_options` or `finetune_options`.
    """

    command: Literal["train", "finetune"]
    method: str
    volumes: tuple[Path, ...]
    output: Path
    weights: str | None
    method_options: Any
    data: DataOptions = field(default_factory=DataOptions)
    schedule: ScheduleOptions = field(default_factory=ScheduleOptions)
    compute: TrainComputeOptions = field(default_factory=TrainComputeOptions)
    saving: SavingOptions = field(default_factory=SavingOptions)
    run: TrainRunOptions = field(default_factory=TrainRunOptions)


TRAIN_GROUPS: dict[str, type[Any]] = {
    "data": DataOptions,
    "schedule": ScheduleOptions,
    "compute": TrainComputeOptions,
    "saving": SavingOptions,
    "run": TrainRunOptions,
}
"""Field of `TrainRequest` to the dataclass of its options, in the order of the help."""

CHANGEABLE = frozenset(
    {
        "schedule.steps",
        "schedule.epochs",
        "schedule.minutes",
        "schedule.patience",
        "schedule.log_every",
        "data.cache",
        "compute.device",
        "compute.devices",
        "compute.compile",
        "compute.workers",
        "saving.checkpoint_steps",
        "saving.checkpoint_minutes",
        "saving.keep",
        "run.resume",
        "run.allow_changes",
    }
)
"""Options that a continued training may have otherwise, for they decide no batch and no update."""
