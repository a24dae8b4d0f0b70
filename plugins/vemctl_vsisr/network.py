"""The generator: a window of slices to super-resolved slices, 1.5 times as large in the plane.

Source: "Fast adaptive super-resolution lattice light-sheet microscopy for rapid, long-term,
near-isotropic subcellular imaging", whose published parameters have these keys.

Shapes in comments: n windows of f slices of y x x pixels; Y and X are 1.5 times y and x, rounded
down.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from vemctl_vsisr.memory import CHANNELS, GATE_CHANNELS, TAIL_CHANNELS, strip_rows
from vemctl_vsisr.proportions import ENLARGED, FRAMES, PLANES, enlarged_size

Layer = tuple[Tensor, Tensor]
"""Weight and bias."""

SLOPE = 0.2
LAYERS_PER_BLOCK = 4


class Generator(nn.Module):
    """Enlarge windows of slices, (n, f, y, x) -> (n, planes, Y, X).

    Parameters
    ----------
    in_channels : int
        Slices of a window.
    num_groups, blocks_per_group : int
        Residual blocks follow one another; how they are grouped changes nothing.
    out_channels : int
        Planes that are made of the slices in the middle.

    Attributes
    ----------
    vars : ParameterList
        Weight and bias of each layer, one after the other.

    Notes
    -----
    By default the state dict has 134 tensors of 1,349,699 parameters, ``vars.0`` to ``vars.133``.
    Each block is weighted by averages over its whole plane, so the result depends on it.
    """

    def __init__(
        self,
        in_channels: int = FRAMES,
        num_groups: int = 4,
        blocks_per_group: int = 4,
        out_channels: int = PLANES,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.num_blocks = num_groups * blocks_per_group
        block = [
            (CHANNELS, CHANNELS, 3),
            (CHANNELS, CHANNELS, 3),
            (CHANNELS, GATE_CHANNELS, 1),
            (GATE_CHANNELS, CHANNELS, 1),
        ]
        layers = [
            (in_channels, CHANNELS, 3),
            *(self.num_blocks * block),
            (CHANNELS, TAIL_CHANNELS, 3),
            (TAIL_CHANNELS, out_channels, 3),
        ]
        # As they are drawn by torch, which is how the published program draws them.
        self.vars = nn.ParameterList(
            parameter for layer in layers for parameter in nn.Conv2d(*layer).parameters()
        )

    def forward(self, planes: Tensor, weights: Sequence[Tensor] | None = None) -> Tensor:
        """Enlarge.

        Parameters
        ----------
        planes : tensor, (n, f, y, x)
            Grey values in [0, 1].
        weights : sequence of tensor, optional
            To use instead of its own parameters, in the order of `vars`.

        Returns
        -------
        tensor, (n, planes, Y, X)
            In units of no meaning: training is blind to scale and offset.
        """
        if planes.ndim != 4 or planes.shape[1] != self.in_channels:
            expected = f"(n, {self.in_channels}, y, x)"
            raise ValueError(f"expected {expected}, got {tuple(planes.shape)}")
        parameters = list(self.vars) if weights is None else weights
        layers = list(zip(parameters[::2], parameters[1::2], strict=True))
        if planes.device.type == "cpu" and not torch.is_grad_enabled():
            # Every layer behind follows. It is faster, whereas the way back would be slower.
            planes = planes.contiguous(memory_format=torch.channels_last)
        trunk = _convolved(planes, layers[0])  # (n, CHANNELS, y, x)
        for first in range(1, len(layers) - 2, LAYERS_PER_BLOCK):
            trunk = _block(trunk, layers[first : first + LAYERS_PER_BLOCK])
        return enlarge(trunk, layers[-2], layers[-1])


def enlarge(trunk: Tensor, hidden: Layer, output: Layer) -> Tensor:
    """Return planes of what the residual blocks made, (n, CHANNELS, y, x) -> (n, planes, Y, X).

    Without gradients it is done in strips of rows, so that the wide map between the convolutions
    stays small; they overlap by what the convolutions see, so nothing but rounding depends on them.

    Parameters
    ----------
    trunk : tensor, (n, CHANNELS, y, x)
    hidden, output : (weight, bias)
        Of the last two convolutions.
    """
    num_samples = trunk.shape[0]
    height, width = enlarged_size(*trunk.shape[-2:])
    rows = strip_rows(num_samples, height, width)
    if rows == height or torch.is_grad_enabled():
        return _tail(_interpolated(trunk), hidden, output)
    if num_samples > 1:
        return torch.cat([enlarge(sample, hidden, output) for sample in torch.split(trunk, 1)])
    starts = range(0, height, rows)
    strips = [_strip(trunk, start, min(start + rows, height), hidden, output) for start in starts]
    return torch.cat(strips, dim=2)


def _strip(trunk: Tensor, start: int, stop: int, hidden: Layer, output: Layer) -> Tensor:
    """Return the rows from `start` to before `stop` of enlarged planes."""
    height, _ = enlarged_size(*trunk.shape[-2:])
    first, last = max(0, start - 2), min(height, stop + 2)  # one row for each convolution
    # Three rows are made of two. Those at a cut repeat its edge, so the cut is two rows before.
    skipped = max(0, first - 3) // 3
    source = trunk[:, :, 2 * skipped : 2 * last // 3 + 2]
    rows = _interpolated(source)[:, :, first - 3 * skipped : last - 3 * skipped]
    return _tail(rows, hidden, output)[:, :, start - first : stop - first]


def _tail(enlarged: Tensor, hidden: Layer, output: Layer) -> Tensor:
    wide = functional.leaky_relu_(_convolved(enlarged, hidden), SLOPE)
    return functional.leaky_relu_(_convolved(wide, output), SLOPE)


def _interpolated(trunk: Tensor) -> Tensor:
    return functional.interpolate(
        trunk, scale_factor=ENLARGED, mode="bilinear", align_corners=False
    )


def _block(x: Tensor, layers: Sequence[Layer]) -> Tensor:
    """Return the sum of a block's input and what it made of it, channels weighted by gates."""
    first, second, squeeze, excite = layers
    y = functional.leaky_relu_(_convolved(x, first), SLOPE)
    y = functional.leaky_relu_(_convolved(y, second), SLOPE)
    means = y.mean(dim=(2, 3), keepdim=True)  # (n, CHANNELS, 1, 1)
    gates = _convolved(functional.relu(_convolved(means, squeeze)), excite).sigmoid()
    # In place only where no gradient needs what is overwritten.
    return torch.addcmul(x, y, gates) if torch.is_grad_enabled() else x.addcmul_(y, gates)


def _convolved(x: Tensor, layer: Layer) -> Tensor:
    weight, bias = layer
    return functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
