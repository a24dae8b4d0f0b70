"""The generator: a U-Net that pools in the plane only, from one modality to the other.

Source: "ExEM: Automated analysis of densely labeled expansion microscopy images using electron
microscopy resources", whose published parameters have these keys. Sub-module names are keys.

Shapes in comments: n samples of z slices of y x x pixels, c0 to c4 channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from vemctl_exem.normalising import lies_channels_last, normalised

Step = Callable[..., Tensor]

CHANNELS = (32, 64, 128, 256, 512)
MULTIPLE_OF = 16  # y and x must be multiples of it: four poolings
GROUPS = {1: 1, 2: 1, 4: 1, 8: 1, 16: 4, 32: 8, 64: 8, 128: 16, 256: 32, 512: 32}
"""Groups of a normalisation by its number of channels, as published; no other number is known."""


def in_plane(x: Tensor) -> Tensor:
    """Return slices as a batch, (n, c, z, y, x) -> (n z, c, y, x); no copy where channels last."""
    n, c, z, height, width = x.shape
    return x.transpose(1, 2).reshape(n * z, c, height, width)


def in_volume(x: Tensor, num_samples: int) -> Tensor:
    """Return what `in_plane` took apart, (n z, c, y, x) -> (n, c, z, y, x)."""
    slices, c, height, width = x.shape
    return x.reshape(num_samples, slices // num_samples, c, height, width).transpose(1, 2)


def by_slices(change: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return what becomes of the planes of a volume, each changed by itself.

    In two dimensions it is quicker, and unlike in three the gradients can be had deterministically
    on CUDA.

    Parameters
    ----------
    change : callable
        From (a, b, y, x) to (a, b, y', x').
    x : tensor, (n, c, z, y, x)
    """
    if lies_channels_last(x):
        return in_volume(change(in_plane(x)), x.shape[0])
    changed = change(x.flatten(1, 2))
    return changed.reshape(*x.shape[:3], *changed.shape[2:])


