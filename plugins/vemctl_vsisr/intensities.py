"""How bright inputs are for the network, and slices of a result to one another. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from vemctl.errors import OptionError
from vemctl.plugin import VolumeFacts, by_series, by_slice, mean_above, percentile
from vemctl_vsisr.predict_options import PredictOptions

EPSILON = 1e-7
"""In the published normalisation, which thereby stays below 1."""
HALF_WINDOW = 5
"""Slices at each side over which the brightness profile is smoothed."""

Floats = npt.NDArray[np.float64]
Values = TypeVar("Values", bound=Any)


@dataclass(frozen=True)
class Limits:
    """The values of each series that become 0 and 1.

    Attributes
    ----------
    low, high : ndarray, (series,)
    is_absolute : bool
        Whether what keeps a blank series finite is added to the span as published, rather than
        to its share: values that are very small then lose contrast.
    """

    low: Floats
    high: Floats
    is_absolute: bool = False

    def scaled(self, values: Values, series: int) -> Values:
        """Return values of a series, an array or a tensor, in [0, 1]."""
        low, span = float(self.low[series]), float(self.high[series] - self.low[series])
        span += EPSILON if self.is_absolute or span == 0 else EPSILON * span
        unit: Values = ((values - low) / span).clip(0, 1)
        return unit

    def common(self, num_channels: int) -> Limits:
        """Return the limits of each channel over all its time points."""
        low = self.low.reshape(-1, num_channels).min(axis=0)
        high = self.high.reshape(-1, num_channels).max(axis=0)
        times = len(self.low) // num_channels
        return Limits(np.tile(low, times), np.tile(high, times), self.is_absolute)


def statistics(options: PredictOptions) -> tuple[str, ...]:
    """Return the statistics that a prediction needs."""
    brightness = (_brightness(options),) if options.adjust_intensity else ()
    return *limit_names(options), *brightness


def limits_of(facts: VolumeFacts, options: PredictOptions, *, as_original: bool = False) -> Limits:
    """Return what becomes 0 and 1, from the measured statistics."""
    low, high = (np.array(facts.each_series[name], float) for name in limit_names(options))
    return Limits(low, high, is_absolute=as_original)


def profiles_of(
    facts: VolumeFacts, options: PredictOptions, limits: Limits, lost: int, *, common: bool
) -> Floats | None:
    """Return how bright each slice of the result is to be, the brightest one 1.

    Parameters
    ----------
    facts : VolumeFacts
    options : PredictOptions
    limits : Limits
        Of each series by itself.
    lost : int
        Slices without a result at each end.
    common : bool
        Whether a channel's brightest slice is sought over all its time points.

    Returns
    -------
    ndarray, (series, z), optional
        Over the slices with a result, smoothed along z; None where they are left as they are.
    """
    if not options.adjust_intensity:
        return None
    num_slices, num_series = facts.shape[0], len(limits.low)
    tops = np.array(facts.slices[_brightness(options)], float).reshape(num_series, num_slices)
    shared = limits.common(facts.num_channels) if common else limits
    smooth = np.stack(
        [
            moving_mean(shared.scaled(row[lost : num_slices - lost], series))
            for series, row in enumerate(tops)
        ]
    )
    highest = smooth.max(axis=1)
    if common:
        over_time = highest.reshape(-1, facts.num_channels).max(axis=0)
        highest = np.tile(over_time, num_series // facts.num_channels)
    profiles: Floats = smooth / np.where(highest > 0, highest, 1.0)[:, None]
    return profiles


def moving_mean(values: Floats) -> Floats:
    """Return the centred moving mean over 11 values, over fewer towards the ends.

    Near an end the window shrinks to what lies symmetrically about its centre, as MATLAB's
    ``smooth`` has it; any number of values will do.
    """
    count = len(values)
    half = [min(i, count - 1 - i, HALF_WINDOW) for i in range(count)]
    return np.array([values[i - h : i + h + 1].mean() for i, h in enumerate(half)])


def limit_names(options: PredictOptions) -> tuple[str, str]:
    """Return the names of the statistics that become 0 and 1.

    Raises
    ------
    OptionError
        ``--limits`` is no pair of percentiles.
    """
    try:
        low, high = (float(part) for part in options.limits.split(","))
    except ValueError:
        low, high = 1.0, 0.0
    if not 0 <= low < high <= 100:
        raise OptionError(
            f"--limits {options.limits}: expected two percentiles from 0 to 100, the lower first, "
            f"such as 0,99.99"
        )
    return (
        by_series("min" if low == 0 else percentile(low)),
        by_series("max" if high == 100 else percentile(high)),
    )


def _brightness(options: PredictOptions) -> str:
    return by_slice(mean_above(options.intensity_percentile))
