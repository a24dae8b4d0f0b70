"""Options of `vemctl train rldfn` and `vemctl finetune rldfn`. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vemctl.plugin import Triple, option
from vemctl_rldfn.psf_options import PsfOptions

DATA = "Data"
LEARNING = "Learning"
SECTIONS = "Sections"


@dataclass(frozen=True)
class ViewOptions:
    """Which views are learned from."""

    view_a: tuple[Path, ...] = option(
        (),
        panel=DATA,
        help="A volume of view A, the direct one, or a folder of some; repeat for more. z grows "
        "towards the mirror, the tilt lies in the x-z plane.",
    )
    view_b: tuple[Path, ...] = option(
        (),
        panel=DATA,
        help="The same of view B, the reflected one, flipped and registered to A; in the order of "
        "--view-a, folders by the names in them.",
    )
    validation_a: tuple[Path, ...] = option(
        (),
        panel=DATA,
        help="Volumes of view A to validate on. Default: fixed places in those that are learned "
        "from, for the network is to fuse these very volumes; nothing is kept from training.",
    )
    validation_b: tuple[Path, ...] = option((), panel=DATA, help="The same of view B.")
    end_padding: int = option(
        30,
        min=0,
        panel=DATA,
        help="Empty planes after the last of each volume, so that patches reach beyond the mirror, "
        "with at most half their planes; 0 for none.",
    )
    foreground: bool = option(
        False,
        panel=DATA,
        help="Draw patches in which something is: where enough voxels are above 0.15 of the "
        "volume's maximum, or the best of a few.",
    )


@dataclass(frozen=True)
class FusionOptions(PsfOptions, ViewOptions):
    """What a training and a fine-tuning have in common."""

    patch: Triple = option(
        (64, 128, 128),
        min=1,
        metavar="Z,Y,X",
        panel=LEARNING,
        help="Voxels of a sample, multiples of 4. The default takes about 8 GiB, the published "
        "64,256,256 about 31 GiB; with --checkpointing on less than half.",
    )
    learning_rate: float = option(
        1e-4, min=0, panel=LEARNING, help="Of Adam for the networks that fuse."
    )
    discriminator_learning_rate: float = option(
        1e-4, min=0, panel=LEARNING, help="Of Adam for the discriminators."
    )
    gan_weight: float = option(
        1.0, min=0, panel=LEARNING, help="Of what the discriminators say of oblique sections."
    )
    cycle_weight: float = option(
        50_000.0,
        min=0,
        panel=LEARNING,
        help="Of the difference between each view and the fused volume blurred like it; as "
        "published, which leaves the discriminators next to no say.",
    )
    tv_weight: float = option(
        1e-7, min=0, panel=LEARNING, help="Of the fused volume's total variation."
    )
    validation_samples: int = option(
        4, min=1, panel=LEARNING, help="Samples to validate on, the same every time."
    )
    sections: Literal["fitted", "original"] = option(
        "fitted",
        panel=SECTIONS,
        help="fitted: oblique sections of 60 x 120 voxels, or as large as the patch allows; "
        "original: first as large as the patch allows, then 60 x 120 at 30.8 degrees, for which "
        "patches must be large enough.",
    )
    section_every: int = option(
        20, min=1, panel=SECTIONS, help="Steps until sections get another angle."
    )
    section_y_offset: bool = option(
        False,
        panel=SECTIONS,
        help="Place sections anywhere along y; otherwise discriminators see the first voxels only.",
    )
    checkpointing: Literal["auto", "on", "off"] = option(
        "auto",
        panel=LEARNING,
        help="Compute activations twice instead of keeping them: a third more work for less than "
        "half of the memory, and the same result; auto: where a batch does not fit otherwise.",
    )


@dataclass(frozen=True)
class TrainOptions(FusionOptions):
    """Options of `vemctl train rldfn`."""


@dataclass(frozen=True)
class FinetuneOptions(FusionOptions):
    """Options of `vemctl finetune rldfn`: those of a training, which starts from weights."""
