"""What a validation of rldfn finds: how well fused volumes, blurred again, give both views."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import fmean
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from vemctl.plugin import Batch, Validation
from vemctl_rldfn.data import VIEW_A, VIEW_B
from vemctl_rldfn.losses import cycle

SCALED_AS = {"view A": "view A", "view B": "view B", "fused": "fused"}
"""Panels of a preview, in their order; each has its own contrast."""

Fuse = Callable[[Tensor, Tensor], Tensor]
Degrade = Callable[[Tensor], tuple[Tensor, Tensor]]


@torch.no_grad()
def judge(fuse: Fuse, degrade: Degrade, samples: Iterable[Batch]) -> Validation:
    """Fuse samples, and compare what each view would see of that with the views.

    Parameters
    ----------
    fuse : callable
        Both views, (1, 1, z, y, x), to the fused volume of this shape.
    degrade : callable
        A fused volume to what either view would see.
    samples : iterable of Batch
        ``view_a`` and ``view_b``.

    Returns
    -------
    Validation
        ``val_cycle_a`` and ``val_cycle_b``: mean absolute differences, in parts of the volumes'
        maxima; ``val_cycle``: their mean. Panels are x-z sections in the middle of y.
    """
    found: dict[str, list[float]] = {"val_cycle_a": [], "val_cycle_b": []}
    panels: dict[str, npt.NDArray[Any]] = {}
    for sample in samples:
        views = sample[VIEW_A], sample[VIEW_B]
        fused = fuse(*views).float()
        for values, blurred, view in zip(found.values(), degrade(fused), views, strict=True):
            values.append(cycle(blurred, view).item())
        if not panels:
            shown = (*views, fused)
            panels = {
                name: middle_section(volume) for name, volume in zip(SCALED_AS, shown, strict=True)
            }
    metrics = {name: fmean(values) for name, values in found.items()}
    return Validation({"val_cycle": fmean(metrics.values()), **metrics}, panels, SCALED_AS)


def middle_section(volumes: Tensor) -> npt.NDArray[Any]:
    """Return the x-z section in the middle of y of the first volume, (z, x) float32."""
    plane: npt.NDArray[Any] = volumes[0, 0, :, volumes.shape[3] // 2].float().cpu().numpy()
    return plane
