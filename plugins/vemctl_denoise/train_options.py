"""Options of `vemctl train denoise` and `vemctl finetune denoise`. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vemctl.plugin import Triple, option

DATA = "Data"
LEARNING = "Learning"


@dataclass(frozen=True)
class TrainOptions:
    """Options of `vemctl train denoise`."""

    supervised: bool = option(
        False,
        panel=DATA,
        help="Learn from registered fast and slow scans of the same volume: --fast and --slow, or "
        "one folder in which their names tell.",
    )
    self_supervised: bool = option(
        False,
        panel=DATA,
        help="Learn from fast scans alone: neighbouring pixels predict each other.",
    )
    fast: tuple[Path, ...] = option(
        (), panel=DATA, help="A fast, noisy scan; repeat for more, in the order of --slow."
    )
    slow: tuple[Path, ...] = option(
        (), panel=DATA, help="The slow scan registered to a --fast one, of the same shape."
    )
    validation_fast: tuple[Path, ...] = option(
        (),
        panel=DATA,
        help="Fast scans to validate on. Default: the last tenth of the slices of every volume.",
    )
    validation_slow: tuple[Path, ...] = option(
        (), panel=DATA, help="The slow scans of --validation-fast, in its order."
    )
    validation_noisy: tuple[Path, ...] = option(
        (), panel=DATA, help="The same as --validation-fast for a self-supervised training."
    )
    emulate_fast_slow: bool = option(
        True,
        help="Supervised: put slow first and last slices around the fast ones, at half the "
        "resolution, as in an acquisition with one slow slice in four; otherwise plain pairs.",
    )
    loss: str = option(
        "1*L1+1*SSIM",
        metavar="WEIGHT*NAME+...",
        panel=LEARNING,
        help="What is minimised: a weighted sum of L1, MSE, Huber and SSIM.",
    )
    learning_rate: float = option(2e-4, min=0, panel=LEARNING, help="Of Adam, at the beginning.")
    beta1: float = option(
        0.9, min=0, max=0.9999, panel=LEARNING, help="Adam's memory of the gradient."
    )
    beta2: float = option(
        0.99, min=0, max=0.9999, panel=LEARNING, help="Adam's memory of the squared gradient."
    )
    schedule_factor: float = option(
        0.5,
        min=0,
        max=0.9999,
        panel=LEARNING,
        help="On the learning rate when the validation loss no longer falls.",
    )
    schedule_patience: int = option(
        5, min=0, panel=LEARNING, help="Validations without progress before that."
    )
    patch: Triple | None = option(
        None,
        min=1,
        metavar="Z,Y,X",
        panel=LEARNING,
        help="Voxels that the network sees of a sample; twice as many are read along y and x where "
        "the resolution is halved. y and x are multiples of 4. Default: 5,128,128 supervised, "
        "9,128,128 self-supervised.",
    )
    epoch_steps: int = option(540, min=1, panel=LEARNING, help="Steps that make up an epoch.")
    validation_samples: int = option(
        32, min=1, panel=LEARNING, help="Samples to validate on, the same every time."
    )
    low: float | None = option(None, help="Input value that becomes 0 for the network. Default: 0.")
    high: float | None = option(
        None,
        help="Input value that becomes 1 for the network. Default: the integer type's maximum; "
        "1 for floating input.",
    )
    z_edge: Literal["cyclic", "repeat"] = option(
        "cyclic",
        help="What the temporal shift sees beyond a block's first and last slice: the other end "
        "(cyclic, as the published weights were trained) or the edge slice again. Predict with "
        "the same.",
    )


@dataclass(frozen=True)
class FinetuneOptions(TrainOptions):
    """Options of `vemctl finetune denoise`: those of a training; optimiser and schedule are new."""
