"""Join the tiles of one block and turn floats into stored values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vemctl.plugin import Footprint, Output, Triple
from vemctl.tiles.grid import Region, TileGrid
from vemctl.tiles.tensors import to_stored, torch_dtype
from vemctl.tiles.windows import Window

if TYPE_CHECKING:
    from torch import Tensor

PIECE_VOXELS = 2**20
"""What is divided and converted at once."""


def to_dtype(values: npt.NDArray[Any], dtype: np.dtype[Any], output: Output) -> npt.NDArray[Any]:
    """Turn results into stored values.

    Parameters
    ----------
    values : ndarray of float
    dtype : numpy.dtype
        Integers are clipped to their range, then rounded to nearest (half to even) or
        truncated; floating types take the values as they are, float16 up to its limits.
    output : Output
        Says which, and whether [0, 1] stands for 0 to the maximum of an integer type.

    Returns
    -------
    ndarray of `dtype`
    """
    if dtype.kind == "f":
        if dtype.itemsize < values.dtype.itemsize:
            values = np.clip(values, np.finfo(dtype).min, np.finfo(dtype).max)
        return values.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    if dtype.itemsize > 2:  # float32 cannot hold these limits
        values = values.astype(np.float64)
    if output.unit_range:
        values = np.maximum(values, 0) * values.dtype.type(limits.max)
    clipped = np.clip(values, limits.min, limits.max)
    if output.rounding == "round":
        np.rint(clipped, out=clipped)
    if dtype.itemsize == 8:  # nor can float64: its nearest value lies beyond
        above = clipped >= float(limits.max)
        stored = np.where(above, 0, clipped).astype(dtype)
        stored[above] = limits.max
        return stored
    rounded: npt.NDArray[Any] = clipped.astype(dtype)
    return rounded


class Block:
    """A block of output that is being filled with tiles, in global order.

    Parameters
    ----------
    region : Region
        Output voxels of the block.
    grid : TileGrid
    footprint : Footprint
        Its `window` says how tiles are joined.
    window : Window
        The weights, shared by the blocks of a run.
    dtype : numpy.dtype
        Of the stored values.
    output : Output
    device : str
        The torch device whose memory holds the block.

    Attributes
    ----------
    device : str

    Notes
    -----
    Every operation is one that rounds alike on all devices, and none is fused with another, so
    that tiles of the same bits become blocks of the same bits.
    """

    def __init__(
        self,
        region: Region,
        grid: TileGrid,
        footprint: Footprint,
        window: Window,
        dtype: np.dtype[Any],
        output: Output,
        device: str = "cpu",
    ) -> None:
        import torch

        self.region = region
        self.device = device
        self._grid = grid
        self._window = window
        self._output = output
        self._dtype = dtype
        shape = tuple(part.stop - part.start for part in region)
        self._stored = torch.empty(shape, dtype=torch_dtype(dtype), device=device)
        self._sums: tuple[Tensor, Tensor] | None = None
        if footprint.window != "crop":
            total, weight = (torch.zeros(shape, device=device) for _ in range(2))
            self._sums = total, weight

    def wanted(self, index: Triple) -> Region:
        """Return which part of the core of tile `index` the block needs, in core coordinates."""
        covered = self._grid.covered(index)
        z, y, x = (
            slice(max(c.start, b.start) - o.start, min(c.stop, b.stop) - o.start)
            for c, b, o in zip(self._grid.contribution(index), self.region, covered, strict=True)
        )
        return z, y, x

    def add(self, index: Triple, wanted: Region, piece: Tensor) -> None:
        """Add `piece`, the part `wanted` of the core of tile `index`, (z, y, x) float32.

        Where memory runs out nothing is added.
        """
        z, y, x = (
            slice(c.start + w.start - b.start, c.start + w.stop - b.start)
            for c, w, b in zip(self._grid.covered(index), wanted, self.region, strict=True)
        )
        piece = piece.to(self.device)
        if self._sums is None:
            self._stored[z, y, x] = to_stored(piece, self._dtype, self._output)
            return
        total, weight = self._sums
        weights = self._window.on(self.device, index)[wanted]
        weighted = piece * weights
        total[z, y, x].add_(weighted)
        weight[z, y, x].add_(weights)

    def move(self, device: str) -> None:
        """Go on in the memory of another device."""
        self._stored = self._stored.to(device)
        if self._sums is not None:
            total, weight = self._sums
            self._sums = total.to(device), weight.to(device)
        self.device = device

    def finish(self) -> Tensor:
        """Return the stored values, (z, y, x), of the type that `torch_dtype` names.

        Where memory runs out it can be asked for again.
        """
        import torch

        if self._sums is not None:
            # Piece by piece, so that no second block of floats is needed.
            count = PIECE_VOXELS if self.device == "cpu" else 16 * PIECE_VOXELS
            pieces = [torch.split(each.view(-1), count) for each in (self._stored, *self._sums)]
            for stored, total, weight in zip(*pieces, strict=True):
                # A window whose outermost weights underflow leaves 0/0 there, which becomes 0.
                mean = torch.where(weight > 0, total / weight, total)
                stored.copy_(to_stored(mean, self._dtype, self._output))
        return self._stored
