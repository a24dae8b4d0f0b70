"""Options of `vemctl prepare pssr`. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vemctl.plugin import option
from vemctl_pssr.ranges import RULES
from vemctl_pssr.train_options import PoorOptions

DATA = "Data"


@dataclass(frozen=True)
class PrepareOptions(PoorOptions):
    """Options of `vemctl prepare pssr`."""

    validation: tuple[Path, ...] = option(
        (),
        panel=DATA,
        help="Images to validate on, or folders of some. Default: those in folders called valid "
        "beside folders called train, else a tenth of the files, else of a single file's slices.",
    )
    num_train: int = option(1000, min=1, panel=DATA, help="Samples to train on.")
    num_valid: int = option(100, min=0, panel=DATA, help="Samples to validate on.")
    size: int = option(
        512, min=16, panel=DATA, help="Edge of good images, in pixels: a multiple of 4."
    )
    frames: int = option(
        1,
        min=1,
        max=31,
        panel=DATA,
        help="Neighbouring frames of poor images; an odd number, of whose middle one the good "
        "image is.",
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
        help="What becomes 0 and 1. Default: as published, dtype for 8 bit and max for others.",
    )
    select: bool = option(
        True,
        panel=DATA,
        help="Prefer places with something in them, by the published thresholds.",
    )
    dtype: Literal["uint8", "uint16"] = option(
        "uint8", panel=DATA, help="Of both images; published sets have 8 bit."
    )
