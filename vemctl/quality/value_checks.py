"""What grey values a volume has, and what is odd about them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.quality.value_counts import ValueCounts

PERCENTS = (0.1, 50.0, 99.9)
SATURATED = 1e-3
"""Share of voxels at an end of the type from which on it is worth a warning."""
OTHER_RANGE = 4.0
"""Times another volume's spread, from which on two volumes are on different scales."""
CHUNK_VOXELS = 2**20

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ValueFacts:
    """What grey values a volume has; the finite ones, where nothing else is said.

    Attributes
    ----------
    dtype : str
    voxels : int
        All that were looked at.
    nonfinite : int
        NaN and infinite ones among them.
    minimum, maximum, mean, std : float, optional
        None if no voxel is finite.
    percentile_01, percentile_50, percentile_999 : float, optional
        0.1, 50 and 99.9 percent; exact where `levels` is known, else to 1/8192 of the value.
    share_at_smallest, share_at_largest : float, optional
        Share of voxels at the ends of an integer type; None for floats, which have none.
    levels : int, optional
        Different values; None if there are more than 65,536.
    histogram : list of int
        Voxels in 256 bins of equal width; empty if no voxel is finite.
    histogram_range : (float, float), optional
        Where the first bin begins and the last one ends; all values of 8 bits have a
        bin each.
    """

    dtype: str
    voxels: int
    nonfinite: int
    minimum: float | None
    maximum: float | None
    mean: float | None
    std: float | None
    percentile_01: float | None
    percentile_50: float | None
    percentile_999: float | None
    share_at_smallest: float | None
    share_at_largest: float | None
    levels: int | None
    histogram: list[int]
    histogram_range: tuple[float, float] | None

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON types."""
        return asdict(self)

    def warnings(
        self, name: str, *, source: ValueFacts | None = None, truth: ValueFacts | None = None
    ) -> list[str]:
        """Return what is odd about the values, a sentence each.

        Parameters
        ----------
        name : str
            What the volume is called, such as "prediction".
        source, truth : ValueFacts, optional
            Of the input from which it was made, and of what it should be.
        """
        return [
            f"{name}: {text}"
            for text in (
                *self._unusable(),
                *self._saturated(source),
                *self._too_wide(),
                *self._off_scale(source, "input", "their difference says little"),
                *self._off_scale(
                    truth, "truth", "plain scores judge that difference too; see the scaled ones"
                ),
            )
        ]

    def _unusable(self) -> Iterator[str]:
        if self.nonfinite:
            yield (
                f"{self.nonfinite} of {self.voxels} voxels are NaN or infinite; they are left out "
                "of what is told of its values"
            )
        if self.minimum is not None and self.minimum == self.maximum:
            yield f"all voxels have the value {self.minimum:g}; expected an image"

    def _saturated(self, source: ValueFacts | None) -> Iterator[str]:
        if self.minimum == self.maximum:
            return
        for end, extreme, lost in (
            ("smallest", self.minimum, "darker"),
            ("largest", self.maximum, "brighter"),
        ):
            share: float | None = getattr(self, f"share_at_{end}")
            before: float | None = getattr(source, f"share_at_{end}", None)
            if share is None or extreme is None or share <= SATURATED:
                continue
            if before is not None and share <= 2 * before:
                continue
            beside = "" if before is None else f" ({100 * before:.2g} % in the input)"
            yield (
                f"{100 * share:.2g} % of the voxels are {extreme:g}, the {end} value of "
                f"{self.dtype}{beside}; what was {lost} cannot be told apart any more"
            )

    def _too_wide(self) -> Iterator[str]:
        dtype = np.dtype(self.dtype)
        if dtype.kind not in "iu" or self.minimum is None or self.maximum is None:
            return
        if self.minimum == self.maximum:
            return
        for narrow in map(np.dtype, ("u1", "i1", "u2", "i2", "u4", "i4")):
            limits = np.iinfo(narrow)
            fits = limits.min <= self.minimum and self.maximum <= limits.max
            if fits and narrow.itemsize < dtype.itemsize:
                yield (
                    f"its values lie in {_range(self)}, for which {narrow.name} is enough; "
                    f"{self.dtype} takes {dtype.itemsize // narrow.itemsize} times the space"
                )
                return

    def _off_scale(self, other: ValueFacts | None, name: str, so: str) -> Iterator[str]:
        if other is None:
            return
        own, its = _spread(self), _spread(other)
        if not own or not its:  # constant, or no values at all: said elsewhere
            return
        far = (self.percentile_50 or 0) - (other.percentile_50 or 0)
        if max(own, its) > OTHER_RANGE * min(own, its) or abs(far) > OTHER_RANGE * max(own, its):
            yield f"its values lie in {_range(self)}, those of the {name} in {_range(other)}: {so}"


class Values:
    """Takes note of the values of a volume, slab by slab.

    Parameters
    ----------
    dtype : numpy.dtype
        Of the volume: integers, floats or truth values.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = np.dtype(dtype)
        self._counts = ValueCounts(self._dtype)
        self._voxels = self._finite = 0
        self._low, self._high = math.inf, -math.inf
        self._at_ends = [0, 0]
        self._mean = self._squares = 0.0  # of the finite ones; squares about the mean

    def add(self, values: Array) -> None:
        """Take note of voxels, of any shape."""
        flat = values.reshape(-1)
        for first in range(0, flat.size, CHUNK_VOXELS):
            chunk = flat[first : first + CHUNK_VOXELS]
            self._voxels += chunk.size
            if self._dtype.kind == "f":
                finite = np.isfinite(chunk)
                chunk = chunk if finite.all() else chunk[finite]
            if chunk.size:
                self._add_moments(chunk)
                self._counts.add(chunk)
                for number, end in enumerate(_ends(self._dtype)):
                    self._at_ends[number] += int(np.count_nonzero(chunk == end))

    def result(self) -> ValueFacts:
        """Return what was found."""
        some = self._finite > 0
        low, middle, high = (
            self._counts.percentile(percent) if some else None for percent in PERCENTS
        )
        ends = _ends(self._dtype)
        smallest, largest = (at / self._finite if some and ends else None for at in self._at_ends)
        histogram, histogram_range = self._counts.histogram() if some else ([], None)
        return ValueFacts(
            dtype=self._dtype.name,
            voxels=self._voxels,
            nonfinite=self._voxels - self._finite,
            minimum=self._low if some else None,
            maximum=self._high if some else None,
            mean=self._mean if some else None,
            std=math.sqrt(self._squares / self._finite) if some else None,
            percentile_01=low,
            percentile_50=middle,
            percentile_999=high,
            share_at_smallest=smallest,
            share_at_largest=largest,
            levels=self._counts.levels if some else 0,
            histogram=histogram,
            histogram_range=histogram_range,
        )

    def _add_moments(self, chunk: Array) -> None:
        """Add to range, mean and spread (Chan, Golub and LeVeque, The American Statistician 37)."""
        self._low = min(self._low, float(chunk.min()))
        self._high = max(self._high, float(chunk.max()))
        exact = chunk.astype(np.float64)
        mean = float(exact.mean())
        exact -= mean
        total = self._finite + chunk.size
        apart = mean - self._mean
        self._squares += float(np.vdot(exact, exact))
        self._squares += apart * apart * self._finite * chunk.size / total
        self._mean += apart * chunk.size / total
        self._finite = total


def _ends(dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Return the smallest and the largest value of an integer type; floats have none."""
    if dtype.kind not in "iu":
        return ()
    limits = np.iinfo(dtype)
    return limits.min, limits.max


def _spread(facts: ValueFacts) -> float:
    """Return how far most values reach: single outliers make no scale."""
    if facts.percentile_01 is None or facts.percentile_999 is None:
        return 0.0
    return facts.percentile_999 - facts.percentile_01


def _range(facts: ValueFacts) -> str:
    return f"{facts.minimum:.6g} to {facts.maximum:.6g}"
