"""Weights with which overlapping tiles are blended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vemctl.plugin import Footprint, Triple
from vemctl.tiles.grid import AxisGrid, TileGrid

if TYPE_CHECKING:
    from torch import Tensor

Weights = npt.NDArray[np.float32]
Ends = tuple[tuple[bool, bool], ...]


def ramp(axis: AxisGrid, k: int) -> Weights:
    """Return the linear weights of core `k` along `axis`: a ramp where it has a neighbour.

    Parameters
    ----------
    axis : AxisGrid
    k : int
        Index of the tile along the axis.

    Returns
    -------
    ndarray, (output voxels of a core,) float32
        Above 0 everywhere.
    """
    weights = np.ones(axis.output_core, np.float32)
    shared = min(int((axis.core - axis.stride) * axis.scale), axis.output_core)
    rise = (np.arange(shared, dtype=np.float32) + np.float32(0.5)) / np.float32(max(shared, 1))
    if k > 0:
        weights[:shared] = np.minimum(weights[:shared], rise)
    if k < axis.num_tiles - 1:
        weights[axis.output_core - shared :] = np.minimum(
            weights[axis.output_core - shared :], rise[::-1]
        )
    return weights


def bump(shape: Triple, sigma: float) -> Weights:
    """Return the Gaussian bump over a core of `shape`.

    Each coordinate runs from -1 to 1 over its axis; a length of one has the coordinate -1.

    Parameters
    ----------
    shape : (z, y, x)
        Output voxels.
    sigma : float
        Standard deviation in these coordinates.

    Returns
    -------
    ndarray, (z, y, x) float32
        ``exp(-(z**2 + y**2 + x**2) / (2 * sigma**2))``.
    """
    z, y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    squares = z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2
    weights: Weights = np.exp(-squares / np.float32(2 * sigma**2), dtype=np.float32)
    return weights


class Window:
    """The blending weights of any tile of a grid; equal ones are made once."""

    def __init__(self, grid: TileGrid, footprint: Footprint) -> None:
        self._grid = grid
        self._footprint = footprint
        self._made: dict[Ends, Weights] = {}
        self._there: dict[tuple[str, Ends], Tensor] = {}

    def weights(self, index: Triple) -> Weights:
        """Return the weights of tile `index` over its core, (z, y, x) float32."""
        ends = self._ends(index)
        if ends not in self._made:
            self._made[ends] = self._make(index)
        return self._made[ends]

    def on(self, device: str, index: Triple) -> Tensor:
        """Return the weights of tile `index` in the memory of a torch device, where they stay."""
        import torch

        key = device, self._ends(index)
        if key not in self._there:
            self._there[key] = torch.from_numpy(self.weights(index)).to(device)
        return self._there[key]

    def _ends(self, index: Triple) -> Ends:
        """Return of what the weights of a tile depend: at which ends of the grid it lies."""
        if self._footprint.window != "linear":
            return ()
        axes = self._grid.axes
        return tuple((k == 0, k == a.num_tiles - 1) for a, k in zip(axes, index, strict=True))

    def _make(self, index: Triple) -> Weights:
        if self._footprint.window == "bump":
            return bump(self._grid.core_shape, self._footprint.bump_sigma)
        if self._footprint.window == "mean":
            return np.ones(self._grid.core_shape, np.float32)
        z, y, x = (ramp(axis, k) for axis, k in zip(self._grid.axes, index, strict=True))
        return z[:, None, None] * y[None, :, None] * x[None, None, :]
