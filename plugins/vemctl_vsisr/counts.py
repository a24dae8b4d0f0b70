"""From grey values to 16-bit counts: background, range and rounding. Imports no torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl_vsisr.proportions import COUNTS

Floats = npt.NDArray[np.floating[Any]]

BACKGROUND = 100.0
"""Counts of the authors' camera in the dark."""


class Extremes:
    """The least and the greatest value of what comes in parts.

    Attributes
    ----------
    low, high : float
        Infinite until the first part.
    """

    def __init__(self) -> None:
        self.low = math.inf
        self.high = -math.inf

    def add(self, values: npt.NDArray[Any]) -> None:
        """Take in an array of any shape; an empty one says nothing."""
        if values.size:
            self.low = min(self.low, float(values.min()))
            self.high = max(self.high, float(values.max()))


def without_background(values: npt.NDArray[Any], background: float = BACKGROUND) -> Floats:
    """Subtract the background; what falls below is 0.

    Parameters
    ----------
    values : ndarray
        Integers become float64.
    background : float
        In the units of the values.
    """
    floats: Floats = values if values.dtype.kind == "f" else values.astype(np.float64)
    return np.maximum(floats - floats.dtype.type(background), floats.dtype.type(0))


def to_counts(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.uint16]:
    """Scale a range to 0 to 65535, rounded half up as the published MATLAB programs do.

    Parameters
    ----------
    values : ndarray
        What is outside of the range is clipped.
    low, high : float
        Of the whole volume.

    Returns
    -------
    ndarray of uint16
        0 all over for a range that is none.
    """
    if not high > low:
        return np.zeros(values.shape, np.uint16)
    scaled = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1) * COUNTS
    counts: npt.NDArray[np.uint16] = np.floor(scaled + 0.5).astype(np.uint16)
    return counts


def round_half_up(value: float) -> int:
    """Round as MATLAB does, half away from zero."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def crop_rows(length: int, width: int) -> slice:
    """Return the middle part of the deskewed axis that is as long as the other axis of a section.

    The published program keeps this part of a reflected volume: the rest of it is mostly empty.

    Parameters
    ----------
    length : int
        Pixels along the deskewed axis.
    width : int
        Pixels along the other one, which are fewer.

    Returns
    -------
    slice
        Of the deskewed axis.
    """
    first = round_half_up((length - width) / 2) - 1
    return slice(first, round_half_up((length + width) / 2) - 1)
