"""What of volumes in a batch is shown as an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch


def middle_slice(volumes: torch.Tensor) -> npt.NDArray[Any]:
    """Return the middle slice of the first sample, (n, 1, z, y, x) -> (y, x) float32."""
    plane: npt.NDArray[Any] = volumes[0, 0, volumes.shape[2] // 2].float().cpu().numpy()
    return plane
