"""Percentiles of any number of voxels, from counts of the bits of their values.

Values become unsigned integers in the same order, of 16 or 32 bits. A first pass counts their
upper 16 bits, which tells where the wanted ranks lie; a second counts the lower 16 bits of what
lies there. No range is divided into bins, so an outlier takes no precision from the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.prediction.accumulators import SERIES, Totals, blocks

HALF = 16
"""Bits that are counted at once."""
BINS = 2**HALF

Keys = npt.NDArray[np.unsignedinteger[Any]]


class Order:
    """Unsigned integers that are ordered as values of a type are.

    Parameters
    ----------
    dtype : numpy.dtype
        Of the values. Those of 64 bits are rounded to float32 first.

    Attributes
    ----------
    bits : int
        Of the unsigned integers, 16 or 32.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        wide = dtype.itemsize > 4
        name = "f4" if wide else f"{dtype.kind}{max(2, dtype.itemsize)}"
        self._dtype = np.dtype(name)
        self._unsigned = np.dtype(f"u{self._dtype.itemsize}")
        self.bits = 8 * self._dtype.itemsize
        self._top = self._unsigned.type(1 << (self.bits - 1))

    def keys(self, values: npt.NDArray[Any]) -> Keys:
        """Return the integers that stand for finite values."""
        with np.errstate(over="ignore"):
            ranked = values.astype(self._dtype)
        if self._dtype.kind == "f":
            most = np.finfo(self._dtype).max
            np.clip(ranked, -most, most, out=ranked)
            ranked += 0  # -0.0 and 0.0 are one value
        keys: Keys = ranked.view(self._unsigned)
        if self._dtype.kind == "i":
            keys ^= self._top
        elif self._dtype.kind == "f":
            # Larger bits mean smaller values where the sign is negative.
            keys = np.where(keys & self._top, ~keys, keys | self._top)
        return keys

    def value(self, key: int) -> float:
        """Return the value for which an integer stands."""
        bits = np.array(key, self._unsigned)
        if self._dtype.kind == "i":
            bits ^= self._top
        elif self._dtype.kind == "f":
            bits = np.where(bits & self._top, bits ^ self._top, ~bits)
        return float(bits.view(self._dtype))


class Ranks:
    """The keys at some percentiles of a set of keys; all keys are counted, then all refined.

    Parameters
    ----------
    percents : sequence of float
    bits : int
        Of a key.
    """

    def __init__(self, percents: Sequence[float], bits: int) -> None:
        self._percents = percents
        self._bits = bits
        self._counts: npt.NDArray[np.int64] | None = None
        self._places: dict[float, tuple[tuple[int, int], tuple[int, int], float]] = {}
        self._lowers: dict[int, npt.NDArray[np.int64]] = {}

    def count(self, keys: Keys) -> None:
        """Take note of keys in the first pass."""
        if self._counts is None:
            self._counts = np.zeros(BINS, np.int64)
        self._counts += np.bincount(keys >> (self._bits - HALF), minlength=BINS)

    def narrow(self) -> None:
        """End the first pass: what is kept of its counts is small."""
        if self._counts is None:
            return
        last = int(self._counts.sum()) - 1
        for percent in self._percents:
            rank = percent / 100 * last
            low, high = (_find(self._counts, end(rank)) for end in (math.floor, math.ceil))
            self._places[percent] = low, high, rank - math.floor(rank)
        self._counts = None

    def refine(self, keys: Keys) -> None:
        """Take note of the same keys in the second pass."""
        if not self._lowers:
            uppers = {upper for low, high, _ in self._places.values() for upper, _ in (low, high)}
            self._lowers = {upper: np.zeros(BINS, np.int64) for upper in uppers}
        above = keys >> HALF
        for upper in self._lowers:
            self._lowers[upper] += np.bincount(keys[above == upper] & (BINS - 1), minlength=BINS)

    def found(self, order: Order) -> list[float]:
        """Return the percentiles, interpolated linearly between ranks, and forget all counts."""
        made = []
        for percent in self._percents:
            low, high, part = self._places[percent]
            below, above = order.value(self._key(*low)), order.value(self._key(*high))
            made.append(below + (above - below) * part)
        self._lowers = {}
        return made

    def _key(self, upper: int, rank: int) -> int:
        """Return the key of a rank among those that share their upper bits."""
        if self._bits == HALF:
            return upper
        return (upper << HALF) + _find(self._lowers[upper], rank)[0]


class Percentiles:
    """Percentiles of all voxels and of each series, which come one after the other, twice.

    Parameters
    ----------
    names : sequence of str
        Percentiles of all, or of each series.
    num_series : int
    dtype : numpy.dtype
        Of the voxels.

    Attributes
    ----------
    passes : int
        How often all voxels must be seen: by `count`, and where that is 2, by `refine`.
    """

    def __init__(self, names: Sequence[str], num_series: int, dtype: np.dtype[Any]) -> None:
        self._order = Order(dtype)
        self._whole = [name for name in names if not name.startswith(SERIES)]
        self._each = [name for name in names if name.startswith(SERIES)]
        self.passes = 0 if not names else 1 if self._order.bits == HALF else 2
        bits = self._order.bits
        self._all = Ranks([_percent(name) for name in self._whole], bits)
        percents = [_percent(name) for name in self._each]
        self._series = [Ranks(percents, bits) for _ in range(num_series if percents else 0)]
        self._values: list[list[float]] = []  # of the series that are done with
        self._number = 0

    def count(self, number: int, values: npt.NDArray[Any]) -> None:
        """Take note of voxels of a series, the last one or the next, in the first pass."""
        if not self.passes:
            return
        if self._series and number != self._number:  # counts of thousands would be too large
            self._series[self._number].narrow()
        self._number = number
        for part in blocks(values):
            keys = self._order.keys(part)
            for ranks in self._concerned(number):
                ranks.count(keys)

    def narrow(self) -> None:
        """End the first pass."""
        for ranks in (self._all, *self._series[self._number :]):
            ranks.narrow()

    def refine(self, number: int, values: npt.NDArray[Any]) -> None:
        """Take note of voxels of a series, the last one or the next, in the second pass."""
        self._finish(number)
        for part in blocks(values):
            keys = self._order.keys(part)
            for ranks in self._concerned(number):
                ranks.refine(keys)

    def found(self, totals: Totals) -> dict[str, Any]:
        """Return the percentiles by their names, within the ranges of the same voxels."""
        if not self.passes:
            return {}
        self._finish(len(self._series))
        values = np.reshape(self._values, (len(self._series), len(self._each))).T
        each = np.clip(values, totals.lows, totals.highs).tolist() if self._each else []
        whole = np.clip(self._all.found(self._order), totals.low, totals.high).tolist()
        return dict(zip(self._whole, whole, strict=True)) | dict(zip(self._each, each, strict=True))

    def _concerned(self, number: int) -> list[Ranks]:
        """Return the ranks for which voxels of a series count."""
        return [self._all] * bool(self._whole) + self._series[number : number + 1]

    def _finish(self, number: int) -> None:
        """Keep nothing but the percentiles of the series before one."""
        for ranks in self._series[len(self._values) : number]:
            self._values.append(ranks.found(self._order))


def _find(counts: npt.NDArray[np.int64], rank: int) -> tuple[int, int]:
    """Return the bin of a rank, and the rank among those in that bin."""
    ends = np.cumsum(counts)
    number = int(np.searchsorted(ends, rank, side="right"))
    return number, rank - int(ends[number] - counts[number])


def _percent(name: str) -> float:
    return float(name.rpartition(":")[2])
