"""The layers of the grouped shift network: shifts, channel attention, gated fusion.

Source: Li et al., "A Simple Baseline for Video Restoration with Grouped
Spatial-temporal Shift", CVPR 2023, arXiv 2206.10810 (small denoising variant, fitted to electron
microscopy by the authors of the published weights).

Shapes in comments: ``n`` blocks of ``d`` slices of ``h`` x ``w`` pixels; ``N`` is ``n * d``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Temporal = Literal["cyclic", "repeat"]

SLOPE = 0.01
WIDTH = 14  # channels at full size
SHIFT_WIDTH = 64  # channels in the shift blocks
HALF = SHIFT_WIDTH // 2  # channels that a shift moves to another slice
# (channels, dy, dx): the far ring of offsets takes one channel each, the near ring two.
OFFSETS: tuple[tuple[int, int, int], ...] = (
    *((1, 8, dx) for dx in (8, 4, 0, -4, -8)),
    *((1, -8, dx) for dx in (8, 4, 0, -4, -8)),
    *((1, dy, dx) for dy in (4, 0, -4) for dx in (8, -8)),
    *((2, 4, dx) for dx in (4, 0, -4)),
    *((2, 0, dx) for dx in (4, -4)),
    *((2, -4, dx) for dx in (4, 0, -4)),
)


def shift_plane(x: Tensor) -> Tensor:
    """Displace each of 32 channels by its own offset in the plane, zero filled.

    Parameters
    ----------
    x
        Features, (N, 32, h, w).

    Returns
    -------
    Tensor
        ``out[c, i, j] = x[c, i - dy, j - dx]``, (N, 32, h, w).
    """
    height, width = x.shape[-2:]
    parts = []
    groups = torch.split(x, [count for count, _, _ in OFFSETS], 1)  # 24 of (N, 1 or 2, h, w)
    for (_, dy, dx), group in zip(OFFSETS, groups, strict=True):
        if abs(dy) < height and abs(dx) < width:  # zeros enter, the far edge leaves
            parts.append(functional.pad(group, (dx, -dx, dy, -dy)))
        else:
            parts.append(torch.zeros_like(group))
    return torch.cat(parts, 1)  # (N, 32, h, w)


def shift_forward(
    x: Tensor, num_slices: int, temporal: Temporal = "cyclic"
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Move the upper half of the channels to the next slice of the same block.

    Parameters
    ----------
    x
        Features, (N, 64, h, w), the slices of each block next to each other.
    num_slices
        Slices of a block, ``d``.
    temporal
        What the first slice of a block receives: the last one's channels, as the published weights
        were trained (``"cyclic"``), or its own (``"repeat"``, an option of ours).

    Returns
    -------
    shifted : Tensor
        (N, 64, h, w): the moved half, then the half that stayed.
    moved : Tensor
        The moved half, (N, 32, h, w).
    left : list of Tensor
        What the last slice of each block gave away, n of (1, 32, h, w), for `shift_reverse`.
    """
    parts, left = [], []
    for block in torch.split(x[:, HALF:], num_slices):  # n of (d, 32, h, w)
        parts += [block[-1:] if temporal == "cyclic" else block[:1], block[:-1]]
        left.append(block[-1:])
    moved = torch.cat(parts)  # (N, 32, h, w); four axes throughout, so that the layout is kept
    return torch.cat([moved, x[:, :HALF]], 1), moved, left


