"""Join the tiles of one block and turn floats into stored values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.plugin import Footprint, Output, Triple
from vemctl.tiles.grid import Region, TileGrid
from vemctl.tiles.windows import Window

Floats = npt.NDArray[np.float32]


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
    """

    def __init__(
        self,
        region: Region,
        grid: TileGrid,
        footprint: Footprint,
        window: Window,
        dtype: np.dtype[Any],
        output: Output,
    ) -> None:
        self.region = region
        self._grid = grid
        self._window = window
        self._output = output
        self._dtype = dtype
        shape = tuple(part.stop - part.start for part in region)
        self._values: npt.NDArray[Any] | None = None
        self._sum: Floats | None = None
        if footprint.window == "crop":
            self._values = np.empty(shape, dtype)
        else:
            self._sum = np.zeros(shape, np.float32)
            self._weight = np.zeros(shape, np.float32)

    def wanted(self, index: Triple) -> Region:
        """Return which part of the core of tile `index` the block needs, in core coordinates."""
        covered = self._grid.covered(index)
        z, y, x = (
            slice(max(c.start, b.start) - o.start, min(c.stop, b.stop) - o.start)
            for c, b, o in zip(self._grid.contribution(index), self.region, covered, strict=True)
        )
        return z, y, x

    def add(self, index: Triple, wanted: Region, piece: Floats) -> None:
        """Add `piece`, the part `wanted` of the core of tile `index`, (z, y, x) float32."""
        z, y, x = (
            slice(c.start + w.start - b.start, c.start + w.stop - b.start)
            for c, w, b in zip(self._grid.covered(index), wanted, self.region, strict=True)
        )
        if self._values is not None:
            self._values[z, y, x] = to_dtype(piece, self._dtype, self._output)
        elif self._sum is not None:
            weights = self._window.weights(index)[wanted]
            self._sum[z, y, x] += piece * weights
            self._weight[z, y, x] += weights

    def finish(self) -> npt.NDArray[Any]:
        """Return the stored values of the block, (z, y, x); the block is used up."""
        if self._values is not None:
            return self._values
        assert self._sum is not None
        stored = np.empty(self._sum.shape, self._dtype)
        # Plane by plane, so that no second block of floats is needed.
        for plane, total, weight in zip(stored, self._sum, self._weight, strict=True):
            # A window whose outermost weights underflow leaves 0/0 there, which becomes 0.
            np.divide(total, weight, out=total, where=weight > 0)
            plane[...] = to_dtype(total, self._dtype, self._output)
        return stored
