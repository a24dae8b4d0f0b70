"""The U-Nets: an encoder of residual blocks, and a way up that doubles the plane at every step.

Source: Fang et al., "Deep learning-based point-scanning super-resolution imaging", Nature Methods
18, 406-416 (2021), whose U-Net is the dynamic one of fastai 1. Sub-module names are the keys of
the published checkpoints.

Shapes in comments: n tiles; h x w pixels go into the U-Net, c0 to c3 channels leave the stages.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from vemctl_pssr.dense import DenseNet
from vemctl_pssr.layers import BN_BIAS, NormedConv, Residual, Shuffle, UpLayer, conv_relu
from vemctl_pssr.structure import SCALE, Architecture

SKIPPING = {"wnresnet": (2, 4, 5, 6, 7), "resnet": (2, 4, 5, 6)}
"""The children of an encoder behind which the plane shrinks, which give a skip."""


class NormedBlock(nn.Module):
    """A weight-normalised residual block, (n, channels_in, h, w) -> (n, c, h / stride, w / stride).

    Parameters
    ----------
    channels_in, width : int
        The width is that of the convolutions within.
    expansion : int
        c for each channel within; 4 adds a third convolution.
    stride : int
    """

    def __init__(self, channels_in: int, width: int, expansion: int, stride: int) -> None:
        super().__init__()
        channels_out = width * expansion
        middle = nn.Sequential(NormedConv(width, width, 3, stride=stride, bias=False))
        self.convs = nn.Sequential(
            nn.Sequential(NormedConv(channels_in, width, 1, bias=False), nn.ReLU()), middle
        )
        if expansion > 1:
            middle.append(nn.ReLU())
            self.convs.append(nn.Sequential(NormedConv(width, channels_out, 1, bias=False)))
        if channels_in != channels_out:
            self.idconv = nn.Sequential(NormedConv(channels_in, channels_out, 1, bias=False))
        else:
            self.idconv = nn.Sequential()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated sum of the convolutions and the shortcut."""
        y: Tensor = self.convs(x)
        if self.stride > 1:  # at an odd edge over the pixels that are there
            x = functional.avg_pool2d(x, 2, ceil_mode=True)
        return torch.relu(self.idconv(x) + y)


