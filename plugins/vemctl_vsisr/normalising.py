"""Grey values to [0, 1] between percentiles, as the published program scales them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

EPSILON = 1e-7
"""Keeps the quotient finite where all values are equal; they become 0."""


def scale_to_unit(values: Tensor, low: float = 0.0, high: float = 100.0) -> Tensor:
    """Return values between two of their percentiles as 0 to 1, limited to these.

    Parameters
    ----------
    values : tensor, any shape
    low, high : float
        Percentiles, in [0, 100]; by default the minimum and the maximum.

    Returns
    -------
    tensor, as `values`
        In their precision, but at least float32.
    """
    return scale_samples_to_unit(values.reshape(1, -1), low, high).reshape(values.shape)


def scale_samples_to_unit(samples: Tensor, low: float = 0.0, high: float = 100.0) -> Tensor:
    """Return each sample scaled by its own percentiles, over all its planes together.

    Parameters
    ----------
    samples : tensor, (n, ...)
        Such as (n, planes, y, x) of what a network gave.
    low, high : float
        Percentiles, in [0, 100]; by default the minimum and the maximum.

    Returns
    -------
    tensor, (n, ...)
        In [0, 1], in their precision, but at least float32.
    """
    if not 0 <= low <= high <= 100:
        raise ValueError(f"expected percentiles in [0, 100], got {low} and {high}")
    values = samples if samples.dtype == torch.float64 else samples.float()
    flat = values.flatten(1)  # (n, values of a sample)
    lower, upper = _percentile(flat, low), _percentile(flat, high)
    return ((flat - lower) / (upper - lower + EPSILON)).clamp(0, 1).reshape(values.shape)


def _percentile(flat: Tensor, percent: float) -> Tensor:
    """Return a percentile of each row, (n, values) -> (n, 1); as numpy's, between two values."""
    if percent == 0:
        return flat.amin(1, keepdim=True)
    if percent == 100:
        return flat.amax(1, keepdim=True)
    # Not torch.quantile, which takes no more than 16 million values.
    place = percent / 100 * (flat.shape[1] - 1)
    below = math.floor(place)
    above = min(below + 1, flat.shape[1] - 1)
    lower, upper = (flat.kthvalue(index + 1, 1, keepdim=True).values for index in (below, above))
    return torch.lerp(lower, upper, place - below)
