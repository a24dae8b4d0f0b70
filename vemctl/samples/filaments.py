"""A specimen of fluorescent points: what lies where, and the image of it on any grid.

Points lie along smooth filaments, or alone; positions are nanometres, (z, y, x). The image of a
point is a Gaussian, evaluated at the centres of voxels and not drawn on a finer grid first. As its
standard deviation is about a pixel or more, sampling changes neither its sum nor its centre, and
images on different grids are in register exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vemctl.samples.painting import Double, Rng, Triple

Structure = Literal["filaments", "puncta"]

POINT_STEP_NM = 75.0  # between the points of a filament: no blur from 140 nm up shows them
FILAMENT_DENSITY = 0.25  # filaments that have their middle in a cubic micrometre
FILAMENT_LENGTHS_NM = (3000.0, 9000.0)
PUNCTUM_DENSITY = 1.5  # puncta in a cubic micrometre
BRIGHTNESS = (0.3, 1.0)  # of a filament or a punctum, the least and the greatest
REACH = 4.0  # standard deviations within which a point has an image
FWHM_PER_DEVIATION = 2.0 * math.sqrt(2.0 * math.log(2.0))


@dataclass(frozen=True)
class Specimen:
    """Fluorescent points.

    Attributes
    ----------
    places
        Nanometres, (points, 3), each (z, y, x).
    brightness
        Of each point, (points,): so that the image of a lone filament or punctum has a peak of 0.3
        to 1, seen in focus with the blur that the specimen was made for.
    """

    places: Double
    brightness: Double


@dataclass(frozen=True)
class Grid:
    """Where the voxels of an image lie.

    Attributes
    ----------
    shape
        (z, y, x).
    voxel_size_nm
        (z, y, x); the first voxel begins at 0, so that its centre is half a voxel from there.
    row_shifts
        By how many rows each plane is displaced: row r of plane i shows what row
        ``r - row_shifts[i]`` shows without it, (z,). None displaces no plane.
    """

    shape: Triple
    voxel_size_nm: tuple[float, float, float]
    row_shifts: Double | None = None


def fluorescent(rng: Rng, extent_nm: Double, structure: Structure, fwhm_nm: float) -> Specimen:
    """Scatter filaments or puncta over a box, which they may leave.

    Parameters
    ----------
    rng
        Where they come from.
    extent_nm
        Edge lengths of the box that begins at 0, (z, y, x).
    structure
        ``filaments``, mostly in the (y, x) plane, or ``puncta``.
    fwhm_nm
        Full width at half maximum, across a filament, of the blur with which peaks are 0.3 to 1.
    """
    if structure == "puncta":
        margin = np.full(3, 500.0)
        count = max(1, round(PUNCTUM_DENSITY * _cubic_micrometres(extent_nm + 2.0 * margin)))
        places = rng.uniform(-margin, extent_nm + margin, (count, 3))
        return Specimen(places, rng.uniform(*BRIGHTNESS, count))
    margin = np.array([500.0, 3000.0, 3000.0])  # from where some still reach into the box
    count = max(1, round(FILAMENT_DENSITY * _cubic_micrometres(extent_nm + 2.0 * margin)))
    # Points of this brightness, side by side, add up to a ridge of height 1.
    alone = POINT_STEP_NM / (math.sqrt(2.0 * math.pi) * fwhm_nm / FWHM_PER_DEVIATION)
    curves = [_curve(rng, rng.uniform(-margin, extent_nm + margin)) for _ in range(count)]
    brightness = alone * rng.uniform(*BRIGHTNESS, count)
    return Specimen(np.concatenate(curves), np.repeat(brightness, [len(each) for each in curves]))


def image(
    specimen: Specimen, grid: Grid, fwhm_nm: tuple[float, float, float], weights: Double
) -> Double:
    """Return what a microscope of Gaussian blur shows of a specimen.

    Parameters
    ----------
    specimen
        Fluorescent points.
    grid
        The voxels of the image.
    fwhm_nm
        Full widths at half maximum of the blur, (z, y, x).
    weights
        How brightly each point is lit, in each of a number of exposures, (exposures, points).

    Returns
    -------
    ndarray
        (z, exposures, y, x). A point of brightness 1 has a peak of its weight.
    """
    planes, rows, columns = grid.shape
    canvas = np.zeros((planes, len(weights), rows, columns))
    shifts = np.zeros(planes) if grid.row_shifts is None else grid.row_shifts
    deviations = np.array(fwhm_nm) / FWHM_PER_DEVIATION / grid.voxel_size_nm
    centres = specimen.places / grid.voxel_size_nm - 0.5  # voxels
    reach = REACH * deviations + (0.0, np.abs(shifts).max(), 0.0)
    seen = np.all((centres > -reach) & (centres < grid.shape + reach), axis=1)
    amplitudes = (weights * specimen.brightness).T[seen]
    for centre, amplitude in zip(centres[seen], amplitudes, strict=True):
        z = _window(centre[0], centre[0], deviations[0], planes)
        x = _window(centre[2], centre[2], deviations[2], columns)
        if not (z.size and x.size):
            continue
        row = centre[1] + shifts[z]  # in each of these planes
        y = _window(row.min(), row.max(), deviations[1], rows)
        if not y.size:
            continue
        across = np.exp(-0.5 * ((y - row[:, None]) / deviations[1]) ** 2)  # (z, y)
        across *= np.exp(-0.5 * ((z - centre[0]) / deviations[0]) ** 2)[:, None]
        along = np.exp(-0.5 * ((x - centre[2]) / deviations[2]) ** 2)
        part = canvas[z[0] : z[-1] + 1, :, y[0] : y[-1] + 1, x[0] : x[-1] + 1]
        part += (amplitude[:, None] * across[:, None, :])[..., None] * along
    return canvas


def _curve(rng: Rng, middle: Double) -> Double:
    """Return the points of a filament whose direction swings slowly, (points, 3) nanometres."""
    length = rng.uniform(*FILAMENT_LENGTHS_NM)
    way = np.arange(0.0, length, POINT_STEP_NM)
    angle = np.full(way.size, rng.uniform(0.0, 2.0 * math.pi))
    for swing, period in ((0.5, 6000.0), (0.2, 2000.0)):  # radians, nanometres
        waves = way / (period * rng.uniform(0.7, 1.4)) + rng.uniform(0.0, 1.0)
        angle += swing * rng.uniform(0.0, 1.0) * np.sin(2.0 * math.pi * waves)
    rise = 0.08 * float(rng.standard_normal())  # out of the plane, in radians
    steps = POINT_STEP_NM * np.stack(
        [
            np.full(way.size, math.sin(rise)),
            math.cos(rise) * np.sin(angle),
            math.cos(rise) * np.cos(angle),
        ],
        axis=-1,
    )
    points: Double = np.cumsum(steps, axis=0)
    points += middle - points[way.size // 2]
    return points


def _window(low: float, high: float, deviation: float, size: int) -> NDArray[np.intp]:
    """Return the indices within the reach of a Gaussian whose centre is from `low` to `high`."""
    reach = REACH * deviation
    return np.arange(max(0, math.ceil(low - reach)), min(size, math.floor(high + reach) + 1))


def _cubic_micrometres(extent_nm: Double) -> float:
    """Return the volume of a box."""
    return float(np.prod(extent_nm / 1000.0))
