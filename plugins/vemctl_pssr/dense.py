"""The network of residual dense blocks, which works at the size of its input until the very end.

Source: Fang et al., "Deep learning-based point-scanning super-resolution imaging", Nature Methods
18, 406-416 (2021), an option of whose training it is. Sub-module names are the keys of its
checkpoints.

Shapes in comments: n tiles of h x w pixels, nf filters, gc channels that a convolution adds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vemctl_pssr.layers import NormedConv, Shuffle
from vemctl_pssr.structure import Architecture

SLOPE = 0.02  # of the activations for negative values
TRUNK_SLOPE = 0.2  # of the one behind all blocks
SHARE = 0.2  # of what a block makes, beside its input


class DenseBlock(nn.Module):
    """Five convolutions, each on all that came before, (n, nf, h, w) -> (n, nf, h, w).

    Parameters
    ----------
    filters, growth : int
    """

    def __init__(self, filters: int, growth: int) -> None:
        super().__init__()
        widths = [filters + index * growth for index in range(5)]
        self.conv1 = _activated(widths[0], growth)
        self.conv2 = _activated(widths[1], growth)
        self.conv3 = _activated(widths[2], growth)
        self.conv4 = _activated(widths[3], growth)
        self.conv5 = nn.Sequential(NormedConv(widths[4], filters, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Return the input plus a share of the last convolution."""
        known = x  # (n, nf, h, w)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            known = torch.cat([known, conv(known)], 1)  # (n, nf + gc, h, w) to (n, nf + 4 gc, h, w)
        y: Tensor = self.conv5(known)  # (n, nf, h, w)
        return x + SHARE * y


class ResidualDenseBlock(nn.Module):
    """Three dense blocks in a row beside a shortcut, (n, nf, h, w) -> (n, nf, h, w).

    Parameters
    ----------
    filters, growth : int
    """

    def __init__(self, filters: int, growth: int) -> None:
        super().__init__()
        self.RDB1 = DenseBlock(filters, growth)
        self.RDB2 = DenseBlock(filters, growth)
        self.RDB3 = DenseBlock(filters, growth)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input plus a share of what the blocks make of it."""
        y: Tensor = self.RDB3(self.RDB2(self.RDB1(x)))
        return x + SHARE * y


class Trunk(nn.Module):
    """All blocks beside one long shortcut, (n, nf, h, w) -> (n, nf, h, w).

    Parameters
    ----------
    architecture : Architecture
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        filters = architecture.filters
        conv = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight)
        self.sub = nn.Sequential(
            *(ResidualDenseBlock(filters, architecture.growth) for _ in range(architecture.blocks)),
            conv,
            nn.LeakyReLU(TRUNK_SLOPE),
            nn.BatchNorm2d(filters),  # in this order
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the input plus what the blocks make of it."""
        y: Tensor = self.sub(x)
        return x + y


class DenseNet(nn.Module):
    """Restore and enlarge tiles, (n, frames, h, w) -> (n, out_channels, 4 h, 4 w).

    Parameters
    ----------
    architecture : Architecture
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        filters = architecture.filters
        self.model = nn.Sequential(
            NormedConv(architecture.in_channels, filters, 3),  # (n, nf, h, w)
            Trunk(architecture),  # (n, nf, h, w)
            Shuffle(filters, filters, SLOPE),  # (n, nf, 2 h, 2 w)
            Shuffle(filters, filters, SLOPE),  # (n, nf, 4 h, 4 w)
            NormedConv(filters, filters, 3),  # (n, nf, 4 h, 4 w)
            nn.LeakyReLU(SLOPE),
            NormedConv(filters, architecture.out_channels, 3),  # (n, out_channels, 4 h, 4 w)
        )
        self.architecture = architecture

    def forward(self, x: Tensor) -> Tensor:
        """Restore normalised grey values."""
        y: Tensor = self.model(x)
        return y


def _activated(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(NormedConv(channels_in, channels_out, 3), nn.LeakyReLU(SLOPE))
