"""What statistics remember while a volume streams by, slab after slab."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK_VOXELS = 2**20
"""What is converted at once: a slab in float64 may be larger than all that is read."""
SLICES_MIN, SLICES_MAX, SLICES_ABOVE = "slices:min", "slices:max", "slices:mean-above:"
SERIES = "series:"
PERCENTILE = "percentile:"

Array = npt.NDArray[Any]


def blocks(values: Array) -> Iterator[Array]:
    """Yield all values, few at a time, as flat arrays."""
    flat = values.reshape(-1)
    for first in range(0, flat.size, BLOCK_VOXELS):
        yield flat[first : first + BLOCK_VOXELS]


class Totals:
    """Range, mean and spread of all voxels, and the ranges of the series.

    Parameters
    ----------
    num_series : int
    squares : bool
        Whether the spread is wanted.
    """

    def __init__(self, num_series: int, *, squares: bool) -> None:
        self.lows = np.full(num_series, math.inf)
        self.highs = np.full(num_series, -math.inf)
        self._wants_squares = squares
        self._count = 0
        self._total = self._squares = 0.0
        self._origin: float | None = None  # sums about a value of the volume do not cancel

    @property
    def low(self) -> float:
        """The smallest value."""
        return float(self.lows.min())

    @property
    def high(self) -> float:
        """The largest value."""
        return float(self.highs.max())

    def add(self, number: int, values: Array) -> None:
        """Take note of voxels of a series."""
        self.lows[number] = min(self.lows[number], values.min())
        self.highs[number] = max(self.highs[number], values.max())
        self._origin = float(values.flat[0]) if self._origin is None else self._origin
        self._count += values.size
        for part in blocks(values):
            centred = part.astype(np.float64) - self._origin
            self._total += float(centred.sum())
            if self._wants_squares:
                self._squares += float(np.square(centred, out=centred).sum())

    def found(self) -> dict[str, Any]:
        """Return the statistics by their names."""
        mean = self._total / self._count
        return {
            "min": self.low,
            "max": self.high,
            "bound:min": self.low,
            "bound:max": self.high,
            "mean": mean + (self._origin or 0.0),
            "std": math.sqrt(max(0.0, self._squares / self._count - mean**2)),
            f"{SERIES}min": self.lows.tolist(),
            f"{SERIES}max": self.highs.tolist(),
        }


class Slices:
    """Statistics of each slice.

    Parameters
    ----------
    names : sequence of str
        Those asked for, others among them.
    num_series, num_slices : int
        Slices of a series follow one another.
    """

    def __init__(self, names: Sequence[str], num_series: int, num_slices: int) -> None:
        start = {SLICES_MIN: math.inf, SLICES_MAX: -math.inf}
        self._num_slices = num_slices
        self._values = {
            name: np.full(num_series * num_slices, start.get(name, math.nan))
            for name in names
            if name in start or name.startswith(SLICES_ABOVE)
        }

    @property
    def need_planes(self) -> bool:
        """Whether slices must come whole."""
        return any(name.startswith(SLICES_ABOVE) for name in self._values)

    def add(self, number: int, first: int, values: Array) -> None:
        """Take note of parts of slices of a series, from its slice `first`."""
        begin = number * self._num_slices + first
        where = slice(begin, begin + len(values))
        for name, known in self._values.items():
            if name == SLICES_MIN:
                known[where] = np.minimum(known[where], values.min(axis=(1, 2)))
            elif name == SLICES_MAX:
                known[where] = np.maximum(known[where], values.max(axis=(1, 2)))
            else:
                percent = float(name.removeprefix(SLICES_ABOVE))
                known[where] = [_mean_above(plane, percent) for plane in values]

    def found(self) -> dict[str, Any]:
        """Return the statistics by their names."""
        return {name: values.tolist() for name, values in self._values.items()}


def _mean_above(plane: Array, percent: float) -> float:
    """Return the mean of the voxels above a percentile; the largest value where none is."""
    above = plane[plane > np.percentile(plane, percent)]
    return float(above.mean(dtype=np.float64)) if above.size else float(plane.max())
