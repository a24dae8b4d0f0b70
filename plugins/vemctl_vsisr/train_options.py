"""Options of `vemctl train vsisr` and `vemctl finetune vsisr`. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vemctl.errors import OptionError
from vemctl.plugin import option

DATA = "Data"
LEARNING = "Learning"
TASKS = "Tasks"
NETWORK = "Network"
NEVER = "none"


@dataclass(frozen=True)
class PairOptions:
    """What meta-training and fine-tuning have in common."""

    validation: tuple[Path, ...] = option(
        (),
        panel=DATA,
        help="Folders to validate on, each with input and gt: pairs or, of a fine-tuning, a whole "
        "cell. Default: valid, meta_val or test beside the training's, else the last pairs.",
    )
    gt_sigma: float = option(
        0.6,
        min=0,
        panel=DATA,
        help="Width, in pixels, of the Gaussian by which every true plane is smoothed; 0 for none.",
    )
    ssim_weight: float = option(
        0.1, min=0, panel=LEARNING, help="Of the structural similarity in the loss."
    )
    spectrum_weight: float = option(
        1.0, min=0, panel=LEARNING, help="Of the difference between spectra in the loss."
    )
    double_precision_loss: bool = option(
        False,
        panel=LEARNING,
        help="Compute the spectra of the loss in double precision: their gradients magnify "
        "rounding.",
    )


@dataclass(frozen=True)
class TrainOptions(PairOptions):
    """Options of `vemctl train vsisr`: meta-training on many tasks; --batch is tasks per step."""

    pairs_per_task: int = option(
        8, min=2, panel=TASKS, help="Pairs that are drawn of a task for a step."
    )
    support: int = option(
        4, min=1, panel=TASKS, help="Of these, pairs that are adapted to; the rest judge it."
    )
    rounds: int = option(
        3, min=1, panel=TASKS, help="Rounds in which both networks are adapted to a task."
    )
    generator_steps: int = option(
        3, min=1, panel=TASKS, help="Steps of the generator in each round."
    )
    discriminator_steps: int = option(
        1, min=1, panel=TASKS, help="Steps of the discriminator in each round, before these."
    )
    inner_learning_rate: float = option(
        1e-2, min=0, panel=TASKS, help="Of the generator while it is adapted to a task."
    )
    inner_discriminator_learning_rate: float = option(
        2e-3, min=0, panel=TASKS, help="The same of the discriminator."
    )
    second_order: bool = option(
        False,
        panel=TASKS,
        help="Let gradients through the adaptation; takes far more time and memory.",
    )
    validation_pairs: int = option(
        20, min=2, panel=TASKS, help="Pairs of each task that is validated on."
    )
    validation_support: int = option(
        5,
        min=1,
        panel=TASKS,
        help="Of these, pairs that are adapted to, in twice as many rounds.",
    )
    learning_rate: float = option(
        1e-4, min=0, panel=LEARNING, help="Of the generator from task to task."
    )
    discriminator_learning_rate: float = option(
        2e-5, min=0, panel=LEARNING, help="Of the discriminator from task to task."
    )
    gan_weight: float = option(
        0.1, min=0, panel=LEARNING, help="Of the discriminator's verdict in the generator's loss."
    )
    schedule_factor: float = option(
        0.5,
        min=0,
        max=0.9999,
        panel=LEARNING,
        help="On both learning rates when the loss no longer falls.",
    )
    schedule_patience: int = option(
        10, min=0, panel=LEARNING, help="Validations without progress before that."
    )
    generator: Path | None = option(
        None,
        panel=NETWORK,
        help="A file of a generator to begin with, such as g_latest.pth of the published program. "
        "Default: drawn at random.",
    )
    discriminator: Path | None = option(
        None, panel=NETWORK, help="The same of a discriminator, such as d_latest.pth."
    )
    blocks: int | None = option(
        None,
        min=1,
        panel=NETWORK,
        help="Residual blocks of the generator. Default: 16, or those of the weights.",
    )


@dataclass(frozen=True)
class FinetuneOptions(PairOptions):
    """Options of `vemctl finetune vsisr`: few steps on pairs of one kind of specimen."""

    optimizer: Literal["sgd", "adam"] = option(
        "sgd", panel=LEARNING, help="sgd as published, without momentum, or adam."
    )
    learning_rate: float | None = option(
        None, min=0, panel=LEARNING, help="At the beginning. Default: 0.25; of adam 0.0001."
    )
    decay_steps: str = option(
        "10,20,30",
        metavar="N,N,...",
        panel=LEARNING,
        help="Steps after which the learning rate is lowered; none for never.",
    )
    decay: float = option(
        0.5, min=0, max=1, panel=LEARNING, help="What it is multiplied with after each."
    )
    mask_threshold: float = option(
        0.01,
        panel=LEARNING,
        help="How far above its surroundings structure is, in parts of a true plane's range, to be "
        "in the mask of val_psnr_masked.",
    )


def decay_steps_of(text: str) -> tuple[int, ...]:
    """Return the steps of `FinetuneOptions.decay_steps`.

    Raises
    ------
    OptionError
        It is no list of steps.
    """
    parts = [] if text == NEVER else text.split(",")
    if not all(part.isdecimal() for part in parts):
        raise OptionError(
            f"--decay-steps {text}: expected steps with commas between, such as 10,20,30, or "
            f"{NEVER}"
        )
    return tuple(int(part) for part in parts)
