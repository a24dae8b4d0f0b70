"""Options of `vemctl prepare vsisr`. Imports neither torch nor numpy."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from vemctl.errors import OptionError
from vemctl.plugin import option
from vemctl_vsisr.midplane_presets import MidplanePreset, midplane_preset

RAW = "Raw data"
MIDPLANE = "Reflecting plane"
PAIRS = "Training pairs"
RAW_NAMES = r"_St(\d+)\.mrc$"
TRUTH_NAMES = tuple(
    rf"^Illum.*_Cyc1_Ch.*_St5-wiener{wiener}-fixk0{suffix}\.mrc$"
    for wiener, suffix in (
        (r"0\.02", "-Fd"), (r"0\.03", "-Fd"), (r"0\.05", "-Fd"), (r"0\.02", ""), (r"0\.03", ""),
    )
)  # fmt: skip
"""Of the published data, the first one preferred."""
PREFIX = "midplane_"


@dataclass(frozen=True)
class PrepareOptions:
    """Options of `vemctl prepare vsisr`."""

    raw_pattern: str | None = option(
        None,
        panel=RAW,
        metavar="REGEX",
        help="Which files of a folder are raw data. Default: all volumes but reconstructions, "
        r"which have -wiener in their names; with --pairs _St(\d+)\.mrc$, whose group is the "
        "signal-to-noise level.",
    )
    phases: int | None = option(
        None,
        min=1,
        panel=RAW,
        help="Consecutive sections that are averaged to a slice. Default: 3, and 1 with "
        "--midplane.",
    )
    deskew: bool = option(True, panel=RAW, help="Undo the shear of a scan by moving the sample.")
    deskew_axis: Literal["x", "y"] = option(
        "x",
        panel=RAW,
        help="Axis of the files along which they are sheared; it becomes y of the result, whose "
        "other axis is x, along which the network resolves more.",
    )
    angle: float = option(
        30.8,
        min=0,
        max=89.9,
        panel=RAW,
        help="Degrees between the sheet of light and the movement of the sample.",
    )
    dy: float | None = option(
        None,
        min=1e-3,
        panel=RAW,
        help="Pixel of the camera in nanometres, along both axes, for they are square. Default: as "
        "the files say.",
    )
    dz: float | None = option(
        None,
        min=1e-3,
        panel=RAW,
        help="Movement of the sample from slice to slice, in nanometres. Default: as the files "
        "say.",
    )
    interpolation: Literal["convolution", "spline"] = option(
        "convolution",
        panel=RAW,
        help="Of deskewing: cubic convolution as in the published training data, or the cubic "
        "spline of the published program for single predictions.",
    )
    background: float = option(
        100.0, panel=RAW, help="Counts of the camera in the dark, which are subtracted."
    )
    normalise: bool = option(
        True,
        panel=RAW,
        help="Stretch a volume to 0 to 65535; without, counts above background are kept, rounded.",
    )
    common_range: bool = option(
        False, panel=RAW, help="Stretch all volumes alike instead of each time point by itself."
    )
    crop: bool = option(
        False,
        panel=RAW,
        help="Keep a square in the middle of the deskewed axis, as published of reflected data.",
    )
    midplane: Literal["er", "lifeact", "lyso", "mt", "skl"] | None = option(
        None,
        panel=MIDPLANE,
        help="Remove the reflecting plane of a reflected light-sheet volume, with the published "
        "parameters for a structure.",
    )
    midplane_gauss_window: int | None = option(
        None, min=1, panel=MIDPLANE, help="Width (sigma) of the line that is fitted, in pixels."
    )
    midplane_scale_factor: int | None = option(
        None, min=1, panel=MIDPLANE, help="By how much a second line is broader."
    )
    midplane_line_weight: float | None = option(
        None, min=0, panel=MIDPLANE, help="Weight of the narrow line; that of the broad one is 1."
    )
    midplane_modulation: float | None = option(
        None,
        min=0,
        max=0.5,
        panel=MIDPLANE,
        help="All but twice this share of what lies in the plane is taken away.",
    )
    midplane_num_average: int | None = option(
        None, min=1, panel=MIDPLANE, help="Slices that are averaged to follow the plane along z."
    )
    midplane_max_iterations: int | None = option(
        None, min=0, panel=MIDPLANE, help="Rounds of shifting and tilting the line. Default: 3."
    )
    midplane_shift_step: int | None = option(
        None, min=1, panel=MIDPLANE, help="Step of a shift, in pixels. Default: 1."
    )
    midplane_tilt_step: float | None = option(
        None, min=0.01, panel=MIDPLANE, help="Step of a tilt, in degrees. Default: 0.1."
    )
    midplane_drift: Literal["original", "corrected"] | None = option(
        None,
        panel=MIDPLANE,
        help="Follow the plane along z as published, which follows noise rather, or corrected. "
        "Default: original.",
    )
    pairs: Literal["train", "finetune"] | None = option(
        None,
        panel=PAIRS,
        help="Make training pairs instead, of a folder STRUCTURE/CELL/*.mrc with raw data of "
        "several signal-to-noise levels and a reconstruction: of many structures to train on, or "
        "of one to fine-tune on.",
    )
    truth_pattern: tuple[str, ...] = option(
        (),
        panel=PAIRS,
        metavar="REGEX",
        help="Which file of a cell is its reconstruction; repeat it for others where there is none "
        "such. Default: Illum*_Cyc1_Ch*_St5-wiener*-fixk0 of the published parameters.",
    )
    patches_per_cell: int | None = option(
        None,
        min=1,
        panel=PAIRS,
        help="Pairs of each cell at each signal-to-noise level. Default: 50, and 500 to fine-tune "
        "on.",
    )
    patch_size: int = option(
        64, min=4, panel=PAIRS, help="Edge of the input in pixels, a multiple of 4."
    )
    mask_threshold: float = option(
        0.05,
        min=1e-6,
        max=1,
        panel=PAIRS,
        help="By how much foreground exceeds its surroundings, as a share of the largest value; "
        "lowered where there is too little of it.",
    )
    structures: tuple[str, ...] = option(
        (), panel=PAIRS, metavar="A,B,...", help="Structures to train on. Default: all."
    )
    snrs: tuple[str, ...] = option(
        (), panel=PAIRS, metavar="K,L,...", help="Signal-to-noise levels. Default: all."
    )
    valid_task: tuple[str, ...] = option(
        (),
        panel=PAIRS,
        metavar="STRUCTURE:SNR|none",
        help="Kept to validate on; repeat for more. Default: as published, the second structure at "
        "its lowest level; none where there is only one.",
    )
    valid_patches: int | None = option(
        None,
        min=1,
        panel=PAIRS,
        help="Pairs to validate on, at least: cells are taken until there are as many. Default: "
        "100.",
    )
    structure: str | None = option(
        None, panel=PAIRS, help="Structure to fine-tune on. Default: the only one."
    )
    snr: int | None = option(
        None, min=0, panel=PAIRS, help="Signal-to-noise level to fine-tune on. Default: the lowest."
    )
    train_cells: tuple[str, ...] = option(
        (),
        panel=PAIRS,
        metavar="A,B,...",
        help="Cells to fine-tune on. Default: all but those to validate on.",
    )
    valid_cells: tuple[str, ...] = option(
        (),
        panel=PAIRS,
        metavar="A,B,...",
        help="Cells to validate on, as a whole. Default: the last one that is not trained on; of "
        "an only cell its last fifth of slices.",
    )
    layout: Literal["zarr", "tiff"] = option(
        "zarr",
        panel=PAIRS,
        help="Volumes in which pairs lie one after the other, or the folders of TIFFs that the "
        "published programs read, meta_test too, which lies in cells that are trained on.",
    )


ONLY_RAW = ("normalise", "common_range", "crop", "midplane")
ONLY_PAIRS = ("truth_pattern", "patches_per_cell", "patch_size", "mask_threshold", "layout")
ONLY_TRAIN = ("structures", "snrs", "valid_task", "valid_patches")
ONLY_FINETUNE = ("structure", "snr", "train_cells", "valid_cells")
SHEARING = ("angle", "interpolation")


def check_options(options: PrepareOptions) -> None:
    """Refuse options that would have no effect.

    Raises
    ------
    OptionError
        One has none, or a value is not usable.
    """
    if options.pairs is None:
        _refuse(options, (*ONLY_PAIRS, *ONLY_TRAIN, *ONLY_FINETUNE), "is for --pairs")
    else:
        _refuse(options, ONLY_RAW, "is not for --pairs")
    if options.pairs == "train":
        _refuse(options, ONLY_FINETUNE, "is for --pairs finetune")
    if options.pairs == "finetune":
        _refuse(options, ONLY_TRAIN, "is for --pairs train")
    if not options.deskew:
        _refuse(options, SHEARING, "has no effect with --no-deskew")
    if options.midplane is None:
        names = [f.name for f in fields(options) if f.name.startswith(PREFIX)]
        _refuse(options, names, "needs --midplane")
    if options.common_range and not options.normalise:
        raise OptionError("--common-range: has no effect with --no-normalise; leave it out")
    if options.patch_size % 4:
        raise OptionError(f"--patch-size {options.patch_size}: expected a multiple of 4")


def num_phases(options: PrepareOptions) -> int:
    """Return how many sections make a slice."""
    if options.phases is not None:
        return options.phases
    return 3 if options.midplane is None else 1


def preset_of(options: PrepareOptions) -> MidplanePreset | None:
    """Return the parameters of the removal of the reflecting plane, if it is asked for."""
    if options.midplane is None:
        return None
    known = {f.name: getattr(options, PREFIX + f.name) for f in fields(MidplanePreset)}
    published = midplane_preset(options.midplane)
    return MidplanePreset(
        **{
            name: getattr(published, name) if given is None else given
            for name, given in known.items()
        }
    )


def listed(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words of flags that may be repeated, or name several with commas."""
    return tuple(word.strip() for value in values for word in value.split(",") if word.strip())


def _refuse(options: PrepareOptions, names: tuple[str, ...] | list[str], why: str) -> None:
    defaults = {f.name: f.default for f in fields(options)}
    for name in names:
        if getattr(options, name) != defaults[name]:
            flag = name.replace("_", "-")
            flag = f"no-{flag}" if defaults[name] is True else flag
            raise OptionError(f"--{flag}: {why}; leave it out")
