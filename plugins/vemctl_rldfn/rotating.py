"""A deskewed stack in the frame of the coverslip: rotated about two axes, made isotropic, cropped.

Source: the published program. The tilt R turns y and z into each other; the small angle f, by which
the mirror is askew, turns x and z. In coordinates about the centre, with z in pixels,

    y1 = y cos R - z sin R,   z1 = y sin R + z cos R,
    x2 = x cos f - z1 sin f,  z2 = x sin f + z1 cos f,

and the result is (z2, y1, x2). It is computed in slabs along x, whose numbers are those of the
whole: places are those in the whole volume, and the distance to the corner of a box is exact.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse

from vemctl.plugin import Triple

Box = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
SPARE = 1e-6
"""Pixels that are read beyond the outermost sample, for rounding."""


def mround(value: float) -> int:
    """Round halves away from zero, as the published program does."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


class Rotation:
    """Samples a stack, by linear interpolation; what lies outside of it is 0.

    Parameters
    ----------
    shape : (z, y, x)
        Of the stack, and of the result: the middle of what a rotation makes of it, with zeros
        where that is smaller.
    tilt : float
        Degrees, R.
    angle : float
        Degrees, f.
    ratio : float
        Distance of planes in pixels.

    Attributes
    ----------
    shape : (z, y, x)
    full : (z, y, x)
        Of all that a rotation makes of the stack.
    start : (z, y, x)
        Where in it the result begins; negative where it is smaller than the result.
    """

    def __init__(self, shape: Triple, *, tilt: float, angle: float, ratio: float) -> None:
        self.shape = shape
        self._ratio = ratio
        self._cos_tilt, self._sin_tilt = _cosine_and_sine(tilt)
        self._cos, self._sin = _cosine_and_sine(angle)
        depth, height, width = shape
        thick = ratio * depth
        length = height * abs(self._cos_tilt) + thick * abs(self._sin_tilt)
        tall = height * abs(self._sin_tilt) + thick * abs(self._cos_tilt)
        self.full: Triple = (
            math.ceil(width * abs(self._sin) + tall * abs(self._cos)),
            math.ceil(length),
            math.ceil(width * abs(self._cos) + tall * abs(self._sin)),
        )
        z, y, x = (mround((m - n) / 2) for m, n in zip(self.full, shape, strict=True))
        self.start: Triple = (z, y, x)

    def columns(self, first: int, end: int) -> tuple[int, int]:
        """Return which columns of the stack columns of the result are made of.

        Parameters
        ----------
        first, end : int
            Of the result.

        Returns
        -------
        first, end : int
            Of the stack; nothing where all of the result lies outside.
        """
        width = self.shape[2]
        if not self._sin:
            return first, end
        z, x = self._centred(0, 0, self.shape[0]), self._centred(2, first, end)
        places = (
            np.add.outer(z[[0, -1]] * self._sin, x[[0, -1]] * self._cos) + (width - 1) / 2
        )  # the outermost ones
        low = math.floor(places.min() - SPARE)
        high = math.ceil(places.max() + SPARE)
        return min(max(low, 0), width), min(max(high + 1, 0), width)

    def apply(self, box: Box, first: int, end: int) -> Floats:
        """Return columns of the result.

        Parameters
        ----------
        box : ndarray, (z, y, columns)
            What `columns` tells of the stack.
        first, end : int
            Columns of the result.

        Returns
        -------
        ndarray, (z, y, end - first) float64
        """
        depth, height, _ = self.shape
        shape = (depth, height, end - first)
        if not box.shape[2]:
            return np.zeros(shape)
        if not self._sin:
            flat = self._in_plane @ box.reshape(depth * height, -1).astype(np.float64)
            straight: Floats = flat.reshape(shape)
            return straight
        corner = self.columns(first, end)[0]
        box = np.ascontiguousarray(box, _native(box))
        result = np.empty(shape)

        def sample(plane: int) -> None:
            z, y, x = self._places(plane, first, end)
            places = np.stack([z, y, np.broadcast_to(x - corner, z.shape)])
            ndimage.map_coordinates(box, places, result[plane], 1, "constant", 0.0)

        with ThreadPoolExecutor(_num_threads()) as pool:
            list(pool.map(sample, range(depth)))
        return result

    def memory(self, columns: int, itemsize: int) -> int:
        """Return about how many bytes `apply` takes for so many columns, its result included."""
        depth, height, width = self.shape
        margin = math.ceil(depth * abs(self._sin)) + 2 if self._sin else 0
        read = min(columns + margin, width) * depth * height
        made = 8 * columns * depth * height
        if not self._sin:
            return read * (itemsize + 8) + made + 100 * depth * height
        return 2 * read * itemsize + made + _num_threads() * 80 * height * columns

    def _places(self, plane: int, first: int, end: int) -> tuple[Floats, Floats, Floats]:
        """Return where in the stack a plane of the result is: z and y (y, x), x (x,)."""
        z2 = self._centred(0, plane, plane + 1)
        x2 = self._centred(2, first, end)
        z1 = z2 * self._cos - x2 * self._sin
        x = x2 * self._cos + z2 * self._sin + (self.shape[2] - 1) / 2
        y1 = self._centred(1, 0, self.shape[1])[:, None]
        z, y = self._tilted(z1, y1)
        return z, y, x

    def _tilted(self, z1: Floats, y1: Floats) -> tuple[Floats, Floats]:
        """Return where along z and y in the stack something is before the tilt is undone."""
        depth, height, _ = self.shape
        z = (z1 * self._cos_tilt - y1 * self._sin_tilt) / self._ratio + (depth - 1) / 2
        y = y1 * self._cos_tilt + z1 * self._sin_tilt + (height - 1) / 2
        return z, y

    def _centred(self, axis: int, first: int, end: int) -> Floats:
        """Return positions of the result from the centre of all that a rotation makes."""
        return (
            np.arange(first, end, dtype=np.float64) + self.start[axis] - (self.full[axis] - 1) / 2
        )

    @cached_property
    def _in_plane(self) -> Any:
        """The rotation of (z, y) planes, which are alike where the mirror is not askew."""
        depth, height, _ = self.shape
        z, y = self._tilted(
            self._centred(0, 0, depth)[:, None], self._centred(1, 0, height)[None, :]
        )
        inside = (z >= 0) & (z <= depth - 1) & (y >= 0) & (y <= height - 1)
        rows = np.flatnonzero(inside)
        z, y = z[inside], y[inside]
        below = np.floor(z).astype(np.int64), np.floor(y).astype(np.int64)
        part = z - below[0], y - below[1]
        above = np.minimum(below[0] + 1, depth - 1), np.minimum(below[1] + 1, height - 1)
        weights, columns = [], []
        for weight_z, at_z in ((1 - part[0], below[0]), (part[0], above[0])):
            for weight_y, at_y in ((1 - part[1], below[1]), (part[1], above[1])):
                weights.append(weight_z * weight_y)
                columns.append(at_z * height + at_y)
        size = depth * height
        return sparse.csr_array(
            (np.concatenate(weights), (np.tile(rows, 4), np.concatenate(columns))),
            shape=(size, size),
        )


def _cosine_and_sine(degrees: float) -> tuple[float, float]:
    return math.cos(math.radians(degrees)), math.sin(math.radians(degrees))


def _native(box: Box) -> np.dtype[Any]:
    """Return a type that scipy samples without copying the box for every plane."""
    if box.dtype.kind == "f" and box.dtype.itemsize < 4:
        return np.dtype(np.float32)
    return box.dtype.newbyteorder("=")


def _num_threads() -> int:
    """Return how many processors there are, or what is said to the libraries that use them."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() and int(told) else os.cpu_count() or 1
