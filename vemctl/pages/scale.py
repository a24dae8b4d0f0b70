"""Where a value lies along an axis of a chart, and which values are written there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """An axis.

    Attributes
    ----------
    low, high : float
        Values at its ends; `low` is the smaller.
    start, stop : float
        Where the ends are drawn.
    log : bool
        Then both values are above 0.
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def place(self, value: float) -> float:
        """Return where a value is drawn; values beyond the ends are drawn at them."""
        value = min(max(value, self.low), self.high)
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    def ticks(self, most: int) -> list[float]:
        """Return round values between the ends, about as many as `most`."""
        if not self.log or self.high / self.low < 20:
            return _even(self.low, self.high, most)
        return _powers(self.low, self.high, most)


def scale_for(
    values: Iterable[float], start: float, stop: float, *, log: bool = False, pad: float = 0.0
) -> Scale:
    """Return an axis on which all finite values have a place.

    Parameters
    ----------
    values : iterable of float
    start, stop : float
        Where the ends are drawn.
    log : bool
        Only values above 0 count then.
    pad : float
        What is left free at both ends, as a part of the whole.
    """
    usable = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
    low, high = (min(usable), max(usable)) if usable else (0.1, 1.0)
    if log:
        if high <= low * (1 + 1e-9):
            return Scale(low / 2, high * 2, start, stop, log=True)
        factor = (high / low) ** pad
        return Scale(low / factor, high * factor, start, stop, log=True)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        margin = abs(high) / 10 or 1.0
        return Scale(low - margin, high + margin, start, stop)
    margin = (high - low) * pad
    return Scale(low - margin, high + margin, start, stop)


def tick_texts(values: Sequence[float]) -> list[str]:
    """Return values as they stand at an axis, all written alike."""
    plain = [f"{value:.10g}" for value in values]
    largest = max(map(abs, values), default=0)
    if largest >= 0.01 and max(map(len, plain), default=0) <= 6:
        return plain
    return [_exponential(value) for value in values]


def _exponential(value: float) -> str:
    mantissa, _, exponent = f"{value:.3e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}" if value else "0"


def _even(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / max(1, most)
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * n for n in (1, 2, 5, 10) if unit * n >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # Rounded, as 3 * 0.1 is not 0.3.
    digits = max(0, 1 - math.floor(math.log10(step)))
    return [round(n * step, digits) for n in range(first, last + 1)]


def _powers(low: float, high: float, most: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for parts in ((1, 2, 5), (1,)):
        found = [
            part * 10.0**power
            for power in range(first, last + 1)
            for part in parts
            if low <= part * 10.0**power <= high
        ]
        if len(found) <= most:
            return found
    return found[:: math.ceil(len(found) / most)]
