"""Which values of a volume are 0 and 1 to the network. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vemctl.errors import OptionError


@dataclass(frozen=True)
class Scaling:
    """Input values to the network's [0, 1] and back; for arrays and tensors alike."""

    low: float
    span: float

    def to_network(self, values: Any) -> Any:
        """Scale floats; for 8 bit exactly the published ``value / 255``."""
        return values / self.span if self.low == 0 else (values - self.low) / self.span

    def from_network(self, values: Any) -> Any:
        """Scale back."""
        return values * self.span if self.low == 0 else values * self.span + self.low


def scaling_of(low: float | None, high: float | None, dtype: str) -> Scaling:
    """Return the scaling between two values.

    Parameters
    ----------
    low, high : float, optional
        What becomes 0 and 1. By default 0 and the integer type's maximum; 1 for floating types.
    dtype : str
        NumPy name of the stored type.

    Raises
    ------
    OptionError
        `low` is not below `high`.
    """
    kind = np.dtype(dtype)
    low = 0.0 if low is None else low
    if high is None:
        high = 1.0 if kind.kind == "f" else float(np.iinfo(kind).max)
    if not high > low:
        raise OptionError(
            f"--low {low:g} and --high {high:g}: expected low below high; a constant volume needs "
            f"explicit values"
        )
    return Scaling(low, high - low)
