"""The layers of the networks: normalised convolutions, attention, and what doubles the plane.

Source: Fang et al., "Deep learning-based point-scanning super-resolution imaging", Nature Methods
18, 406-416 (2021), whose U-Net is the dynamic one of fastai 1. Sub-module names are the keys of
the published checkpoints.

Shapes in comments: n tiles of h x w pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vemctl_pssr.memory import ATTENTION_BYTES, CUDNN_UP_TO
from vemctl_pssr.structure import UpBlock

BN_BIAS = 1e-3  # at which the normalisations of the way up begin
SPECTRAL_EPSILON = 1e-12


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1) -> Tensor:
    """Convolve; keeps the size but for the stride.

    Parameters
    ----------
    x : tensor, (n, channels_in, h, w)
    weight : tensor, (channels_out, channels_in, kernel, kernel)
        The kernel is odd.
    bias : tensor, (channels_out,), optional
    stride : int
    """
    pad = weight.shape[-1] // 2
    if not pad or weight.shape[1] <= CUDNN_UP_TO or not _in_full_precision_on_cuda(x):
        return functional.conv2d(x, weight, bias, stride, pad)
    # For some such sizes cuDNN takes Fourier transforms, which need up to 40 GiB and are slower.
    with torch.backends.cudnn.flags(enabled=False):
        return functional.conv2d(x, weight, bias, stride, pad)


def _in_full_precision_on_cuda(x: Tensor) -> bool:
    return x.is_cuda and x.dtype == torch.float32 and not torch.is_autocast_enabled("cuda")


class NormedConv(nn.Module):
    """A convolution whose kernels have a length of their own; keeps the size but for the stride.

    ``weight = weight_g * weight_v / |weight_v|``, the norm over each output channel.

    Parameters
    ----------
    channels_in, channels_out, kernel : int
        The kernel is odd.
    stride : int
    bias : bool
        With one (on the way up) weights begin Kaiming normal and the bias at zero; without (in the
        encoder) they begin as torch's convolutions do.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        weight = torch.empty(channels_out, channels_in, kernel, kernel)
        if bias:
            nn.init.kaiming_normal_(weight)
            self.bias: nn.Parameter | None = nn.Parameter(torch.zeros(channels_out))
        else:
            nn.init.kaiming_uniform_(weight, a=5**0.5)
            self.register_parameter("bias", None)
        self.weight_g = nn.Parameter(_lengths(weight))
        self.weight_v = nn.Parameter(weight)
        self.stride = stride

    @property
    def weight(self) -> Tensor:
        """The kernels, (channels_out, channels_in, kernel, kernel)."""
        return self.weight_v * (self.weight_g / _lengths(self.weight_v))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, (n, channels_in, h, w) -> (n, channels_out, h / stride, w / stride)."""
        return convolved(x, self.weight, self.bias, self.stride)


def _lengths(weight: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(weight, dim=(1, 2, 3), keepdim=True)
    return lengths


class SpectralConv(nn.Module):
    """A linear map of the channels whose largest singular value is one, estimated as it learns.

    Parameters
    ----------
    channels_in, channels_out : int
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        weight = torch.empty(channels_out, channels_in, 1)
        self.weight_orig = nn.Parameter(nn.init.kaiming_normal_(weight))
        self.register_buffer("weight_u", _unit(torch.randn(channels_out)))
        self.register_buffer("weight_v", _unit(torch.randn(channels_in)))

    @property
    def weight(self) -> Tensor:
        """The map, (channels_out, channels_in), by the singular vectors as they are."""
        matrix = self.weight_orig[:, :, 0]
        # Copies, because a later call in training changes the vectors before the gradients are had.
        u, v = self.weight_u.clone(), self.weight_v.clone()
        return matrix / (u[:, None] * matrix * v).sum()  # no product that autocast would round

    def forward(self, x: Tensor) -> Tensor:
        """Map the channels, (n, channels_in, p) -> (n, channels_out, p)."""
        if self.training:
            with torch.no_grad():  # one power iteration
                matrix = self.weight_orig[:, :, 0]
                self.weight_v.copy_(_unit((matrix * self.weight_u[:, None]).sum(0)))
                self.weight_u.copy_(_unit((matrix * self.weight_v).sum(1)))
        return functional.conv1d(x, self.weight[:, :, None])


def _unit(vector: Tensor) -> Tensor:
    return functional.normalize(vector, dim=0, eps=SPECTRAL_EPSILON)


