"""What statistics remember while a volume streams by, slab after slab."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

HISTOGRAM_BINS = 2**16
SLICES_MIN, SLICES_MAX, SLICES_ABOVE = "slices:min", "slices:max", "slices:mean-above:"
SERIES = "series:"
PERCENTILE = "percentile:"

Array = npt.NDArray[Any]


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
        centred = values.astype(np.float64) - self._origin
        self._count += values.size
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


class Histogram:
    """Percentiles of some voxels.

    Parameters
    ----------
    low, high : float
        The range of those voxels.
    exact : bool
        Whether values are integers: percentiles are then exact if there are few enough.
    """

    def __init__(self, low: float, high: float, *, exact: bool) -> None:
        self._low, self._high = low, high
        self._edges = _edges(low, high, exact=exact)
        self._counts = np.zeros(len(self._edges) - 1, np.int64)

    def add(self, values: Array) -> None:
        """Take note of voxels."""
        self._counts += np.histogram(values, self._edges)[0]

    def percentile(self, percent: float) -> float:
        """Interpolate linearly between ranks."""
        middles = (self._edges[:-1] + self._edges[1:]) / 2
        rank = percent / 100 * (self._counts.sum() - 1)
        ends = np.cumsum(self._counts)
        below = middles[np.searchsorted(ends, math.floor(rank), side="right")]
        above = middles[np.searchsorted(ends, math.ceil(rank), side="right")]
        value = float(below + (above - below) * (rank - math.floor(rank)))
        return min(max(value, self._low), self._high)


class Histograms:
    """Percentiles of all voxels and of each series, which come one after the other.

    Parameters
    ----------
    names : sequence of str
        Percentiles of all, or of each series.
    totals : Totals
        Of the same voxels, complete.
    exact : bool
        Whether values are integers.
    """

    def __init__(self, names: Sequence[str], totals: Totals, *, exact: bool) -> None:
        self._totals, self._exact = totals, exact
        self._whole = [name for name in names if not name.startswith(SERIES)]
        self._each: dict[str, list[float]] = {n: [] for n in names if n.startswith(SERIES)}
        self._all = Histogram(totals.low, totals.high, exact=exact)
        self._one: Histogram | None = None  # of one series at a time: there may be thousands
        self._number = -1

    def add(self, number: int, values: Array) -> None:
        """Take note of voxels of a series, the last one or the next."""
        if self._whole:
            self._all.add(values)
        if not self._each:
            return
        if self._one is None or number != self._number:
            self._end_series()
            low, high = float(self._totals.lows[number]), float(self._totals.highs[number])
            self._one, self._number = Histogram(low, high, exact=self._exact), number
        self._one.add(values)

    def found(self) -> dict[str, Any]:
        """Return the percentiles by their names; nothing may be added any more."""
        self._end_series()
        return {name: self._all.percentile(_percent(name)) for name in self._whole} | self._each

    def _end_series(self) -> None:
        if self._one is not None:
            for name, values in self._each.items():
                values.append(self._one.percentile(_percent(name)))
        self._one = None


def _percent(name: str) -> float:
    return float(name.rpartition(":")[2])


def _edges(low: float, high: float, *, exact: bool) -> npt.NDArray[np.float64]:
    if exact and high - low < HISTOGRAM_BINS:
        return np.arange(low, high + 2) - 0.5
    top = high if high > low else low + 1.0
    return np.linspace(low, top, HISTOGRAM_BINS + 1)


def _mean_above(plane: Array, percent: float) -> float:
    """Return the mean of the voxels above a percentile; the largest value where none is."""
    above = plane[plane > np.percentile(plane, percent)]
    return float(above.mean(dtype=np.float64)) if above.size else float(plane.max())
