"""Where a training pair lies: windows of the input and of the truth around a voxel of the truth.

The published rule of XxDataSeg_ForTrain_Lattice_3D, in its rounding too: halves go up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vemctl.plugin import Triple
from vemctl_vsisr.counts import round_half_up
from vemctl_vsisr.proportions import ENLARGED, FRAMES, PLANES, enlarged_size

DEPTH = 8
"""Slices around a voxel; of these the first 7 are written of the input, and the 3 in their middle
of the truth."""
OFFSET = (FRAMES - PLANES) // 2
TEST_EDGE = 256
"""Pixels of the input that the published meta-training looks at."""


@dataclass(frozen=True)
class Window:
    """A box in a volume.

    Attributes
    ----------
    corner : (z, y, x)
        Of its first voxel, counted from 0.
    size : (z, y, x)
    """

    corner: Triple
    size: Triple


@dataclass(frozen=True)
class PatchPlaces:
    """Windows of one size around voxels of the truth.

    Attributes
    ----------
    size : (z, y, x)
        Voxels of the input; 1.5 times the size in y and x is even.
    """

    size: Triple = (DEPTH, 64, 64)

    @property
    def halves(self) -> Triple:
        """Half of a window of the input, (z, y, x)."""
        z, y, x = self.size
        return round_half_up(z / 2), round_half_up(y / 2), round_half_up(x / 2)

    @property
    def margins(self) -> Triple:
        """What of the truth lies too near to its border to be the middle of a window, (z, y, x)."""
        z, y, x = self.size
        return (
            round_half_up(z / 2),
            round_half_up(y * ENLARGED / 2),
            round_half_up(x * ENLARGED / 2),
        )

    def last_middle(self, length: int, axis: int) -> int:
        """Return below which voxel of the truth a middle must lie for an input of some length.

        Sizes after a shear are rounded, so that a truth may reach a little beyond its input.

        Parameters
        ----------
        length : int
            Of the input along the axis.
        axis : {1, 2}
            y or x.
        """
        last = length - self.halves[axis]  # counted from 1
        return math.ceil((last + 0.5) * ENLARGED) - 1

    def truth(self, place: Triple) -> Window:
        """Return the window of the truth around a voxel of it, (z, y, x) counted from 0."""
        z, y, x = (p - m + 1 for p, m in zip(place, self.margins, strict=True))
        return Window((z, y, x), (2 * self.margins[0], 2 * self.margins[1], 2 * self.margins[2]))

    def input(self, place: Triple) -> Window:
        """Return the window of the input around a voxel of the truth, (z, y, x) counted from 0."""
        half_z, half_y, half_x = self.halves
        z, y, x = place
        return Window(
            (
                z - half_z + 1,
                round_half_up((y + 1) / ENLARGED) - half_y,
                round_half_up((x + 1) / ENLARGED) - half_x,
            ),
            (2 * half_z, 2 * half_y, 2 * half_x),
        )


def pair_of(places: PatchPlaces, place: Triple) -> tuple[Window, Window]:
    """Return what is written of the windows around a voxel: 7 slices of input and 3 of truth.

    Parameters
    ----------
    places : PatchPlaces
        Of 8 slices.
    place : (z, y, x)
        A voxel of the truth, counted from 0.
    """
    if places.size[0] != DEPTH:
        raise ValueError(f"windows of {places.size[0]} slices: expected {DEPTH}")
    given, truth = places.input(place), places.truth(place)
    z, y, x = truth.corner
    return (
        Window(given.corner, (FRAMES, *given.size[1:])),
        Window((z + OFFSET, y, x), (PLANES, *truth.size[1:])),
    )


def whole_cell(given: tuple[int, int], truth: tuple[int, int]) -> tuple[Window, Window]:
    """Return the published middle of a cell to validate on; its slices are all kept.

    Four or five pixels less than the input has, such that the number is even. The truth has
    exactly 1.5 times as many; the published crop has one more where that is odd, which no
    prediction has.

    Parameters
    ----------
    given, truth : (y, x)
        Sizes of the input and of the truth.

    Returns
    -------
    Window, Window
        Of the input and of the truth, from the first slice on; they are 0 slices thick, for that
        is not known here.
    """
    return _centred(truth, [length - 4 - length % 2 for length in given])


def middle_patch(given: Triple, truth: Triple) -> tuple[Window, Window]:
    """Return a square in the middle of a cell, of 256 pixels or the largest multiple of 4.

    Parameters
    ----------
    given, truth : (z, y, x)
        Sizes of the input and of the truth.

    Returns
    -------
    Window, Window
        Of 7 slices of the input and of 3 of the truth.
    """
    depth, *plane = given
    edge = min(TEST_EDGE, *((length - 4) // 4 * 4 for length in plane))
    seen, true = _centred((truth[1], truth[2]), [edge, edge])
    z = (depth - FRAMES) // 2
    return (
        Window((z, *seen.corner[1:]), (FRAMES, *seen.size[1:])),
        Window((z + OFFSET, *true.corner[1:]), (PLANES, *true.size[1:])),
    )


def _centred(truth: tuple[int, int], sizes: Sequence[int]) -> tuple[Window, Window]:
    """Return windows of some size (y, x) of the input; they are 0 slices thick."""
    corners = []
    for size, truth_length in zip(sizes, truth, strict=True):
        middle = round_half_up(truth_length / 2)
        corners.append(
            (
                round_half_up(middle / ENLARGED) - round_half_up(size / 2),
                middle - round_half_up(ENLARGED * size / 2),
            )
        )
    (y, truth_y), (x, truth_x) = corners
    height, width = sizes
    return (
        Window((0, y, x), (0, height, width)),
        Window((0, truth_y, truth_x), (0, *enlarged_size(height, width))),
    )