class PlaneConv(nn.Conv3d):
    """A convolution within slices, by a two-dimensional kernel where that is faster.

    Parameters
    ----------
    channels_in, channels_out : int
    width : int
        Of its kernel, odd.
    bias : bool
    """

    def __init__(self, channels_in: int, channels_out: int, width: int, *, bias: bool) -> None:
        size, pad = (1, width, width), (0, width // 2, width // 2)
        super().__init__(channels_in, channels_out, size, padding=pad, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, (n, channels_in, z, y, x) -> (n, channels_out, z, y, x)."""
        if not lies_channels_last(x):
            return super().forward(x)
        pad = cast("tuple[int, int, int]", self.padding)[1:]
        y = functional.conv2d(in_plane(x), self.weight[:, :, 0], self.bias, padding=pad)
        return in_volume(y, x.shape[0])


class VolumeConv(nn.Conv3d):
    """A convolution of 3 x 3 x 3 voxels without a bias."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, (n, channels_in, z, y, x) -> (n, channels_out, z, y, x)."""
        if lies_channels_last(x) and _onednn_takes(x):
            # torch would take a path that is ten times slower for small tiles one at a time.
            three = [1, 1, 1]
            return torch.mkldnn_convolution(x, self.weight, None, three, three, three, 1)
        return super().forward(x)


def _onednn_takes(x: Tensor) -> bool:
    exact = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return exact and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


class TripleConv(nn.Module):
    """Three normalised convolutions, the first within slices, with a shortcut over the others.

    (n, channels_in, z, y, x) -> (n, channels_out, z, y, x)
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        groups = GROUPS[channels_out]
        self.conv1 = PlaneConv(channels_in, channels_out, 3, bias=False)
        self.groupnorm1 = nn.GroupNorm(groups, channels_out)
        self.conv2 = VolumeConv(channels_out, channels_out)
        self.groupnorm2 = nn.GroupNorm(groups, channels_out)
        self.conv3 = VolumeConv(channels_out, channels_out)
        self.groupnorm3 = nn.GroupNorm(groups, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of the first and the last activation."""
        first = normalised(self.groupnorm1, self.conv1(x))
        y = normalised(self.groupnorm2, self.conv2(first))
        y = normalised(self.groupnorm3, self.conv3(y))
        # In place only where no gradient needs what is overwritten.
        return first + y if y.requires_grad else y.add_(first)


class Generator(nn.Module):
    """Translate a volume from one modality to the other, (n, 1, z, y, x) -> (n, 1, z, y, x).

    Parameters
    ----------
    channels : sequence of five int
        From the finest level to the coarsest; each must be in `GROUPS`.
    checkpointing : bool
        Compute the activations within a level again for the gradients instead of keeping them:
        a third more operations for less than half of the memory.

    Notes
    -----
    With the published `CHANNELS` the state dict has 87 tensors of 27,517,441 parameters in the
    published order. Normalisations average over the whole tile, so the result depends on it.
    """

    def __init__(self, channels: Sequence[int] = CHANNELS, *, checkpointing: bool = False) -> None:
        super().__init__()
        c0, c1, c2, c3, c4 = channels
        self.first_conv = PlaneConv(1, c0, 5, bias=True)
        self.tripleconv1 = TripleConv(c0, c0)
        self.tripleconv2 = TripleConv(c0, c1)
        self.tripleconv3 = TripleConv(c1, c2)
        self.tripleconv4 = TripleConv(c2, c3)
        self.tripleconv5 = TripleConv(c3, c4)
        self.tripleconv_up1 = TripleConv(c4 + c3, c3)
        self.tripleconv_up2 = TripleConv(c3 + c2, c2)
        self.tripleconv_up3 = TripleConv(c2 + c1, c1)
        self.tripleconv_up4 = TripleConv(c1 + c0, c0)
        self.final_conv = PlaneConv(c0, c0, 5, bias=True)
        self.one_by_one_conv = PlaneConv(c0, 1, 1, bias=True)
        self.channels = tuple(channels)
        self.checkpointing = checkpointing

    def for_calls(self, device: str, *, to_compile: bool = False) -> Generator:
        """Return the network as it is quickest without gradients, on a device.

        One that is to be compiled lies plainly everywhere: torch knows best then.
        """
        self.eval().requires_grad_(requires_grad=False).to(device)
        if device == "cpu" and not to_compile:  # else every call would arrange the weights anew
            self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        return self

    @property
    def configuration(self) -> dict[str, Any]:
        """How it was made, as JSON types."""
        return {"channels": list(self.channels)}

    def forward(self, x: Tensor) -> Tensor:
        """Translate.

        Parameters
        ----------
        x : tensor, (n, 1, z, y, x)
            Grey values in [0, 1]; y and x are multiples of 16.

        Returns
        -------
        tensor, (n, 1, z, y, x)
            Grey values of the other modality, not clipped.
        """
        if x.shape[1] != 1 or x.shape[-2] % MULTIPLE_OF or x.shape[-1] % MULTIPLE_OF:
            shape = f"(n, 1, z, y, x) with y and x multiples of {MULTIPLE_OF}"
            raise ValueError(f"expected {shape}, got {tuple(x.shape)}")
        entry = functional.elu_(self.first_conv(x))  # (n, c0, z, y, x)
        compiling = torch.compiler.is_compiling()
        if x.device.type == "cpu" and not torch.is_grad_enabled() and not compiling:
            # Every layer behind follows; it is faster, and slices are then a batch without a copy.
            entry = entry.contiguous(memory_format=torch.channels_last_3d)
        skip1 = self._run(_level, self.tripleconv1, entry)  # (n, c0, z, y, x)
        del entry
        skip2 = self._run(_down, self.tripleconv2, skip1)  # (n, c1, z, y / 2, x / 2)
        skip3 = self._run(_down, self.tripleconv3, skip2)  # (n, c2, z, y / 4, x / 4)
        skip4 = self._run(_down, self.tripleconv4, skip3)  # (n, c3, z, y / 8, x / 8)
        y = self._run(_down, self.tripleconv5, skip4)  # (n, c4, z, y / 16, x / 16)
        y = self._run(_up, self.tripleconv_up1, y, skip4)  # (n, c3, z, y / 8, x / 8)
        y = self._run(_up, self.tripleconv_up2, y, skip3)  # (n, c2, z, y / 4, x / 4)
        y = self._run(_up, self.tripleconv_up3, y, skip2)  # (n, c1, z, y / 2, x / 2)
        y = self._run(_up, self.tripleconv_up4, y, skip1)  # (n, c0, z, y, x)
        y = functional.elu_(self.final_conv(y))  # (n, c0, z, y, x)
        result: Tensor = self.one_by_one_conv(y)  # (n, 1, z, y, x)
        return result

    def _run(self, step: Step, block: nn.Module, *parts: Tensor) -> Tensor:
        """Run a block on what comes to it, and keep of it what is asked to be kept."""
        if self.checkpointing and torch.is_grad_enabled():
            kept: Tensor = checkpoint(step, block, *parts, use_reentrant=False)
            return kept
        return step(block, *parts)


def _level(block: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = block(x)
    return y


def _down(block: nn.Module, x: Tensor) -> Tensor:
    return _level(block, _pooled(x))


def _up(block: nn.Module, x: Tensor, skip: Tensor) -> Tensor:
    return _level(block, torch.cat([_enlarged(x), skip], 1))


def _pooled(x: Tensor) -> Tensor:
    """Halve the plane by its maxima."""
    return by_slices(lambda slices: functional.max_pool2d(slices, 2), x)


def _enlarged(x: Tensor) -> Tensor:
    """Double the plane, corners on corners."""
    return by_slices(
        lambda slices: functional.interpolate(
            slices, scale_factor=2, mode="bilinear", align_corners=True
        ),
        x,
    )
