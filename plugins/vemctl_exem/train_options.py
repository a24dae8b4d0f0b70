"""Options of `vemctl train exem` and `vemctl finetune exem`. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vemctl.plugin import Triple, option

DATA = "Data"
LEARNING = "Learning"
NETWORKS = "Networks"
RANGE = "dtype|LOW,HIGH|P%,Q%"


@dataclass(frozen=True)
class TrainOptions:
    """Options of `vemctl train exem`."""

    lm: tuple[Path, ...] = option(
        (),
        panel=DATA,
        help="A volume of expansion microscopy, or a folder of some; repeat for more.",
    )
    em: tuple[Path, ...] = option(
        (),
        panel=DATA,
        help="A volume of electron microscopy of similar tissue and voxel size, or a folder of "
        "some; repeat for more. Nothing need be registered.",
    )
    validation_lm: tuple[Path, ...] = option(
        (),
        panel=DATA,
        help="Light-microscopy volumes to validate on. Default: the last tenth of the slices of "
        "every volume.",
    )
    validation_em: tuple[Path, ...] = option(
        (), panel=DATA, help="Electron-microscopy volumes to validate on."
    )
    lm_range: tuple[str, ...] = option(
        (),
        panel=DATA,
        metavar=RANGE,
        help="What becomes 0 and 1: the range of the type, two values, or two percentiles of the "
        "volume such as 0.5%,99.5%; once for all --lm, or once for each. Default: dtype.",
    )
    em_range: tuple[str, ...] = option(
        (), panel=DATA, metavar=RANGE, help="The same for --em. Default: dtype."
    )
    sampling: Literal["uniform", "original"] = option(
        "uniform",
        panel=DATA,
        help="uniform: any volume, any place in it, drawn for both kinds by themselves; original: "
        "the published grid of patches and its fixed pairs, which leaves parts of large volumes "
        "out.",
    )
    patch_overlap: Triple | None = option(
        None,
        min=0,
        metavar="Z,Y,X",
        panel=DATA,
        help="Voxels that neighbours on the published grid share; an epoch has as many samples as "
        "the larger kind has patches on it. Default: half the patch.",
    )
    patch: Triple = option(
        (16, 256, 256),
        min=1,
        metavar="Z,Y,X",
        panel=LEARNING,
        help="Voxels of a sample; y and x are multiples of 16. Predict with the same tile.",
    )
    learning_rate: float = option(
        3e-4,
        min=0,
        panel=LEARNING,
        help="Of Adam for the generators, per sample of the batch: the rate is this times --batch.",
    )
    discriminator_learning_rate: float | None = option(
        None,
        min=0,
        panel=LEARNING,
        help="The same for the discriminators. Default: --learning-rate.",
    )
    rate_schedule: Literal["constant", "cosine-restarts"] = option(
        "constant",
        panel=LEARNING,
        help="cosine-restarts: fall to a hundredth and start again, each time twice as long.",
    )
    restart_steps: int = option(
        10_000, min=1, panel=LEARNING, help="Steps until the first of these restarts."
    )
    cycle_weight: float = option(
        10.0, min=0, panel=LEARNING, help="Of the loss on what comes back from both translations."
    )
    content_weight: float = option(
        50.0,
        min=0,
        panel=LEARNING,
        help="Of the group loss, which fixes the polarity of contrast; 0 turns it off.",
    )
    content_half_life: float = option(
        1000.0, min=1, panel=LEARNING, help="Steps after which the group loss has half its weight."
    )
    lm_threshold: float = option(
        110.0, min=0, max=255, panel=LEARNING, help="Grey value, of 255, above which LM is bright."
    )
    em_thresholds: tuple[float, float] = option(
        (120.0, 160.0),
        min=0,
        max=255,
        metavar="LOW,HIGH",
        panel=LEARNING,
        help="Grey values, of 255, between which is the EM that bright LM becomes.",
    )
    replay_buffer: int = option(
        0,
        min=0,
        panel=LEARNING,
        help="Earlier translations of each kind that the discriminators see again; 0 for none.",
    )
    validation_samples: int = option(
        4, min=1, panel=LEARNING, help="Samples to validate on, the same every time."
    )
    generator_channels: tuple[int, int, int, int, int] | None = option(
        None,
        min=1,
        panel=NETWORKS,
        metavar="C0,C1,C2,C3,C4",
        help="Channels of the generators' levels, out of 1, 2, 4, 8, 16, 32, 64, 128, 256, 512. "
        "Default: 32,64,128,256,512, or those of the weights.",
    )
    discriminator_scales: int | None = option(
        None, min=1, max=4, panel=NETWORKS, help="Scales of the discriminators. Default: 2."
    )
    discriminator_filters: int | None = option(
        None, min=1, panel=NETWORKS, help="Channels of their first layer. Default: 64."
    )
    checkpointing: bool = option(
        False,
        panel=NETWORKS,
        help="Compute activations twice instead of keeping them: slower, for less memory.",
    )


@dataclass(frozen=True)
class FinetuneOptions(TrainOptions):
    """Options of `vemctl finetune exem`: those of a training, whose group loss starts anew."""
