"""Undo the shear of volumes that were scanned by moving the sample. Imports no torch.

The sample moves at an angle to the detection axis, so that section after section of the raw volume
is displaced along x, the fast axis of the raw file. Deskewing displaces each section back, by a
fraction of a pixel, into a row that is long enough for all of them. No section needs another one.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vemctl.errors import InputError, OptionError
from vemctl_vsisr.interpolating import continued, cubic_weights, splined

Interpolation = Literal["convolution", "spline"]
Section = npt.NDArray[Any]
Floats = npt.NDArray[np.floating[Any]]

ANGLE_DEGREES = 30.8
"""Between the sheet of light and the movement of the sample, in the authors' microscope."""
SHORTEST = 4
"""Pixels along x; a cubic spline needs as many."""
MARGIN = 2
"""Pixels that a section is continued by at both of its ends."""
BLOCK = 32
"""Rows."""


def header_word(length: float) -> float:
    """Return a voxel edge as the published programs find it: in single precision, then widened.

    Parameters
    ----------
    length : float
        Nanometres.

    Returns
    -------
    float
        Micrometres, the number nearest to that of the 32-bit word of the file's header.
    """
    return float(np.float32(length / 1000))


class Shear:
    """Displaces the sections of one volume along their last axis.

    Outside of its source a section is 0.

    Parameters
    ----------
    num_slices : int
        Of the volume.
    length : int
        Pixels of a raw section along x.
    angle_degrees : float
        Between the sheet and the movement.
    dy : float
        Edge of a raw pixel along x.
    dz : float
        What the sample moved by from section to section, in the unit of `dy`; see `header_word`.
    interpolation : {"convolution", "spline"}
        Cubic convolution (Keys), as the authors' MATLAB programs do, or the interpolating cubic
        spline (its third derivative continuous at the last pixel but one) of their Python program.
        At sharp features the two differ by some per cent.
    single : bool
        Compute in float32, as MATLAB does for float32 data; else in float64.

    Attributes
    ----------
    length : int
        Pixels of a deskewed section along x.
    source_length : int
        Of a raw one.

    Raises
    ------
    OptionError
        An edge or the angle is not usable.
    InputError
        A section is too short.
    """

    def __init__(
        self,
        num_slices: int,
        length: int,
        *,
        angle_degrees: float = ANGLE_DEGREES,
        dy: float,
        dz: float,
        interpolation: Interpolation = "convolution",
        single: bool = False,
    ) -> None:
        for name, value in (("x", dy), ("z", dz)):
            if not (math.isfinite(value) and value > 0):
                raise OptionError(
                    f"deskewing: voxel edge {value:g} along {name}; expected a length above 0: "
                    "state the voxel size"
                )
        if not 0 <= angle_degrees < 90:
            raise OptionError(
                f"deskewing: angle {angle_degrees:g}; expected degrees from 0 to below 90"
            )
        if length < SHORTEST:
            raise InputError(
                f"deskewing: sections of {length} pixels along x; expected at least {SHORTEST}: "
                "check the order of the axes"
            )
        cosine = math.cos(math.radians(angle_degrees))
        self.source_length = length
        self.length = math.ceil(dz * num_slices * cosine / dy + length)
        self._middle = (num_slices + 1) / 2
        self._before = (self.length - length) / 2
        self._step = (dz / dy) * cosine
        self._spline = interpolation == "spline"
        self._dtype = np.dtype(np.float32 if single else np.float64)

    def apply(self, plane: Section, index: int) -> Floats:
        """Displace a whole section.

        Parameters
        ----------
        plane : ndarray, (rows, source_length)
        index : int
            Of the section in the volume, from 0.

        Returns
        -------
        ndarray, (rows, length)
            Of float64, or float32 if `single`.
        """
        first, end = self.source_range(index, 0, self.length)
        return self.apply_part(plane[:, first:end], index, 0, self.length)

    def source_range(self, index: int, first: int, end: int) -> tuple[int, int]:
        """Return which source positions a part of a deskewed section is made of.

        Parameters
        ----------
        index : int
            Of the section.
        first, end : int
            The part, in positions of the deskewed section.

        Returns
        -------
        (first, end)
            Positions of the raw section, the end excluded; both 0 where the part is 0 all over.
            A spline needs the whole section.
        """
        _, start, stop = self._places(index, first, end)
        length = self.source_length
        if start == stop:
            return 0, 0
        if self._spline:
            return 0, length
        low, high = self._neighbours(index, first + start, first + stop)
        # What continues a section at an end is made of the three pixels there.
        if low < 0:
            high = max(high, MARGIN)
        if high > length - 1:
            low = min(low, length - 1 - MARGIN)
        return max(low, 0), min(high, length - 1) + 1

    def apply_part(self, plane_part: Section, index: int, first: int, end: int) -> Floats:
        """Make a part of a displaced section.

        Parameters
        ----------
        plane_part : ndarray, (rows, positions)
            The positions of the raw section that `source_range` returns for the same arguments.
        index : int
            Of the section.
        first, end : int
            The part, in positions of the deskewed section.

        Returns
        -------
        ndarray, (rows, end - first)
            The numbers that `apply` gives there.
        """
        result = np.zeros((len(plane_part), end - first), self._dtype)
        places, start, stop = self._places(index, first, end)
        if start == stop:
            return result
        inside = places[start:stop]
        if self._spline:
            values = plane_part.astype(self._dtype, copy=False)
            result[:, start:stop] = splined(values, inside)
            return result
        source_first, source_end = self.source_range(index, first, end)
        low, _ = self._neighbours(index, first + start, first + stop)
        length = self.source_length
        count = stop - start
        # All are displaced by the same whole pixels: where rounding leaves the fraction just below
        # 0 or above 1, the interpolated curve, which has no kinks, is still met.
        fractions = (inside - np.arange(low + 1, low + 1 + count)).astype(self._dtype)
        weights = cubic_weights(fractions)
        for row in range(0, len(plane_part), BLOCK):  # few rows at once stay in the cache
            lines = plane_part[row : row + BLOCK].astype(self._dtype, copy=False)
            padded = continued(lines, MARGIN, source_first == 0, source_end == length)
            padded = padded[:, low - (source_first - MARGIN) :]
            target = result[row : row + BLOCK, start:stop]
            for tap, weight in enumerate(weights):
                target += weight * padded[:, tap : tap + count]
        return result

    def _places(self, index: int, first: int, end: int) -> tuple[Floats, int, int]:
        """Return where positions are read, counted from 0, and which are inside the section."""
        rows = np.arange(first + 1, end + 1, dtype=np.float64)
        # Counted from 1 and rounded as in the published programs: an end may just be met.
        places = (rows + self._shift(index) - self._before).astype(self._dtype)
        start = int(np.searchsorted(places, 1, side="left"))
        stop = max(start, int(np.searchsorted(places, self.source_length, side="right")))
        return places.astype(np.float64) - 1, start, stop

    def _neighbours(self, index: int, first: int, end: int) -> tuple[int, int]:
        """Return the first and the last pixel that positions are interpolated of, four for each."""
        base = math.floor(self._shift(index) - self._before)
        return first + base - 1, end - 1 + base + 2

    def _shift(self, index: int) -> float:
        return (index + 1 - self._middle) * self._step
