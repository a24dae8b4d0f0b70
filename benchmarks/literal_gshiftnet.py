"""GShiftNet word by word, as it was published: what ours is compared with."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)


def with_bias(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2)


def depthwise(channels: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, 1, kernel // 2, groups=channels, bias=False)


class CA(nn.Module):
    """x * sigmoid(W2 relu(W1 mean(x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_du = nn.Sequential(
            conv(channels, channels, 1), nn.ReLU(), conv(channels, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv_du(x.mean((2, 3), keepdim=True))


class CAB(nn.Module):
    """x + CA(conv(leaky(conv(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.CA = CA(channels)
        self.body = nn.Sequential(
            conv(channels, channels, 3), nn.LeakyReLU(0.01), conv(channels, channels, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.CA(self.body(x))


class LN(nn.Module):
    """The layer norm of each pixel over its channels, as a formula."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        y = (x - mean) / (variance + 1e-6).sqrt()
        return y * self.weight[:, None, None] + self.bias[:, None, None]


class PlusDepthwise(nn.Module):
    """x + conv3(x)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_2 = depthwise(128, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_2(x)


class TwoDepthwise(nn.Module):
    """conv5(x) + conv3(x) + x."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_1 = depthwise(64, 5)
        self.conv_2 = depthwise(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_1(x) + self.conv_2(x) + x


class Product(nn.Module):
    """The first 64 channels times the last."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :64] * x[:, 64:]


class SigmoidProduct(nn.Module):
    """The first 64 channels times the sigmoid of the last."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :64] * torch.sigmoid(x[:, 64:])


def body(channels_in: int) -> nn.Sequential:
    return nn.Sequential(
        conv(channels_in, 128, 1),
        PlusDepthwise(),
        Product(),
        TwoDepthwise(),
        conv(64, 128, 1),
        SigmoidProduct(),
        CA(64),
        conv(64, 64, 1),
    )


class CAB1(nn.Module):
    """x + beta * body(norm(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(1, 64, 1, 1))
        self.norm = LN(64)
        self.body = body(64)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.beta * self.body(self.norm(x))


RING = [(8, dx) for dx in (8, 4, 0, -4, -8)] + [(-8, dx) for dx in (8, 4, 0, -4, -8)]
RING += [(4, 8), (4, -8), (0, 8), (0, -8), (-4, 8), (-4, -8)]
NEAR = [(4, 4), (4, 0), (4, -4), (0, 4), (0, -4), (-4, 4), (-4, 0), (-4, -4)]
GROUPS = [(dy, dx, 1) for dy, dx in RING] + [(dy, dx, 2) for dy, dx in NEAR]


def spatial_shift(x: Tensor) -> Tensor:
    """Return out[c; i, j] = x[c; i - dy, j - dx], 0 outside: cut out of the padded features."""
    height, width = x.shape[-2:]
    padded = functional.pad(x, (8, 8, 8, 8))
    parts, first = [], 0
    for dy, dx, count in GROUPS:
        rows, columns = slice(8 - dy, 8 - dy + height), slice(8 - dx, 8 - dx + width)
        parts.append(padded[:, first : first + count, rows, columns])
        first += count
    return torch.cat(parts, 1)


class CAB2(nn.Module):
    """x + beta * body(norm(cat[x, depthwise(h)])), where x and h are stacked."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(1, 64, 1, 1))
        self.conv1 = depthwise(32, 3)
        self.norm = LN(96)
        self.body = body(96)

    def forward(self, stacked: Tensor) -> Tensor:
        x, h = stacked[:, :64], self.conv1(stacked[:, 64:])
        return x + self.beta * self.body(self.norm(torch.cat([x, h], 1)))


class ShiftBlock(nn.Module):
    """Four times shift, CAB2, CAB1."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder_level1 = nn.Sequential(CAB2(), CAB1())
        self.encoder_level1_1 = nn.Sequential(CAB2(), CAB1())
        self.encoder_level1_2 = nn.Sequential(CAB2(), CAB1())
        self.encoder_level1_3 = nn.Sequential(CAB2(), CAB1())

    def forward(self, x: Tensor) -> Tensor:
        x = self.encoder_level1(shifted(x, reverse=False))
        x = self.encoder_level1_1(shifted(x, reverse=True))
        x = self.encoder_level1_2(shifted(x, reverse=False))
        return self.encoder_level1_3(shifted(x, reverse=True))


def shifted(x: Tensor, *, reverse: bool) -> Tensor:
    """Roll the flattened axis of slices and channels by 32; append the moved half, displaced."""
    slices, channels, height, width = x.shape
    flat = x.reshape(slices * channels, height, width)
    y = torch.roll(flat, -32 if reverse else 32, 0).reshape(x.shape)
    moved = y[:, 32:] if reverse else y[:, :32]
    return torch.cat([y, spatial_shift(moved)], 1)


class Down(nn.Module):
    """A convolution with a stride of two."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.down = with_bias(channels_in, channels_out, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(x)


class Up(nn.Module):
    """Bilinear interpolation, then a 1x1 convolution."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            conv(channels_in, channels_out, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.up(x)


class UNet(nn.Module):
    """Three levels on each slice alone."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder_level1 = nn.Sequential(CAB(14))
        self.encoder_level2 = nn.Sequential(CAB(18), CAB(18), CAB(18))
        self.encoder_level3 = nn.Sequential(CAB(22), CAB(22), CAB(22))
        self.down12 = Down(14, 18)
        self.down23 = Down(18, 22)
        self.decoder_level1 = nn.Sequential(CAB(14))
        self.decoder_level2 = nn.Sequential(CAB(18), CAB(18), CAB(18))
        self.decoder_level3 = nn.Sequential(CAB(22), CAB(22), CAB(22))
        self.skip_attn1 = CAB(14)
        self.skip_attn2 = CAB(18)
        self.up21 = Up(18, 14)
        self.up32 = Up(22, 18)

    def forward(self, x: Tensor) -> Tensor:
        e1 = self.encoder_level1(x)
        e2 = self.encoder_level2(self.down12(e1))
        d3 = self.decoder_level3(self.encoder_level3(self.down23(e2)))
        d2 = self.decoder_level2(self.up32(d3) + self.skip_attn2(e2))
        return self.decoder_level1(self.up21(d2) + self.skip_attn1(e1))


class PixelUp(nn.Module):
    """A convolution, then a pixel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.upsample_conv = with_bias(64, 56, 3)

    def forward(self, x: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.upsample_conv(x), 2)


class Stage(nn.Module):
    """Twelve shift blocks at half and quarter size."""

    def __init__(self) -> None:
        super().__init__()
        for side, level, end in itertools.product(("encoder", "decoder"), (1, 2), ("", "_1", "_2")):
            self.add_module(f"{side}_level{level}{end}", ShiftBlock())
        self.concat = CAB(14)
        self.down01 = nn.Sequential(nn.Conv2d(14, 64, 2, 2, bias=False), nn.LeakyReLU(0.01))
        self.down12 = Down(64, 64)
        self.skip_attn1 = CAB(64)
        self.upsample0 = PixelUp()
        self.skip_conv = CAB(14)
        self.out_conv = CAB(14)
        self.conv_hr0 = conv(14, 14, 3)
        self.up21 = Up(64, 64)

    def blocks(self, name: str, x: Tensor) -> Tensor:
        for end in ("", "_1", "_2"):
            x = self.get_submodule(name + end)(x)
        return x

    def forward(self, s: Tensor) -> Tensor:
        s = self.concat(s)
        e = self.blocks("encoder_level1", self.down01(s))
        m = self.blocks("encoder_level2", self.down12(e))
        p = self.up21(self.blocks("decoder_level2", m)) + self.skip_attn1(e)
        p = self.blocks("decoder_level1", p)
        g = functional.leaky_relu(self.upsample0(p), 0.01)
        return self.out_conv(self.conv_hr0(g) + self.skip_conv(s))


class LiteralNetwork(nn.Module):
    """The published network as it is described, with its keys; (1, 1, d, h, w) like the input."""

    def __init__(self) -> None:
        super().__init__()
        self.feat_extract = nn.Sequential(with_bias(1, 14, 3), CAB(14))
        self.conv_last = conv(14, 1, 5)
        self.conv_trans = with_bias(14, 14, 3)
        self.stage1 = Stage()
        for kind, number in itertools.product(("orb", "rorb"), range(1, 6)):
            self.add_module(f"{kind}{number}", UNet())
        self.rconcat = with_bias(42, 14, 3)

    def forward(self, x: Tensor) -> Tensor:
        v = x[0].transpose(0, 1)  # (d, 1, h, w)
        f = self.feat_extract(v)
        r0 = self.orb3(self.orb2(self.orb1(f))) + f
        shared = self.stage1(self.conv_trans(r0))
        q = self.rconcat(torch.cat([f, r0, shared], 1))
        q = self.rorb3(self.rorb2(self.rorb1(q))) + q
        return (self.conv_last(q) + v).transpose(0, 1)[None]
