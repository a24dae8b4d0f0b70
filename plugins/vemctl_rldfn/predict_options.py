"""Options of `vemctl predict rldfn`. Imports neither torch nor numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vemctl.errors import OptionError
from vemctl.plugin import option
from vemctl_rldfn.psf_options import PSF, PsfOptions

FUSION = "Fusion"
ITERATIONS = 3
"""Of plain deconvolution, as published."""


@dataclass(frozen=True)
class PredictOptions(PsfOptions):
    """Options of `vemctl predict rldfn`."""

    mode: Literal["network", "rl"] = option(
        "network",
        panel=FUSION,
        help="network: one Richardson-Lucy step, then the network, as published; rl: plain "
        "dual-view Richardson-Lucy deconvolution, which needs no weights.",
    )
    iterations: int | None = option(
        None, min=1, panel=FUSION, help="Of --mode rl. Default: 3, as published."
    )
    normalize: Literal["volume", "tile", "none"] | None = option(
        None,
        panel=FUSION,
        help="What becomes 1 of each view: its largest value at each time point, as in training; "
        "the largest of each tile, as in the published workflow; or both views as they are. "
        "Default: volume; with --as-original tile.",
    )
    margin: int | None = option(
        None,
        min=0,
        panel=FUSION,
        help="Voxels beside a tile that are only looked at, along y and x, and along z where it is "
        "cut; a multiple of 4. Default: 32; with --as-original 8, as published.",
    )
    values: Literal["input", "unit"] | None = option(
        None,
        panel=FUSION,
        help="input: the result is in the units of the views; unit: 1 is what became 1, as "
        "published. Default: input; with --as-original unit.",
    )
    check_orientation: bool = option(
        True,
        panel=PSF,
        help="Warn where the views fit better with their point spread functions swapped.",
    )


def check_options(options: PredictOptions) -> None:
    """Refuse options that would have no effect, or make no sense.

    Raises
    ------
    OptionError
        There is one.
    """
    if options.iterations is not None and options.mode != "rl":
        raise OptionError("--iterations: is for --mode rl; leave it out")
    if options.margin is not None and options.margin % 4:
        raise OptionError(f"--margin {options.margin}: expected a multiple of 4")
    if options.psf_a is not None or options.psf_b is not None:
        for name in ("tilt", "voxel_size"):
            if getattr(options, name) is not None:
                flag = name.replace("_", "-")
                raise OptionError(f"--{flag}: has no effect with --psf-a and --psf-b; leave it out")
    if options.mode == "rl" and options.normalize == "tile":
        raise OptionError("--normalize tile: not for --mode rl, whose tiles must fit; leave it out")
