"""Options of `vemctl prepare rldfn`, and what their texts mean. Imports neither torch nor numpy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal

from vemctl.errors import OptionError
from vemctl.plugin import option

STACK, SEARCH, VIEWS = "Stacks", "Mirror", "Views"
STEEPEST = 80.0
"""Degrees that a tilt may have in all."""
MOST_ASKEW = 45.0
FINEST, COARSEST = 1.0, 10_000.0
"""Nanometres between which voxels of a light microscope are; others are of another unit."""
MOST_ANGLES = 1000


@dataclass(frozen=True)
class PrepareOptions:
    """Options of `vemctl prepare rldfn`."""

    voxel_size: str | None = option(
        None,
        panel=STACK,
        metavar="Z,Y,X",
        help="Nanometres, of the deskewed stacks. Default: as the files say.",
    )
    tilt: float = option(
        30.8,
        min=-STEEPEST,
        max=STEEPEST,
        panel=STACK,
        help="Degrees by which planes of a stack are tilted against the coverslip, in y and z; "
        "negative where the other way. The published program for this step has 31.5; 0 is for "
        "stacks that lie in the frame of the coverslip.",
    )
    angles: str = option(
        "-0.9:0.9:0.1",
        panel=SEARCH,
        metavar="LOW:HIGH:STEP",
        help="Degrees by which the mirror may be askew in x and z; one number is not searched for.",
    )
    tilt_corrections: str = option(
        "0",
        panel=SEARCH,
        metavar="LOW:HIGH:STEP",
        help="Degrees to add to the tilt that are searched.",
    )
    split_range: str = option(
        "-30,30",
        panel=SEARCH,
        metavar="LOW,HIGH",
        help="Shifts that are searched, in planes: twice how far the mirror is from the middle "
        "plane. HIGH itself is not among them, as published.",
    )
    margin: int | None = option(
        None,
        min=0,
        panel=SEARCH,
        help="Pixels at the borders of the field that are left out of the search, and once more of "
        "what is compared. Default: 100, as published, and less where few pixels would be left.",
    )
    common_split: bool = option(
        False, panel=SEARCH, help="Search in the first time point only, and split all like it."
    )
    fix_split_offset: bool = option(
        False,
        panel=VIEWS,
        help="Split where the search found the mirror. Without, view B is behind view A by a plane "
        "as published, and as published weights have been trained.",
    )
    cut_z: int = option(101, min=1, panel=VIEWS, help="Planes of a view at most.")
    quarter_turns: int = option(
        3,
        min=0,
        max=3,
        panel=VIEWS,
        help="Of the views in their planes, counter-clockwise. After 3 the tilt is in x and z, as "
        "the fusion wants it.",
    )
    common_range: bool = option(
        False,
        panel=VIEWS,
        help="Stretch all time points alike to 0 to 65535 instead of each by itself; each view has "
        "a range of its own, as published.",
    )
    layout: Literal["zarr", "tiff"] = option(
        "zarr", panel=VIEWS, help="OME-Zarr, or TIFF as the published programs read."
    )


def angles_of(flag: str, text: str, most: float) -> tuple[float, ...]:
    """Return the angles from LOW to HIGH, as multiples of STEP are written.

    Parameters
    ----------
    flag : str
    text : str
        ``"LOW:HIGH:STEP"``, with commas also, or one number.
    most : float
        Degrees that none may exceed.

    Raises
    ------
    OptionError
    """
    expected = f"{flag} {text}: expected LOW:HIGH:STEP in degrees, such as -0.9:0.9:0.1, or one"
    try:
        numbers = [Decimal(word.strip()) for word in re.split("[:,]", text)]
    except InvalidOperation:
        raise OptionError(expected) from None
    if len(numbers) not in {1, 3} or not all(number.is_finite() for number in numbers):
        raise OptionError(expected)
    low, high, step = numbers if len(numbers) == 3 else (numbers[0], numbers[0], Decimal(1))
    if step <= 0 or high < low or (high - low) / step > MOST_ANGLES:
        raise OptionError(
            f"{flag} {text}: expected LOW not above HIGH, a STEP above 0, and at most "
            f"{MOST_ANGLES} steps"
        )
    angles = tuple(float(low + i * step) for i in range(int((high - low) / step) + 1))
    if max(map(abs, angles)) > most:
        raise OptionError(f"{flag} {text}: expected angles from {-most:g} to {most:g} degrees")
    return angles


def shifts_of(options: PrepareOptions) -> tuple[int, int]:
    """Return the ends of the shifts that are searched, in ascending order.

    Raises
    ------
    OptionError
    """
    text = options.split_range
    words = [word.strip() for word in re.split("[:,]", text)]
    if len(words) != 2 or not all(re.fullmatch(r"[+-]?\d+", word) for word in words):
        raise OptionError(f"--split-range {text}: expected two whole numbers, such as -30,30")
    low, high = sorted(map(int, words))
    if low == high:
        raise OptionError(f"--split-range {text}: expected HIGH above LOW")
    return low, high


def voxel_size_of(options: PrepareOptions) -> tuple[float, float, float] | None:
    """Return the voxel size that is stated, (z, y, x) in nanometres, or None.

    Raises
    ------
    OptionError
    """
    text = options.voxel_size
    if text is None:
        return None
    try:
        sizes = [float(word) for word in text.split(",")]
    except ValueError:
        sizes = []
    if len(sizes) != 3 or not all(FINEST < size < COARSEST for size in sizes):
        raise OptionError(
            f"--voxel-size {text}: expected three lengths in nanometres, such as 92.6,61.7,61.7"
        )
    z, y, x = sizes
    return z, y, x


def check_options(options: PrepareOptions) -> None:
    """Refuse texts that cannot be read.

    Raises
    ------
    OptionError
    """
    askew_angles(options)
    tilt_corrections(options)
    shifts_of(options)
    voxel_size_of(options)


def askew_angles(options: PrepareOptions) -> tuple[float, ...]:
    """Return the angles of the first search, in degrees."""
    return angles_of("--angles", options.angles, MOST_ASKEW)


def tilt_corrections(options: PrepareOptions) -> tuple[float, ...]:
    """Return the angles of the second search, in degrees."""
    most = STEEPEST - abs(options.tilt)
    return angles_of("--tilt-corrections", options.tilt_corrections, max(most, 0.0))
