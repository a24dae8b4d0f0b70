"""Structural similarity of two volumes, voxel by voxel, in slices and in three dimensions.

Source: Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to
Structural Similarity", IEEE Transactions on Image Processing 13(4), 2004.

A window is moved over both volumes, and only where it fits inside. Its moments are weighted sums
along one axis after the other. Everything is computed in double precision, after a typical value
was subtracted, so that variances are no small differences of large squares.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vemctl.errors import OptionError
from vemctl.quality.windows import BAND, GAUSSIAN, Double, Window, smooth
from vemctl.volumes.volume import Array, Region, Triple

Axes = tuple[int, ...]

SLICES: Axes = (1, 2)
"""The window spans each slice by itself."""
VOLUME: Axes = (0, 1, 2)
"""The window spans all three axes."""
HALO = GAUSSIAN.halo
"""Voxels that the window of Wang et al. reaches to each side."""
K = (0.01, 0.03)
"""Shares of the data range whose squares keep the quotients finite, of Wang et al."""
PART = 2**18
"""Voxels that are computed at once, about; some ten arrays of them are held."""
DEPTH = 64
"""Planes that are computed at once, at most."""
SAMPLES = 1000
"""Voxels that the typical value is found from."""


def similarity_map(
    truth: Array,
    prediction: Array,
    *,
    data_range: float,
    axes: Axes,
    window: Window = GAUSSIAN,
) -> Double:
    """Return the structural similarity at each voxel where the window fits.

    Parameters
    ----------
    truth, prediction : ndarray, (z, y, x)
        Of any real type.
    data_range : float
        From the smallest possible value to the largest.
    axes : tuple of int
        `SLICES` or `VOLUME`.
    window : Window

    Returns
    -------
    ndarray, float64
        Twice the halo shorter along `axes`, empty where they are shorter than the window. Not a
        number where the window holds voxels that are no numbers or infinite.

    Raises
    ------
    OptionError
        The data range is not a positive number.
    """
    halo = [window.halo if axis in axes else 0 for axis in range(3)]
    shape = [max(0, size - 2 * end) for size, end in zip(truth.shape, halo, strict=True)]
    similarity = np.empty(shape)
    for _, region, values in similarity_parts(
        truth, prediction, data_range=data_range, kinds=(axes,), window=window
    ):
        z, y, x = (
            slice(part.start - end, part.stop - end) for part, end in zip(region, halo, strict=True)
        )
        similarity[z, y, x] = values
    return similarity


def similarity_parts(
    truth: Array,
    prediction: Array,
    *,
    data_range: float,
    kinds: Sequence[Axes] = (SLICES, VOLUME),
    window: Window = GAUSSIAN,
    within: Region | None = None,
) -> Iterator[tuple[Axes, Region, Double]]:
    """Yield `similarity_map` in parts that are small, whatever the size of the volume.

    Parameters
    ----------
    truth, prediction : ndarray, (z, y, x)
    data_range : float
    kinds : sequence of tuple of int
        `SLICES`, `VOLUME`, or both, which cost hardly more than the second.
    window : Window
    within : Region, optional
        The voxels that are asked for; those around them are context. By default all.

    Yields
    ------
    axes : tuple of int
        The one of `kinds`.
    region : Region
        The voxels of the arrays that the values belong to.
    values : ndarray, float64
        Of the shape of the region, never empty.

    Raises
    ------
    OptionError
        The data range is not a positive number.
    """
    if not (math.isfinite(data_range) and data_range > 0):
        raise OptionError(
            f"the data range {data_range:g} gives no similarity; expected the distance from the "
            "smallest possible value to the largest, such as 255"
        )
    margins = (window.halo if VOLUME in kinds else 0, window.halo, window.halo)
    for place in _parts(within or tuple(slice(0, size) for size in truth.shape), margins):
        reach = tuple(
            slice(max(0, part.start - margin), min(size, part.stop + margin))
            for part, margin, size in zip(place, margins, truth.shape, strict=True)
        )
        # Inside `place` always, and all of it but where the arrays end.
        z, y, x = (
            slice(part.start + margin, part.stop - margin)
            for part, margin in zip(reach, margins, strict=True)
        )
        if y.start >= y.stop or x.start >= x.stop:
            continue
        block = _Block.of(truth[reach], prediction[reach])
        for axis in SLICES:
            block = block.smoothed(axis, window)
        if SLICES in kinds:
            first = place[0].start - reach[0].start
            planes = slice(first, first + place[0].stop - place[0].start)
            values = block.planes(planes).similarity(data_range, window.correction(2))
            yield SLICES, (place[0], y, x), values
        if VOLUME in kinds and z.start < z.stop:
            block = block.smoothed(0, window)
            yield VOLUME, (z, y, x), block.similarity(data_range, window.correction(3))


def _parts(region: Region | tuple[slice, ...], margins: Triple) -> Iterator[Region]:
    """Cut a region into parts of about `PART` voxels, counting the margins around them."""
    sizes = [part.stop - part.start for part in region]
    depth = max(1, min(sizes[0], DEPTH))
    area = PART // (depth + 2 * margins[0])
    height = max(1, min(sizes[1], max(BAND, math.isqrt(area) - 2 * margins[1])))
    width = max(1, min(sizes[2], max(BAND, area // (height + 2 * margins[1]) - 2 * margins[2])))
    cuts = (
        [slice(start, min(start + step, part.stop)) for start in range(part.start, part.stop, step)]
        for part, step in zip(region, (depth, height, width), strict=True)
    )
    return itertools.product(*cuts)


@dataclass(frozen=True)
class _Block:
    """Weighted means over windows, of a part of both volumes.

    Attributes
    ----------
    means : ndarray, (4, z, y, x), float64
        Of the truth, of the prediction, of the sum of their squares, and of their product, all
        less the offsets.
    offsets : (float, float)
        Typical values of the truth and of the prediction.
    touched : ndarray, (z, y, x), bool, optional
        Windows with voxels that are not finite.
    """

    means: Double
    offsets: tuple[float, float]
    touched: npt.NDArray[np.bool_] | None

    @classmethod
    def of(cls, truth: Array, prediction: Array) -> _Block:
        """Return what is averaged: windows of one voxel."""
        means = np.empty((4, *truth.shape))
        first, second, squares, products = means
        touched = None
        offsets = _typical(truth), _typical(prediction)
        for values, image, offset in zip((truth, prediction), means[:2], offsets, strict=True):
            np.subtract(values, offset, out=image, dtype=np.float64)
            if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
                image[~finite] = 0  # would spread, for nothing times 0 is none of it
                touched = ~finite if touched is None else touched | ~finite
        np.multiply(first, first, out=squares)
        np.multiply(second, second, out=products)
        squares += products
        np.multiply(first, second, out=products)
        return cls(means, offsets, touched)

    def smoothed(self, axis: int, window: Window) -> _Block:
        """Return the means over windows that are longer along one axis, where they fit."""
        touched = self.touched
        if touched is not None:
            count = touched.shape[axis] - 2 * window.halo
            shifted = [
                touched[(slice(None),) * axis + (slice(start, start + count),)]
                for start in range(len(window.weights))
            ]
            touched = functools.reduce(np.logical_or, shifted)
        return _Block(smooth(self.means, axis + 1, window.weights), self.offsets, touched)

    def planes(self, planes: slice) -> _Block:
        """Return some planes of it."""
        touched = None if self.touched is None else self.touched[planes]
        return _Block(self.means[:, planes], self.offsets, touched)

    def similarity(self, data_range: float, correction: float) -> Double:
        """Return the similarity of both volumes in each window."""
        luminance, contrast = ((k * data_range) ** 2 for k in K)
        similarity = np.empty(self.means.shape[1:])
        for number in range(len(similarity)):  # planes stay in the cache
            plane = similarity[number]
            first, second, squares, products = self.means[:, number]
            deviations = squares - (first * first + second * second)
            first_mean, second_mean = first + self.offsets[0], second + self.offsets[1]
            np.subtract(products, first * second, out=plane)
            plane *= 2 * correction
            plane += contrast
            plane *= 2 * first_mean * second_mean + luminance
            deviations *= correction
            deviations += contrast
            deviations *= first_mean * first_mean + second_mean * second_mean + luminance
            plane /= deviations
        if self.touched is not None:
            similarity[self.touched] = math.nan
        return similarity


def _typical(values: Array) -> float:
    """Return the median of some voxels, which outliers do not move as they do a mean."""
    step = max(1, math.ceil((values.size / SAMPLES) ** (1 / 3)))
    sample = values[::step, ::step, ::step].astype(np.float64)
    sample = sample[np.isfinite(sample)]
    return float(np.median(sample)) if sample.size else 0.0
