"""The layers of the networks for calls, which write where their results are needed.

Shapes in comments: n tiles of h x w pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vemctl_pssr.layers import NormedConv, SelfAttention, Shuffle, UpLayer, attend, convolved

ONEDNN_FROM = 1024
"""Pixels from which torch's own way with 1 x 1 kernels for a single tile is the slower one."""


class Conv(nn.Module):
    """A convolution with a ReLU behind it, or none; keeps the size but for the stride.

    Parameters
    ----------
    weight : tensor, (channels_out, channels_in, kernel, kernel)
    bias : tensor, (channels_out,), optional
    stride : int
    relu : bool
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self, weight: Tensor, bias: Tensor | None, *, stride: int = 1, relu: bool = True
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight.clone())
        self.register_buffer("bias", None if bias is None else bias.clone())
        self.stride = stride
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, (n, channels_in, h, w) -> (n, channels_out, h / stride, w / stride)."""
        pointwise = self.weight.shape[-1] == 1
        if pointwise and x.shape[-2:].numel() >= ONEDNN_FROM and _onednn_takes(x):
            strides = [self.stride, self.stride]
            y = torch.mkldnn_convolution(x, self.weight, self.bias, [0, 0], strides, [1, 1], 1)
        else:
            y = convolved(x, self.weight, self.bias, self.stride)
        return y.relu_() if self.relu else y


class Block(nn.Module):
    """A residual block of either encoder, (n, channels_in, h, w) -> (n, c, h / 1 or 2, w / 1 or 2).

    Parameters
    ----------
    convs : sequence of Conv
    shortcut : Conv or None
    pool : bool
        Whether the input is averaged over 2 x 2 pixels before the shortcut.
    """

    def __init__(self, convs: list[Conv], shortcut: Conv | None, *, pool: bool) -> None:
        super().__init__()
        self.convs = nn.Sequential(*convs)
        self.shortcut = shortcut
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated sum of the convolutions and the shortcut."""
        y: Tensor = self.convs(x)
        if self.pool:
            x = functional.avg_pool2d(x, 2, ceil_mode=True)
        return y.add_(x if self.shortcut is None else self.shortcut(x)).relu_()


class Affine(nn.Module):
    """A normalisation by running statistics with a ReLU behind it; keeps the shape.

    Parameters
    ----------
    norm : BatchNorm2d
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        scale, shift = affine(norm)
        self.register_buffer("scale", scale[:, None, None])
        self.register_buffer("shift", shift[:, None, None])

    def forward(self, x: Tensor, out: Tensor) -> Tensor:
        """Write it to `out`, which may be `x` itself."""
        return torch.addcmul(self.shift, x, self.scale, out=out).relu_()


class Doubling(nn.Module):
    """Double the plane by a smoothed pixel shuffle, (n, channels_in, h, w) -> (n, c, 2 h, 2 w).

    Parameters
    ----------
    shuffle : Shuffle
        With a ReLU.
    """

    def __init__(self, shuffle: Shuffle) -> None:
        super().__init__()
        conv = plain(shuffle.conv[0])
        assert conv.bias is not None
        self.conv = Conv(_by_place(conv.weight) / 4, _by_place(conv.bias) / 4)

    def forward(self, x: Tensor, out: Tensor) -> None:
        """Write to `out` the sum of each pixel, its left and upper ones; edges are repeated."""
        y = self.conv(x)  # (n, 4 c, h, w): upper left, upper right, lower left, lower right
        n, channels, h, w = y.shape
        upper, lower = y[:, : channels // 2], y[:, channels // 2 :]  # (n, 2 c, h, w)
        rows = empty(y, (n, channels // 2, 2 * h, w))
        torch.add(upper, lower, out=rows[:, :, 1::2])
        torch.add(upper[:, :, 1:], lower[:, :, :-1], out=rows[:, :, 2::2])
        torch.add(upper[:, :, :1], upper[:, :, :1], out=rows[:, :, :1])
        left, right = rows[:, : channels // 4], rows[:, channels // 4 :]  # (n, c, 2 h, w)
        torch.add(left, right, out=out[..., 1::2])
        torch.add(left[..., 1:], right[..., :-1], out=out[..., 2::2])
        torch.add(left[..., :1], left[..., :1], out=out[..., :1])


class Attention(nn.Module):
    """Self-attention, added to what it is given; keeps (n, c, h, w).

    Parameters
    ----------
    layer : SelfAttention
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        assert isinstance(layer, SelfAttention)
        self.register_buffer("query", layer.query.weight)
        self.register_buffer("key", layer.key.weight)
        self.register_buffer("value", layer.gamma * layer.value.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Change `x` and return it."""
        pixels = x.permute(0, 2, 3, 1)  # (n, h, w, c)
        flat = pixels.flatten(1, 2)  # (n, h w, c)
        said = attend(*(functional.linear(flat, each) for each in self.buffers()))
        pixels.add_(said.view_as(pixels))
        return x


class Up(nn.Module):
    """A block on the way up, (n, up, h, w) and (n, skip, 2 h, 2 w) -> (n, out, 2 h, 2 w).

    Parameters
    ----------
    layer : UpLayer
    """

    def __init__(self, layer: UpLayer) -> None:
        super().__init__()
        self.shuf = Doubling(layer.shuf)
        self.bn = Affine(layer.bn)
        self.conv1 = plain(layer.conv1[0])
        self.conv2 = plain(layer.conv2[0])
        self.attention = Attention(layer.conv2[2]) if len(layer.conv2) > 2 else None

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Enlarge to the size of the skip, join, and convolve twice."""
        n, up, h, w = x.shape
        size = skip.shape[-2:]
        joined = empty(skip, (n, up // 2 + skip.shape[1], *size))
        from_below = joined[:, : up // 2]  # not negative: a ReLU would leave it as it is
        if size == (2 * h, 2 * w):
            self.shuf(x, from_below)
        else:
            doubled = empty(x, (n, up // 2, 2 * h, 2 * w), joined.dtype)
            self.shuf(x, doubled)
            from_below.copy_(functional.interpolate(doubled, size, mode="nearest"))
        self.bn(skip, joined[:, up // 2 :])
        y: Tensor = self.conv1(joined)
        del joined, from_below
        y = self.conv2(y)
        return y if self.attention is None else self.attention(y)


def plain(conv: nn.Module, *, relu: bool = True) -> Conv:
    """Return a weight-normalised convolution with its kernels as they are."""
    assert isinstance(conv, NormedConv)
    return Conv(conv.weight, conv.bias, stride=conv.stride, relu=relu)


def affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return scale and shift, (c,) each, of a normalisation by running statistics."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def empty(like: Tensor, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Tensor:
    """Return a tensor that lies in memory as `like` does."""
    last = like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.empty(shape, dtype=dtype or like.dtype, device=like.device, memory_format=layout)


def _by_place(of_channels: Tensor) -> Tensor:
    """Order channels by which of four pixels they become, (c 4, ...) -> (4 c, ...)."""
    return of_channels.reshape(-1, 4, *of_channels.shape[1:]).transpose(0, 1).flatten(0, 1)


def _onednn_takes(x: Tensor) -> bool:
    exact = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    there = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return x.device.type == "cpu" and exact and there
