"""Where a reconstruction has something in it: voxels around which training pairs are cut.

The published rule, XxCalMask and XxDataSeg_ForTrain_Lattice_3D: a voxel is foreground where a
narrow blur of its slice exceeds a wide one by a threshold. The volume is gone through slice by
slice; what stays in memory is one bit per voxel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.plugin import Triple

Floats = npt.NDArray[np.floating[Any]]
Bits = npt.NDArray[np.uint8]
NARROW, WIDE = (10, 10.0), (100, 50.0)
"""Length and width (sigma) of the two blurs, in pixels."""
ENOUGH = 1000
"""Voxels below which the threshold is lowered, as published."""
LOWERING, MOST_LOWERINGS = 0.8, 1000
FAINT = 1e-3
"""Rows whose sum is at most this share of the brightest voxel are empty, as published."""


def blur_difference(plane: Floats) -> npt.NDArray[np.float64]:
    """Return by how much a narrow blur exceeds a wide one.

    Parameters
    ----------
    plane : ndarray, (y, x)

    Returns
    -------
    ndarray, (y, x)
        In the plane's units.
    """
    from scipy.ndimage import correlate1d

    def blurred(length: int, sigma: float) -> npt.NDArray[np.float64]:
        offsets = np.arange(length) - (length - 1) / 2
        kernel = np.exp(-(offsets**2) / (2 * sigma**2))
        kernel /= kernel.sum()
        made = plane.astype(np.float64)
        for axis in (0, 1):  # the middle of an even kernel is the last of its first half
            made = correlate1d(made, kernel, axis, mode="nearest", origin=-1)
        return made

    return blurred(*NARROW) - blurred(*WIDE)


def lowered(threshold: float, wanted: float) -> float:
    """Return a threshold, lowered by a fifth at least once, until it does not exceed `wanted`."""
    for _ in range(MOST_LOWERINGS):
        threshold *= LOWERING
        if threshold <= wanted:
            break
    return threshold


@dataclass(frozen=True)
class Candidates:
    """Voxels that a patch may be centred on, numbered as published: y fastest, then x, then z.

    Attributes
    ----------
    shape : (z, y, x)
        Of the volume.
    threshold : float
        That was used in the end.
    packed : sequence of ndarray of uint8
        For each slice, a bit per voxel, y fastest; empty where a slice has none.
    counts : ndarray of int, (z,)
        Candidates by slice.
    """

    shape: Triple
    threshold: float
    packed: Sequence[Bits]
    counts: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.counts.sum())

    def place(self, number: int) -> Triple:
        """Return where a candidate is, (z, y, x) counted from 0."""
        ends = np.cumsum(self.counts)
        z = int(np.searchsorted(ends, number, side="right"))
        inside = number - int(ends[z] - self.counts[z])
        x, y = divmod(int(np.flatnonzero(self._bits(z))[inside]), self.shape[1])
        return z, y, x

    def mask(self, z: int) -> npt.NDArray[np.bool_]:
        """Return which voxels of a slice, (y, x), are candidates."""
        _, height, width = self.shape
        if not len(self.packed[z]):
            return np.zeros((height, width), bool)
        return self._bits(z).reshape(width, height).T.astype(bool)

    def _bits(self, z: int) -> Bits:
        return np.unpackbits(self.packed[z], count=self.shape[1] * self.shape[2])


class ForegroundSearch:
    """Finds the candidates of a volume.

    Parameters
    ----------
    read : callable
        Returns a slice by its number, (y, x), of values in [0, 1].
    shape : (z, y, x)
    limits : (float, float)
        Smallest and largest value of the volume.
    margins : (z, y, x)
        Slices, rows and columns at either end in which there are no candidates.
    allowed : (y, x), optional
        Rows and columns up to which there may be candidates, in addition.
    advance : callable
        Told before each slice.
    """

    def __init__(
        self,
        read: Callable[[int], Floats],
        shape: Triple,
        limits: tuple[float, float],
        margins: Triple,
        allowed: tuple[int, int] | None = None,
        advance: Callable[[], None] = lambda: None,
    ) -> None:
        self._read = read
        self._shape = shape
        self._limits = limits
        depth, height, width = shape
        self._slices = range(margins[0], depth - margins[0])
        self._inside = np.zeros((height, width), bool)
        ends = allowed or (height, width)
        self._inside[
            margins[1] : min(height - margins[1], ends[0]),
            margins[2] : min(width - margins[2], ends[1]),
        ] = True
        self._advance = advance

    def find(self, threshold: float) -> Candidates:
        """Return the candidates; the threshold is lowered where they are fewer than `ENOUGH`.

        Goes through the volume once, or three times where the threshold must be lowered.

        Parameters
        ----------
        threshold : float
            For the volume stretched to [0, 1].
        """
        low, high = self._limits
        span = (high - low) or 1.0
        sums = np.zeros(self._shape[1])

        def first_mask(plane: Floats) -> npt.NDArray[np.bool_]:
            nonlocal sums
            sums += plane.sum(axis=1, dtype=np.float64)
            # The edges of the specimen are known in the end only.
            return blur_difference((plane - low) / span) >= threshold

        found = self._candidates(first_mask, threshold, every_slice=sums)
        self._clear_rows(sums > high * FAINT)
        found = self._cleared(found)
        if len(found) >= ENOUGH:
            return found
        # Published masks at a lower threshold are those of the volume as it is, not stretched.
        lower = lowered(threshold, self._largest_differences())
        return self._candidates(lambda plane: blur_difference(plane) >= lower, lower)

    def _candidates(
        self,
        mask_of: Callable[[Floats], npt.NDArray[np.bool_]],
        threshold: float,
        every_slice: npt.NDArray[np.float64] | None = None,
    ) -> Candidates:
        empty = np.zeros(0, np.uint8)
        packed: list[Bits] = [empty] * self._shape[0]
        counts = np.zeros(self._shape[0], np.int64)
        for z in range(self._shape[0]):
            self._advance()
            if z in self._slices:
                mask = mask_of(self._read(z)) & self._inside
                counts[z] = np.count_nonzero(mask)
                if counts[z]:
                    packed[z] = np.packbits(mask.T)
            elif every_slice is not None:
                every_slice += self._read(z).sum(axis=1, dtype=np.float64)
        return Candidates(self._shape, threshold, packed, counts)

    def _clear_rows(self, lit: npt.NDArray[np.bool_]) -> None:
        """Clear what is not between the first and the last row with something in it."""
        rows = np.flatnonzero(lit)
        if len(rows):
            self._inside[: rows[0] + 1] = False
            self._inside[rows[-1] :] = False

    def _cleared(self, found: Candidates) -> Candidates:
        packed, counts = list(found.packed), found.counts.copy()
        for z in np.flatnonzero(counts):
            mask = found.mask(int(z)) & self._inside
            packed[z], counts[z] = np.packbits(mask.T), np.count_nonzero(mask)
        return Candidates(found.shape, found.threshold, packed, counts)

    def _largest_differences(self) -> float:
        """Return the difference that `ENOUGH` voxels reach, -inf where there are not so many."""
        largest = np.zeros(0)
        for z in range(self._shape[0]):
            self._advance()
            if z in self._slices:
                differences = blur_difference(self._read(z))[self._inside]
                largest = np.concatenate([largest, differences])
                if len(largest) > ENOUGH:
                    largest = np.partition(largest, -ENOUGH)[-ENOUGH:]
        return float(largest.min()) if len(largest) == ENOUGH else -np.inf
