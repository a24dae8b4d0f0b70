"""The grouped shift network that restores a block of slices at once.

Source: Li et al., "A Simple Baseline for Video Restoration with Grouped
Spatial-temporal Shift", CVPR 2023, arXiv 2206.10810 (small denoising variant, fitted to electron
microscopy by the authors of the published weights).

The slices of a block are folded into the batch axis, so every layer is two-dimensional, and the
slices meet only in the shift blocks: there half of the channels move to the neighbouring slice,
where a copy displaced in the plane widens the view at no cost.
Sub-module names are the keys of the published checkpoints.

Shapes in comments: ``n`` blocks of ``d`` slices of ``h`` x ``w`` pixels; ``N`` is ``n * d``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vemctl_denoise.layers import (
    SHIFT_WIDTH,
    SLOPE,
    WIDTH,
    AttentionBlock,
    Fusion,
    ShiftFusion,
    Temporal,
    conv,
    shift_forward,
    shift_reverse,
)

MULTIPLE_OF = 4  # h and w must be multiples of it
UNUSED_PREFIXES = ("orb4.", "orb5.", "rorb4.", "rorb5.")  # in every checkpoint, in no forward pass


class Down(nn.Module):
    """Halve the plane, (N, channels_in, h, w) -> (N, channels_out, h / 2, w / 2)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.down = conv(channels_in, channels_out, 3, stride=2, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve with a stride of two."""
        y: Tensor = self.down(x)
        return y


class Up(nn.Module):
    """Double the plane, (N, channels_in, h, w) -> (N, channels_out, 2 h, 2 w)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            conv(channels_in, channels_out, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Mix the channels first: it commutes with the interpolation and costs a quarter there."""
        y: Tensor = self.up[0](self.up[1](x))
        return y


class PixelUp(nn.Module):
    """Double the plane by a pixel shuffle, (N, 64, h, w) -> (N, 14, 2 h, 2 w)."""

    def __init__(self) -> None:
        super().__init__()
        self.upsample_conv = conv(SHIFT_WIDTH, 4 * WIDTH, 3, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve to four times the channels, then spread them over the plane."""
        return functional.pixel_shuffle(self.upsample_conv(x), 2)


def attention_blocks(channels: int, count: int) -> nn.Sequential:
    """Return ``count`` attention blocks in a row."""
    return nn.Sequential(*(AttentionBlock(channels) for _ in range(count)))


class SliceUNet(nn.Module):
    """Three-level U-Net on each slice alone, (N, 14, h, w) -> (N, 14, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder_level1 = attention_blocks(14, 1)
        self.encoder_level2 = attention_blocks(18, 3)
        self.encoder_level3 = attention_blocks(22, 3)
        self.down12 = Down(14, 18)
        self.down23 = Down(18, 22)
        self.decoder_level1 = attention_blocks(14, 1)
        self.decoder_level2 = attention_blocks(18, 3)
        self.decoder_level3 = attention_blocks(22, 3)
        self.skip_attn1 = AttentionBlock(14)
        self.skip_attn2 = AttentionBlock(18)
        self.up21 = Up(18, 14)
        self.up32 = Up(22, 18)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features; there is no skip from the input itself."""
        fine: Tensor = self.encoder_level1(x)  # (N, 14, h, w)
        middle: Tensor = self.encoder_level2(self.down12(fine))  # (N, 18, h / 2, w / 2)
        y: Tensor = self.encoder_level3(self.down23(middle))  # (N, 22, h / 4, w / 4)
        y = self.decoder_level3(y)  # (N, 22, h / 4, w / 4)
        y = self.up32(y) + self.skip_attn2(middle)  # (N, 18, h / 2, w / 2)
        y = self.decoder_level2(y)  # (N, 18, h / 2, w / 2)
        y = self.up21(y) + self.skip_attn1(fine)  # (N, 14, h, w)
        result: Tensor = self.decoder_level1(y)  # (N, 14, h, w)
        return result


class ShiftBlock(nn.Module):
    """Shift forward, fuse, shift back, fuse, twice; (N, 64, h, w) -> (N, 64, h, w)."""

    def __init__(self, temporal: Temporal) -> None:
        super().__init__()
        self.temporal = temporal
        self.encoder_level1 = nn.Sequential(ShiftFusion(), Fusion())
        self.encoder_level1_1 = nn.Sequential(ShiftFusion(), Fusion())
        self.encoder_level1_2 = nn.Sequential(ShiftFusion(), Fusion())
        self.encoder_level1_3 = nn.Sequential(ShiftFusion(), Fusion())

    def forward(self, x: Tensor, num_slices: int) -> Tensor:
        """Let each slice see its neighbours on both sides; the channels end where they started."""
        for there, back in (
            (self.encoder_level1, self.encoder_level1_1),
            (self.encoder_level1_2, self.encoder_level1_3),
        ):
            x, moved, left = shift_forward(
                x, num_slices, self.temporal
            )  # (N, 64, h, w), (N, 32, h, w)
            x = there[1](there[0](x, moved))  # (N, 64, h, w)
            x, moved = shift_reverse(
                x, num_slices, self.temporal, left
            )  # (N, 64, h, w), (N, 32, h, w)
            x = back[1](back[0](x, moved))  # (N, 64, h, w)
        return x


class ShiftStage(nn.Module):
    """Twelve shift blocks at half and quarter size, (N, 14, h, w) -> (N, 14, h, w)."""

    def __init__(self, temporal: Temporal) -> None:
        super().__init__()
        self.encoder_level1 = ShiftBlock(temporal)
        self.encoder_level1_1 = ShiftBlock(temporal)
        self.encoder_level1_2 = ShiftBlock(temporal)
        self.encoder_level2 = ShiftBlock(temporal)
        self.encoder_level2_1 = ShiftBlock(temporal)
        self.encoder_level2_2 = ShiftBlock(temporal)
        self.concat = AttentionBlock(WIDTH)
        self.down01 = nn.Sequential(
            nn.Conv2d(WIDTH, SHIFT_WIDTH, 2, 2, bias=False), nn.LeakyReLU(SLOPE, inplace=True)
        )
        self.down12 = Down(SHIFT_WIDTH, SHIFT_WIDTH)
        self.decoder_level1 = ShiftBlock(temporal)
        self.decoder_level1_1 = ShiftBlock(temporal)
        self.decoder_level1_2 = ShiftBlock(temporal)
        self.decoder_level2 = ShiftBlock(temporal)
        self.decoder_level2_1 = ShiftBlock(temporal)
        self.decoder_level2_2 = ShiftBlock(temporal)
        self.skip_attn1 = AttentionBlock(SHIFT_WIDTH)
        self.upsample0 = PixelUp()
        self.skip_conv = AttentionBlock(WIDTH)
        self.out_conv = AttentionBlock(WIDTH)
        self.conv_hr0 = conv(WIDTH, WIDTH, 3)
        self.up21 = Up(SHIFT_WIDTH, SHIFT_WIDTH)

    def forward(self, x: Tensor, num_slices: int) -> Tensor:
        """Return the features that the slices of each block have in common."""
        x = self.concat(x)  # (N, 14, h, w)
        half: Tensor = self.down01(x)  # (N, 64, h / 2, w / 2)
        half = self.encoder_level1(half, num_slices)  # (N, 64, h / 2, w / 2)
        half = self.encoder_level1_1(half, num_slices)  # (N, 64, h / 2, w / 2)
        half = self.encoder_level1_2(half, num_slices)  # (N, 64, h / 2, w / 2)
        quarter: Tensor = self.down12(half)  # (N, 64, h / 4, w / 4)
        quarter = self.encoder_level2(quarter, num_slices)  # (N, 64, h / 4, w / 4)
        quarter = self.encoder_level2_1(quarter, num_slices)  # (N, 64, h / 4, w / 4)
        quarter = self.encoder_level2_2(quarter, num_slices)  # (N, 64, h / 4, w / 4)
        quarter = self.decoder_level2(quarter, num_slices)  # (N, 64, h / 4, w / 4)
        quarter = self.decoder_level2_1(quarter, num_slices)  # (N, 64, h / 4, w / 4)
        quarter = self.decoder_level2_2(quarter, num_slices)  # (N, 64, h / 4, w / 4)
        half = self.up21(quarter) + self.skip_attn1(half)  # (N, 64, h / 2, w / 2)
        half = self.decoder_level1(half, num_slices)  # (N, 64, h / 2, w / 2)
        half = self.decoder_level1_1(half, num_slices)  # (N, 64, h / 2, w / 2)
        half = self.decoder_level1_2(half, num_slices)  # (N, 64, h / 2, w / 2)
        y: Tensor = functional.leaky_relu(self.upsample0(half), SLOPE)  # (N, 14, h, w)
        y = self.conv_hr0(y) + self.skip_conv(x)  # (N, 14, h, w)
        result: Tensor = self.out_conv(y)  # (N, 14, h, w)
        return result


class GShiftNet(nn.Module):
    """Restore all slices of a block at once, (n, 1, d, h, w) -> (n, 1, d, h, w).

    Parameters
    ----------
    temporal
        What stands before the first slice of a block: the last one (``"cyclic"``, what the
        published weights were trained with), or the first itself (``"repeat"``, an option of ours
        for blocks whose first and last slices have little in common; what the last slice would
        have given away comes back to it unchanged). It changes no weight, and nothing in a block
        of one slice.

    Notes
    -----
    The state dict has the published 1838 tensors (4,704,994 parameters) in the published order.
    ``orb4``, ``orb5``, ``rorb4`` and ``rorb5`` are in it but take no part in the forward pass.
    Channel attention averages over the tile, so the result depends (slightly) on the tile size.
    """

    def __init__(self, temporal: Temporal = "cyclic") -> None:
        super().__init__()
        self.feat_extract = nn.Sequential(conv(1, WIDTH, 3, bias=True), AttentionBlock(WIDTH))
        self.conv_last = conv(WIDTH, 1, 5)
        self.conv_trans = conv(WIDTH, WIDTH, 3, bias=True)
        self.stage1 = ShiftStage(temporal)
        self.orb1 = SliceUNet()
        self.orb2 = SliceUNet()
        self.orb3 = SliceUNet()
        self.orb4 = SliceUNet()
        self.orb5 = SliceUNet()
        self.rorb1 = SliceUNet()
        self.rorb2 = SliceUNet()
        self.rorb3 = SliceUNet()
        self.rorb4 = SliceUNet()
        self.rorb5 = SliceUNet()
        self.rconcat = conv(3 * WIDTH, WIDTH, 3, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Restore blocks of slices.

        Parameters
        ----------
        x
            Grey values in [0, 1], (n, 1, d, h, w); h and w are multiples of 4, d is at least 1.
            Each of the n blocks is restored by itself.

        Returns
        -------
        Tensor
            Restored grey values, not clipped, (n, 1, d, h, w).
        """
        n, c, d, h, w = x.shape
        if c != 1 or h % MULTIPLE_OF or w % MULTIPLE_OF:
            shape = f"(n, 1, d, h, w) with h and w multiples of {MULTIPLE_OF}"
            raise ValueError(f"expected {shape}, got {tuple(x.shape)}")
        slices = x.reshape(
            n * d, 1, h, w
        )  # (N, 1, h, w): with one channel no transposition is needed
        features: Tensor = self.feat_extract(slices)  # (N, 14, h, w)
        if x.device.type == "cpu":  # every layer behind follows; a third faster there
            features = features.contiguous(memory_format=torch.channels_last)
        coarse = self.orb3(self.orb2(self.orb1(features))) + features  # (N, 14, h, w)
        shared = self.stage1(self.conv_trans(coarse), d)  # (N, 14, h, w)
        y: Tensor = self.rconcat(torch.cat([features, coarse, shared], 1))  # (N, 14, h, w)
        y = self.rorb3(self.rorb2(self.rorb1(y))) + y  # (N, 14, h, w)
        y = self.conv_last(y) + slices  # (N, 1, h, w)
        return y.reshape(n, 1, d, h, w)  # (n, 1, d, h, w)