class BasicBlock(nn.Module):
    """Torchvision's residual block, (n, channels_in, h, w) -> (n, width, h / stride, w / stride).

    Parameters
    ----------
    channels_in, width, stride : int
    """

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _plain_conv(channels_in, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _plain_conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or channels_in != width:
            shortcut = _plain_conv(channels_in, width, 1, stride)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated sum of the convolutions and the shortcut."""
        y = torch.relu(self.bn1(self.conv1(x)))  # (n, width, h / stride, w / stride)
        y = self.bn2(self.conv2(y))  # (n, width, h / stride, w / stride)
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class UNet(nn.Module):
    """Restore tiles at their full size, (n, in_channels, h, w) -> (n, out_channels, h, w).

    Parameters
    ----------
    architecture : Architecture
        With an encoder; whether it is wrapped does not matter here.
    detach_skips : bool
        Let no gradient through the skips, as the published training does: the encoder then learns
        by what comes through the deepest level alone.

    Notes
    -----
    With a wnresnet everything depends on the whole tile, by the global average at the end of the
    encoder. Trained, it then needs two tiles at once, to normalise what is a single pixel of each.
    """

    def __init__(self, architecture: Architecture, *, detach_skips: bool = False) -> None:
        super().__init__()
        blocks = architecture.up_blocks
        bottom, top, merged = blocks[0].up, blocks[-1].out, architecture.merged
        attentive = architecture.attention_index
        norm = nn.BatchNorm2d(bottom)
        nn.init.constant_(norm.bias, BN_BIAS)
        ups = [UpLayer(each, attention=index == attentive) for index, each in enumerate(blocks)]
        self.layers = nn.ModuleList(
            [
                _encoder(architecture),
                norm,
                nn.ReLU(),
                nn.Sequential(conv_relu(bottom, 2 * bottom, 3), conv_relu(2 * bottom, bottom, 3)),
                *ups,
                Shuffle(top, top),
                nn.Identity(),  # where the published network joins its input
                Residual(merged, merged // 2 if architecture.bottle else merged),
                nn.Sequential(NormedConv(merged, architecture.out_channels, 1)),
            ]
        )
        self.skipping = SKIPPING[architecture.encoder]
        self.detach_skips = detach_skips
        self.architecture = architecture

    def forward(self, x: Tensor) -> Tensor:
        """Restore.

        Parameters
        ----------
        x : tensor, (n, in_channels, h, w)
            Normalised grey values. An odd edge is repeated for the time being.

        Returns
        -------
        tensor, (n, out_channels, h, w)
            Normalised grey values.
        """
        size = x.shape[-2:]
        x = made_even(x)
        encoder, norm, relu, middle, *ups, shuffle, _, residual, last = cast("Any", self.layers)
        y, skips = self._encoded(encoder, x)
        y = middle(relu(norm(y)))  # (n, c3, h / 32, w / 32), or (n, c3, 1, 1)
        for up in ups:
            y = up(y, skips.pop())  # (n, c, h / 16, w / 16) to (n, c, h / 2, w / 2)
        y = shuffle(y)  # (n, c, h, w)
        y = residual(torch.cat([y, x], 1))  # (n, c + in_channels, h, w)
        result: Tensor = last(y)  # (n, out_channels, h, w)
        return result[..., : size[0], : size[1]]

    def _encoded(self, encoder: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        skips = []
        for index, child in enumerate(encoder.children()):
            x = child(x)
            if index in self.skipping:  # (n, c, h / 2, w / 2) to (n, c, h / 32, w / 32)
                skips.append(x.detach() if self.detach_skips else x)
        return x, skips


class Enlarging(nn.Module):
    """A U-Net behind a bilinear enlargement, (n, frames, h, w) -> (n, out_channels, 4 h, 4 w).

    Parameters
    ----------
    model : UNet
    """

    def __init__(self, model: UNet) -> None:
        super().__init__()
        self.model = model
        self.architecture = model.architecture

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge and restore."""
        return self.model(enlarged(x))  # type: ignore[no-any-return]


def build(architecture: Architecture, *, detach_skips: bool = False) -> nn.Module:
    """Return a network with fresh parameters, in training mode.

    The encoder of resnets begins as torchvision's without ImageNet. All networks have their
    `Architecture` as the attribute ``architecture``.

    Parameters
    ----------
    architecture : Architecture
    detach_skips : bool
        As in `UNet`; RRDBs have no skips.
    """
    if architecture.encoder == "rrdb":
        return DenseNet(architecture)
    network = UNet(architecture, detach_skips=detach_skips)
    return Enlarging(network) if architecture.wrapped else network


def enlarged(x: Tensor) -> Tensor:
    """Return tiles of four times as many pixels per axis, edges on edges."""
    return functional.interpolate(x, scale_factor=SCALE, mode="bilinear", align_corners=False)


def made_even(x: Tensor) -> Tensor:
    """Return tiles with an even number of rows and columns; the last one is repeated."""
    height, width = x.shape[-2:]
    if height % 2 or width % 2:
        return functional.pad(x, (0, width % 2, 0, height % 2), mode="replicate")
    return x


def _encoder(architecture: Architecture) -> nn.Sequential:
    if architecture.encoder == "resnet":
        width = architecture.stem[0]
        children: list[nn.Module] = [
            _plain_conv(architecture.in_channels, width, 7, 2),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
    else:
        first, second, width = architecture.stem
        children = [
            _entry(architecture.in_channels, first, 2),
            _entry(first, second, 1),
            _entry(second, width, 1),
        ]
    children.append(nn.MaxPool2d(3, stride=2, padding=1))
    before = width
    for stage, (inner, count) in enumerate(
        zip(architecture.widths, architecture.counts, strict=True)
    ):
        blocks: list[nn.Module] = []
        for index in range(count):
            stride = 2 if stage and not index else 1
            if architecture.encoder == "resnet":
                blocks.append(BasicBlock(before, inner, stride))
            else:
                blocks.append(NormedBlock(before, inner, architecture.expansion, stride))
            before = inner * architecture.expansion
        children.append(nn.Sequential(*blocks))
    if architecture.encoder == "wnresnet":
        children.append(nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(*children)


def _entry(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    conv = NormedConv(channels_in, channels_out, 3, stride=stride, bias=False)
    return nn.Sequential(conv, nn.ReLU())


def _plain_conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
