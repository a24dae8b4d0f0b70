"""The loss of denoise: a weighted sum of terms, given as text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from vemctl.errors import OptionError
from vemctl.nn.quality import ssim

HUBER_DELTA = 0.5
SSIM_WINDOW = 9


def _huber(restored: Tensor, target: Tensor) -> Tensor:
    return functional.huber_loss(restored, target, delta=HUBER_DELTA)


def _dissimilarity(restored: Tensor, target: Tensor) -> Tensor:
    """Return 1 - SSIM of the single slices; the prediction is not clamped."""
    return 1 - ssim(restored, target, window=SSIM_WINDOW)


TERMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "L1": functional.l1_loss,
    "MSE": functional.mse_loss,
    "Huber": _huber,
    "SSIM": _dissimilarity,
}


@dataclass(frozen=True)
class WeightedLoss:
    """A sum of terms.

    Attributes
    ----------
    weights : dict of str to float
        By name of the term, in the order in which the user gave them.
    """

    weights: dict[str, float]

    def __call__(self, restored: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return ``loss``, the sum, and each term as it enters it (``loss_L1``), all ().

        Parameters
        ----------
        restored, target : tensor, (n, 1, z, y, x)
        """
        restored, target = restored.float(), target.float()
        terms = {
            f"loss_{name}": weight * TERMS[name](restored, target)
            for name, weight in self.weights.items()
        }
        return {"loss": sum(terms.values(), restored.new_zeros(())), **terms}


def parse_loss(text: str) -> WeightedLoss:
    """Return the loss that a text such as ``"1*L1+0.5*SSIM"`` means.

    Raises
    ------
    OptionError
        It means none.
    """
    weights: dict[str, float] = {}
    for part in text.split("+"):
        match = re.fullmatch(r"\s*([0-9.eE-]+)\s*\*\s*(\w+)\s*", part)
        weight = _number(match[1]) if match else math.nan
        if not match or match[2] not in TERMS or match[2] in weights or not 0 < weight < math.inf:
            raise OptionError(
                f"--loss {text}: {part.strip()!r} is no term; expected WEIGHT*NAME, joined by +, "
                f"each of {', '.join(TERMS)} at most once, such as 1*L1+1*SSIM"
            )
        weights[match[2]] = weight
    return WeightedLoss(weights)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
