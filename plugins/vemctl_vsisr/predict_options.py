"""Options of `vemctl predict vsisr`. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vemctl.plugin import option

MICROSCOPE = "Microscope"
INTENSITIES = "Intensities"


@dataclass(frozen=True)
class PredictOptions:
    """Options of `vemctl predict vsisr`."""

    wavelength: str | None = option(
        None,
        panel=MICROSCOPE,
        metavar="NM[,NM...]",
        help="Excitation in nanometres, 488, 560 or 642: takes the transfer functions of the "
        "authors' microscope. One for all channels, or one for each.",
    )
    otf: tuple[Path, ...] = option(
        (),
        panel=MICROSCOPE,
        metavar="FOLDER",
        help="Transfer functions of one's own instead: a folder with OTF0.tif, OTF1.tif and an "
        "apo*.tif. Once for all channels, or once for each.",
    )
    na: float | None = option(
        None,
        min=0.05,
        max=2.0,
        panel=MICROSCOPE,
        help="Numerical aperture of the detection: builds ideal transfer functions instead, with "
        "--emission and --excitation.",
    )
    emission: str | None = option(
        None,
        panel=MICROSCOPE,
        metavar="NM[,NM...]",
        help="Emitted light in nanometres, to build transfer functions.",
    )
    excitation: str | None = option(
        None,
        panel=MICROSCOPE,
        metavar="NM[,NM...]",
        help="Exciting light in nanometres, to build transfer functions.",
    )
    na_excitation: float | None = option(
        None,
        min=0.01,
        max=2.0,
        panel=MICROSCOPE,
        help="Numerical aperture of the lattice, to build transfer functions. Default: 0.4.",
    )
    pixel_size: float | None = option(
        None,
        min=1.0,
        panel=MICROSCOPE,
        help="Of the input in nanometres, to build transfer functions. Default: the input's own.",
    )
    beads: Path | None = option(
        None,
        panel=MICROSCOPE,
        help="A stack (.tif or .npy) of one small bead, or the mean of several, whose spectrum is "
        "the detection's transfer function instead of the ideal one; with --na.",
    )
    bead_pixel: float | None = option(
        None,
        min=1.0,
        panel=MICROSCOPE,
        help="Lateral pixel of --beads in nanometres. Default: --pixel-size, or the input's own.",
    )
    sr_axis: Literal["x", "y"] = option(
        "x",
        help="Axis along which the network super-resolves: that along which the weights were "
        "trained. What `vemctl prepare vsisr` makes has it along x.",
    )
    orientations: int = option(
        3,
        min=1,
        max=12,
        help="In how many directions, evenly over half a turn, the volume is super-resolved.",
    )
    otf_weight: float = option(8.0, min=0.0, help="Weight of what a direction alone resolves.")
    wiener: float = option(0.1, min=1e-3, help="Wiener parameter of the joint reconstruction.")
    otf_grid: Literal["original", "physical"] = option(
        "original",
        help="original: transfer functions stretched 1.5 times in frequency, as published; "
        "physical: at their frequencies.",
    )
    registration: Literal["original", "exact"] = option(
        "original",
        help="How the directions come to lie on each other. original: with the published "
        "roundings, up to about one pixel of the result off; exact: on a common centre.",
    )
    z_ends: Literal["lose", "mirror"] = option(
        "lose",
        help="lose: the first and the last three slices get no result, as published; mirror: the "
        "volume is continued by its mirror image.",
    )
    limits: str = option(
        "0,100",
        metavar="LOW,HIGH",
        panel=INTENSITIES,
        help="Percentiles of each time point that become 0 and 1 for the network. A hot pixel no "
        "longer sets the range with 0,99.99, but still counts in the brightness of its slice.",
    )
    adjust_intensity: bool = option(
        True,
        panel=INTENSITIES,
        help="Give the slices of the result the brightness profile of the input's along z.",
    )
    intensity_percentile: float = option(
        99.0,
        min=0.0,
        max=99.999,
        panel=INTENSITIES,
        help="The brightness of a slice is the mean of its pixels above this percentile.",
    )
    time_range: Literal["series", "timepoint"] | None = option(
        None,
        panel=INTENSITIES,
        help="series: time points of a result are as bright to one another as those of the input; "
        "timepoint: each has the full range, as published. Default: series; timepoint with "
        "--as-original and with --no-adjust-intensity.",
    )
