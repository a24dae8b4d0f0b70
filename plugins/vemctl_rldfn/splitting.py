"""Two views of a rotated stack, and what is done with their values. Source: published program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl_rldfn.rotating import mround

Counts = npt.NDArray[np.uint16]
COUNTS = 65535
CUT = 101
"""Planes of a view, published."""


@dataclass(frozen=True)
class Split:
    """Planes of the rotated stack that make the views, each towards the mirror.

    Attributes
    ----------
    direct, reflected : range
        Of views A and B; the second one descends.
    """

    direct: range
    reflected: range

    @property
    def planes(self) -> int:
        """Number of planes of a view."""
        return len(self.direct)

    @property
    def span(self) -> range:
        """All planes from the first to the last that a view has."""
        ends = (self.direct[0], self.direct[-1], self.reflected[0], self.reflected[-1])
        return range(min(ends), max(ends) + 1)


def split_planes(depth: int, shift: int, cut: int = CUT) -> Split:
    """Return which planes lie before and behind the mirror.

    Parameters
    ----------
    depth : int
        Planes of the stack.
    shift : int
        Twice how far the mirror lies from the middle of the stack, in planes.
    cut : int
        Planes that a view has at most.

    Returns
    -------
    Split
        Both views have as many planes; none where the mirror is at the end of the stack. The plane
        of each that is next to the mirror is left out.
    """
    before, behind = max(mround((depth + shift) / 2), 0), max(mround((depth - shift) / 2), 0)
    kept = min(cut + 1, before, behind)
    last = depth - 1
    return Split(
        range(before - kept, max(before - 1, 0)),
        range(last - (behind - kept), last - max(behind - 1, 0), -1),
    )


def to_counts(values: npt.NDArray[Any], low: float, high: float) -> Counts:
    """Stretch a range to 0 to 65535 and round halves up; all is 0 where the range is empty.

    Parameters
    ----------
    values : ndarray, float64
        Changed.
    low, high : float
    """
    if not high > low:
        return np.zeros(values.shape, np.uint16)
    values -= low
    values *= COUNTS
    values /= high - low
    values += 0.5
    np.floor(values, out=values)
    counts: Counts = values.clip(0, COUNTS, out=values).astype(np.uint16)
    return counts


def stretch_table(low: int, high: int) -> Counts:
    """Return what becomes of each count, (65536,), where those of a view are stretched."""
    return to_counts(np.arange(COUNTS + 1, dtype=np.float64), low, high)


def limits(lows: npt.NDArray[Any], highs: npt.NDArray[Any], planes: Sequence[int]) -> Any:
    """Return the least and the greatest value of some planes, of those of each."""
    chosen = list(planes)
    return lows[chosen].min(), highs[chosen].max()
