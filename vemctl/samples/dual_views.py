"""A specimen as a reflective light-sheet microscope shows it: two blurred views of the same.

Each view is blurred most along its own detection axis, which is tilted against z. The image of a
point is an oblique Gaussian then. Within each plane it is an upright Gaussian, whose centre moves
along x from plane to plane by the same step; so it is painted as an upright one on a grid whose
planes are displaced.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vemctl.samples.filaments import (
    FWHM_PER_DEVIATION,
    Grid,
    Specimen,
    Structure,
    fluorescent,
    image,
)
from vemctl.samples.lattice import ANGLE_DEGREES, FINER, PIXEL_NM, Counts, exposed, rng_of
from vemctl.samples.painting import Double, Float, Triple, check_shape, smooth_noise

VOXEL_NM = PIXEL_NM / FINER  # isotropic
FWHM_NM = (11.2 * VOXEL_NM, 3.5 * VOXEL_NM)  # along the detection axis, and across it
HAZE_PHOTONS = 10.0  # mean of what is out of focus
HAZE_NM = 1500.0  # over which it varies
HAZE_DEVIATION = 0.4  # of its mean
PSF_REACH = 3.0  # standard deviations, at least


@dataclass(frozen=True)
class DualView:
    """One specimen in both views, and as it is.

    In all of them z grows towards the mirror, and voxels are the same.

    Attributes
    ----------
    view_a, view_b
        Photons counted, (z, y, x): by the direct view, whose blur is longest along (x, z) =
        (sin t, cos t) for a tilt of t, and by the reflected one, along (-sin t, cos t).
    truth
        What a microscope shows whose blur has the lateral width along all axes, without noise and
        haze, in the photons of the views, (z, y, x). A point has as much light as in each view.
    psf_a, psf_b
        Images of a point by each view, of odd sides 4 k + 1 and a sum of 1, (z, y, x).
    voxel_size_nm
        Edge lengths of a voxel in nanometres, (z, y, x).
    tilt
        Degrees between the detection axes and z.
    """

    view_a: Counts
    view_b: Counts
    truth: Float
    psf_a: Float
    psf_b: Float
    voxel_size_nm: tuple[float, float, float]
    tilt: float


def dual_view(
    seed: int = 0,
    shape: Triple = (32, 64, 64),
    *,
    voxel_size_nm: float = VOXEL_NM,
    fwhm_nm: tuple[float, float] = FWHM_NM,
    tilt: float = ANGLE_DEGREES,
    signal: float = 200.0,
    haze: float = HAZE_PHOTONS,
    structure: Structure = "filaments",
) -> DualView:
    """Show a specimen in two views that are blurred along different axes.

    Parameters
    ----------
    seed
        Another seed is another specimen, and other noise.
    shape
        Planes, rows and columns, of the truth too.
    voxel_size_nm
        Edge of a voxel, the same along all axes; the specimen does not depend on it but for the
        box that it fills.
    fwhm_nm
        Full widths at half maximum of the blur of a view, along its detection axis and across it.
    tilt
        Degrees between the detection axes and z, from 0 to below 90.
    signal
        Mean number of photons of the peak of the brightest lone punctum, or of the brightest lone
        filament along y, in each view; the specimen does not depend on it.
    haze
        Mean number of photons in a voxel that are out of focus. Both views have the same haze.
    structure
        ``filaments`` or ``puncta``.

    Returns
    -------
    DualView
        Views, truth and images of a point.

    Raises
    ------
    ValueError
        If the shape is not three positive numbers, a length or the signal not positive, the blur
        wider across the detection axis than along it, the tilt or the haze not possible, or the
        structure unknown.

    Examples
    --------
    >>> sample = dual_view(1, (12, 16, 21))
    >>> sample.view_a.shape, sample.truth.dtype.name, sample.psf_b.shape
    ((12, 16, 21), 'float32', (33, 33, 33))
    """
    check_shape(shape)
    check_light(signal, structure)
    axial, lateral = fwhm_nm
    if not (voxel_size_nm > 0 and axial >= lateral > 0):
        raise ValueError(
            "expected lengths above 0 and a blur that is longest along the detection axis, got "
            f"voxels of {voxel_size_nm} nm and widths of {axial} and {lateral} nm"
        )
    if not 0 <= tilt < 90:
        raise ValueError(f"expected a tilt of 0 to below 90 degrees, got {tilt}")
    if not haze >= 0:
        raise ValueError(f"expected haze >= 0, got {haze}")
    grid = Grid(shape, (voxel_size_nm,) * 3)
    specimen = fluorescent(rng_of(seed, 8), np.array(shape) * voxel_size_nm, structure, lateral)
    veil = haze * _uneven(seed, shape, voxel_size_nm)
    shown = [signal * oblique(specimen, grid, fwhm_nm, lean) + veil for lean in (tilt, -tilt)]
    views = [exposed(rng_of(seed, 10 + i), photons, 0.0) for i, photons in enumerate(shown)]
    lit = np.ones((1, len(specimen.places)))
    sharp = image(specimen, grid, (lateral, lateral, lateral), lit)[:, 0]
    psfs = [point_image(voxel_size_nm, fwhm_nm, lean) for lean in (tilt, -tilt)]
    truth = (signal * axial / lateral * sharp).astype(np.float32)
    return DualView(views[0], views[1], truth, psfs[0], psfs[1], (voxel_size_nm,) * 3, tilt)


def oblique(specimen: Specimen, grid: Grid, fwhm_nm: tuple[float, float], lean: float) -> Double:
    """Return what a view shows of a specimen whose detection axis is tilted in the (x, z) plane.

    Parameters
    ----------
    specimen
        Fluorescent points.
    grid
        The voxels of the image, undisplaced and as long along x as along z.
    fwhm_nm
        Full widths at half maximum of the blur, along the detection axis and across it.
    lean
        Degrees from the z axis to the detection axis, towards x.

    Returns
    -------
    ndarray
        (z, y, x). A point of brightness 1 has a peak of 1.
    """
    along, across = fwhm_nm
    z_z, x_z = _covariances(fwhm_nm, lean)
    step = x_z / z_z  # voxels along x, from plane to plane
    in_plane = along * across / math.sqrt(z_z)  # width along x of what a plane shows
    planes, rows, columns = grid.shape
    depth, height, width = grid.voxel_size_nm
    z, y, x = specimen.places.T
    # The second axis is that along which planes are displaced: x, here.
    turned = Specimen(np.stack([z, x - step * (z - 0.5 * depth), y], axis=-1), specimen.brightness)
    turned_grid = Grid(
        (planes, columns, rows), (depth, width, height), step * np.arange(float(planes))
    )
    lit = np.ones((1, len(z)))
    shown = image(turned, turned_grid, (math.sqrt(z_z), in_plane, across), lit)
    return shown[:, 0].transpose(0, 2, 1)


def point_image(voxel_size_nm: float, fwhm_nm: tuple[float, float], lean: float) -> Float:
    """Return the image of a point in the middle of a cube of voxels, with a sum of 1.

    Parameters
    ----------
    voxel_size_nm
        Edge of a voxel.
    fwhm_nm, lean
        As those of `oblique`.

    Returns
    -------
    ndarray
        (z, y, x), of the least odd side 4 k + 1 that has three standard deviations to each side.
    """
    deviation = max(fwhm_nm) / FWHM_PER_DEVIATION / voxel_size_nm
    side = 4 * math.ceil(PSF_REACH * deviation / 2.0) + 1
    middle = np.full((1, 3), 0.5 * side * voxel_size_nm)
    grid = Grid((side, side, side), (voxel_size_nm,) * 3)
    psf = oblique(Specimen(middle, np.ones(1)), grid, fwhm_nm, lean)
    return np.ascontiguousarray(psf / psf.sum(), np.float32)


def check_light(signal: float, structure: str) -> None:
    """Raise `ValueError` if there is no light or an unknown structure."""
    if not signal > 0:
        raise ValueError(f"expected signal > 0, got {signal}")
    if structure not in ("filaments", "puncta"):
        raise ValueError(f"expected structure to be filaments or puncta, got {structure!r}")


def _covariances(fwhm_nm: tuple[float, float], lean: float) -> tuple[float, float]:
    """Return those of z and z, and of x and z, of a Gaussian; here of squared full widths."""
    along, across = fwhm_nm
    sine, cosine = math.sin(math.radians(lean)), math.cos(math.radians(lean))
    more = along**2 - across**2
    return across**2 + more * cosine**2, more * sine * cosine


def _uneven(seed: int, shape: Triple, voxel_size_nm: float) -> Double:
    """Return how bright haze is, about 1, (z, y, x)."""
    noise = smooth_noise(rng_of(seed, 9), shape, HAZE_NM / voxel_size_nm, 1.0)
    even: Double = np.maximum(1.0 + HAZE_DEVIATION * noise.astype(np.float64), 0.0)
    return even
