"""From two tiles, whose brightest voxels are about 1, to one: with the network or without."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from vemctl.plugin import Triple
from vemctl_rldfn.checkpoints import build_fusion
from vemctl_rldfn.deconvolving import DualViewDeconvolution
from vemctl_rldfn.fusing import fused
from vemctl_rldfn.memory import call_bytes
from vemctl_rldfn.optics import Optics

FLOAT = 4
AXES = (-3, -2, -1)


class Solver(Protocol):
    """Makes one volume of two views."""

    def __call__(self, view_a: Tensor, view_b: Tensor) -> Tensor:
        """Fuse tiles (n, 1, z, y, x) float32, to the same shape."""

    def memory(self, tile: Triple, batch: int) -> int:
        """Return the bytes that a call takes on the device, tiles included."""


class _Deconvolving:
    """Keeps the transfer functions of the last shape of tiles, which is that of all of them.

    Parameters
    ----------
    optics : Optics
    device : str
    """

    def __init__(self, optics: Optics, device: str) -> None:
        self._optics = optics
        self._device = device
        self._last: DualViewDeconvolution | None = None

    def deconvolution(self, shape: Triple) -> DualViewDeconvolution:
        """Return the deconvolution of tiles of this shape."""
        if self._last is None or self._last.shape != shape:
            optics = self._optics
            self._last = DualViewDeconvolution(optics.psf_a, optics.psf_b, shape, self._device)
        return self._last

    def deconvolution_bytes(self, tile: Triple, batch: int) -> int:
        """Return the bytes of a call of it, views and result included."""
        own = DualViewDeconvolution.bytes_of(tile, batch)
        return own + 3 * FLOAT * batch * math.prod(tile)


class NetworkSolver(_Deconvolving):
    """A Richardson-Lucy step, then the network.

    Parameters
    ----------
    tensors : mapping of str to tensor
        Of the network.
    weights : Path
        Where they are from, for errors.
    optics : Optics
    device : str

    Raises
    ------
    WeightsError
        The tensors are of another network.
    """

    def __init__(
        self, tensors: Mapping[str, Tensor], weights: Path, optics: Optics, device: str
    ) -> None:
        super().__init__(optics, device)
        self._network = fused(build_fusion(dict(tensors), weights).eval()).to(device)

    def __call__(self, view_a: Tensor, view_b: Tensor) -> Tensor:
        """Fuse tiles; see `Solver`."""
        ratios = self.deconvolution(_shape(view_a)).ratios(view_a, view_b)
        result: Tensor = self._network(*ratios)
        return result.float()

    def memory(self, tile: Triple, batch: int) -> int:
        """Return the bytes that a call takes; see `Solver`."""
        views = 2 * FLOAT * batch * math.prod(tile)
        return max(self.deconvolution_bytes(tile, batch), views + call_bytes(tile, batch))


class PlainSolver(_Deconvolving):
    """Plain dual-view Richardson-Lucy deconvolution.

    Parameters
    ----------
    optics : Optics
    iterations : int
    device : str
    normalised : bool
        Whether the largest value is made 1 after each iteration, as published.
    """

    def __init__(self, optics: Optics, iterations: int, device: str, *, normalised: bool) -> None:
        super().__init__(optics, device)
        self._iterations = iterations
        self._normalised = normalised

    def __call__(self, view_a: Tensor, view_b: Tensor) -> Tensor:
        """Deconvolve tiles; see `Solver`."""
        deconvolution = self.deconvolution(_shape(view_a))
        return deconvolution.restored(view_a, view_b, self._iterations, normalised=self._normalised)

    def memory(self, tile: Triple, batch: int) -> int:
        """Return the bytes that a call takes; see `Solver`."""
        return self.deconvolution_bytes(tile, batch)


class PublishedTiling:
    """Cuts whole views as the published program does: what is left over at the ends stays 0.

    Parameters
    ----------
    solver : Solver
    patch : (z, y, x)
        Tiles without their margins; more planes than these are left out.
    margin : int
        Along y and x.
    own_maximum : bool
        Whether each tile of each view is divided by its own maximum; where that is 0 the tile of
        the result is 0.
    """

    def __init__(self, solver: Solver, patch: Triple, margin: int, *, own_maximum: bool) -> None:
        self._solver = solver
        self._patch = patch
        self._margin = margin
        self._own_maximum = own_maximum
        z, y, x = patch
        self.tile: Triple = (z, y + 2 * margin, x + 2 * margin)

    def __call__(self, view_a: Tensor, view_b: Tensor) -> Tensor:
        """Fuse one pair of whole views, (1, 1, z, y, x)."""
        depth, height, width = _shape(view_a)
        planes, rows, columns = self._patch
        margin = self._margin
        kept = min(planes, depth)
        ends = (margin, margin, margin, margin, 0, planes - kept)
        padded = [functional.pad(view[..., :kept, :, :], ends) for view in (view_a, view_b)]
        result = torch.zeros_like(view_a)
        for y in range(0, height - rows + 1, rows):
            for x in range(0, width - columns + 1, columns):
                part = (..., slice(y, y + rows + 2 * margin), slice(x, x + columns + 2 * margin))
                views = [view[part] for view in padded]
                if self._own_maximum:  # 0 / 0 is no number, and becomes 0 below
                    views = [view / view.amax(AXES, keepdim=True) for view in views]
                tile = self._solver(views[0], views[1])
                core = tile[..., :kept, margin : margin + rows, margin : margin + columns]
                result[..., :kept, y : y + rows, x : x + columns] = core
        return result.masked_fill_(result.isnan(), 0)

    def memory(self, tile: Triple, batch: int) -> int:
        """Return the bytes that a call takes; see `Solver`."""
        views = 5 * FLOAT * batch * math.prod(tile)  # given, padded, and the result
        return views + self._solver.memory(self.tile, 1)


def _shape(tile: Tensor) -> Triple:
    z, y, x = tile.shape[-3:]
    return z, y, x
