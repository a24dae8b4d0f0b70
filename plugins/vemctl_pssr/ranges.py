"""Which values of a volume are 0 and 1 to the network. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from vemctl.errors import InputError, OptionError
from vemctl.plugin import VolumeFacts, bound, by_slice, percentile

RULES = "max|first-slice|slice|dtype|LOW,HIGH|P%,Q%"
Kind = Literal["max", "first-slice", "slice", "dtype", "values", "percentiles"]
NAMED: tuple[Kind, ...] = ("max", "first-slice", "slice", "dtype")
SLICES = by_slice("max")
LOWEST, HIGHEST = bound("min"), bound("max")


@dataclass(frozen=True)
class RangeRule:
    """How the range of a volume is found.

    Attributes
    ----------
    text : str
        As it is typed.
    kind : str
        max: 0 to the largest value of a channel; first-slice and slice: 0 to the largest of the
        first, or of each slice; dtype: 0 to the maximum of the type; values;
        percentiles.
    ends : (float, float)
        Of the last two.
    flag : str
        The option that it comes from, for errors.
    """

    text: str
    kind: Kind
    ends: tuple[float, float] = (0.0, 1.0)
    flag: str = "--scale-range"

    @property
    def statistics(self) -> tuple[str, ...]:
        """What must be measured of a volume that is trained on."""
        if self.kind == "max":
            return ("min", "max")
        if self.kind in {"first-slice", "slice"}:
            return ("min", SLICES)
        if self.kind == "percentiles":
            low, high = self.ends
            return percentile(low), percentile(high)
        return (LOWEST, HIGHEST) if self.kind == "dtype" else ()

    @property
    def statistics_to_predict(self) -> tuple[str, ...]:
        """What must be measured of a volume that is enlarged: channels have their own maxima."""
        return (*self.statistics, SLICES) if self.kind == "max" else self.statistics

    def ranges_of(self, facts: VolumeFacts, name: str) -> Ranges:
        """Return the ranges of a volume.

        Parameters
        ----------
        facts : VolumeFacts
            With the statistics.
        name : str
            Of the volume, for errors.

        Raises
        ------
        InputError
            The values do not fit the rule.
        """
        known = facts.statistics
        if self.kind == "values":
            return Ranges(self.ends)
        if self.kind == "percentiles":
            low, high = (known[percentile(end)] for end in self.ends)
            return Ranges(self._checked(low, high, name))
        if self.kind == "dtype":
            return Ranges((0.0, self._top_of_type(facts, name)))
        self._refuse_negative(known["min"], known.get("max"), name)
        if self.kind == "max" and facts.num_channels == 1:
            return Ranges(self._checked(0.0, known["max"], name))
        tops, count = facts.slices[SLICES], facts.shape[0]
        if self.kind == "max":
            tops = _by_channel(tops, count, facts.num_channels)
        if self.kind == "first-slice":
            tops = [tops[i // count * count] for i in range(len(tops))]
        dark = next((i for i, top in enumerate(tops) if not top > 0), None)
        if dark is not None:
            raise InputError(
                f"{name}: slice {dark % count} is black, and {self.flag} {self.text} divides by "
                f"its maximum; give another range, such as max"
            )
        return Ranges((0.0, 1.0), tuple(tops), count)

    def _checked(self, low: float, high: float, name: str) -> tuple[float, float]:
        if not high > low:
            raise InputError(
                f"{name}: every voxel is {high:g} within {self.flag} {self.text}; expected an "
                f"image, or give two values such as 0,255"
            )
        return low, high

    def _top_of_type(self, facts: VolumeFacts, name: str) -> float:
        """Return the maximum of an integer type; 1 for floating ones, whose values must fit."""
        import numpy as np

        dtype = np.dtype(facts.dtype)
        self._refuse_negative(facts.statistics[LOWEST], facts.statistics[HIGHEST], name)
        if dtype.kind != "f":
            return float(np.iinfo(dtype).max)
        highest = facts.statistics[HIGHEST]
        if highest > 1:
            raise InputError(
                f"{name}: floating values up to {highest:g}, expected 0 to 1; give the range: "
                f"{self.flag} 0,{highest:g}"
            )
        return 1.0

    def _refuse_negative(self, lowest: float, highest: float | None, name: str) -> None:
        if lowest < 0:
            high = "HIGH" if highest is None or highest <= lowest else f"{highest:g}"
            raise InputError(
                f"{name}: values down to {lowest:g}, where 0 should be black; expected none below "
                f"0, or give the range: {self.flag} {lowest:g},{high}"
            )


@dataclass(frozen=True)
class Ranges:
    """What is 0 and 1 to the network, for a volume or for each of its slices.

    Attributes
    ----------
    ends : (float, float)
        Input values.
    tops : tuple of float
        By slice, of all series one after the other; empty where all have one range.
    num_slices : int
        Of a series.
    """

    ends: tuple[float, float]
    tops: tuple[float, ...] = field(default=(), repr=False)
    num_slices: int = 1

    def of(self, series: int, z: int) -> tuple[float, float]:
        """Return the ends for a slice of a series."""
        if not self.tops:
            return self.ends
        return 0.0, self.tops[series * self.num_slices + z]


def _by_channel(tops: Sequence[float], num_slices: int, num_channels: int) -> list[float]:
    """Return the maximum of its channel for every slice; channels go round within time points."""
    channels = [i // num_slices % num_channels for i in range(len(tops))]
    highest = [
        max(top for top, channel in zip(tops, channels, strict=True) if channel == number)
        for number in range(num_channels)
    ]
    return [highest[channel] for channel in channels]


def parse_range(text: str, flag: str = "--scale-range") -> RangeRule:
    """Return the rule that a text means.

    Raises
    ------
    OptionError
        It means none.
    """
    for kind in NAMED:
        if text == kind:
            return RangeRule(text, kind, flag=flag)
    parts = [part.strip() for part in text.split(",")]
    percents = all(part.endswith("%") for part in parts)
    try:
        low, high = (finite(part.removesuffix("%") if percents else part) for part in parts)
    except ValueError:
        raise OptionError(
            f"{flag} {text}: expected {', '.join(NAMED)}, two values such as 0,4095, or two "
            f"percentiles such as 0.5%,99.9%"
        ) from None
    if not low < high or (percents and not 0 <= low < high <= 100):
        limits = " between 0 and 100" if percents else ""
        raise OptionError(f"{flag} {text}: expected the lower end first{limits}")
    return RangeRule(text, "percentiles" if percents else "values", (low, high), flag)


def finite(text: str) -> float:
    """Return the number that a text means; ValueError for what is none or not finite."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def rule_of_training(text: str, flag: str) -> RangeRule:
    """Return the rule that a text means, of those that a training may have.

    Raises
    ------
    OptionError
        It means none, or one by slice.
    """
    rule = parse_range(text, flag)
    if "slice" in rule.kind:
        raise OptionError(
            f"{flag} {text}: a training has one range for a volume; expected max, dtype, two "
            f"values or two percentiles"
        )
    return rule


