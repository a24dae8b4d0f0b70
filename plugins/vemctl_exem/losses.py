"""What exem minimises: adversarial, cycle and group terms.

Source: the specification of the published training, section 4.3. A is the light-microscopy domain,
B the electron-microscopy domain; grey values are in [0, 1]; means are over all elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SLOPE = 100.0
GREY = 255.0
CONTENT_SHARE = 2 / 5  # five terms stand for two directions


def precise(x: Tensor) -> Tensor:
    """Return a tensor in no less than single precision, whatever the networks computed in."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def adversarial(scores: Sequence[Tensor], label: float) -> Tensor:
    """Return the least-squares term, summed over the scales of a discriminator, ().

    Parameters
    ----------
    scores : sequence of tensor, (n, 1, z, y', x')
    label : float
        1 for what should look real, 0 for what should not.
    """
    return torch.stack([(precise(score) - label).square().mean() for score in scores]).sum()


def cycle(returned: Tensor, real: Tensor) -> Tensor:
    """Return how far a volume is from what came back after both translations, ()."""
    return (precise(returned) - precise(real)).abs().mean()


@dataclass(frozen=True)
class Groups:
    """Soft divisions of grey values: bright and dark A; middle, dark and bright B.

    Attributes
    ----------
    lm_threshold : float
        Of 255; what is above is bright A.
    em_low, em_high : float
        Of 255; between them is middle B, which bright A becomes.
    """

    lm_threshold: float = 110.0
    em_low: float = 120.0
    em_high: float = 160.0

    def of_lm(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        """Return how much each voxel of A is bright, and dark; (n, 1, z, y, x) each."""
        limit = self.lm_threshold / GREY
        volume = precise(volume)
        return _above(volume, limit), torch.sigmoid(SLOPE * (limit - volume))

    def of_em(self, volume: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return how much each voxel of B is middle, dark and bright; (n, 1, z, y, x) each."""
        low, high = self.em_low / GREY, self.em_high / GREY
        volume = precise(volume)
        bright = _above(volume, high)
        return _above(volume, low) - bright, torch.sigmoid(SLOPE * (low - volume)), bright


def _above(volume: Tensor, limit: float) -> Tensor:
    return torch.sigmoid(SLOPE * (volume - limit))


def content_terms_of_lm(groups: Groups, real: Tensor, made: Tensor) -> dict[str, Tensor]:
    """Return the terms of A's groups, unweighted, (): bright becomes middle, dark the rest.

    Parameters
    ----------
    groups : Groups
    real : tensor, (n, 1, z, y, x)
        A.
    made : tensor, (n, 1, z, y, x)
        B, made of it.
    """
    bright, dark = groups.of_lm(real)
    made_middle, made_dark, made_bright = groups.of_em(made)
    return {
        "content_A1": _mismatch(bright, made_middle),
        "content_A2": _mismatch(dark, made_dark + made_bright),
    }


def content_terms_of_em(groups: Groups, real: Tensor, made: Tensor) -> dict[str, Tensor]:
    """Return the terms of B's groups, unweighted, (): middle becomes bright, the rest dark.

    Parameters
    ----------
    groups : Groups
    real : tensor, (n, 1, z, y, x)
        B.
    made : tensor, (n, 1, z, y, x)
        A, made of it.
    """
    middle, dark, bright = groups.of_em(real)
    made_bright, made_dark = groups.of_lm(made)
    return {
        "content_B1": _mismatch(middle, made_bright),
        "content_B2": _mismatch(dark, made_dark),
        "content_B3": _mismatch(bright, made_dark),
    }


def _mismatch(group: Tensor, made: Tensor) -> Tensor:
    """Return how much of a group is not in the group that it should have become."""
    return (group - made * group).abs().mean()


def content_decay(step: int, half_life: float) -> float:
    """Return the factor on the group loss after so many steps."""
    return float(2.0 ** (-step / half_life))
