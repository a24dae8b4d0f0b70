"""The fusion network as it is quickest without gradients, and of the least memory.

What is taken together is exact but for rounding: normalisations behind convolutions, the feature
net's first two convolutions, and the last two of the U-Net. Maps of many channels are made a few
layers along z at a time; of those at the full resolution only the U-Net's skip is ever whole.

Shapes in comments: z x y x x voxels of a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from vemctl.plugin import Triple
from vemctl_rldfn.fused_layers import (
    Conv,
    Doubling,
    Pointwise,
    Source,
    Stage,
    empty_map,
    folded,
)
from vemctl_rldfn.memory import slab_layers
from vemctl_rldfn.network import MULTIPLE_OF, ConvBlock, FeatureNet, FusionNetwork, FusionUNet

Gates = Callable[[int, int, Tensor], Tensor]
"""Returns the layers of features from a start to before a stop; given room for as many."""


def fused(network: FusionNetwork) -> nn.Module:
    """Return a network for calls that does what `network` does in evaluation mode.

    It shares no memory with `network`, lies on its device and can be moved; nothing in it takes
    gradients. Its inputs stay as they are, and its result is float32 also under autocast.

    Parameters
    ----------
    network : FusionNetwork
    """
    with torch.no_grad():
        made = FusedNetwork(network)
    return made.requires_grad_(requires_grad=False).eval()


class FusedNetwork(nn.Module):
    """Fuse two views, (n, 1, z, y, x) and (n, 1, z, y, x) -> (n, 1, z, y, x), for calls.

    Parameters
    ----------
    network : FusionNetwork
    """

    def __init__(self, network: FusionNetwork) -> None:
        super().__init__()
        self.features = FusedFeatures(network.net_FA)
        self.unet = FusedUNet(network.net_G)

    @torch.no_grad()
    def forward(self, ratios_a: Tensor, ratios_b: Tensor) -> Tensor:
        """Fuse, one sample after the other, as `FusionNetwork` does."""
        shape = ratios_a.shape
        if ratios_b.shape != shape or any(side % MULTIPLE_OF for side in shape[-3:]):
            expected = f"two of (n, 1, z, y, x) with sides that are multiples of {MULTIPLE_OF}"
            raise ValueError(f"expected {expected}, got {tuple(shape)}, {tuple(ratios_b.shape)}")
        wanted = torch.promote_types(ratios_a.dtype, torch.float32)
        result = torch.empty(shape, dtype=wanted, device=ratios_a.device)
        for index in range(shape[0]):
            views = ratios_a[index : index + 1], ratios_b[index : index + 1]
            first, second = (self.features(view) for view in views)
            self.unet(_product(first, second), result[index : index + 1], _compute_type(ratios_a))
        return result


class FusedFeatures(nn.Module):
    """Features of a view, for calls.

    Parameters
    ----------
    network : FeatureNet
    """

    def __init__(self, network: FeatureNet) -> None:
        super().__init__()
        first, second = _folded(network.mid_conv)
        entry = network.first_conv
        assert entry.bias is not None
        # A channel of ones besides the view's carries the bias: like the map that comes of both,
        # it is 0 beyond the borders.
        both = torch.cat([entry.weight.flatten(1), entry.bias[:, None]], 1)  # (64, 2)
        weight = torch.einsum("omzyx,mi->oizyx", first.weight.double(), both.double())
        self.entry = Conv(weight.to(first.weight.dtype), first.bias)
        self.conv = second
        self.last = Pointwise(network.last_conv)

    def forward(self, view: Tensor) -> Gates:
        """Return what makes features of a view (1, 1, z, y, x), some layers at a time."""
        depth = view.shape[2]

        def write_entry(start: int, stop: int, out: Tensor) -> None:
            window = empty_map(out, 2, (stop - start + 2, *out.shape[3:])).zero_()
            low, high = max(0, start - 1), min(depth, stop + 1)
            inside = window[:, :, low - start + 1 : high - start + 1]
            inside[:, :1] = view[:, :, low:high]
            inside[:, 1:] = 1
            self.entry(window, out)

        stage = Stage(self.conv, write_entry, depth)

        def gates(start: int, stop: int, scratch: Tensor) -> Tensor:
            stage(start, stop, scratch)
            made: Tensor = self.last(scratch)
            return made.sigmoid_()

        return gates


class FusedUNet(nn.Module):
    """The U-Net, for calls.

    Parameters
    ----------
    network : FusionUNet
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, network: FusionUNet) -> None:
        super().__init__()
        self.first = nn.ModuleList(_folded(network.double_conv1))
        self.down = nn.ModuleList(_folded(network.double_conv2))
        self.bottom = nn.ModuleList(_folded(network.bottom_layer))
        self.from_bottom = Doubling(network.t_conv2)
        self.up = nn.ModuleList(_folded(network.ex_double_conv2))
        self.from_below = Doubling(network.t_conv1)
        self.joining = nn.ModuleList(_folded(network.ex_conv1_1))
        summing, scaling = network.one_by_one, network.one_by_one_2
        assert summing.bias is not None
        assert scaling.bias is not None
        scale = scaling.weight.flatten()
        self.register_buffer("weight", summing.weight.flatten() * scale)
        self.register_buffer("bias", summing.bias * scale + scaling.bias)

    def forward(self, features: Source, result: Tensor, dtype: torch.dtype) -> None:
        """Fuse.

        Parameters
        ----------
        features : Source
            Of (1, 64, z, y, x).
        result : tensor, (1, 1, z, y, x)
            What is written to.
        dtype : dtype
            Of maps.
        """
        depth, height, width = result.shape[2:]
        like = result.new_empty(0, dtype=dtype)
        skip1, pooled = _descended(_convs(self.first), features, like, (depth, height, width))
        del features
        half = (depth // 2, height // 2, width // 2)
        entry, *down = _convs(self.down)
        skip2, y = _descended(down, _stored(entry, pooled), like, half)
        del pooled
        for conv in _convs(self.bottom):
            before, y = y, _padded(like, conv.channels_out, y.shape[2] - 2, *y.shape[3:])
            conv(before, y[:, :, 1:-1])
        del before
        source = _chained(_convs(self.up), _joined(skip2, self.from_bottom, y[:, :, 1:-1]), half[0])
        y = empty_map(like, skip2.shape[1], half)
        for start, stop in _slabs(half, skip2.shape[1]):
            source(start, stop, y[:, :, start:stop])
        del skip2
        source = _chained(_convs(self.joining), _joined(skip1, self.from_below, y), depth)
        for start, stop in _slabs((depth, height, width), skip1.shape[1]):
            part = empty_map(like, skip1.shape[1], (stop - start, height, width))
            source(start, stop, part)
            values = part[0].permute(1, 2, 3, 0) @ self.weight.to(dtype)  # (stop - start, y, x)
            result[0, 0, start:stop] = functional.softplus(values.to(result.dtype) + self.bias)


def _product(first: Gates, second: Gates) -> Source:
    def write(start: int, stop: int, out: Tensor) -> None:
        one = first(start, stop, out)
        torch.mul(one, second(start, stop, out), out=out)

    return write


def _chained(convs: Sequence[Conv], source: Source, depth: int) -> Source:
    """Return what writes the map behind convolutions, one after the other."""
    for conv in convs:
        source = Stage(conv, source, depth)
    return source


def _stored(conv: Conv, x: Tensor) -> Source:
    """Return what writes the map behind a convolution of a whole map with its ends padded."""

    def write(start: int, stop: int, out: Tensor) -> None:
        conv(x[:, :, start : stop + 2], out)

    return write


def _joined(skip: Tensor, doubling: Doubling, below: Tensor) -> Source:
    """Return what writes a skip, and behind it what comes from the level below."""
    channels = skip.shape[1]

    def write(start: int, stop: int, out: Tensor) -> None:
        out[:, :channels] = skip[:, :, start:stop]
        doubling(below, start, stop, out[:, channels:])

    return write


def _descended(
    convs: Sequence[Conv], source: Source, like: Tensor, shape: Triple
) -> tuple[Tensor, Tensor]:
    """Return a level's map, and its maxima over 2 x 2 x 2 voxels with their ends padded along z."""
    depth, height, width = shape
    channels = convs[-1].channels_out
    skip = empty_map(like, channels, shape)
    pooled = _padded(like, channels, depth // 2, height // 2, width // 2)
    source = _chained(convs, source, depth)
    for start, stop in _slabs(shape, channels):
        part = skip[:, :, start:stop]
        source(start, stop, part)
        pooled[:, :, start // 2 + 1 : stop // 2 + 1] = functional.max_pool3d(part, 2)
    return skip, pooled


def _padded(like: Tensor, channels: int, depth: int, height: int, width: int) -> Tensor:
    """Return a map with a layer of zeros at either end."""
    y = empty_map(like, channels, (depth + 2, height, width))
    y[:, :, :1].zero_()
    y[:, :, -1:].zero_()
    return y


def _slabs(shape: Triple, channels: int) -> Iterator[tuple[int, int]]:
    """Yield first layers of slabs and those behind their last; they depend on the shape only."""
    depth, height, width = shape
    layers = slab_layers(height, width, channels)
    for start in range(0, depth, layers):
        yield start, min(start + layers, depth)


def _folded(block: ConvBlock) -> list[Conv]:
    layers = list(block.convolution)
    pairs = zip(layers[::3], layers[1::3], strict=True)
    return [Conv(*folded(conv, norm)) for conv, norm in pairs]


def _convs(block: nn.ModuleList) -> list[Conv]:
    return cast("list[Conv]", list(block))


def _compute_type(x: Tensor) -> torch.dtype:
    """Return of which type maps are: that of autocast, if it is on."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
