"""Up to which frequencies two images agree: Fourier ring and Fourier shell correlation.

The correlation of the Fourier coefficients of two images is computed ring by ring: 1 where they
agree, 0 where one is unrelated noise to the other. Sources: Saxton & Baumeister, "The correlation
averaging of a regularly arranged bacterial cell envelope protein", Journal of Microscopy 127, 1982
(rings); Harauz & van Heel, "Exact filters for general geometry three dimensional reconstruction",
Optik 73, 1986 (shells). Everything is computed in double precision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vemctl.errors import InputError
from vemctl.quality.rings import Double, Rings, Spectrum, Window

Unit = Literal["1/nm", "1/voxel"]

THRESHOLD = 1 / 7
"""What a resolution is read at."""
FIRST_RING = 4
"""Coarser rings, with periods over a quarter of the edge, are not judged: uneven illumination and
the window are all they hold."""
ENOUGH = 441
"""Independent values that a judged correlation rests on: unrelated noise, whose correlation has
the standard deviation 1 / 21, then stays below 1 / 7 by three of them."""


@dataclass(frozen=True, eq=False)
class Curve:
    """How well two images correlate at each frequency, and down to which period they agree.

    The resolution is where the curve falls below 1/7 = 0.143: the value at which, of two halves of
    the data, their average is reckoned to reach a correlation of 0.5 with the truth (Rosenthal &
    Henderson, "Optimal determination of particle orientation, absolute hand, and contrast loss in
    single-particle electron cryomicroscopy", Journal of Molecular Biology 333, 2003). That fixed
    thresholds disregard how many values a ring has is the objection of van Heel & Schatz ("Fourier
    shell correlation threshold criteria", Journal of Structural Biology 151, 2005); so rings, from
    `FIRST_RING`, are joined with their finer neighbours until each joint holds `ENOUGH` independent
    values, and a fall counts if it lasts for two of these, or to the end.

    Attributes
    ----------
    frequency : ndarray, (rings,), float64
        The centres of the rings.
    correlation : ndarray, (rings,), float64
        In [-1, 1]; 0 where an image has nothing.
    counts : ndarray, (rings,), float64
        Independent values that each is worth: correlations of unrelated noise have a standard
        deviation of about ``1 / sqrt(counts)``, and somewhat less in a single narrow ring.
    unit : "1/nm" or "1/voxel"
        Of `frequency`.
    threshold : float
    """

    frequency: Double
    correlation: Double
    counts: Double
    unit: Unit
    threshold: float = THRESHOLD

    @property
    def resolution(self) -> float | None:
        """The period at which the curve falls below the threshold, in nm or voxels, if it does."""
        return self._judged()[0]

    @property
    def finest(self) -> float:
        """The period that could be found at best, in nm or voxels: that of the last ring."""
        return float(1 / self.frequency[-1])

    @property
    def verdict(self) -> str:
        """What the curve says, for people."""
        return self._judged()[1]

    def to_json(self) -> dict[str, Any]:
        """Return the curve as JSON types."""
        resolution, verdict = self._judged()
        return {
            "frequency": self.frequency.tolist(),
            "correlation": self.correlation.tolist(),
            "unit": self.unit,
            "threshold": self.threshold,
            "resolution": resolution,
            "finest": self.finest,
            "verdict": verdict,
        }

    def _judged(self) -> tuple[float | None, str]:
        """Return the resolution, if there is one, and the verdict."""
        points = list(self._joined())
        if not points:
            return None, "not judged: too few pixels to tell; larger or more planes would"
        below = [correlation < self.threshold for _, correlation in points]
        # Whether each holds for two, so that neither a lone dip nor a lone peak of noise counts.
        lasting = [*map(all, pairwise(below)), below[-1]]
        above = [not (one or other) for one, other in pairwise(below)]
        if lasting[0]:
            if any(above):
                return None, "only fine structures correlate, coarse ones do not; look at the curve"
            return None, "nothing correlates"
        unit = "nm" if self.unit == "1/nm" else "voxels"
        if True not in lasting:
            return None, f"not below 1/7 up to the finest period of {self.finest:.4g} {unit}"
        fall = lasting.index(True)
        (start, high), (end, low) = points[fall - 1 : fall + 1]
        resolution = 1 / (start + (end - start) * (high - self.threshold) / (high - low))
        return resolution, f"falls below 1/7 at a period of {resolution:.4g} {unit}"

    def _joined(self) -> Iterator[tuple[float, float]]:
        """Yield the mean frequency and the correlation of rings that are joined to be enough."""
        judged = slice(FIRST_RING - 1, None)
        counts = self.counts[judged]
        before = np.concatenate(([0.0], np.cumsum(counts)))
        ends = [0]
        for end in range(1, len(before)):
            if before[end] - before[ends[-1]] >= ENOUGH:
                ends.append(end)
        if len(ends) == 1:
            return
        ends[-1] = len(counts)  # what is left is not enough of its own
        for start, end in pairwise(ends):
            weights = counts[start:end] / counts[start:end].sum()
            yield (
                float(weights @ self.frequency[judged][start:end]),
                float(weights @ self.correlation[judged][start:end]),
            )


class RingSums:
    """Cross and power spectra of pairs, summed over rings and over all pairs.

    Attributes
    ----------
    rings : Rings
    """

    def __init__(self, rings: Rings) -> None:
        self.rings = rings
        self._cross, self._first, self._second, self._variance = np.zeros((4, len(rings.frequency)))

    def add(self, first: Spectrum, second: Spectrum) -> None:
        """Add the spectra, as of `rfftn`, of a pair."""
        one, other = self.rings.chosen(first), self.rings.chosen(second)
        powers = self.rings.sums(one, one), self.rings.sums(other, other)
        self._cross += self.rings.sums(one, other)
        self._first += powers[0]
        self._second += powers[1]
        self._variance += powers[0] * powers[1]

    @property
    def correlation(self) -> Double:
        """Of each ring; 0 where there is no power."""
        return _ratio(self._cross, np.sqrt(self._first) * np.sqrt(self._second))

    @property
    def counts(self) -> Double:
        """Frequencies of each ring in all pairs, strong ones only, as far as pairs differ in power.

        The more so, the more unequal the powers of the pairs are: of a bright pair among many dark
        ones, the sums hold little else.
        """
        return self.rings.counts * _ratio(self._first * self._second, self._variance)


class RingCorrelation:
    """Correlates many pairs of images, or of cubes, ring by ring.

    Spectra are summed over all pairs before any correlation is computed, so that pairs count as
    much as they have power, whatever the order. Neither scale nor offset of the first images, or
    of the second ones, makes a difference.

    Images with unrelated white noise, whose power is `N` where that of the object is `S`, have the
    correlation ``S / (S + N)``, and one of them with the object ``sqrt(S / (S + N))``.

    Parameters
    ----------
    shape : (y, x) or (z, y, x)
        Of each image; for rings or shells.
    spacing : tuple of float, optional
        Of the voxels, in nm; without, frequencies are per voxel.

    Attributes
    ----------
    added, skipped : int
        Pairs that count, and those that do not since not all of their values are finite.
    """

    def __init__(self, shape: Sequence[int], spacing: Sequence[float] | None) -> None:
        self._shape = tuple(shape)
        self._unit: Unit = "1/voxel" if spacing is None else "1/nm"
        self._sums = RingSums(Rings(shape, spacing or (1.0,) * len(shape)))
        self._window = Window(shape)
        self.added = self.skipped = 0

    def add(self, first: npt.NDArray[Any], second: npt.NDArray[Any]) -> None:
        """Add a pair.

        Raises
        ------
        InputError
            An image is not of the shape.
        """
        from scipy import fft

        images = []
        for image in (first, second):
            check_shape(image, self._shape)
            images.append(self._window.apply(image))
        if any(image is None for image in images):
            self.skipped += 1
            return
        self._sums.add(*(fft.rfftn(image, overwrite_x=True) for image in images))
        self.added += 1

    def curve(self) -> Curve:
        """Return the correlation of all pairs so far."""
        return Curve(
            self._sums.rings.frequency,
            self._sums.correlation,
            self._sums.counts * self._window.efficiency,
            self._unit,
        )


def check_shape(image: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
    """Refuse what is not of the shape that was announced.

    Raises
    ------
    InputError
        It is not.
    """
    if image.shape != shape:
        raise InputError(
            f"an image of the shape {image.shape} cannot be correlated; expected {shape}, as of "
            "the others"
        )


def _ratio(numerator: Double, denominator: Double) -> Double:
    """Return a quotient, 0 where it is by 0."""
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)
