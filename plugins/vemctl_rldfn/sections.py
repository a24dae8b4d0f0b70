"""Oblique sections of volumes: what discriminators look at.

Source: the published program. A section is a plane through a volume that contains the y axis. Views
are cut along their sharp planes, and fused volumes along nearly the same ones, and across.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vemctl_rldfn.section_plans import Offset, SectionPlan


def section(volume: Tensor, axis: int, plan: SectionPlan, offsets: Sequence[Offset]) -> Tensor:
    """Return the sections of volumes, interpolated linearly, (n, 1, width, height).

    Parameters
    ----------
    volume : tensor, (n, 1, z, y, x)
        What is less precise than float32 gives float32. The result is differentiable with respect
        to it.
    axis : int
        0 to 4: `VIEW_A`, `VIEW_B`, `FUSED_LIKE_A`, `FUSED_LIKE_B`, `FUSED_ACROSS`.
    plan : SectionPlan
    offsets : sequence of Offset
        One per item.

    Raises
    ------
    ValueError
        A section leaves its volume.
    """
    sizes = volume.shape[2:]
    angle = plan.angle(axis)
    rows = np.arange(plan.height)
    begin = 1 - min((plan.height - 1) * math.cos(angle), 0.0) + plan.shift
    starts = np.array(offsets, np.int64).reshape(len(volume), 3, 1)
    x = rows * math.cos(angle) + begin + starts[:, 0]
    z = rows * math.sin(angle) + 1 + starts[:, 1]
    y = np.arange(plan.width) + 1 + starts[:, 2]
    for name, places, size in zip("zyx", (z, y, x), sizes, strict=True):
        if places.min() < 0 or places.max() > size - 1:
            ends = f"{places.min():.2f} to {places.max():.2f}"
            raise ValueError(f"section at {name} = {ends} leaves a volume of {size} along {name}")
    # Along y all places are those of voxels, so four neighbours are all that there are.
    near_z, near_x = (_neighbours(places, size) for places, size in ((z, sizes[0]), (x, sizes[2])))
    indices, weights = [], []
    for z_index, z_weight in near_z:
        for x_index, x_weight in near_x:
            indices.append((z_index, x_index))
            weights.append(z_weight * x_weight)
    z_indices, x_indices = np.stack(indices, 1)  # (n, height) each, of each neighbour
    device = volume.device
    found = volume[
        torch.arange(len(volume), device=device).view(-1, 1, 1),
        0,
        torch.from_numpy(z_indices).to(device)[:, :, None],
        torch.from_numpy(y).to(device)[:, :, None],
        torch.from_numpy(x_indices).to(device)[:, :, None],
    ]  # (neighbour, n, width, height)
    found = found if found.dtype == torch.float64 else found.float()
    factors = torch.from_numpy(np.stack(weights)).to(found)
    return (found * factors[:, :, None]).sum(0)[:, None]


def _neighbours(
    places: np.ndarray, size: int
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return the voxels on both sides of places, and their weights."""
    low = np.floor(places).astype(np.int64)
    part = places - low
    return (low, 1 - part), (np.minimum(low + 1, size - 1), part)
