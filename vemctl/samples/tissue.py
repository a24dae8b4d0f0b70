"""Tissue as electron microscopy shows it, clean and as a fast scan.

`synthetic_em` paints tissue as serial block-face scans show it: dark membranes that continue from
slice to slice, mitochondria with cristae, myelin, vesicles, reticulum and a grainy cytoplasm.
`add_noise` adds the noise of a fast scan, `em_pair` does both.
"""

# ruff: noqa: TID253 (scipy is needed as soon as this module is; nothing imports it for --help)
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vemctl.samples.painting import (
    Double,
    Float,
    Rng,
    Triple,
    blend,
    check_shape,
    divide,
    edge,
    eight_bit,
    quanta,
    smooth_noise,
)

VOXEL_SIZE_NM = (50.0, 10.0, 10.0)
CELL_PIXELS = 46.0  # typical distance between the centres of neighbouring cells
ELONGATION = 1.6  # of the cells along z


@dataclass(frozen=True)
class SyntheticPair:
    """A clean volume and its noisy scan.

    Attributes
    ----------
    truth, noisy
        8-bit volumes of the same shape (z, y, x).
    voxel_size_nm
        Edge lengths of a voxel in nanometres, (z, y, x).
    """

    truth: NDArray[np.uint8]
    noisy: NDArray[np.uint8]
    voxel_size_nm: tuple[float, float, float] = VOXEL_SIZE_NM


@dataclass(frozen=True)
class _Cells:
    """Who owns each voxel, how far (in pixels) its membrane is, and the traits of each cell."""

    owner: NDArray[np.intp]  # (z, y, x)
    depth: Float  # (z, y, x)
    grey: Float  # (cells,)
    myelin: Float  # (cells,): thickness of the sheath in pixels, 0 for none
    vesicles: NDArray[np.bool_]  # (cells,)
    reticulum: NDArray[np.bool_]  # (cells,)


def synthetic_em(
    shape: Triple = (16, 256, 256),
    seed: int = 0,
    *,
    voxel_size_nm: tuple[float, float, float] = VOXEL_SIZE_NM,
) -> NDArray[np.uint8]:
    """Paint a volume of tissue.

    Parameters
    ----------
    shape
        Slices, rows and columns; each at least 1.
    seed
        Another seed is another piece of tissue.
    voxel_size_nm
        Edge lengths of a voxel, (z, y, x). Structures have a fixed size in pixels, so only z / x
        counts: how much the tissue changes from slice to slice.

    Returns
    -------
    ndarray of uint8
        Grey values, dark membranes on bright cytoplasm, (z, y, x).

    Raises
    ------
    ValueError
        If the shape is not three positive numbers.

    Examples
    --------
    >>> synthetic_em((2, 32, 48), seed=1).shape
    (2, 32, 48)
    """
    check_shape(shape)
    rng = np.random.Generator(np.random.PCG64(seed))
    step = voxel_size_nm[0] / voxel_size_nm[2]  # pixels from one slice to the next
    cells = _grow_cells(rng, shape, step)
    grain = smooth_noise(rng, shape, 1.1, step) + smooth_noise(rng, shape, 4.0, step)
    volume = cells.grey[cells.owner] + np.float32(0.022) * grain
    _paint_reticulum(rng, volume, cells, step)
    _paint_vesicles(rng, volume, cells, step)
    _paint_mitochondria(rng, volume, cells, step)
    _paint_membranes(volume, cells)
    volume = ndimage.gaussian_filter(volume, (0.0, 0.65, 0.65), mode="nearest")
    return eight_bit(volume)


def add_noise(
    volume: NDArray[np.uint8], seed: int = 0, *, electrons: float = 48.0, read_noise: float = 0.07
) -> NDArray[np.uint8]:
    """Add the noise of a fast scan: few electrons per pixel, and a noisy amplifier.

    Parameters
    ----------
    volume
        Clean 8-bit grey values.
    seed
        Seed of the noise.
    electrons
        Mean number of electrons that makes a white pixel (255); fewer are noisier.
    read_noise
        Standard deviation of the Gaussian part, as a fraction of the range of grey values.

    Returns
    -------
    ndarray of uint8
        Noisy grey values, rounded and clipped; with the defaults about 18 dB PSNR on tissue.
    """
    if not (electrons > 0 and read_noise >= 0):
        raise ValueError(
            f"expected electrons > 0 and read_noise >= 0, got {electrons}, {read_noise}"
        )
    rng = np.random.Generator(np.random.PCG64([seed, 1]))  # not the stream that painted the tissue
    return eight_bit(quanta(rng, volume, electrons, read_noise))


def em_pair(shape: Triple = (16, 256, 256), seed: int = 0) -> SyntheticPair:
    """Return a synthetic volume and a noisy scan of it; the same seed gives the same pair.

    Parameters
    ----------
    shape
        Slices, rows and columns.
    seed
        Seed of the tissue and of the noise.
    """
    truth = synthetic_em(shape, seed)
    return SyntheticPair(truth, add_noise(truth, seed))


def _grow_cells(rng: Rng, shape: Triple, step: float) -> _Cells:
    """Divide the volume among cells and give each its traits."""
    cells = divide(rng, shape, step, spacing=CELL_PIXELS, elongation=ELONGATION)
    radii, count = cells.radii, cells.radii.size
    myelinated = (rng.random(count) < 0.25) & (radii > 0.4 * CELL_PIXELS)
    return _Cells(
        owner=cells.owner,
        depth=cells.depth,
        grey=rng.uniform(0.60, 0.76, count).astype(np.float32),
        myelin=np.where(myelinated, rng.uniform(5.0, 9.0, count), 0.0).astype(np.float32),
        vesicles=(rng.random(count) < 0.35) & ~myelinated,
        reticulum=(rng.random(count) < 0.45) & ~myelinated,
    )


