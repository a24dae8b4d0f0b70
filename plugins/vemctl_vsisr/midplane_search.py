"""Find where the image of a reflecting plane lies, how it is tilted and how it drifts.

Imports no torch. Arrays are (length, width), as in `midplane_masks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vemctl_vsisr.counts import round_half_up
from vemctl_vsisr.midplane_masks import Doubles, Masks, cropped, rotated
from vemctl_vsisr.midplane_presets import MidplanePreset

DriftTracking = Literal["original", "corrected"]

LARGEST_TILT = 1.0
"""Degrees, of one search."""
LARGEST_DRIFT = 50
"""Rows; what seems to have drifted by as many is no reflecting plane."""


@dataclass(frozen=True)
class Alignment:
    """Where the plane was found.

    Attributes
    ----------
    masks : Masks
        Laid over it.
    shift : int
        Pixels from the middle of a section towards larger x.
    tilt : float
        Degrees, counter-clockwise as displayed with x down and y to the right.
    """

    masks: Masks
    shift: int
    tilt: float


def align(mean: Doubles, preset: MidplanePreset, tracking: DriftTracking = "original") -> Alignment:
    """Lay the masks over the plane.

    Parameters
    ----------
    mean : ndarray, (length, width)
        Of all sections.
    preset : MidplanePreset
    tracking : {"original", "corrected"}
        The published program starts one row off on sections of odd length, and tilts the narrow
        line by a step too many where the plane is tilted by more than a degree.

    Returns
    -------
    Alignment
        In the middle and straight where the mean is one grey.
    """
    masks = Masks.drawn((mean.shape[0], mean.shape[1]), preset)
    if not np.ptp(mean) > 0:
        return Alignment(masks, 0, 0.0)
    offset = _coarse_offset(mean, cropped(masks.narrow, mean.shape), tracking)
    masks = masks.rolled(-offset)
    shift, tilt = -offset, 0.0
    for _ in range(preset.max_iterations):
        rows = _search_shift(mean, masks.narrow, preset.shift_step)
        masks = masks.rolled(rows)
        degrees, narrow = _search_tilt(mean, masks.narrow, preset.tilt_step, tracking)
        if rows == 0 and degrees == 0:
            break
        if degrees != 0:
            masks = masks.turned(degrees, narrow)
        shift, tilt = shift + rows, tilt + degrees
    return Alignment(masks, shift, tilt)


def _coarse_offset(mean: Doubles, line: Doubles, tracking: DriftTracking) -> int:
    """Return how many rows the line lies behind the plane, by correlation."""
    # The line being straight, the correlation is one of the sums over the columns.
    one, other = (np.fft.fft(each.sum(axis=1)) for each in (mean, line))
    likeness = np.fft.fftshift(np.abs(np.fft.ifft(np.conj(one) * other)))
    if not np.ptp(likeness) > 1e-12 * likeness.max():
        return 0
    length = len(mean)
    centre = length // 2 if tracking == "corrected" else round_half_up(length / 2)
    return int(np.argmax(likeness)) - centre


def _score(mean: Doubles, canvas: Doubles) -> float:
    return float(np.vdot(mean, cropped(canvas, (mean.shape[0], mean.shape[1])))) / mean.size


def _search_shift(mean: Doubles, narrow: Doubles, step: int) -> int:
    """Return by how many rows the line fits best, looking from 0 both ways."""

    def score(rows: int) -> float:
        return _score(mean, np.roll(narrow, rows, axis=0))

    best, rows = score(0), 0
    for direction in (step, -step):
        for _ in range(len(narrow)):  # a line that fits alike everywhere would never end
            found = score(rows + direction)
            if not found >= best:
                break
            best, rows = found, rows + direction
    return rows


def _search_tilt(
    mean: Doubles, narrow: Doubles, step: float, tracking: DriftTracking
) -> tuple[float, Doubles]:
    """Return by how many degrees the line fits best, and the line."""
    best, degrees, turned = _score(mean, narrow), 0.0, narrow
    for direction in (step, -step):
        while True:  # to the largest tilt, in either direction
            candidate = degrees + direction
            if tracking == "corrected" and abs(candidate) > LARGEST_TILT:
                break
            line = rotated(narrow, candidate)
            found = _score(mean, line)
            if not found >= best:
                break
            best, degrees, turned = found, candidate, line
            if abs(degrees) > LARGEST_TILT:
                degrees -= direction  # as published: the line stays
                break
    return degrees, turned


def drift_along_z(
    groups: Iterable[npt.NDArray[Any]],
    narrow: Doubles,
    num_slices: int,
    num_average: int,
    tracking: DriftTracking = "original",
) -> npt.NDArray[np.intp]:
    """Return by how many rows the plane lies before that of the middle section, for each section.

    Parameters
    ----------
    groups : iterable of ndarray, (length, width)
        Means, or sums, of each `num_average` consecutive sections; taken one at a time.
    narrow : ndarray, (length, width)
        The line that was laid over the plane in the mean.
    num_slices : int
    num_average : int
    tracking : {"original", "corrected"}
        The published program multiplies the spectrum of a group by the line itself, not by its
        spectrum, and so follows the rows with the finest texture; "corrected" follows the plane.

    Returns
    -------
    ndarray of int, (num_slices,)
        0 in the middle section, and all over where there are less than two groups of use.
    """
    from scipy import fft

    factor = fft.fft2(narrow) if tracking == "corrected" else narrow
    found: dict[int, int] = {}
    for number, group in enumerate(groups):
        if not np.ptp(group) > 0:
            continue
        spectrum = fft.fft2(np.asarray(group, np.float64))
        likeness = np.abs(fft.ifft2(np.conj(spectrum) * factor)).sum(axis=1)
        row = _signed_row(int(np.argmax(fft.fftshift(likeness))), len(narrow), tracking)
        if abs(row) < LARGEST_DRIFT:
            found[number] = row
    if len(found) < 2:
        return np.zeros(num_slices, np.intp)
    places = [(num_average + 1) / 2 + num_average * number for number in found]
    line = np.polyfit(places, list(found.values()), 1)
    return _rounded(lambda z: np.polyval(line, z), num_slices)


def _signed_row(row: int, length: int, tracking: DriftTracking) -> int:
    if tracking == "corrected":
        return row - length // 2
    return row - length if row > round_half_up(length / 2) else row


def _rounded(line: Callable[[Doubles], Any], num_slices: int) -> npt.NDArray[np.intp]:
    """Return whole rows at each section, relative to the middle one."""
    values = np.asarray(line(np.arange(1.0, num_slices + 1)), np.float64)
    rows = (np.sign(values) * np.floor(np.abs(values) + 0.5)).astype(np.intp)
    drift: npt.NDArray[np.intp] = rows - rows[round_half_up(num_slices / 2) - 1]
    return drift
