"""The published schedule of a training, and the published Adam by means of torch's.

Source: the specification of the published training, section 4. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

DIV, FINAL_DIV = 25.0, 250_000.0
"""By how much the rates at the beginning and at the end are less than the peak."""
MOMENTA = (0.95, 0.85)
"""At both ends, and at the peak."""
BETA_2 = 0.99
EPSILON = 1e-8


def rate_and_momentum(
    step: int,
    total_steps: int,
    peak: float,
    *,
    pct_start: float = 0.3,
) -> tuple[float, float]:
    """Return the learning rate and the momentum of an update.

    Along halves of cosines the rate rises to its peak and falls to nearly nothing, while the
    momentum falls and rises.

    Parameters
    ----------
    step : int
        Counted from 0. From `total_steps` on, both stay where the cycle ends.
    total_steps : int
        Of the cycle.
    peak : float
        The greatest rate.
    pct_start : float
        What part of the cycle rises.
    """
    step, total_steps = min(step, total_steps), max(total_steps, 1)
    rising = int(pct_start * total_steps)
    if step < rising:
        part = step / rising
        return _cosine(peak / DIV, peak, part), _cosine(*MOMENTA, part)
    # Without a falling part, as for pct_start = 1, the cycle ends at the peak.
    part = (step - rising) / max(total_steps - rising, 1)
    return _cosine(peak, peak / FINAL_DIV, part), _cosine(*MOMENTA[::-1], part)


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) / 2 * (math.cos(math.pi * part) + 1)


def set_step(
    optimizer: torch.optim.AdamW,
    step: int,
    total_steps: int,
    peaks: Sequence[float],
    *,
    pct_start: float = 0.3,
) -> None:
    """Prepare an optimiser for an update, so that it does what the published one does.

    That one is AdamW with a small number added to the root of the second moment *before* the bias
    is corrected; torch adds it after, so that the number has to be larger at first. Weights decay
    before the step, those of biases and of normalisations too: the optimiser is made with one
    ``weight_decay`` for all groups.

    Parameters
    ----------
    optimizer : AdamW
        Its groups have the layer groups' parameters.
    step : int
        Of the updates that it made since it was made.
    total_steps : int
        Of the cycle.
    peaks : sequence of float
        The greatest rate of each group.
    pct_start : float
        See `rate_and_momentum`.
    """
    correction = 1 - BETA_2 ** (step + 1)
    for group, peak in zip(optimizer.param_groups, peaks, strict=True):
        group["lr"], momentum = rate_and_momentum(step, total_steps, peak, pct_start=pct_start)
        group["betas"] = (momentum, BETA_2)
        group["eps"] = EPSILON / math.sqrt(correction)
