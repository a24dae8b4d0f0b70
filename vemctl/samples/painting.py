"""What all synthetic volumes are painted with: smooth noise, a division into cells, soft brushes.

Grey values are floats of [0, 1] until `eight_bit`; lengths are in pixels of the (y, x) plane.
"""

# ruff: noqa: TID253 (scipy is needed as soon as this module is; nothing imports it for --help)
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

NEIGHBOURS = 12  # nearest cell centres among which the owner of a voxel is looked for

Float = NDArray[np.float32]
Double = NDArray[np.float64]
Triple = tuple[int, int, int]
Rng = np.random.Generator


@dataclass(frozen=True)
class Territories:
    """Who owns each voxel of a volume.

    Attributes
    ----------
    owner
        Number of the cell, (z, y, x).
    depth
        About the pixels to the border of another cell; far from the centres of both it grows more
        slowly, (z, y, x).
    radii
        By how much cells reach further than their neighbours, in pixels, (cells,).
    """

    owner: NDArray[np.intp]
    depth: Float
    radii: Double


def check_shape(shape: Triple) -> None:
    """Raise `ValueError` if the shape is not three positive numbers."""
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"shape must be three positive numbers (z, y, x), got {shape}")


def smooth_noise(rng: Rng, shape: Triple, sigma: float, step: float) -> Float:
    """Return noise of mean 0 and deviation about 1 that varies over ``sigma`` pixels.

    ``step`` is the number of pixels from one slice to the next.
    """
    wanted = (sigma / step, sigma, sigma)
    strides = [max(1, int(value / 2)) for value in wanted]  # a coarser grid loses nothing
    coarse = [math.ceil(size / by) + 1 for size, by in zip(shape, strides, strict=True)]
    sigmas = [value / by for value, by in zip(wanted, strides, strict=True)]
    noise = rng.standard_normal(coarse, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, sigmas, mode="wrap")
    variance = math.prod(min(1.0, 0.5 / math.sqrt(math.pi) / value) for value in sigmas)
    noise /= np.float32(math.sqrt(variance))  # what the filter leaves of it
    fine: Float = ndimage.zoom(noise, strides, order=1) if max(strides) > 1 else noise
    return fine[: shape[0], : shape[1], : shape[2]]


def divide(
    rng: Rng, shape: Triple, step: float, *, spacing: float, elongation: float
) -> Territories:
    """Divide a volume among cells: the Voronoi cells of weighted points, in warped space.

    Parameters
    ----------
    rng
        Where the cells come from.
    shape
        Slices, rows and columns.
    step
        Pixels from one slice to the next.
    spacing
        Typical distance between the centres of neighbouring cells, in pixels.
    elongation
        Of the cells along z.
    """
    margin = 1.5 * spacing
    high = np.array([shape[0] * step / elongation, *shape[1:]]) + margin
    count = max(NEIGHBOURS + 1, int(np.prod((high + margin) / spacing)))
    centres = rng.uniform(-margin, high, (count, 3))
    radii = np.minimum(rng.gamma(3.0, 0.10, count), 0.65) * spacing
    tree = cKDTree(centres)
    warps = [
        7.0 * smooth_noise(rng, shape, 22.0, step) + 1.6 * smooth_noise(rng, shape, 6.0, step)
        for _ in range(3)
    ]
    owner = np.empty(shape, np.intp)
    depth = np.empty(shape, np.float32)
    rows, columns = np.mgrid[: shape[1], : shape[2]].astype(np.float32)
    for z in range(shape[0]):  # slice by slice, to keep the memory small
        place = [z * step / elongation + warps[0][z], rows + warps[1][z], columns + warps[2][z]]
        distance, index = tree.query(np.stack(place, -1), NEIGHBOURS)  # (y, x, neighbours)
        distance = distance - radii[index]
        nearest = np.argsort(distance, -1, kind="stable")[..., :2]
        first, second = np.moveaxis(np.take_along_axis(distance, nearest, -1), -1, 0)
        owner[z] = np.take_along_axis(index, nearest[..., :1], -1)[..., 0]
        depth[z] = 0.5 * (second - first)
    return Territories(owner, depth, radii)


def quanta(rng: Rng, volume: NDArray[np.uint8], white: float, read_noise: float) -> Float:
    """Return grey values of [0, 1] as counted by a detector: ``white`` quanta on average for 255.

    ``read_noise`` is the standard deviation of the Gaussian part, as a fraction of the range.
    """
    counted: Float = rng.poisson(volume * (white / 255.0)).astype(np.float32) / np.float32(white)
    counted += np.float32(read_noise) * rng.standard_normal(volume.shape, dtype=np.float32)
    return counted


def blend(target: Float, weight: NDArray[np.floating], grey: float | NDArray[np.floating]) -> None:
    """Paint over a part of the volume, in place, as thickly as the weight (0 to 1) says."""
    target += weight * (grey - target)


def edge(distance: NDArray[np.floating]) -> Float:
    """Return 1 well inside (positive pixels), 0 well outside, and a soft edge between."""
    soft: Float = np.clip(distance + 0.5, 0.0, 1.0).astype(np.float32)
    return soft


def eight_bit(volume: Float) -> NDArray[np.uint8]:
    """Return grey values of [0, 1] as 0..255, rounded and clipped."""
    rounded: NDArray[np.uint8] = np.rint(np.clip(volume, 0.0, 1.0) * 255.0).astype(np.uint8)
    return rounded