def shift_reverse(
    x: Tensor, num_slices: int, temporal: Temporal = "cyclic", left: Sequence[Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Move the lower half of the channels back to the slice before, undoing `shift_forward`.

    Parameters
    ----------
    x, num_slices, temporal
        As in `shift_forward`.
    left
        What `shift_forward` returned as ``left``. In ``"repeat"`` the last slice of a block gets it
        back, since no slice behind holds its channels: repeating the edge here as well would lose
        them. Without it the last slice keeps its lower half; a single slice always does.

    Returns
    -------
    shifted : Tensor
        (N, 64, h, w): the half that stayed, then the moved half.
    moved : Tensor
        The moved half, (N, 32, h, w).
    """
    parts = []
    for number, block in enumerate(torch.split(x[:, :HALF], num_slices)):  # n of (d, 32, h, w)
        last = block[:1]
        if temporal == "repeat" and num_slices > 1:
            last = block[-1:] if left is None else left[number]
        parts += [block[1:], last]
    moved = torch.cat(parts)  # (N, 32, h, w)
    return torch.cat([x[:, HALF:], moved], 1), moved


def conv(
    channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, bias: bool = False
) -> nn.Conv2d:
    """Return a convolution that keeps the size (before the stride)."""
    return nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=bias)


class LayerNorm(nn.Module):
    """Layer norm over the channels of each pixel, (N, c, h, w) -> (N, c, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; the result lies channels last in memory, which suits the 1x1 layers behind."""
        last = x.permute(0, 2, 3, 1)  # (N, h, w, c)
        last = functional.layer_norm(last, self.weight.shape, self.weight, self.bias, 1e-6)
        return last.permute(0, 3, 1, 2)  # (N, c, h, w)


class ChannelAttention(nn.Module):
    """Weigh each channel by its mean over the plane, (N, c, h, w) -> (N, c, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_du = nn.Sequential(
            conv(channels, channels, 1), nn.ReLU(), conv(channels, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted channels."""
        if x.is_contiguous(memory_format=torch.channels_last):
            # The same mean, of which the gradient too lies channels last: mixed layouts are slow.
            mean = x.permute(0, 2, 3, 1).mean((1, 2), keepdim=True).permute(0, 3, 1, 2)
        else:
            mean = x.mean((2, 3), keepdim=True)
        weight: Tensor = self.conv_du(mean)  # (N, c, 1, 1)
        return x * weight


class AttentionBlock(nn.Module):
    """Two 3x3 convolutions with channel attention on a skip, (N, c, h, w) -> (N, c, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.CA = ChannelAttention(channels)
        self.body = nn.Sequential(
            conv(channels, channels, 3),
            nn.LeakyReLU(SLOPE, inplace=True),
            conv(channels, channels, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the input plus the attended residual."""
        residual: Tensor = self.CA(self.body(x))
        return x + residual


class DepthwiseSkip(nn.Module):
    """``x + conv3(x)``, depthwise, as one convolution, (N, 128, h, w) -> (N, 128, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_2 = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add the identity to the kernel, not the input to the result: one pass less."""
        kernel = self.conv_2.weight + _identity_kernel(self.conv_2.weight)
        return functional.conv2d(x, kernel, padding=1, groups=x.shape[1])


class DepthwisePair(nn.Module):
    """``conv5(x) + conv3(x) + x``, depthwise, as one convolution; keeps (N, 64, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(channels, channels, 5, 1, 2, groups=channels, bias=False)
        self.conv_2 = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add the three kernels, then convolve once."""
        small = self.conv_2.weight + _identity_kernel(self.conv_2.weight)
        kernel = self.conv_1.weight + functional.pad(small, (1, 1, 1, 1))
        return functional.conv2d(x, kernel, padding=2, groups=x.shape[1])


def _identity_kernel(like: Tensor) -> Tensor:
    """Return the depthwise kernel that changes nothing, of the size and type of ``like``."""
    kernel = torch.zeros_like(like[:1])
    kernel[..., like.shape[-2] // 2, like.shape[-1] // 2] = 1
    return kernel


class Gate(nn.Module):
    """Multiply the two halves of the channels, (N, 2 c, h, w) -> (N, c, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the product."""
        value, gate = x.chunk(2, 1)
        return value * gate


class SigmoidGate(nn.Module):
    """Gate one half of the channels by the sigmoid of the other, (N, 2 c, h, w) -> (N, c, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated half."""
        value, gate = x.chunk(2, 1)
        return value * gate.sigmoid()


def fusion(channels_in: int) -> nn.Sequential:
    """Return the gated body of a fusion layer, (N, channels_in, h, w) -> (N, 64, h, w)."""
    return nn.Sequential(
        conv(channels_in, 2 * SHIFT_WIDTH, 1),  # (N, 128, h, w)
        DepthwiseSkip(2 * SHIFT_WIDTH),
        Gate(),  # (N, 64, h, w)
        DepthwisePair(SHIFT_WIDTH),
        conv(SHIFT_WIDTH, 2 * SHIFT_WIDTH, 1),  # (N, 128, h, w)
        SigmoidGate(),  # (N, 64, h, w)
        ChannelAttention(SHIFT_WIDTH),
        conv(SHIFT_WIDTH, SHIFT_WIDTH, 1),
    )


class Fusion(nn.Module):
    """Mix the channels of a slice, (N, 64, h, w) -> (N, 64, h, w); the identity when fresh."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(1, SHIFT_WIDTH, 1, 1))
        self.norm = LayerNorm(SHIFT_WIDTH)
        self.body = fusion(SHIFT_WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input plus the scaled residual."""
        residual: Tensor = self.body(self.norm(x))
        return torch.addcmul(x, self.beta, residual)


class ShiftFusion(nn.Module):
    """Mix the channels of a slice with the moved ones; the identity when fresh."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(1, SHIFT_WIDTH, 1, 1))
        self.conv1 = nn.Conv2d(HALF, HALF, 3, 1, 1, groups=HALF, bias=False)
        self.norm = LayerNorm(SHIFT_WIDTH + HALF)
        self.body = fusion(SHIFT_WIDTH + HALF)

    def forward(self, x: Tensor, moved: Tensor) -> Tensor:
        """Return (N, 64, h, w) from shifted features of that shape and their moved half."""
        spread: Tensor = self.conv1(shift_plane(moved))  # (N, 32, h, w)
        residual: Tensor = self.body(self.norm(torch.cat([x, spread], 1)))  # (N, 64, h, w)
        return torch.addcmul(x, self.beta, residual)
