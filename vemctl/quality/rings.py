"""Which parts of a volume are Fourier transformed, and into which rings frequencies are sorted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.volumes.volume import Region, Triple

Double = npt.NDArray[np.float64]
Spectrum = npt.NDArray[np.complex128]

TILE = 512
"""Longest edge of a part of a plane that is transformed."""
CUBE: Triple = (64, 256, 256)
"""Of a part of a volume that is transformed."""
SMALLEST = 32
"""Pixels along y and x below which nothing is transformed: there would be too few rings."""
SHALLOWEST = 8
"""Planes below which no cube is transformed."""


class Rings:
    """Rings (shells for cubes) of equal width in the frequencies of a real image.

    Ring `k`, from 1, is centred on `k` times the reciprocal of the longest edge and as wide as
    that. Frequencies are physical, so that rings are round however anisotropic the voxels are, and
    end at the smallest of the Nyquist frequencies of the axes: beyond it, in the corners, some
    directions are missing. A coarse z therefore limits what a shell can tell of y and x. The mean
    (ring 0) is left out, and so are the Nyquist frequencies themselves, at which the transform of
    a real image has no phase.

    Parameters
    ----------
    shape : (y, x) or (z, y, x)
        Of the images.
    spacing : tuple of float
        Of their voxels, along the same axes.

    Attributes
    ----------
    frequency : ndarray, (rings,), float64
        The centres, in cycles per unit of `spacing`.
    counts : ndarray, (rings,), float64
        Frequencies in each ring, both of a conjugate pair: as many as independent real numbers.
    """

    def __init__(self, shape: Sequence[int], spacing: Sequence[float]) -> None:
        width = 1 / max(n * d for n, d in zip(shape, spacing, strict=True))
        nyquist = min(0.5 / d for d in spacing)
        squared: npt.NDArray[Any] = np.zeros(())
        whole = np.ones((), bool)
        for axis, (n, d) in enumerate(zip(shape, spacing, strict=True)):
            steps = np.arange(n // 2 + 1) if axis == len(shape) - 1 else np.fft.fftfreq(n, 1 / n)
            squared = np.add.outer(squared, (steps / (n * d)) ** 2)
            whole = np.logical_and.outer(whole, np.abs(steps) < n / 2)
        distance = np.sqrt(squared)
        ring = np.rint(distance / width).astype(np.intp)
        inside = whole & (distance <= nyquist * (1 + 1e-9)) & (ring > 0)
        self._inside = np.flatnonzero(inside)
        self._ring = ring[inside] - 1
        # Half of the spectrum is kept; the other half is its conjugate, but for the plane x = 0.
        column = self._inside % distance.shape[-1]
        self._weight = np.where(column == 0, 1.0, 2.0)
        self.counts = self._binned(self._weight)
        self.frequency = width * np.arange(1.0, len(self.counts) + 1)

    def chosen(self, spectrum: Spectrum) -> Spectrum:
        """Return the values of a spectrum, as of `rfftn`, that are in any ring."""
        values: Spectrum = spectrum.ravel()[self._inside]
        return values

    def sums(self, first: Spectrum, second: Spectrum) -> Double:
        """Return the sums over each ring of the product of two spectra, one of them conjugate.

        Parameters
        ----------
        first, second : ndarray, complex
            What is `chosen` of them.

        Returns
        -------
        ndarray, (rings,), float64
        """
        product = first.real * second.real
        product += first.imag * second.imag
        product *= self._weight
        return self._binned(product)

    def _binned(self, values: Double) -> Double:
        return np.bincount(self._ring, values).astype(np.float64, copy=False)


class Window:
    """A Hann window, which keeps an image's opposite edges from meeting in its transform.

    The transform takes an image as periodic; the jump from one edge to the other spreads the strong
    coarse structures as a cross over all frequencies, and two images of one object share that cross
    even where they share nothing else. Hann's window leaves least of it: of images with white noise
    and a signal whose power falls with the fourth power of frequency, the correlation came out at
    most 0.02 off what is expected, with a Tukey window whose tapers are an eighth of the edge 0.10,
    and without a window 0.25 (600 pairs of 128 by 128 pixels, from the fourth ring on). What it
    costs is pixels: about half of those along each axis do not count.

    Parameters
    ----------
    shape : tuple of int

    Attributes
    ----------
    efficiency : float
        Which part of the values of white noise still count as independent: 18 / 35 per axis.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        weights = np.ones(())
        for n in shape:
            # At the centres of pixels, so that it is symmetric and periodic: three frequencies.
            angle = 2 * np.pi * (np.arange(n) + 0.5) / n
            weights = np.multiply.outer(weights, 0.5 - 0.5 * np.cos(angle))
        self._weights: Double = weights
        self._total = float(weights.sum())
        self.efficiency = float(np.mean(weights**2) ** 2 / np.mean(weights**4))

    def apply(self, image: npt.NDArray[Any]) -> Double | None:
        """Return an image less its weighted mean and times the window.

        Returns
        -------
        ndarray, float64, or None
            Exactly 0 for an image without contrast; None if not all of its values are finite.
        """
        values = image.astype(np.float64)
        mean = float(np.vdot(values, self._weights)) / self._total
        if not math.isfinite(mean):
            return None
        if values.min() == values.max():  # what the mean leaves of it is rounding
            return np.zeros(image.shape)
        values -= mean
        values *= self._weights
        return values