def _paint_membranes(volume: Float, cells: _Cells) -> None:
    """Draw a dark line where two cells meet, and the sheath of the myelinated ones."""
    thickness = cells.myelin[cells.owner]
    lamellae = 0.20 + 0.06 * np.sin(cells.depth * 2.0 * math.pi / 3.2)
    sheath = edge(thickness - cells.depth) * (thickness > 0)
    blend(volume, sheath, lamellae)
    blend(volume, 0.92 * np.exp(-((cells.depth / 1.5) ** 2)), 0.24)


def _paint_reticulum(rng: Rng, volume: Float, cells: _Cells, step: float) -> None:
    """Draw thin dark sheets, the level sets of a smooth field, and scattered dark granules."""
    field = smooth_noise(rng, volume.shape, 9.0, step)
    patchy = edge(4.0 * smooth_noise(rng, volume.shape, 16.0, step))
    inside = cells.reticulum[cells.owner] * edge(cells.depth - 5.0)
    blend(volume, 0.7 * np.exp(-((field / 0.10) ** 2)) * inside * patchy, 0.38)
    granules = edge(9.0 * (smooth_noise(rng, volume.shape, 1.5, step) - 2.5))
    blend(volume, 0.6 * granules, 0.40)


def _paint_vesicles(rng: Rng, volume: Float, cells: _Cells, step: float) -> None:
    """Draw small dark rings with a bright lumen, in crowds, in the cells that have vesicles."""
    crowd = smooth_noise(rng, volume.shape, 14.0, step)
    reach, window = 5, np.arange(-5, 6)
    for place in rng.uniform(0.0, 1.0, (int(volume.size * 0.007), 3)) * volume.shape:
        z, y, x = (int(value) for value in place)
        radius = rng.uniform(2.0, 2.9)
        wanted = cells.vesicles[cells.owner[z, y, x]] and cells.depth[z, y, x] > radius + 2.5
        whole = min(y, x, volume.shape[1] - 1 - y, volume.shape[2] - 1 - x) >= reach
        if not (wanted and whole and crowd[z, y, x] > 0.2):
            continue
        distance = np.hypot(window[:, None] - place[1] % 1, window - place[2] % 1)
        patch = volume[z, y - reach : y + reach + 1, x - reach : x + reach + 1]
        blend(patch, edge(radius - distance), 0.74)
        blend(patch, 0.75 * np.exp(-(((distance - radius) / 0.95) ** 2)), 0.33)


def _paint_mitochondria(rng: Rng, volume: Float, cells: _Cells, step: float) -> None:
    """Draw long warped ellipsoids with an envelope, a grey matrix and dark cristae across them."""
    extent = np.array(volume.shape) * (step, 1.0, 1.0)
    bend = 2.5 * smooth_noise(rng, volume.shape, 10.0, step)
    ripple = smooth_noise(rng, volume.shape, 5.0, step)
    for _ in range(int(np.prod(extent + 60.0) / 48.0**3) + 1):
        centre = rng.uniform(-30.0, extent + 30.0)
        axis = rng.standard_normal(3) * (1.6, 1.0, 1.0)
        axis /= math.sqrt(float(np.sum(axis**2)))
        half_length, radius = rng.uniform(35.0, 80.0), rng.uniform(8.5, 15.0)
        period, phase = rng.uniform(5.0, 7.5), rng.uniform(0.0, 2.0 * math.pi)
        matrix = rng.uniform(0.42, 0.52)
        across = np.array([-axis[2], axis[0], axis[1]])  # some direction that is not the axis
        box = np.abs(axis) * half_length + radius + 5.0
        start = np.clip(np.floor((centre - box) / (step, 1.0, 1.0)), 0, volume.shape).astype(int)
        stop = np.clip(np.ceil((centre + box) / (step, 1.0, 1.0)), 0, volume.shape).astype(int)
        if np.any(stop <= start):
            continue
        part = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        inside = tuple(np.clip(centre / (step, 1.0, 1.0), start, stop - 1).astype(int))
        home = cells.owner[inside]
        if cells.depth[inside] < radius * 0.5 + cells.myelin[home]:
            continue
        z, y, x = np.ogrid[part]
        offset = (z * step - centre[0], y - centre[1], x - centre[2])
        along = _projection(offset, axis)
        squared = sum(value**2 for value in offset) - along**2
        outer = np.sqrt(np.maximum(squared, 0.0) + (along * radius / half_length) ** 2)
        depth = radius + bend[part] - outer  # pixels below the surface
        room = cells.depth[part] - cells.myelin[home] - 4.0  # keeps clear of the cell's membrane
        depth = np.where(cells.owner[part] == home, np.minimum(depth, room), -9.0)
        wave = _projection(offset, 0.8 * axis + 0.6 * across)
        cristae = np.sin(wave * (2.0 * math.pi / period) + phase + 1.6 * ripple[part])
        inner = matrix - 0.13 * edge(3.0 * cristae) * edge(depth - 2.5)
        blend(volume[part], edge(depth), inner)
        blend(volume[part], 0.85 * np.exp(-(((depth - 0.5) / 1.2) ** 2)), 0.28)


def _projection(offset: tuple[Double, ...], direction: Double) -> Double:
    """Return how far offsets (z, y, x, broadcast against each other) reach along a direction."""
    z, y, x = (value * weight for value, weight in zip(offset, direction, strict=True))
    projection: Double = z + y + x
    return projection
