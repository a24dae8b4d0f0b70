"""The units of an output, counted: what a ledger ticks off."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vemctl.plugin import Triple
from vemctl.volumes.volume import Layout


def divided(shape: Triple, step: Triple) -> Triple:
    """Return in how many regions of `step` voxels a volume falls along each axis."""
    z, y, x = (-(-n // s) for n, s in zip(shape, step, strict=True))
    return z, y, x


@dataclass(frozen=True)
class UnitGrid:
    """The units of an output, counted from 0.

    Attributes
    ----------
    shape, unit_shape : (z, y, x)
        Output voxels.
    num_channels, num_timepoints : int
    """

    shape: Triple
    unit_shape: Triple
    num_channels: int = 1
    num_timepoints: int = 1

    @classmethod
    def of(cls, layout: Layout) -> UnitGrid:
        """Return the units of which a stored level consists."""
        return cls(
            layout.shape, layout.shard_shape, layout.num_channels or 1, layout.num_timepoints or 1
        )

    @property
    def along(self) -> Triple:
        """Units along (z, y, x)."""
        return divided(self.shape, self.unit_shape)

    @property
    def total(self) -> int:
        """Units of all channels and time points."""
        return math.prod(self.along) * self.num_channels * self.num_timepoints

    def number(self, timepoint: int, channel: int, start: Triple) -> int:
        """Return which unit begins at `start`, in voxels.

        Raises
        ------
        ValueError
            None does.
        """
        z, y, x = (s // u for s, u in zip(start, self.unit_shape, strict=True))
        deep, high, wide = self.along
        series = timepoint * self.num_channels + channel
        inside = (
            0 <= channel < self.num_channels
            and 0 <= timepoint < self.num_timepoints
            and all(s % u == 0 for s, u in zip(start, self.unit_shape, strict=True))
            and all(0 <= s < n for s, n in zip(start, self.shape, strict=True))
        )
        if not inside:
            raise ValueError(f"no unit begins at {start}, channel {channel}, time {timepoint}")
        return ((series * deep + z) * high + y) * wide + x

    def place(self, number: int) -> tuple[int, int, Triple, Triple]:
        """Return time point, channel, start and stop, in voxels, of a unit."""
        deep, high, wide = self.along
        number, x = divmod(number, wide)
        number, y = divmod(number, high)
        series, z = divmod(number, deep)
        start = (z * self.unit_shape[0], y * self.unit_shape[1], x * self.unit_shape[2])
        stop = (
            min(start[0] + self.unit_shape[0], self.shape[0]),
            min(start[1] + self.unit_shape[1], self.shape[1]),
            min(start[2] + self.unit_shape[2], self.shape[2]),
        )
        return *divmod(series, self.num_channels), start, stop


@dataclass(frozen=True)
class BlockGrid:
    """The blocks of an output, counted over all its series.

    Attributes
    ----------
    units : UnitGrid
    block_shape : (z, y, x)
        Output voxels; whole units.
    """

    units: UnitGrid
    block_shape: Triple

    @property
    def along(self) -> Triple:
        """Blocks of one series along (z, y, x)."""
        return divided(self.units.shape, self.block_shape)

    @property
    def total(self) -> int:
        """Blocks of all series."""
        return math.prod(self.along) * self.units.num_channels * self.units.num_timepoints

    def number(self, timepoint: int, channel: int, start: Triple) -> int:
        """Return in which block the unit lies that begins at `start`, in voxels."""
        z, y, x = (s // b for s, b in zip(start, self.block_shape, strict=True))
        deep, high, wide = self.along
        series = timepoint * self.units.num_channels + channel
        return ((series * deep + z) * high + y) * wide + x

    def complete(self, done: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Return of every block whether all its units are done.

        Parameters
        ----------
        done : ndarray, (units,)
            One or zero for every unit.
        """
        found = done.reshape(-1, *self.units.along)
        for axis, (block, unit) in enumerate(
            zip(self.block_shape, self.units.unit_shape, strict=True), start=1
        ):
            first = range(0, found.shape[axis], block // unit)
            found = np.minimum.reduceat(found, list(first), axis=axis)
        return found.reshape(-1).astype(bool)