def tile_shape(shape: tuple[int, int], edge: int = TILE) -> tuple[int, int] | None:
    """Return the one even size of the tiles in which planes of a size are transformed.

    Parameters
    ----------
    shape : (y, x)
        Of the planes.
    edge : int
        The longest edge of a tile; the longer edge is at most about twice the shorter one.

    Returns
    -------
    (y, x), or None
        Equal parts of the plane, less what would make transforms slow, at most a tenth; None
        for planes that are smaller than `SMALLEST`.
    """
    if min(shape) < SMALLEST:
        return None
    longest = max(SMALLEST, min(edge, 2 * min(shape)))
    height, width = (_quick(n // math.ceil(n / longest)) for n in shape)
    return (height, width) if min(height, width) >= SMALLEST else (SMALLEST, SMALLEST)


def tiles_of_plane(
    shape: tuple[int, int], edge: int = TILE, *, tile: tuple[int, int] | None = None
) -> list[tuple[slice, slice]]:
    """Return the tiles of a plane that are transformed: all of one shape, so that spectra add up.

    Parameters
    ----------
    shape : (y, x)
        Of the plane, or of the part of it that is at hand.
    edge : int
        The longest edge of a tile.
    tile : (y, x), optional
        The size of the tiles, where it was chosen for other planes; `tile_shape` by default.

    Returns
    -------
    list of (slice, slice)
        As many as fit without overlap, spread evenly; none if none fits.
    """
    tile = tile or tile_shape(shape, edge)
    if tile is None:
        return []
    rows, columns = (
        [slice(start, start + size) for start in _starts(n, size)]
        for n, size in zip(shape, tile, strict=True)
    )
    return [(row, column) for row in rows for column in columns]


def cube_of(region: Region, shape: Triple, edge: Triple = CUBE) -> Region | None:
    """Return the cube in the middle of a region that is transformed, moved into the volume.

    Parameters
    ----------
    region : Region
        It may be smaller than the cube, which then takes in what is around it.
    shape : (z, y, x)
        Of the volume.
    edge : (z, y, x)
        The size of the cube, where the volume is large enough.

    Returns
    -------
    Region, or None
        Of one even size for all regions of a volume; None for volumes that are too small for it:
        `SHALLOWEST` planes of `SMALLEST` by `SMALLEST` pixels.
    """
    size = [_quick(min(e, n)) for e, n in zip(edge, shape, strict=True)]
    if size[0] < SHALLOWEST or min(size[1:]) < SMALLEST:
        return None
    middles = [(part.start + part.stop) // 2 for part in region]
    starts = [
        min(max(0, middle - length // 2), n - length)
        for middle, length, n in zip(middles, size, shape, strict=True)
    ]
    z, y, x = (slice(start, start + length) for start, length in zip(starts, size, strict=True))
    return z, y, x


def _quick(length: int) -> int:
    """Return the longest even length that is quick to transform: without factors beyond 11."""
    for even in range(length // 2 * 2, 1, -2):
        rest = even
        for factor in (2, 3, 5, 7, 11):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return even
    return 0


def _starts(length: int, size: int) -> list[int]:
    """Return where parts of a size start in a length."""
    count = length // size
    spare = length - count * size
    return [number * size + spare * (2 * number + 1) // (2 * count) for number in range(count)]
