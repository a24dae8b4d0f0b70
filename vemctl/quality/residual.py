"""What a restoration removed: noise has no pattern, so a pattern in it was structure.

The residual, input less output, is correlated with itself, shifted by a few voxels. For noise that
is independent from voxel to voxel, nothing is left of it at any shift. What differs tells why:

- Positive correlation: structure was removed, for structure continues from voxel to voxel. But
  detectors and scans whose own noise continues along a line give the same, along x only.
- Negative correlation with direct neighbours: noise was averaged rather than told from structure.
  The output kept a mean of the noise, and each residual lacks what its neighbours share.

Only the mean of everything is taken off before, not local means: if a slow change of brightness
was removed, then the correlation is the same at all shifts, and that is structure too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

LAGS = (1, 4, 4)
"""The largest shifts along z, y and x."""
CHANCE = 4.0
"""Standard errors: pure noise exceeds them at one of all shifts in 1 of 130 volumes."""
STRUCTURE = 0.1
"""Correlation above which what was removed counts as patterned. Noise that Gaussian and median
filters, non-local means and total variation remove from noisy tissue stays below 0.06 as long as
they leave the tissue alone; tissue that a filter blurs has 0.6. In a mixture, 0.1 is reached where
about a seventh of the variance of what was removed was tissue."""
TRANSLATED = 0.5
"""Correlation of input and output below which structure in what was removed is no fault."""
RELATIVE_ROUNDING = 1e-12
"""Of the values, below which a residual does not vary."""
Array = npt.NDArray[Any]
Double = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Spectrum = npt.NDArray[np.complex64]
Lag = tuple[int, int, int]


@dataclass(frozen=True)
class ResidualScore:
    """How much like noise a residual is.

    Attributes
    ----------
    voxels : int
        Finite ones that were looked at.
    mean : float
        Input less output, on average.
    std : float
    autocorrelation : list of list of list of float, optional
        At the shifts (z, y, x) from ``-LAGS`` to ``LAGS``, 1 in the middle; None where the volume
        has no such pairs. All of it is None if the residual is the same everywhere.
    strongest, strongest_lag : float and (z, y, x), optional
        The largest absolute value away from the middle, with its sign, and its shift.
    highest, highest_lag : float and (z, y, x), optional
        The largest value.
    expected : float
        What the absolute value of pure noise hardly exceeds: `CHANCE` over the root of `voxels`.
    correlation_with_output : float, optional
        Pearson's, of residual and output; None if one is the same everywhere.
    resemblance : float, optional
        Pearson's, of input and output; likewise.
    """

    voxels: int
    mean: float
    std: float
    autocorrelation: list[list[list[float | None]]] | None
    strongest: float | None
    strongest_lag: Lag | None
    highest: float | None
    highest_lag: Lag | None
    expected: float
    correlation_with_output: float | None
    resemblance: float | None = None

    @property
    def has_structure(self) -> bool:
        """Whether voxels of the residual resemble their neighbours."""
        return self.highest is not None and self.highest > max(STRUCTURE, self.expected)

    @property
    def verdict(self) -> str:
        """What was removed, for people."""
        if self.voxels == 0 or (self.std == 0 and self.mean == 0):
            return "nothing was removed"
        if self.highest is None or self.highest_lag is None:
            return f"what was removed is the same everywhere: {self.mean:.3g}"
        if self.has_structure:
            told = f"{_named(self.highest_lag)} correlate by {self.highest:.2f}"
            where = ", along x only, which noise of a scan does too" if self._along_x_only else ""
            if self.resemblance is not None and self.resemblance < TRANSLATED:
                told = f"input and output correlate by {self.resemblance:.2f} only"
                return f"{told}, as those of a method that translates images do: not judged"
            return f"what was removed has structure: {told}{where}"
        if self.strongest is None or self.strongest_lag is None or self.strongest > -STRUCTURE:
            return "what was removed is like noise"
        return (
            "what was removed is like noise, and part of it was averaged: "
            f"{_named(self.strongest_lag)} correlate by {self.strongest:.2f}"
        )

    @property
    def _along_x_only(self) -> bool:
        others = [value for (z, y, _), value in _by_lag(self.autocorrelation) if (z, y) != (0, 0)]
        return bool(others) and max(others) < STRUCTURE

    def to_json(self) -> dict[str, Any]:
        """Return the score as JSON types."""
        return {"verdict": self.verdict, "has_structure": self.has_structure, **asdict(self)}


class Residuals:
    """Takes note of inputs and outputs, slab by slab, and tells what was removed.

    Pairs of voxels of different slabs are left out, so that the autocorrelation depends on how the
    volume was cut by no more than their share matters; the other numbers do not depend on it.
    """

    def __init__(self) -> None:
        self._voxels = 0
        self._origins: tuple[float, float] | None = None  # sums about values near do not cancel
        self._sums = np.zeros(5)  # residual, output, their squares, their product
        self._products = np.zeros([2 * most + 1 for most in LAGS])
        self._pairs = np.zeros(self._products.shape)

    def add(self, source: Array, result: Array) -> None:
        """Take note of a slab.

        Parameters
        ----------
        source, result : ndarray, (z, y, x)
            Input and output in the same units. Voxels that are not finite in either are left out.

        Raises
        ------
        ValueError
            They differ in shape.
        """
        if source.shape != result.shape:
            raise ValueError(f"input {source.shape} and output {result.shape} differ in shape")
        if source.size == 0:
            return
        values, masks = _ShiftedSums(source.shape), None
        for number, (plane, output) in enumerate(zip(source, result, strict=True)):
            residual, finite = self._take(plane.astype(np.float64), output.astype(np.float64))
            values.add(residual)
            if masks is None and not finite.all():
                masks = _ShiftedSums(source.shape)
                for _ in range(number):
                    masks.add(np.ones(finite.shape))
            if masks is not None:
                masks.add(finite)
        self._products += values.found()
        self._pairs += _pairs_in(source.shape) if masks is None else np.rint(masks.found())

    def result(self) -> ResidualScore | None:
        """Return what was found; None if no finite voxel was added."""
        if self._origins is None:
            return None
        mean, output, squares, outputs, product = (self._sums / self._voxels).tolist()
        variance, spread = max(0.0, squares - mean**2), max(0.0, outputs - output**2)
        rounding = RELATIVE_ROUNDING * sum(map(abs, self._origins))
        if math.sqrt(variance) <= rounding:
            variance = 0.0
        both = math.sqrt(variance * spread)
        shared = product - mean * output
        # The input is the residual and the output together.
        inputs = math.sqrt(max(0.0, variance + spread + 2 * shared) * spread)
        table = None if variance == 0 else self._table(mean, variance)
        others = [(lag, value) for lag, value in _by_lag(table) if lag != (0, 0, 0)]
        strongest = max(others, key=lambda each: abs(each[1]), default=(None, None))
        highest = max(others, key=lambda each: each[1], default=(None, None))
        return ResidualScore(
            voxels=self._voxels,
            mean=mean + self._origins[0],
            std=math.sqrt(variance),
            autocorrelation=table,
            strongest=strongest[1],
            strongest_lag=strongest[0],
            highest=highest[1],
            highest_lag=highest[0],
            expected=CHANCE / math.sqrt(self._voxels),
            correlation_with_output=shared / both if both > 0 else None,
            resemblance=(shared + spread) / inputs if inputs > 0 else None,
        )

    def _table(self, mean: float, variance: float) -> list[list[list[float | None]]]:
        """Return the autocorrelation; None where no pairs are so far apart."""
        products = np.full(self._products.shape, math.nan)
        np.divide(self._products, self._pairs, out=products, where=self._pairs > 0)
        correlations = np.clip((products - mean**2) / variance, -1, 1)
        correlations[LAGS] = 1
        return [
            [[None if math.isnan(value) else value for value in row] for row in plane]
            for plane in correlations.tolist()
        ]

    def _take(self, plane: Double, output: Double) -> tuple[Double, Mask]:
        """Add what concerns single voxels of a plane.

        Returns
        -------
        residual : ndarray, (y, x)
            Less a constant, 0 where it is not finite.
        finite : ndarray of bool, (y, x)
        """
        with np.errstate(invalid="ignore"):
            residual = plane - output
        finite = np.isfinite(residual)
        values, outputs = residual[finite], output[finite]
        if self._origins is None and values.size:
            self._origins = float(values.mean()), float(outputs.mean())
        from_residual, from_output = self._origins or (0.0, 0.0)
        values -= from_residual
        outputs -= from_output
        self._voxels += values.size
        self._sums += (
            values.sum(),
            outputs.sum(),
            np.vdot(values, values),
            np.vdot(outputs, outputs),
            np.vdot(values, outputs),
        )
        return np.where(finite, residual - from_residual, 0), finite


class _ShiftedSums:
    """Sums of products of all pairs of voxels of a slab, for every shift.

    Fourier transforms of planes, with zeros around them so that no pair is made across an end,
    turn the sums over all shifts into one product.

    Parameters
    ----------
    shape : (z, y, x)
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        from scipy import fft

        self._fft = fft
        self._size = [
            fft.next_fast_len(n + most) for n, most in zip(shape[1:], LAGS[1:], strict=True)
        ]
        self._before: Spectrum | None = None
        # Of pairs within planes, and of pairs between neighbouring planes.
        self._spectra: list[Spectrum | float] = [0.0, 0.0]

    def add(self, plane: Array) -> None:
        """Add the next plane."""
        spectrum = self._fft.rfft2(plane.astype(np.float32), self._size)
        self._spectra[0] = self._spectra[0] + (spectrum.conj() * spectrum)
        if self._before is not None:
            self._spectra[1] = self._spectra[1] + (self._before.conj() * spectrum)
        self._before = spectrum

    def found(self) -> Double:
        """Return the sums at the shifts from ``-LAGS`` to ``LAGS``, (z, y, x)."""
        within, between = (
            np.zeros(self._size)
            if isinstance(spectrum, float)
            else self._fft.irfft2(spectrum, self._size)
            for spectrum in self._spectra
        )
        _, y, x = (range(-most, most + 1) for most in LAGS)
        sums = np.empty([2 * most + 1 for most in LAGS])
        one = within[np.ix_(y, x)]
        sums[1] = (one + one[::-1, ::-1]) / 2  # the same pairs, up to rounding
        sums[2] = between[np.ix_(y, x)]
        sums[0] = sums[2, ::-1, ::-1]
        return sums


def _pairs_in(shape: tuple[int, ...]) -> Double:
    """Return how many pairs of voxels a slab has at each shift."""
    z, y, x = (
        np.maximum(0, n - np.abs(np.arange(-most, most + 1))).astype(np.float64)
        for n, most in zip(shape, LAGS, strict=True)
    )
    pairs: Double = z[:, None, None] * y[:, None] * x
    return pairs


def _by_lag(table: list[list[list[float | None]]] | None) -> Iterator[tuple[Lag, float]]:
    """Yield the known values of half of a table, which is symmetric, by their shifts."""
    for z, plane in enumerate(table or []):
        for y, row in enumerate(plane):
            for x, value in enumerate(row):
                lag = (z - LAGS[0], y - LAGS[1], x - LAGS[2])
                if value is not None and lag >= (0, 0, 0):
                    yield lag, value


def _named(lag: Lag) -> str:
    """Return what voxels with some shift are called."""
    along = [(axis, abs(shift)) for axis, shift in zip("zyx", lag, strict=True) if shift]
    if len(along) > 1:
        return f"voxels ({', '.join(map(str, lag))}) apart (z, y, x)"
    axis, far = along[0]
    return f"neighbours along {axis}" if far == 1 else f"voxels {far} apart along {axis}"
