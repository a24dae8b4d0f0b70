"""Whether bright LM becomes what the group loss means it to become, over the time of a training.

The known failure of unpaired training is a translation of inverted contrast: it cycles perfectly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

INVERTED = -0.1
CLEAR = 0.3
LOST = 0.1
ADVICE = (
    "train anew with a larger --content-weight or --content-half-life, after a look at the "
    "previews and at --lm-range, --em-range and the thresholds"
)


class Correlation:
    """Pearson's correlation of two quantities that come in parts."""

    def __init__(self) -> None:
        self._sums = torch.zeros(6, dtype=torch.float64)
        self._origin: tuple[Tensor, Tensor] | None = None

    def add(self, one: Tensor, other: Tensor) -> None:
        """Take in two tensors of one shape."""
        x, y = one.double().flatten(), other.double().flatten()
        # Sums about a value that occurs: what is constant then has none, and nothing cancels.
        self._origin = self._origin or (x[0], y[0])
        x, y = x - self._origin[0], y - self._origin[1]
        parts = [x.new_tensor(x.numel()), x.sum(), y.sum(), x @ x, y @ y, x @ y]
        self._sums += torch.stack(parts).cpu()

    @property
    def value(self) -> float:
        """From -1 to 1; NaN where one of them is constant."""
        n, x, y, xx, yy, xy = self._sums.tolist()
        spread = (n * xx - x * x) * (n * yy - y * y)
        return (n * xy - x * y) / math.sqrt(spread) if spread > 0 else math.nan


class Polarity:
    """Remembers the best polarity, and tells when it turns.

    The polarity is the correlation of how bright LM is with how middle the EM made of it is.
    """

    def __init__(self) -> None:
        self._best = -math.inf

    def judge(self, value: float) -> list[str]:
        """Return what is to be said of a validation's polarity, and remember it."""
        warnings = []
        if value < INVERTED:
            warnings.append(
                f"the contrast is inverted: bright LM becomes dark or bright EM (polarity "
                f"{value:.2f}, expected above 0); {ADVICE}"
            )
        elif value < LOST and self._best > CLEAR:
            warnings.append(
                f"the contrast turns: bright LM no longer becomes middle EM (polarity "
                f"{value:.2f}, at best it was {self._best:.2f}); {ADVICE}"
            )
        self._best = max(self._best, value)
        return warnings

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered."""
        return {"best": self._best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember what `state_dict` returned."""
        self._best = float(state["best"])
