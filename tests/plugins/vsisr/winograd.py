"""Convolutions in double precision with a quarter of the products: torch's own take minutes.

Source of the method: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR
2016: F(4 x 4, 3 x 3). Gradients, and gradients of these, are autograd's.
"""

from __future__ import annotations

import torch
from torch.nn import functional

TILE, SEEN = 4, 6
OF_INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
OF_KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
OF_OUTPUT = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)
TORCHS = functional.conv2d


def conv2d(
    planes: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
) -> torch.Tensor:
    """Return what `torch.nn.functional.conv2d` does, quicker where it has wide 3 x 3 kernels."""
    wide = min(weight.shape[:2]) >= 64 and tuple(weight.shape[2:]) == (3, 3)
    if not (wide and planes.dtype == torch.float64 and (stride, padding) == (1, 1)):
        return TORCHS(planes, weight, bias, stride, padding)
    n, channels, rows, columns = planes.shape
    down, across = -(-rows // TILE), -(-columns // TILE)
    edges = (1, TILE * across - columns + 1, 1, TILE * down - rows + 1)
    windows = functional.unfold(functional.pad(planes, edges), SEEN, stride=TILE)
    windows = windows.view(n, channels, SEEN**2, -1).permute(2, 1, 0, 3)  # (36, in, n, tiles)
    seen = _both(OF_INPUT) @ windows.reshape(SEEN**2, -1)
    kernels = _both(OF_KERNEL) @ weight.reshape(-1, 9).T
    products = kernels.view(SEEN**2, -1, channels) @ seen.view(SEEN**2, channels, -1)
    made = _both(OF_OUTPUT) @ products.view(SEEN**2, -1)  # (16, out * n * tiles)
    made = made.view(TILE, TILE, -1, n, down, across).permute(3, 2, 4, 0, 5, 1)
    whole = made.reshape(n, -1, TILE * down, TILE * across)[..., :rows, :columns]
    return whole if bias is None else whole + bias.view(-1, 1, 1)


def _both(transform: tuple[tuple[float, ...], ...]) -> torch.Tensor:
    """Return a transform of (a, a) to (b, b) as one of a^2 to b^2 values."""
    matrix = torch.tensor(transform, dtype=torch.float64)
    return torch.kron(matrix, matrix)
