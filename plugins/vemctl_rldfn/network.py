"""The fusion network: features of both views, their product, and a U-Net that makes one volume.

Source: "Fast-adaptive super-resolution lattice light-sheet microscopy for rapid, long-term,
near-isotropic subcellular imaging", whose published parameters have these keys. Sub-module names
are keys.

Shapes in comments: n samples of z x y x x voxels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from vemctl_rldfn.memory import WIDTHS

MULTIPLE_OF = 4  # z, y and x must be multiples of it: two poolings


class ConvBlock(nn.Module):
    """Convolutions of 3 x 3 x 3 voxels, each with a batch norm and a ReLU behind it.

    Parameters
    ----------
    *channels : int
        That go in, and that each convolution makes.
    """

    def __init__(self, *channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, own in itertools.pairwise(channels):
            layers += [
                nn.Conv3d(before, own, 3, padding=1),
                nn.BatchNorm3d(own),
                nn.ReLU(inplace=True),  # the norm before it keeps what goes into itself only
            ]
        self.convolution = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, (n, c, z, y, x) -> (n, c', z, y, x)."""
        y: Tensor = self.convolution(x)
        return y


class FeatureNet(nn.Module):
    """Features of a view, (n, 1, z, y, x) -> (n, 64, z, y, x), in (0, 1).

    Notes
    -----
    The state dict has 18 entries; there are 225,856 parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        width = WIDTHS[0]
        self.first_conv = nn.Conv3d(1, width, 1)
        self.mid_conv = ConvBlock(width, width, width)
        self.last_conv = nn.Conv3d(width, width, 1)

    def forward(self, ratios: Tensor) -> Tensor:
        """Find features.

        Parameters
        ----------
        ratios : tensor, (n, 1, z, y, x)
            What the Richardson-Lucy step gives for the view: around 1.
        """
        features: Tensor = self.last_conv(self.mid_conv(self.first_conv(ratios)))
        return features.sigmoid_()


class FusionUNet(nn.Module):
    """One volume of features, (n, 64, z, y, x) -> (n, 1, z, y, x), greater than 0.

    Parameters
    ----------
    checkpointed : bool
        See `FusionNetwork`.

    Notes
    -----
    The state dict has 78 entries; there are 7,189,059 parameters.
    """

    def __init__(self, *, checkpointed: bool = False) -> None:
        super().__init__()
        c0, c1, c2 = WIDTHS
        self.double_conv1 = ConvBlock(c0, c0, c0)
        self.double_conv2 = ConvBlock(c0, c1, c1)
        self.bottom_layer = ConvBlock(c1, c2, c2, c2)
        self.t_conv2 = nn.ConvTranspose3d(c2, c1, 2, stride=2)
        self.ex_double_conv2 = ConvBlock(2 * c1, c1, c1)
        self.t_conv1 = nn.ConvTranspose3d(c1, c0, 2, stride=2)
        self.ex_conv1_1 = ConvBlock(2 * c0, c0)
        self.one_by_one = nn.Conv3d(c0, 1, 1)
        self.one_by_one_2 = nn.Conv3d(1, 1, 1)
        self.checkpointed = checkpointed

    def forward(self, features: Tensor, others: Tensor | None = None) -> Tensor:
        """Fuse.

        Parameters
        ----------
        features : tensor, (n, 64, z, y, x)
            z, y and x are multiples of 4.
        others : tensor, (n, 64, z, y, x), optional
            To be multiplied by first.

        Returns
        -------
        tensor, (n, 1, z, y, x)
            In units of the views' maxima; at least float32.
        """
        if any(side % MULTIPLE_OF for side in features.shape[-3:]):
            expected = f"(n, {WIDTHS[0]}, z, y, x) with sides that are multiples of {MULTIPLE_OF}"
            raise ValueError(f"expected {expected}, got {tuple(features.shape)}")
        parts = (features,) if others is None else (features, others)
        skip1 = self._run(self._first, *parts)  # (n, c0, z, y, x)
        del features, others, parts
        skip2 = self._run(self._down, skip1)  # (n, c1, z / 2, y / 2, x / 2)
        y = self._run(self._bottom, skip2)  # (n, c2, z / 4, y / 4, x / 4)
        y = self._run(self._up, skip2, y)  # (n, c1, z / 2, y / 2, x / 2)
        del skip2
        return self._run(self._last, skip1, y)  # (n, 1, z, y, x)

    def _run(self, step: Callable[..., Tensor], *parts: Tensor) -> Tensor:
        return run(self, step, *parts, checkpointed=self.checkpointed)

    def _first(self, *parts: Tensor) -> Tensor:
        y: Tensor = self.double_conv1(parts[0] if len(parts) == 1 else _product(*parts))
        return y

    def _down(self, skip1: Tensor) -> Tensor:
        y: Tensor = self.double_conv2(functional.max_pool3d(skip1, 2))
        return y

    def _bottom(self, skip2: Tensor) -> Tensor:
        y: Tensor = self.bottom_layer(functional.max_pool3d(skip2, 2))
        return y

    def _up(self, skip2: Tensor, y: Tensor) -> Tensor:
        joined: Tensor = self.ex_double_conv2(torch.cat([skip2, self.t_conv2(y)], 1))
        return joined

    def _last(self, skip1: Tensor, y: Tensor) -> Tensor:
        y = self.ex_conv1_1(torch.cat([skip1, self.t_conv1(y)], 1))
        y = self.one_by_one_2(self.one_by_one(y))
        return functional.softplus(y if y.dtype == torch.float64 else y.float())


class FusionNetwork(nn.Module):
    """Fuse two views, (n, 1, z, y, x) and (n, 1, z, y, x) -> (n, 1, z, y, x).

    Parameters
    ----------
    checkpointed : bool
        Compute activations again for the gradients instead of keeping them: a third more operations
        for less than half of the memory. Running statistics are updated once all the same.

    Attributes
    ----------
    net_FA : FeatureNet
        Of both views: the published program has a second one, which it never uses.
    net_G : FusionUNet
    """

    def __init__(self, *, checkpointed: bool = False) -> None:
        super().__init__()
        self.net_FA = FeatureNet()
        self.net_G = FusionUNet(checkpointed=checkpointed)
        self.checkpointed = checkpointed

    def forward(self, ratios_a: Tensor, ratios_b: Tensor) -> Tensor:
        """Fuse.

        Parameters
        ----------
        ratios_a, ratios_b : tensor, (n, 1, z, y, x)
            What the Richardson-Lucy step gives for the views; sides are multiples of 4.

        Returns
        -------
        tensor, (n, 1, z, y, x)
            In units of the views' maxima, greater than 0; at least float32.
        """
        # In training the norms' statistics take in view A first, then view B, as published.
        features = [
            run(self.net_FA, self.net_FA, ratios, checkpointed=self.checkpointed)
            for ratios in (ratios_a, ratios_b)
        ]
        fused: Tensor = self.net_G(features.pop(0), features.pop())
        return fused


class SpareStatistics:
    """Lets batch norms in training mode update copies of their running statistics meanwhile.

    Parameters
    ----------
    module : Module
        That holds the norms.
    """

    def __init__(self, module: nn.Module) -> None:
        self._norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm3d)]
        self._own: list[dict[str, Tensor | None]] = []

    def __enter__(self) -> Self:
        self._own = [dict(norm.named_buffers()) for norm in self._norms]
        for norm, own in zip(self._norms, self._own, strict=True):
            for name, buffer in own.items():
                setattr(norm, name, None if buffer is None else buffer.clone())
        return self

    def __exit__(self, *_: object) -> None:
        for norm, own in zip(self._norms, self._own, strict=True):
            for name, buffer in own.items():
                setattr(norm, name, buffer)


def run(
    module: nn.Module, step: Callable[..., Tensor], *parts: Tensor, checkpointed: bool
) -> Tensor:
    """Return what `step` makes of `parts`, and keep of it what is asked to be kept.

    Parameters
    ----------
    module : Module
        That holds the batch norms of the step.
    step : callable
    *parts : tensor
    checkpointed : bool
        Whether activations within the step are computed again for the gradients.
    """
    if not (checkpointed and torch.is_grad_enabled()):
        return step(*parts)
    made: Any = checkpoint(
        step,
        *parts,
        use_reentrant=False,
        preserve_rng_state=False,  # nothing in it is random
        context_fn=lambda: (_Nothing(), SpareStatistics(module)),
    )
    result: Tensor = made
    return result


class _Nothing:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _product(features: Tensor, others: Tensor) -> Tensor:
    # In place only where no gradient needs what is overwritten.
    return features * others if torch.is_grad_enabled() else features.mul_(others)
