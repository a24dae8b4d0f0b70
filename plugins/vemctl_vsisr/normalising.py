"""Grey values to [0, 1], as the published program scales what its network gives."""

from __future__ import annotations

import torch
from torch import Tensor

from vemctl_vsisr.intensities import EPSILON


def scale_samples_to_unit(samples: Tensor) -> Tensor:
    """Return each sample from its minimum to its maximum as 0 to 1, over its planes together.

    Parameters
    ----------
    samples : tensor, (n, ...)
        Such as (n, planes, y, x) of what a network gave.

    Returns
    -------
    tensor, (n, ...)
        In their precision, but at least float32; 0 where all values of a sample are equal.
    """
    values = samples if samples.dtype == torch.float64 else samples.float()
    flat = values.flatten(1)  # (n, values of a sample)
    lower, upper = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    return ((flat - lower) / (upper - lower + EPSILON)).clamp(0, 1).reshape(values.shape)
