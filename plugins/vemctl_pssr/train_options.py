"""Options of `vemctl train pssr` and `vemctl finetune pssr`. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vemctl.plugin import Triple, option
from vemctl_pssr.ranges import RULES

DATA = "Data"
POOR = "Poor images"
LEARNING = "Learning"
NETWORK = "Network"
STATISTICS = "M|M,M,M"
EncoderName = Literal["wnresnet18", "wnresnet34", "wnresnet50", "resnet18", "resnet34", "rrdb"]


@dataclass(frozen=True)
class PoorOptions:
    """How poor images are made of good ones: options of training and preparation alike."""

    crappifier: str = option(
        "em_AG",
        panel=POOR,
        metavar="NAME",
        help="What makes poor images: em_AG for electron microscopy, new_crap_AG_SP for "
        "fluorescence, or another by its published name.",
    )
    noise_level: float | None = option(
        None,
        min=0,
        panel=POOR,
        help="Of the crappifier's Gaussian noise. Default: as noisy images as the published ones.",
    )
    noise_smoothing: float | None = option(
        None,
        min=0,
        panel=POOR,
        help="Width, in pixels, to which the image is smoothed that the noise follows. Default: "
        "the published one.",
    )
    salt_pepper: float | None = option(
        None, min=0, max=1, panel=POOR, help="Share of salt, and of pepper. Default: 0.005."
    )
    blur: float = option(
        0.0, min=0, panel=POOR, help="Blur before everything else, in pixels of the good image."
    )
    emulate_noise: tuple[Path, ...] = option(
        (),
        panel=POOR,
        help="A real poor image, or several: noise and blur are fitted to it, not to be given.",
    )
    as_published: bool = option(
        False,
        panel=POOR,
        help="Make poor images as published: sampled from corner to corner of a tile, and with "
        "the defects of fluo_G_D and em_P_D_001.",
    )


@dataclass(frozen=True)
class TrainOptions(PoorOptions):
    """Options of `vemctl train pssr`."""

    hr: tuple[Path, ...] = option(
        (),
        panel=DATA,
        help="A good image, volume or folder of some; repeat for more. Alone, or with --lr.",
    )
    lr: tuple[Path, ...] = option(
        (),
        panel=DATA,
        help="The real poor image of a --hr one, registered, of a quarter of its pixels along y "
        "and x; repeat in the order of --hr. Without, poor images are made.",
    )
    validation_hr: tuple[Path, ...] = option(
        (),
        panel=DATA,
        help="Good images to validate on. Default: a tenth of the files, or of the slices of a "
        "single one.",
    )
    validation_lr: tuple[Path, ...] = option(
        (), panel=DATA, help="The poor images of --validation-hr, in its order."
    )
    held_out: Literal["files", "slices"] | None = option(
        None,
        panel=DATA,
        help="What is kept from training to validate on: files, or the last slices of each. "
        "Default: files where there are several.",
    )
    frames: int = option(
        1,
        min=1,
        max=31,
        panel=DATA,
        help="Neighbouring frames from which the middle one is restored; an odd number.",
    )
    frames_axis: Literal["t", "z"] | None = option(
        None,
        panel=DATA,
        help="Along which frames are neighbours. Default: time points where there are several, "
        "else slices.",
    )
    hr_range: str | None = option(
        None,
        panel=DATA,
        metavar=RULES,
        help="What becomes 0 and 1 in good images, and in made poor ones. Default: as published, "
        "dtype for 8 bit and max for others.",
    )
    lr_range: str | None = option(
        None, panel=DATA, metavar=RULES, help="The same for real poor images. Default: --hr-range."
    )
    select: bool = option(
        True,
        panel=DATA,
        help="Prefer places with something in them, by the published thresholds.",
    )
    patch: Triple = option(
        (1, 64, 64),
        min=1,
        metavar="Z,Y,X",
        panel=LEARNING,
        help="What the network sees of a sample, in pixels of poor images; y equals x. Networks "
        "average over it: predict with the same tile.",
    )
    augment: Literal["original", "flips", "none"] = option(
        "original",
        panel=LEARNING,
        help="original: flips, turns by any small angle, and magnification, of both images alike; "
        "flips: flips and quarter turns before poor images are made.",
    )
    max_zoom: float = option(
        4.0, min=1, panel=LEARNING, help="Largest magnification of --augment original."
    )
    loss: str = option(
        "1*MSE",
        metavar="WEIGHT*NAME+...",
        panel=LEARNING,
        help="What is minimised: a weighted sum of MSE, L1, SSIM and FEATURE.",
    )
    feature_weights: Path | None = option(
        None,
        panel=LEARNING,
        metavar="FILE",
        help="Weights of VGG16 with batch normalisation, as torchvision has them, for the loss "
        "FEATURE.",
    )
    learning_rate: float = option(
        4e-4, min=0, panel=LEARNING, help="Greatest of the cycle, of the decoder."
    )
    encoder_learning_rate: float | None = option(
        None,
        min=0,
        panel=LEARNING,
        help="The same of the encoder's first layers; the deeper ones lie between. Default: a "
        "tenth for the whole encoder.",
    )
    weight_decay: float | None = option(
        None, min=0, panel=LEARNING, help="Of all parameters. Default: 0.001; RRDB 0.01."
    )
    warm_up: float = option(
        0.3, min=0, max=1, panel=LEARNING, help="Part of the cycle in which the rate rises."
    )
    epoch_steps: int | None = option(
        None,
        min=1,
        panel=LEARNING,
        help="Steps that are called an epoch. Default: 500; of a prepared set its samples.",
    )
    detach_skips: bool = option(
        False,
        panel=LEARNING,
        help="Let no gradients through the skips, as in the published training: the encoder then "
        "learns next to nothing.",
    )
    freeze: bool = option(
        False, panel=LEARNING, help="Train the decoder only, and normalisations of the encoder."
    )
    validation_samples: int = option(
        8, min=1, panel=LEARNING, help="Samples to validate on, the same every time."
    )
    encoder: EncoderName | None = option(
        None,
        panel=NETWORK,
        help="resnet18 and resnet34 are the older U-Net on enlarged images. Default: wnresnet34, "
        "or that of the weights.",
    )
    width: int | None = option(
        None,
        min=2,
        panel=NETWORK,
        help="Channels of the encoder's first stage; the next have two, four and eight times as "
        "many. Of RRDB, of all layers. Default: 64; 32.",
    )
    blocks: int | None = option(
        None, min=1, panel=NETWORK, help="Residual dense blocks of RRDB. Default: 32."
    )
    attention: bool = option(
        True, panel=NETWORK, help="Self-attention over the whole tile, in the decoder."
    )
    bottle: bool = option(
        True, panel=NETWORK, help="Halve the channels within the last residual block."
    )


@dataclass(frozen=True)
class FinetuneOptions(TrainOptions):
    """Options of `vemctl finetune pssr`: those of a training, whose network the weights set."""

    learning_rate: float = option(
        1e-4, min=0, panel=LEARNING, help="Greatest of the cycle, of the decoder."
    )
    mean: str | None = option(
        None,
        panel=NETWORK,
        metavar=STATISTICS,
        help="Mean of the images, in [0, 1], that the weights were trained on, for files that do "
        "not tell it.",
    )
    std: str | None = option(
        None, panel=NETWORK, metavar=STATISTICS, help="The same for the standard deviation."
    )
