"""The networks as they are quickest without gradients: plain convolutions, few passes over memory.

What is taken together is exact but for rounding: the norms of weights, normalisations behind
convolutions, the quarter of the smoothing (before a ReLU weights may be scaled), the share of the
attention, and the middle taps of kernels that only ever see a single pixel.

Shapes in comments: n tiles; h x w pixels go into the U-Net.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from vemctl_pssr.fused_layers import Affine, Block, Conv, Doubling, Up, affine, empty, plain
from vemctl_pssr.layers import NormedConv
from vemctl_pssr.network import BasicBlock, Enlarging, NormedBlock, UNet, enlarged, made_even
from vemctl_pssr.structure import STAGES


def fused(network: nn.Module, *, channels_last: bool = True) -> nn.Module:
    """Return a network for calls that does what `network` does in evaluation mode.

    It shares no memory with `network`, lies on its device and can be moved; nothing in it takes
    gradients, and activations are overwritten. Only its input stays as it is.

    Parameters
    ----------
    network : Module
        Of `vemctl_pssr.network.build`.
    channels_last : bool
        How activations lie in memory; results differ by rounding alone. Quicker on a CPU and in
        half precision; in float32 on CUDA slower, and of more memory.
    """
    layout = torch.channels_last if channels_last else torch.contiguous_format
    with torch.no_grad():
        if isinstance(network, Enlarging | UNet):
            unet = network.model if isinstance(network, Enlarging) else network
            made: nn.Module = FusedUNet(unet, wrapped=unet is not network)
        else:
            made = _with_plain_convs(copy.deepcopy(network))
        made.requires_grad_(requires_grad=False).eval()
        return made.to(memory_format=layout)  # type: ignore[call-overload, no-any-return]


class FusedUNet(nn.Module):
    """A U-Net for calls, (n, in_channels, h, w) -> (n, out_channels, h, w), or 4 h and 4 w.

    Parameters
    ----------
    network : UNet
    wrapped : bool
        Whether it enlarges its input first.
    """

    def __init__(self, network: UNet, *, wrapped: bool) -> None:
        super().__init__()
        encoder, norm, _, middle, *ups, shuffle, _, residual, last = cast("Any", network.layers)
        self.pooled = network.architecture.encoder == "wnresnet"
        self.skipping = network.skipping
        self.encoder = nn.Sequential(*_fused_encoder(encoder))
        self.norm = Affine(norm)
        convs = [plain(conv_relu[0]) for conv_relu in middle]
        if self.pooled:  # the others meet the zeros around the only pixel
            convs = [Conv(conv.weight[:, :, 1:2, 1:2], conv.bias) for conv in convs]
        self.middle = nn.Sequential(*convs)
        self.ups = nn.ModuleList(Up(up) for up in ups)
        self.shuffle = Doubling(shuffle)
        self.residual = nn.Sequential(*(plain(conv_relu[0]) for conv_relu in residual.layers))
        self.last = plain(last[0], relu=False)
        self.wrapped = wrapped
        self.architecture = network.architecture

    def forward(self, x: Tensor) -> Tensor:
        """Restore normalised grey values, as `UNet` does."""
        x = enlarged(x) if self.wrapped else x  # (n, in_channels, h, w)
        height, width = x.shape[-2:]
        x = made_even(x)
        y, skips = x, []
        for index, child in enumerate(self.encoder):
            y = child(y)
            if index in self.skipping:  # (n, c, h / 2, w / 2) to (n, c, h / 32, w / 32)
                skips.append(y)
        if self.pooled:
            y = y.mean((2, 3), keepdim=True)  # (n, c3, 1, 1)
        y = self.middle(self.norm(y, y))  # (n, c3, h / 32, w / 32), or (n, c3, 1, 1)
        for up in self.ups:
            y = up(y, skips.pop())  # (n, c, h / 16, w / 16) to (n, c, h / 2, w / 2)
        channels = y.shape[1]
        merged = empty(y, (len(x), channels + x.shape[1], *x.shape[2:]))
        self.shuffle(y, merged[:, :channels])  # (n, c, h, w)
        del y
        merged[:, channels:].copy_(x)  # (n, c + in_channels, h, w)
        result: Tensor = self.last(self.residual(merged).add_(merged))  # (n, out_channels, h, w)
        return result[..., :height, :width]


def _fused_encoder(encoder: nn.Module) -> Iterator[nn.Module]:
    """Yield as many children as there are before the global average, the stages last."""
    children: list[Any] = list(encoder.children())
    if isinstance(children[0], nn.Conv2d):
        yield from (_folded(children[0], children[1]), nn.Identity(), nn.Identity())
    else:
        yield from (plain(child[0]) for child in children[:3])
    yield children[3]
    for stage in STAGES:
        yield nn.Sequential(*(_fused_block(block) for block in children[stage]))


def _fused_block(block: BasicBlock | NormedBlock) -> Block:
    if isinstance(block, BasicBlock):
        down = block.downsample
        shortcut = None if down is None else _folded(down[0], down[1], relu=False)
        convs = [_folded(block.conv1, block.bn1), _folded(block.conv2, block.bn2, relu=False)]
        return Block(convs, shortcut, pool=False)
    convs = [plain(conv[0], relu=len(conv) > 1) for conv in cast("Any", block.convs)]
    shortcut = plain(block.idconv[0], relu=False) if len(block.idconv) else None
    return Block(convs, shortcut, pool=block.stride > 1)


def _folded(conv: nn.Module, norm: nn.Module, *, relu: bool = True) -> Conv:
    assert isinstance(conv, nn.Conv2d)
    scale, shift = affine(norm)
    weight = conv.weight * scale[:, None, None, None]
    return Conv(weight, shift, stride=conv.stride[0], relu=relu)


def _with_plain_convs(network: nn.Module) -> nn.Module:
    """Replace all weight-normalised convolutions, in place."""
    for name, child in network.named_children():
        if isinstance(child, NormedConv):
            setattr(network, name, plain(child, relu=False))
        elif isinstance(child, nn.LeakyReLU):
            child.inplace = True  # behind convolutions, which keep nothing without gradients
        else:
            _with_plain_convs(child)
    return network
