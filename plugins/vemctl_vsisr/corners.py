"""Call the generator on rotated planes without computing what is empty, with the same result."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from vemctl_vsisr.bands import PIXELS, Band
from vemctl_vsisr.canvases import Shape
from vemctl_vsisr.corner_plan import BLOCK_REACH, TAIL_REACH, BlockPlan, CornerPlan, Fill
from vemctl_vsisr.memory import (
    AREA,
    CALL_BYTES,
    CALL_WORKSPACE,
    CHANNELS,
    FLOAT,
    TAIL_CHANNELS,
    call_bytes,
    generator_parameters,
)
from vemctl_vsisr.network import LAYERS_PER_BLOCK, SLOPE, Generator, Layer, enlarge
from vemctl_vsisr.proportions import ENLARGED

GPU_PIXELS = 2**20
"""The most of a band on a GPU, which computes many at once."""


class RotatedCall:
    """Call a generator on windows of planes that were rotated, and are surrounded by zeros.

    The result is that of the generator but for rounding. What is computed depends on the shapes
    only. No gradients are kept.

    Parameters
    ----------
    generator : Generator
        On its device.
    plane : (int, int)
        Shape of the planes before they were rotated, (y, x).
    angle_degrees : float
        By which they were rotated, as ``scipy.ndimage.rotate`` does with ``reshape=True``.

    Attributes
    ----------
    plan : CornerPlan
    """

    def __init__(self, generator: Generator, plane: Shape, angle_degrees: float) -> None:
        device = next(generator.parameters()).device
        self._generator = generator
        self._on_cpu = device.type == "cpu"
        pixels = PIXELS if self._on_cpu else GPU_PIXELS
        self.plan = CornerPlan(plane, angle_degrees, generator.num_blocks, pixels)
        # What blocks share is put on the device once.
        shares: dict[tuple[Band, ...], Tensor] = {}
        self._shares = [
            shares.setdefault(block.bands, torch.from_numpy(block.shares).to(device))
            for block in self.plan.blocks
        ]
        self._fills = [_on_device(block.fill, device) for block in self.plan.blocks]
        self._held = sum(8 * each.numel() for fill in self._fills for each in fill)
        self._rows = torch.from_numpy(self.plan.enlarged_rows).to(device)
        self._columns = torch.from_numpy(self.plan.enlarged_columns).to(device)

    @torch.no_grad()
    def __call__(self, windows: Tensor) -> Tensor:
        """Enlarge.

        Parameters
        ----------
        windows : tensor, (n, f, y', x')
            On canvases, with zeros outside of the rotated planes.

        Returns
        -------
        tensor, (n, planes, 1.5 y', 1.5 x')
        """
        plan, network = self.plan, self._generator
        if not plan.worthwhile:
            made: Tensor = network(windows)
            return made
        if tuple(windows.shape[1:]) != (network.in_channels, *plan.canvas):
            expected = ", ".join(map(str, (network.in_channels, *plan.canvas)))
            raise ValueError(f"expected (n, {expected}), got {tuple(windows.shape)}")
        layers: list[Layer] = list(zip(network.vars[::2], network.vars[1::2], strict=True))
        empty = windows.new_zeros(*windows.shape[:2], *plan.frame)
        frame = _convolved(self._arranged(empty), layers[0])
        # Zeros around are what convolutions see beyond the borders.
        trunk = functional.pad(_convolved(self._arranged(windows), layers[0]), 4 * (BLOCK_REACH,))
        trunk = self._arranged(trunk)
        for number in range(network.num_blocks):
            first = 1 + LAYERS_PER_BLOCK * number
            self._block(trunk, frame, number, layers[first : first + LAYERS_PER_BLOCK])
        return self._tail(trunk, frame, layers[-2], layers[-1])

    def memory(self, batch: int) -> int:
        """Return the bytes of a float32 call, parameters included.

        Parameters
        ----------
        batch : int
            Windows at once.
        """
        plan, network = self.plan, self._generator
        sizes = {
            "frames": network.in_channels,
            "planes": network.out_channels,
            "num_blocks": network.num_blocks,
        }
        if not plan.worthwhile:
            return call_bytes(batch, *plan.canvas, **sizes)
        height, width = plan.canvas
        pixels = height * width
        trunk = CHANNELS * (height + 2 * BLOCK_REACH) * (width + 2 * BLOCK_REACH)
        begin = trunk + CHANNELS * pixels
        blocks = trunk + CHANNELS * max(
            sum(band.pixels for band in block.bands) + 3 * _most(block.bands, BLOCK_REACH)
            for block in plan.blocks
        )
        # What is interpolated, twice arranged, and the wide map.
        wide = (3 * CHANNELS + TAIL_CHANNELS) * _most(plan.tail, 2 * TAIL_REACH)
        end = trunk + wide + 2 * network.out_channels * AREA * pixels
        frame = 3 * CHANNELS * math.prod(plan.frame)
        floats = batch * (max(begin, blocks, end) + frame + 2 * network.in_channels * pixels)
        parameters = 2 * generator_parameters(**sizes)
        return int(FLOAT * (CALL_WORKSPACE * floats + parameters)) + CALL_BYTES + self._held

    def _block(self, trunk: Tensor, frame: Tensor, number: int, layers: Sequence[Layer]) -> None:
        """Add to the trunk's bands, and to the frame, what a block makes of them."""
        plan: BlockPlan = self.plan.blocks[number]
        first, second, squeeze, excite = layers
        made = functional.leaky_relu_(_convolved(frame, first), SLOPE)
        made = functional.leaky_relu_(_convolved(made, second), SLOPE)
        exact = torch.promote_types(made.dtype, torch.float32)
        total = (made * self._shares[number]).sum(dim=(2, 3), keepdim=True)
        parts = []
        for band in plan.bands:
            y = self._arranged(_cut(trunk, band, 2 * BLOCK_REACH))
            y = functional.leaky_relu_(functional.conv2d(y, *first), SLOPE)
            y = functional.leaky_relu_(
                functional.conv2d(_clear_outside(y, band, self.plan.canvas), *second), SLOPE
            )
            total += y.sum(dim=(2, 3), keepdim=True, dtype=exact)
            parts.append(y)
        height, width = self.plan.canvas
        means = (total / (height * width)).to(made.dtype)
        gates = _convolved(functional.relu(_convolved(means, squeeze)), excite).sigmoid()
        frame.addcmul_(made, gates)
        for band, y in zip(plan.bands, parts, strict=True):
            _cut(trunk, band, 0, BLOCK_REACH).addcmul_(y, gates)
        rows, columns, frame_rows, frame_columns = self._fills[number]
        inner = _cut(trunk, Band(0, height, 0, width), 0, BLOCK_REACH)
        inner[:, :, rows, columns] = frame[:, :, frame_rows, frame_columns]

    def _tail(self, trunk: Tensor, frame: Tensor, hidden: Layer, output: Layer) -> Tensor:
        """Return enlarged planes, computed in bands, and elsewhere those of the frame."""
        shape = self.plan.enlarged
        around = enlarge(frame, hidden, output)
        result = around[:, :, self._rows].index_select(3, self._columns).contiguous()
        for band in self.plan.tail:
            margin = band.grown(TAIL_REACH, shape)
            source = margin.source(self.plan.canvas)
            y = functional.interpolate(
                self._arranged(_cut(trunk, source, 0, BLOCK_REACH)),
                scale_factor=ENLARGED,
                mode="bilinear",
                align_corners=False,
            )
            y = _cut(y, margin, 0, -3 * source.top // 2, -3 * source.left // 2)
            if any(beyond := _beyond(band, shape)):
                y = functional.pad(y, beyond)
            y = functional.leaky_relu_(functional.conv2d(self._arranged(y), *hidden), SLOPE)
            y = functional.conv2d(_clear_outside(y, band, shape), *output)
            _cut(result, band, 0, 0).copy_(functional.leaky_relu_(y, SLOPE))
        return result

    def _arranged(self, x: Tensor) -> Tensor:
        """Return it in the order in which convolutions are fast."""
        if self._on_cpu:
            return x.contiguous(memory_format=torch.channels_last)
        return x.contiguous()


def _on_device(fill: Fill, device: torch.device) -> list[Tensor]:
    return [torch.from_numpy(each).to(device) for each in fill]


def _convolved(x: Tensor, layer: Layer) -> Tensor:
    weight, bias = layer
    return functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def _cut(x: Tensor, band: Band, more: int, down: int = 0, right: int | None = None) -> Tensor:
    """Return a band that is shifted by some pixels, and larger by `more` at its end."""
    right = down if right is None else right
    return x[
        :,
        :,
        band.top + down : band.bottom + down + more,
        band.left + right : band.right + right + more,
    ]


def _beyond(band: Band, shape: Shape) -> tuple[int, int, int, int]:
    """Return how much of a band's margin lies beyond the borders: left, right, above, below."""
    margin = band.grown(TAIL_REACH, shape)
    return (
        TAIL_REACH - (band.left - margin.left),
        TAIL_REACH - (margin.right - band.right),
        TAIL_REACH - (band.top - margin.top),
        TAIL_REACH - (margin.bottom - band.bottom),
    )


def _clear_outside(x: Tensor, band: Band, shape: Shape) -> Tensor:
    """Set to zero what lies beyond the borders, of a map that goes one pixel beyond the band."""
    height, width = shape
    if band.top == 0:
        x[:, :, 0] = 0
    if band.bottom == height:
        x[:, :, -1] = 0
    if band.left == 0:
        x[:, :, :, 0] = 0
    if band.right == width:
        x[:, :, :, -1] = 0
    return x


def _most(bands: Sequence[Band], margin: int) -> int:
    """Return the pixels of the largest band with a margin."""
    return max(band.pixels_with_margin(margin) for band in bands)
