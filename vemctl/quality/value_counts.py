"""How often each grey value occurs, whatever the type and the range.

Every value is counted as long as there are not too many different ones, which holds for all types
of 8 and 16 bits. Beyond that, values share bins whose width is at most 1/8192 of the value. So
nothing needs to be known beforehand, one pass is enough, outliers cost no precision, and the result
does not depend on the order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_LEVELS = 2**16
"""Different values up to which each is counted."""
HISTOGRAM_BINS = 256
KEY_BITS = 22
"""Of a float's 32 bits that tell bins apart: its sign, its exponent and 13 bits of its fraction."""

Array = npt.NDArray[Any]
Double = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class ValueCounts:
    """Counts values, all of them finite, few at a time.

    Parameters
    ----------
    dtype : numpy.dtype
        Of the values: integers, floats or truth values.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = np.dtype(np.uint8 if dtype.kind == "b" else dtype)
        self._values: Array = np.zeros(0, self._dtype)  # ascending; of bins: their keys
        self._counts: Integers = np.zeros(0, np.int64)
        self._every = True
        self._low, self._high = math.inf, -math.inf

    @property
    def levels(self) -> int | None:
        """How many different values there are; None if more than `MOST_LEVELS`."""
        return self._values.size if self._every else None

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self._counts.sum())

    def add(self, values: Array) -> None:
        """Count more values, some at least, in one dimension."""
        values = values.view(self._dtype) if values.dtype.kind == "b" else values
        self._low = min(self._low, float(values.min()))
        self._high = max(self._high, float(values.max()))
        self._merge(*_counted(values if self._every else _key(values)))
        if self._every and self._values.size > MOST_LEVELS:
            values, counts = self._values, self._counts
            self._every = False
            self._values, self._counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
            self._merge(_key(values), counts)

    def percentile(self, percent: float) -> float:
        """Return a percentile, interpolated linearly between voxels as numpy does."""
        rank = percent / 100 * (self.total - 1)
        below, above = (self._at_rank(whole) for whole in (math.floor(rank), math.ceil(rank)))
        return below + (above - below) * (rank - math.floor(rank))

    def histogram(self) -> tuple[list[int], tuple[float, float]]:
        """Return the counts in bins of equal width, and where the first begins and the last ends.

        All values of 8 bits have a bin each. Bins of other integers hold equally many values.
        """
        low, high = self._histogram_range()
        # Halves, since the range of doubles may be larger than the largest of them.
        edges = 2 * np.linspace(low / 2, high / 2, HISTOGRAM_BINS + 1)
        if self._every:
            counts, _ = np.histogram(self._values, edges, weights=self._counts)
            return [int(count) for count in counts], (low, high)
        ends = np.cumsum(self._counts)
        below = np.stack([ends - self._counts, ends], axis=1).reshape(-1)
        # What a bin of counts shares with two of the histogram is divided between them.
        cumulative = np.rint(np.interp(edges, self._edges().T.reshape(-1), below))
        cumulative[0], cumulative[-1] = 0, self.total
        return [int(count) for count in np.diff(cumulative)], (low, high)

    def _merge(self, values: Array, counts: Integers) -> None:
        """Add counts to the counts."""
        both, place = np.unique(np.concatenate([self._values, values]), return_inverse=True)
        total = np.zeros(both.size, np.int64)
        np.add.at(total, place, np.concatenate([self._counts, counts]))
        self._values, self._counts = both, total

    def _at_rank(self, rank: int) -> float:
        """Return the value with so many below it; in a bin, as if it was filled evenly."""
        ends = np.cumsum(self._counts)
        number = int(np.searchsorted(ends, rank, "right"))
        if self._every:
            return float(self._values[number])
        low, high = self._edges()[:, number].tolist()
        first, count = int(ends[number] - self._counts[number]), int(self._counts[number])
        return float(low + (high - low) * (rank - first + 0.5) / count)

    def _edges(self) -> Double:
        """Return where each bin begins and ends, (2, bins)."""
        edges = np.array([_begin(self._values), _begin(self._values + 1)])
        clipped: Double = np.clip(edges, self._low, self._high)
        return clipped

    def _histogram_range(self) -> tuple[float, float]:
        """Return where the first bin of the histogram begins, and the last one ends."""
        if self._dtype.kind == "f":
            low, high = self._low, self._high
            return (low, high) if low < high else (low - 0.5, high + 0.5)
        if self._dtype.itemsize == 1:
            low = float(np.iinfo(self._dtype).min) - 0.5
            return low, low + HISTOGRAM_BINS
        width = math.ceil((self._high - self._low + 1) / HISTOGRAM_BINS)
        return self._low - 0.5, self._low - 0.5 + width * HISTOGRAM_BINS


def _counted(values: Array) -> tuple[Array, Integers]:
    """Return which values occur, ascending, and how often."""
    dtype = values.dtype
    if dtype.kind == "f" or int(values.max()) - int(values.min()) >= 2**KEY_BITS:
        return np.unique(values, return_counts=True)
    unsigned = np.dtype(f"u{dtype.itemsize}")
    # Differences of unsigned integers wrap around to what is right for signed ones too.
    lowest = values.min().view(unsigned)
    found = np.bincount((values.view(unsigned) - lowest).astype(np.int64))
    where = np.flatnonzero(found)
    return (where.astype(unsigned) + lowest).view(dtype), found[where]


def _key(values: Array) -> Integers:
    """Return the bin of each value; bins are numbered in the order of values."""
    most = np.finfo(np.float32).max
    with np.errstate(over="ignore"):
        single = np.clip(values.astype(np.float32), -most, most) + np.float32(0)  # no -0.0
    bits = single.view(np.uint32)
    # Larger bits mean smaller values where the sign is negative.
    ordered = np.where(bits >> 31 == 1, ~bits, bits | np.uint32(1 << 31))
    keys: Integers = (ordered >> (32 - KEY_BITS)).astype(np.int64)
    return keys


def _begin(keys: Integers) -> Double:
    """Return where bins begin."""
    ordered = keys.astype(np.uint64) << np.uint64(32 - KEY_BITS)
    negative = ordered >> np.uint64(31) == 0
    bits = np.where(negative, ~ordered, ordered ^ np.uint64(1 << 31)).astype(np.uint32)
    return bits.view(np.float32).astype(np.float64)
