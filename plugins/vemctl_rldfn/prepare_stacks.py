"""A deskewed stack, read and rotated in slabs along x; nothing is kept but what is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.errors import InputError, OptionError
from vemctl.plugin import PreparationRequest, Triple, VolumeFacts
from vemctl_rldfn.mirror_search import fitting_margin
from vemctl_rldfn.prepare_options import (
    COARSEST,
    FINEST,
    PrepareOptions,
    askew_angles,
    shifts_of,
    voxel_size_of,
)
from vemctl_rldfn.rotating import Floats, Rotation

SLAB_VOXELS = 2**25
"""Of the result that are made at once."""
FEWEST_PLANES = 4
SQUARE = 0.01
"""Relative difference up to which the edges of a pixel count as equal."""


@dataclass(frozen=True)
class Extent:
    """The values of a rotated stack.

    Attributes
    ----------
    lows, highs : ndarray, (z,)
        Of each plane.
    is_constant : bool
        All of the stack that it was made of is one value.
    """

    lows: Floats
    highs: Floats
    is_constant: bool


class _Extremes:
    """Gathers the extent of a stack from its slabs."""

    def __init__(self, depth: int) -> None:
        self.lows, self.highs = np.full(depth, math.inf), np.full(depth, -math.inf)

    def add(self, values: Floats) -> None:
        np.minimum(self.lows, values.min(axis=(1, 2)), out=self.lows)
        np.maximum(self.highs, values.max(axis=(1, 2)), out=self.highs)


class Stack:
    """One channel at one time point of a file.

    Parameters
    ----------
    options : PrepareOptions
    request : PreparationRequest
    role : str
    index : int
        Of the volume in its role.

    Attributes
    ----------
    name : str
        Path of the file.
    facts : VolumeFacts
    shape : (z, y, x)
    pixel : float
        Nanometres; the edge of a voxel of the result.
    margins : (y, x)
        Pixels that the search leaves out at both ends.
    shifts : (low, high)
        Labels that are searched.

    Raises
    ------
    InputError
        The voxel size is missing or of no use, or there are too few planes.
    OptionError
        What is to be searched does not fit the stack.
    """

    def __init__(
        self, options: PrepareOptions, request: PreparationRequest, role: str, index: int
    ) -> None:
        self._patches, self._role, self._index = request.patches, role, index
        self.facts: VolumeFacts = request.patches.facts(role)[index]
        self.name = request.names[role][self.facts.file_index]
        self.shape: Triple = self.facts.shape
        if self.shape[0] < FEWEST_PLANES:
            raise InputError(
                f"{self.name}: {self.shape[0]} planes; expected at least {FEWEST_PLANES}, before "
                "and behind the mirror"
            )
        self.pixel, self._ratio = self._spacing(options)
        self._tilt = options.tilt
        self._steepest = max(map(abs, askew_angles(options)))
        self.margins = self._margins(options)
        self.shifts = self._shifts(options)
        self._range = (math.inf, -math.inf)
        depth, height, width = self.shape
        self._columns = min(width, max(1, SLAB_VOXELS // (depth * height)))

    @property
    def num_slabs(self) -> int:
        """How often `advance` is told of a slab when the stack is gone through once."""
        return -(-self.shape[2] // self._columns)

    def rotation(self, angle: float, correction: float = 0.0) -> Rotation:
        """Return the rotation by an angle and by a tilt that is corrected, in degrees."""
        tilt = self._tilt + correction
        return Rotation(self.shape, tilt=tilt, angle=angle, ratio=self._ratio)

    def slabs(
        self, rotation: Rotation, advance: Callable[[], None]
    ) -> Iterator[tuple[int, int, Floats]]:
        """Go through the rotated stack: first and last column, and values (z, y, x)."""
        width = self.shape[2]
        for first in range(0, width, self._columns):
            advance()
            end = min(first + self._columns, width)
            yield first, end, rotation.apply(self._read(*rotation.columns(first, end)), first, end)

    def projection_along_y(self, advance: Callable[[], None]) -> tuple[Floats, bool]:
        """Return the largest values of the middle of the stack where f is 0, (x, z).

        Also whether all of the stack is one value.
        """
        (_, height, width), (top, left) = self.shape, self.margins
        made = np.empty((width, self.shape[0]))
        for first, end, values in self.slabs(self.rotation(0.0), advance):
            made[first:end] = values[:, top : height - top].max(axis=1).T
        return made[left : width - left], self._is_constant

    def projection_along_x(
        self, angle: float, advance: Callable[[], None]
    ) -> tuple[Floats, Extent]:
        """Return the largest values of the middle of the stack, (y, z), and its extent."""
        (depth, height, width), (top, left) = self.shape, self.margins
        made = np.zeros((depth, height)) - math.inf
        extremes = _Extremes(depth)
        for first, end, values in self.slabs(self.rotation(angle), advance):
            extremes.add(values)
            start, stop = max(first, left), min(end, width - left)
            if start < stop:
                inner = values[:, :, start - first : stop - first]
                np.maximum(made, inner.max(axis=2), out=made)
        return made[:, top : height - top].T, self._extent(extremes)

    def extent(self, rotation: Rotation, advance: Callable[[], None]) -> Extent:
        """Go through the rotated stack for its values."""
        extremes = _Extremes(self.shape[0])
        for _, _, values in self.slabs(rotation, advance):
            extremes.add(values)
        return self._extent(extremes)

    def memory(self) -> int:
        """Return about how many bytes a slab takes."""
        itemsize = np.dtype(self.facts.dtype).itemsize
        depth, height, _ = self.shape
        counts = 4 * self._columns * depth * height
        searched = self.rotation(0.0).memory(self._columns, itemsize)
        return max(searched, self.rotation(self._steepest).memory(self._columns, itemsize)) + counts

    def _extent(self, extremes: _Extremes) -> Extent:
        return Extent(extremes.lows, extremes.highs, self._is_constant)

    @property
    def _is_constant(self) -> bool:
        low, high = self._range
        return not high > low

    def _read(self, first: int, end: int) -> npt.NDArray[Any]:
        depth, height, _ = self.shape
        if first >= end:
            return np.zeros((depth, height, 0), np.uint8)
        box = self._patches.read(
            self._role, self._index, (0, 0, first), (depth, height, end - first)
        )
        low, high = float(box.min()), float(box.max())
        self._range = min(low, self._range[0]), max(high, self._range[1])
        return box

    def _spacing(self, options: PrepareOptions) -> tuple[float, float]:
        size = voxel_size_of(options) or self.facts.voxel_size
        if size is None:
            raise InputError(
                f"{self.name}: its voxel size is not known; expected --voxel-size Z,Y,X in "
                "nanometres"
            )
        z, y, x = size
        if not FINEST < min(size) <= max(size) < COARSEST:
            raise InputError(
                f"{self.name}: says that its voxels are {z:.4g} x {y:.4g} x {x:.4g} nm, which no "
                "light microscope has; expected --voxel-size Z,Y,X in nanometres"
            )
        if abs(y - x) > SQUARE * min(y, x):
            raise InputError(
                f"{self.name}: its pixels are {y:.4g} x {x:.4g} nm (y, x); expected squares: pass "
                "--voxel-size Z,Y,X where the file is wrong"
            )
        return y, z / y

    def _margins(self, options: PrepareOptions) -> tuple[int, int]:
        _, height, width = self.shape
        if options.margin is None:
            return fitting_margin(height), fitting_margin(width)
        for axis, length in (("y", height), ("x", width)):
            if length <= 4 * options.margin:
                raise OptionError(
                    f"--margin {options.margin}: leaves nothing of the {length} pixels along "
                    f"{axis} of {self.name}; expected at most {(length - 1) // 4}"
                )
        return options.margin, options.margin

    def _shifts(self, options: PrepareOptions) -> tuple[int, int]:
        """Return what is searched: shifts go round, so that others would be the same again."""
        low, high = shifts_of(options)
        half = self.shape[0] // 2
        if max(low, -half) >= min(high, half):
            raise OptionError(
                f"--split-range {options.split_range}: {self.name} has {self.shape[0]} planes; "
                f"expected shifts from {-half} to {half}"
            )
        return max(low, -half), min(high, half)