class SelfAttention(nn.Module):
    """Add to each pixel what all pixels of the tile say to it, (n, c, h, w) -> (n, c, h, w).

    Parameters
    ----------
    channels : int
        At least 8.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))
        self.query = SpectralConv(channels, channels // 8)
        self.key = SpectralConv(channels, channels // 8)
        self.value = SpectralConv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input plus the scaled sum."""
        flat = x.flatten(2)  # (n, c, h w)
        maps = (self.query(flat), self.key(flat), self.value(flat))
        said = attend(*(each.transpose(1, 2) for each in maps))  # (n, h w, c)
        return x + self.gamma * said.transpose(1, 2).view_as(x)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return the values that each pixel receives, weighed by the softmax over their senders.

    The weights are made for so many receivers at once that they take `ATTENTION_BYTES`; how many
    depends on the number of pixels alone.

    Parameters
    ----------
    query, key : tensor, (n, p, c / 8)
        Of the senders and of the receivers.
    value : tensor, (n, p, c)

    Returns
    -------
    tensor, (n, p, c)
    """
    num_pixels = query.shape[1]
    at_once = max(1, ATTENTION_BYTES // (4 * num_pixels))
    tiles_at_once = max(1, at_once // num_pixels)
    tiles = []
    some_tiles = (torch.split(part, tiles_at_once) for part in (query, key, value))
    for senders, receivers, values in zip(*some_tiles, strict=True):
        received = []
        for chunk in torch.split(receivers, at_once, 1):
            weights = torch.softmax(chunk @ senders.transpose(1, 2), -1)  # (n, chunk, p)
            received.append(weights @ values)  # (n, chunk, c)
        tiles.append(received[0] if len(received) == 1 else torch.cat(received, 1))
    return tiles[0] if len(tiles) == 1 else torch.cat(tiles)


def conv_relu(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    """Return a convolution with a bias and a ReLU behind it."""
    return nn.Sequential(NormedConv(channels_in, channels_out, kernel), nn.ReLU())


class Shuffle(nn.Module):
    """Double the plane by a pixel shuffle and smooth it, (n, channels_in, h, w) -> (n, c, 2h, 2w).

    Parameters
    ----------
    channels_in, channels_out : int
    slope : float
        Of the activation for negative values.
    """

    def __init__(self, channels_in: int, channels_out: int, slope: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Sequential(NormedConv(channels_in, 4 * channels_out, 1))
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Mix the channels, spread four over the plane, and average each pixel with its elders."""
        y = functional.leaky_relu(self.conv(x), self.slope)  # (n, 4 c, h, w)
        y = functional.pixel_shuffle(y, 2)  # (n, c, 2 h, 2 w)
        y = functional.pad(y, (1, 0, 1, 0), mode="replicate")  # (n, c, 2 h + 1, 2 w + 1)
        return functional.avg_pool2d(y, 2, stride=1)  # (n, c, 2 h, 2 w)


class UpLayer(nn.Module):
    """A block on the way up, (n, up, h, w) and (n, skip, 2 h, 2 w) -> (n, out, 2 h, 2 w).

    Parameters
    ----------
    channels : UpBlock
    attention : bool
    """

    def __init__(self, channels: UpBlock, *, attention: bool) -> None:
        super().__init__()
        self.shuf = Shuffle(channels.up, channels.up // 2)
        self.bn = nn.BatchNorm2d(channels.skip)
        nn.init.constant_(self.bn.bias, BN_BIAS)
        self.conv1 = conv_relu(channels.joined, channels.out, 3)
        self.conv2 = conv_relu(channels.out, channels.out, 3)
        if attention:
            self.conv2.append(SelfAttention(channels.out))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Enlarge to the size of the skip, join, and convolve twice."""
        y: Tensor = self.shuf(x)  # (n, up / 2, 2 h, 2 w)
        if y.shape[-2:] != skip.shape[-2:]:
            y = functional.interpolate(y, skip.shape[-2:], mode="nearest")
        y = torch.relu(torch.cat([y, self.bn(skip)], 1))  # (n, joined, 2 h, 2 w)
        result: Tensor = self.conv2(self.conv1(y))  # (n, out, 2 h, 2 w)
        return result


class Residual(nn.Module):
    """Two convolutions beside a shortcut, (n, c, h, w) -> (n, c, h, w); ends without activation.

    Parameters
    ----------
    channels, inner : int
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(conv_relu(channels, inner, 3), conv_relu(inner, channels, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Return the input plus what is made of it."""
        y: Tensor = self.layers(x)
        return x + y
