"""The layers of the fusion network for calls, which make maps a few layers along z at a time.

Maps are of a single sample, (1, c, z, y, x); a layer of one is all that has the same z.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Source = Callable[[int, int, Tensor], None]
"""Writes the layers of a map from a start to before a stop into a tensor of that many layers."""


class Conv(nn.Module):
    """A convolution of 3 x 3 x 3 voxels with a ReLU behind it; y and x are padded with zeros.

    Parameters
    ----------
    weight : tensor, (channels_out, channels_in, 3, 3, 3)
    bias : tensor, (channels_out,)

    Notes
    -----
    In float32 on a CPU two layers are made of four by four convolutions of 3 x 3 pixels instead of
    six (Winograd's F(2, 3) along z), which differs by rounding alone.
    """

    weight: Tensor
    bias: Tensor
    of_pairs: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.clone())
        self.register_buffer("bias", bias.clone())
        low, middle, high = weight.double().unbind(2)
        pairs = (low, (low + middle + high) / 2, (low - middle + high) / 2, high)
        self.register_buffer("of_pairs", torch.stack(pairs).to(weight.dtype))

    @property
    def channels_in(self) -> int:
        """Channels that go in."""
        return self.weight.shape[1]

    @property
    def channels_out(self) -> int:
        """Channels that come out."""
        return self.weight.shape[0]

    def forward(self, window: Tensor, out: Tensor) -> None:
        """Convolve, (1, channels_in, z + 2, y, x) -> (1, channels_out, z, y, x).

        Parameters
        ----------
        window : tensor
            With a layer more at either end.
        out : tensor
            What is written to.
        """
        paired = 0
        if min(self.weight.shape[:2]) > 8 and onednn_takes(window):
            paired = out.shape[2] // 2 * 2
            self._write_pairs(window, out[:, :, :paired])
        if paired < out.shape[2]:
            y = _convolved(window[:, :, paired:], self.weight, self.bias, (0, 1, 1))
            torch.clamp_min(y, 0, out=out[:, :, paired:])

    def _write_pairs(self, window: Tensor, out: Tensor) -> None:
        planes = window[0].transpose(0, 1)  # (z + 2, channels_in, y, x)
        written = out[0].transpose(0, 1)  # (z, channels_out, y, x)
        first, plus, minus, last = self.of_pairs.unbind()
        for z in range(0, len(written), 2):
            a, b, c, d = (planes[place : place + 1] for place in range(z, z + 4))
            even = functional.conv2d(a - c, first, padding=1)
            odd = functional.conv2d(b + c, plus, self.bias, padding=1)
            other = functional.conv2d(c - b, minus, padding=1)
            torch.clamp_min(even.add_(odd).add_(other), 0, out=written[z : z + 1])
            del even
            odd.sub_(other).sub_(functional.conv2d(b - d, last, padding=1))
            torch.clamp_min(odd, 0, out=written[z + 1 : z + 2])


class Pointwise(nn.Module):
    """A convolution of single voxels, (1, channels_in, z, y, x) -> (1, channels_out, z, y, x).

    Parameters
    ----------
    conv : Conv3d
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        assert conv.bias is not None
        self.register_buffer("weight", conv.weight.clone())
        self.register_buffer("bias", conv.bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        return _convolved(x, self.weight, self.bias, (0, 0, 0))


class Doubling(nn.Module):
    """A transposed convolution that makes of each voxel 2 x 2 x 2 of their own.

    Parameters
    ----------
    conv : ConvTranspose3d
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.ConvTranspose3d) -> None:
        super().__init__()
        assert conv.bias is not None
        by_corner = conv.weight.permute(2, 3, 4, 1, 0).flatten(0, 2)  # (8, channels_out, c_in)
        self.register_buffer("weight", by_corner[..., None, None, None].clone())
        self.register_buffer("bias", conv.bias.clone())

    def forward(self, x: Tensor, start: int, stop: int, out: Tensor) -> None:
        """Write the layers from `start` to before `stop` of the doubled map.

        Parameters
        ----------
        x : tensor, (1, channels_in, z, y, x)
            The whole map.
        start, stop : int
            At most 2 z.
        out : tensor, (1, channels_out, stop - start, 2 y, 2 x)
            What is written to.
        """
        for corner, weight in enumerate(self.weight):
            along_z, along_y, along_x = corner // 4, corner // 2 % 2, corner % 2
            first = (start - along_z + 1) // 2
            layers = x[:, :, first : (stop - along_z + 1) // 2]
            if layers.shape[2]:
                made = _convolved(layers, weight, self.bias, (0, 0, 0))
                out[:, :, 2 * first + along_z - start :: 2, along_y::2, along_x::2].copy_(made)


class Stage:
    """A convolution over a map that a source makes as it is needed; it keeps few of its layers.

    Calling it is a `Source`, whose layers are asked for in their order, the first first.

    Parameters
    ----------
    conv : Conv
    source : Source
        Of what goes in.
    depth : int
        Layers of the whole map.
    """

    def __init__(self, conv: Conv, source: Source, depth: int) -> None:
        self._conv = conv
        self._source = source
        self._depth = depth
        self._window: Tensor | None = None
        self._count = 0  # of layers in it

    def __call__(self, start: int, stop: int, out: Tensor) -> None:
        """Write the layers from `start` to before `stop`."""
        end = min(stop + 1, self._depth)
        known = min(start + 1, self._depth) if start else 0
        window = self._moved(start, stop - start + 2, out)
        if end > known:
            at = known - start + 1
            self._source(known, end, window[:, :, at : at + end - known])
        if stop == self._depth:
            window[:, :, -1:].zero_()
        self._conv(window, out)
        if stop == self._depth:
            self._window = None

    def _moved(self, start: int, count: int, out: Tensor) -> Tensor:
        """Return a window of `count` layers that begins with those which are known already."""
        before = self._window
        if before is None or count > before.shape[2]:
            self._window = empty_map(out, self._conv.channels_in, (count, *out.shape[3:]))
        assert self._window is not None
        window = self._window[:, :, :count]
        if start == 0:
            window[:, :, :1].zero_()
        else:
            assert before is not None, "layers are asked for in their order"
            # Cloned, for where they are and where they go may overlap.
            window[:, :, :2] = before[:, :, self._count - 2 : self._count].clone()
        self._count = count
        return window


def folded(conv: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a convolution with a batch norm by running statistics behind it."""
    assert isinstance(conv, nn.Conv3d)
    assert isinstance(norm, nn.BatchNorm3d)
    assert conv.bias is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() * torch.rsqrt(norm.running_var.double() + norm.eps)
    weight = conv.weight.double() * scale[:, None, None, None, None]
    bias = norm.bias.double() + (conv.bias.double() - norm.running_mean.double()) * scale
    return weight.to(conv.weight.dtype), bias.to(conv.bias.dtype)


def empty_map(like: Tensor, channels: int, shape: tuple[int, ...]) -> Tensor:
    """Return a map (1, channels, z, y, x) of the type and the layout that calls have.

    Parameters
    ----------
    like : tensor
    channels : int
    shape : (z, y, x)
    """
    return torch.empty(
        (1, channels, *shape), dtype=like.dtype, device=like.device, memory_format=layout(like)
    )


def layout(like: Tensor) -> torch.memory_format:
    """Return how maps lie in memory where they are convolved the quickest."""
    if like.device.type == "cpu" or like.dtype in (torch.float16, torch.bfloat16):
        return torch.channels_last_3d
    return torch.contiguous_format


def onednn_takes(x: Tensor) -> bool:
    """Tell whether a map is convolved by oneDNN itself: exactly, on a CPU."""
    exact = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    there = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return x.device.type == "cpu" and exact and there


def _convolved(x: Tensor, weight: Tensor, bias: Tensor, padding: tuple[int, int, int]) -> Tensor:
    if onednn_takes(x):
        # torch would take slower paths for single voxels and for a sample by itself.
        return torch.mkldnn_convolution(x, weight, bias, padding, (1, 1, 1), (1, 1, 1), 1)
    return functional.conv3d(x, weight, bias, padding=padding)
