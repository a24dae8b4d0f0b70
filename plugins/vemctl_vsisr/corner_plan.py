"""What of a rotated canvas the generator must compute, and what repeats. Imports no torch.

Outside of the rotated plane a canvas is empty. There what a network of convolutions makes depends
on nothing but the distances to the canvas' borders, beyond which are zeros as well: so it is the
same as on a small empty canvas, a frame. Only what lies around the plane must be computed, a bit
more of it from layer to layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vemctl_vsisr.bands import (
    PIXELS,
    Band,
    Integers,
    Mask,
    bands_of,
    content,
    mask_of,
)
from vemctl_vsisr.canvases import Shape
from vemctl_vsisr.memory import AREA, CHANNELS, TAIL_CHANNELS
from vemctl_vsisr.proportions import PLANES, enlarged_size

BLOCK_REACH, TAIL_REACH = 2, 2
"""Pixels that a block's convolutions see on each side, and the last two, of an enlarged plane."""
STAGE = 4
"""Blocks that share bands, for oneDNN keeps what it prepares for a limited number of shapes."""
LEAST_GAIN = 0.1
"""Of the work: less is not worth the trouble."""


class Fill(NamedTuple):
    """Pixels of the canvas, and those of the frame that are the same."""

    rows: Integers
    columns: Integers
    frame_rows: Integers
    frame_columns: Integers


class BlockPlan(NamedTuple):
    """What to compute in a block.

    Attributes
    ----------
    bands : tuple of Band
    shares : ndarray, (y, x) float32
        How many other pixels of the canvas are the same as each of the frame.
    fill : Fill
        Of those, what the next layers read.
    """

    bands: tuple[Band, ...]
    shares: npt.NDArray[np.float32]
    fill: Fill


class CornerPlan:
    """What to compute of the canvas of a rotated plane.

    Parameters
    ----------
    plane : (int, int)
        Shape of the plane, (y, x).
    angle_degrees : float
    num_blocks : int
        Residual blocks of the generator.
    most_pixels : int
        Of a band.

    Attributes
    ----------
    canvas, frame : (int, int)
        Their shapes.
    blocks : list of BlockPlan
        Those of a stage have the same bands.
    tail : tuple of Band
        Of the enlarged canvas.
    enlarged : (int, int)
        Shape of the enlarged canvas.
    enlarged_rows, enlarged_columns : ndarray
        Of the enlarged frame, which to repeat where nothing is computed.
    share : float
        Of the work that a whole canvas is; the frame's is included.
    """

    def __init__(
        self, plane: Shape, angle_degrees: float, num_blocks: int, most_pixels: int = PIXELS
    ) -> None:
        region = content(plane, angle_degrees)
        height, width = self.canvas = region.shape
        radius = 1 + BLOCK_REACH * num_blocks
        self.frame = frame_length(height, radius), frame_length(width, radius)
        self._rows, self._columns = in_frame(height, radius), in_frame(width, radius)
        self.enlarged = enlarged_size(height, width)
        self.enlarged_rows = in_enlarged_frame(height, radius)
        self.enlarged_columns = in_enlarged_frame(width, radius)
        seen = region.dilated(radius).enlarged().dilated(TAIL_REACH)
        self.tail = bands_of(seen, most_pixels // 2)
        stages = [
            bands_of(region.dilated(1 + BLOCK_REACH * end), most_pixels)
            for end in (*range(STAGE, num_blocks, STAGE), num_blocks)
        ]
        bands = [stages[block // STAGE] for block in range(num_blocks)]
        self.share = self._share_of_work(bands)
        self.blocks: list[BlockPlan] = []
        if self.worthwhile:
            self.blocks = self._plan(bands)

    @property
    def worthwhile(self) -> bool:
        """Whether much less than all is to be computed. It follows from the shapes only."""
        return self.share < 1 - LEAST_GAIN

    def _share_of_work(self, bands: Sequence[Sequence[Band]]) -> float:
        block = 2 * CHANNELS * CHANNELS
        tail = AREA * TAIL_CHANNELS * (CHANNELS + PLANES)
        whole = math.prod(self.canvas)
        blocks = sum(_work(each) for each in bands) * block
        work = blocks + _work(self.tail) / AREA * tail
        work += math.prod(self.frame) * (len(bands) * block + tail)
        return work / (whole * (len(bands) * block + tail))

    def _plan(self, bands: Sequence[tuple[Band, ...]]) -> list[BlockPlan]:
        read = [[band.grown(BLOCK_REACH, self.canvas) for band in each] for each in bands[1:]]
        margins = [band.grown(TAIL_REACH, self.enlarged) for band in self.tail]
        read.append([band.source(self.canvas) for band in margins])
        plans: list[BlockPlan] = []
        for own, following in zip(bands, read, strict=True):
            clean = ~mask_of(own, self.canvas)
            fill = self._fill(clean & mask_of(following, self.canvas))
            plans.append(BlockPlan(own, self._shares(clean), fill))
        return plans

    def _fill(self, mask: Mask) -> Fill:
        rows, columns = np.nonzero(mask)
        return Fill(rows, columns, self._rows[rows], self._columns[columns])

    def _shares(self, mask: Mask) -> npt.NDArray[np.float32]:
        rows, columns = np.nonzero(mask)
        places = self._rows[rows] * self.frame[1] + self._columns[columns]
        counts = np.bincount(places, minlength=math.prod(self.frame))
        return counts.reshape(self.frame).astype(np.float32)


def _work(bands: Sequence[Band]) -> float:
    """Return the pixels that two convolutions compute, on average."""
    return sum((band.pixels + band.pixels_with_margin(1)) / 2 for band in bands)


def frame_length(length: int, radius: int) -> int:
    """Return how many pixels a frame has along an axis.

    It is odd where the canvas is odd, so that both end alike when they are enlarged by 1.5. It has
    a middle from which no border is seen, of three enlarged pixels, after which they repeat.

    Parameters
    ----------
    length : int
        Pixels of the canvas along that axis.
    radius : int
        Pixels that are seen on each side before the enlarging.
    """
    return min(length, 2 * radius + 7 + (length + 1) % 2)


def in_frame(length: int, radius: int) -> Integers:
    """Return the pixel of a frame that is the same as each pixel of a canvas, along an axis."""
    frame = frame_length(length, radius)
    return _folded(length, frame, radius + 1, 1)


def in_enlarged_frame(length: int, radius: int) -> Integers:
    """Return the pixel of an enlarged frame for each pixel of an enlarged canvas, along an axis.

    Parameters
    ----------
    length : int
        Pixels of the canvas before it was enlarged.
    radius : int
        Pixels that are seen on each side before the enlarging.
    """
    frame = frame_length(length, radius)
    sees_border = math.ceil(1.5 * radius + 0.25) + TAIL_REACH
    return _folded(length * 3 // 2, frame * 3 // 2, sees_border + 3, 3)


def _folded(length: int, frame: int, low: int, period: int) -> Integers:
    """Return the places of a line in a shorter one: the middle repeats what is before `low`."""
    places = np.arange(length)
    if length == frame:
        return places
    middle = low - period + (places - low) % period
    skipped = length - frame
    return np.where(
        places < low, places, np.where(places < low + skipped, middle, places - skipped)
    )