def rule_for(text: str | None, flag: str, dtype: str) -> RangeRule:
    """Return the rule of a volume that is trained on: as asked, or as published.

    The published preparation divides 8 bit by 255, and others by the maximum of a file (the
    specification, 7).

    Parameters
    ----------
    text : str, optional
    flag : str
    dtype : str
        NumPy name of the stored type.
    """
    return rule_of_training(text or ("dtype" if dtype == "uint8" else "max"), flag)


def statistics_of_training(text: str | None, flag: str) -> tuple[str, ...]:
    """Return what `rule_for` needs of a volume whose type is not known yet."""
    dtypes = ("uint8", "uint16") if text is None else ("uint8",)
    wanted = [name for dtype in dtypes for name in rule_for(text, flag, dtype).statistics]
    return tuple(dict.fromkeys(wanted))


def range_of_training(text: str | None, dtypes: Sequence[str]) -> str:
    """Return what is recorded of the ranges of a training, for predictions to do the same."""
    return text or ("dtype" if set(dtypes) <= {"uint8"} else "max")


def rule_as_trained(facts: Any, *, from_notebook: bool) -> RangeRule:
    """Return the rule that weights were trained with, or that of the published programs.

    Parameters
    ----------
    facts : mapping
        What is stored beside the weights.
    from_notebook : bool
        Whether the published program for these weights is the notebook for electron microscopy,
        which divides by the first slice's maximum, or the script, by the whole stack's
        (the specification, 2).
    """
    stored = facts.get("normalisation", {})
    text = stored.get("range") if isinstance(stored, dict) else None
    if isinstance(text, str):
        return parse_range(text)
    return parse_range("first-slice" if from_notebook else "max")


def scaled(values: Any, ends: Sequence[float]) -> Any:
    """Scale values to [0, 1]; exactly ``value / high`` where the low end is 0."""
    low, high = ends
    return values / high if low == 0 else (values - low) / (high - low)


def unscaled(values: Any, ends: Sequence[float]) -> Any:
    """Scale back."""
    low, high = ends
    return values * high if low == 0 else values * (high - low) + low
