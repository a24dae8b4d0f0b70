"""How closely the values of a volume follow the true ones: sums that can be gathered in parts.

Sources: Chan, Golub, LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample
Variances", 1979 (how moments of two parts become those of both); Gonzalez, Woods, "Digital Image
Processing" (the measures). Everything is computed in double precision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vemctl.volumes.volume import Array

CHUNK = 2**14
"""Voxels whose moments are taken at once; more are halved, so that temporaries stay small."""


@dataclass(frozen=True)
class Moments:
    """Sums over pairs of a true and a predicted value; those of two sets are added with ``+``.

    Attributes
    ----------
    count : int
        Of the pairs.
    mean_truth, mean_prediction : float
        0 of no pairs.
    spread_truth, spread_prediction, product : float
        Sums of squares, and of products, of the differences from the means.
    squared_error : float
        Sum of the squares of prediction less truth.
    lowest_truth, highest_truth, lowest_prediction, highest_prediction : float
        Of no pairs infinite.
    """

    count: int = 0
    mean_truth: float = 0.0
    mean_prediction: float = 0.0
    spread_truth: float = 0.0
    spread_prediction: float = 0.0
    product: float = 0.0
    squared_error: float = 0.0
    lowest_truth: float = math.inf
    highest_truth: float = -math.inf
    lowest_prediction: float = math.inf
    highest_prediction: float = -math.inf

    @classmethod
    def of(
        cls, truth: Array, prediction: Array, where: npt.NDArray[np.bool_] | None = None
    ) -> Moments:
        """Return the moments of two arrays.

        Parameters
        ----------
        truth, prediction : ndarray, any one shape
            Of any real type; finite, at least where they are counted.
        where : ndarray of bool, the same shape, optional
            What is counted. By default everything.
        """
        if truth.size > CHUNK:
            axis = int(np.argmax(np.array(truth.shape) > 1))
            half = truth.shape[axis] // 2
            first = (slice(None),) * axis + (slice(half),)
            second = (slice(None),) * axis + (slice(half, None),)
            return cls.of(
                truth[first], prediction[first], None if where is None else where[first]
            ) + cls.of(truth[second], prediction[second], None if where is None else where[second])
        if where is not None:
            truth, prediction = truth[where], prediction[where]
        if truth.size == 0:
            return cls()
        return cls._of_chunk(
            truth.astype(np.float64).ravel(), prediction.astype(np.float64).ravel()
        )

    @classmethod
    def _of_chunk(
        cls, truth: npt.NDArray[np.float64], prediction: npt.NDArray[np.float64]
    ) -> Moments:
        error = prediction - truth
        ends = truth.min(), truth.max(), prediction.min(), prediction.max()
        # Less one of the values first: means of constants are exact then, offsets cost no digits.
        base_truth, base_prediction = truth[0], prediction[0]
        truth -= base_truth
        prediction -= base_prediction
        mean_truth, mean_prediction = truth.mean(), prediction.mean()
        truth -= mean_truth
        prediction -= mean_prediction
        return cls(
            truth.size,
            float(base_truth + mean_truth),
            float(base_prediction + mean_prediction),
            float(truth @ truth),
            float(prediction @ prediction),
            float(truth @ prediction),
            float(error @ error),
            *(float(end) for end in ends),
        )

    def __add__(self, other: Moments) -> Moments:
        count = self.count + other.count
        if not (self.count and other.count):
            return self if self.count else other
        share = other.count / count
        step_truth = other.mean_truth - self.mean_truth
        step_prediction = other.mean_prediction - self.mean_prediction
        weight = self.count * share
        return Moments(
            count,
            self.mean_truth + step_truth * share,
            self.mean_prediction + step_prediction * share,
            self.spread_truth + other.spread_truth + step_truth**2 * weight,
            self.spread_prediction + other.spread_prediction + step_prediction**2 * weight,
            self.product + other.product + step_truth * step_prediction * weight,
            self.squared_error + other.squared_error,
            min(self.lowest_truth, other.lowest_truth),
            max(self.highest_truth, other.highest_truth),
            min(self.lowest_prediction, other.lowest_prediction),
            max(self.highest_prediction, other.highest_prediction),
        )

    @property
    def truth_is_constant(self) -> bool:
        """Whether all true values are one; so of no pairs."""
        return self.lowest_truth >= self.highest_truth

    @property
    def prediction_is_constant(self) -> bool:
        """Whether all predicted values are one; so of no pairs."""
        return self.lowest_prediction >= self.highest_prediction

    @property
    def mse(self) -> float:
        """Mean squared error; not a number of no pairs."""
        return self.squared_error / self.count if self.count else math.nan

    @property
    def nrmse(self) -> float:
        """Root of the mean squared error over that of the mean squared truth.

        Not a number of no pairs, or if the truth is 0 everywhere.
        """
        power = self.count * self.mean_truth**2 + self.spread_truth
        return math.sqrt(self.squared_error / power) if power else math.nan

    @property
    def pearson(self) -> float:
        """Correlation, from -1 to 1; not a number if either is constant."""
        if self.truth_is_constant or self.prediction_is_constant:
            return math.nan
        spread = math.sqrt(self.spread_truth) * math.sqrt(self.spread_prediction)
        return max(-1.0, min(1.0, self.product / spread)) if spread else math.nan

    def psnr(self, data_range: float) -> float:
        """Return the peak signal-to-noise ratio in decibels; infinite if all values are equal.

        Parameters
        ----------
        data_range : float
            From the smallest possible value to the largest. If it is not a positive number, the
            ratio is none.
        """
        if not self.count or not data_range > 0:
            return math.nan
        if self.squared_error == 0:
            return math.inf
        return 20 * math.log10(data_range) - 10 * math.log10(self.mse)


@dataclass(frozen=True)
class Mean:
    """A mean of values, most often of scores; those of two sets are added with ``+``.

    Attributes
    ----------
    total : float
        Sum of the values.
    count : int
    """

    total: float = 0.0
    count: int = 0

    @classmethod
    def of(cls, value: float) -> Mean:
        """Return the mean of one value, or of none if it is not a number."""
        return cls() if math.isnan(value) else cls(value, 1)

    def __add__(self, other: Mean) -> Mean:
        return Mean(self.total + other.total, self.count + other.count)

    @property
    def value(self) -> float:
        """Not a number of no values."""
        return self.total / self.count if self.count else math.nan
