"""A specimen on a mirror under a lattice light-sheet microscope, together with its mirror image.

The coverslip is a mirror, so that the microscope shows each point twice: where it is, and on the
other side of the mirror. Both images are blurred along the same axis, which is tilted against the
normal of the coverslip; seen from the mirror, the two are blurred along different axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vemctl.samples.dual_views import FWHM_NM, VOXEL_NM, check_light
from vemctl.samples.filaments import Grid, Specimen, Structure, image
from vemctl.samples.lattice import (
    ANGLE_DEGREES,
    FINER,
    INPUT_FWHM_NM,
    PATTERN_DEPTH,
    PATTERN_NM,
    PHASES,
    PIXEL_NM,
    TRUTH_COUNTS,
    TRUTH_FWHM_NM,
    TRUTH_NOISE,
    Counts,
    displaced,
    exposed,
    rng_of,
    sixteen_bit,
)
from vemctl.samples.mirrored import PLANE_NM, Mirror
from vemctl.samples.painting import Triple, check_shape

STAGE_STEP_NM = PLANE_NM / math.sin(math.radians(ANGLE_DEGREES))  # along the way of the stage
LOST_PLANES = 3  # at either end, which super-resolution leaves out
THICKNESS_NM = 2500.0  # of the cell that lies on the mirror
REFLECTANCE = 0.8
AXIAL_FWHM_NM = FWHM_NM[0]
STACK_BACKGROUND = 20.0  # counts of a super-resolved stack


@dataclass(frozen=True)
class ReflectiveRaw:
    """What a reflective lattice light-sheet microscope with structured illumination writes.

    Arrays are as their files have them: see `vemctl.samples.LatticeRaw`.

    Attributes
    ----------
    phases
        Camera counts, (rows, columns, 3 planes): sections 3 i to 3 i + 2 are plane i. Larger rows
        show the reflected image.
    mirror_plane
        Where the mirror is in what is got of it by deskewing, super-resolution, which leaves out
        three planes at either end, and rotation: see `ReflectiveStack`.
    tilt, angle_x
        Degrees; see `ReflectiveStack`.
    spacing_um
        Micrometres from voxel to voxel along the axes of the array; the third is the stage's step.
    angle_degrees
        Between the way of the stage and the light sheet.
    """

    phases: Counts
    mirror_plane: float
    tilt: float
    angle_x: float
    spacing_um: tuple[float, float, float] = (
        PIXEL_NM / 1000.0,
        PIXEL_NM / 1000.0,
        STAGE_STEP_NM / 1000.0,
    )
    angle_degrees: float = ANGLE_DEGREES


@dataclass(frozen=True)
class ReflectiveStack:
    """The same, deskewed and super-resolved as perfectly as can be.

    Attributes
    ----------
    stack
        Counts over a background of 20, (z, y, x).
    mirror_plane
        Plane of the mirror, from 0, once the stack is rotated by the tilt about x and by the other
        angle about y, and cropped to as many voxels as it had, which are cubes of 61.7 nm then. A
        mirror halfway between two planes has .5.
    tilt, angle_x
        Degrees by which the stack has to be rotated.
    voxel_size_nm
        Edge lengths of a voxel in nanometres, (z, y, x).
    """

    stack: Counts
    mirror_plane: float
    tilt: float
    angle_x: float
    voxel_size_nm: tuple[float, float, float] = (PLANE_NM, VOXEL_NM, VOXEL_NM)


def reflective_stack(
    seed: int = 0,
    shape: Triple = (48, 176, 96),
    *,
    tilt: float = ANGLE_DEGREES,
    angle_x: float = 0.0,
    mirror_nm: float = 0.0,
    thickness_nm: float = THICKNESS_NM,
    reflectance: float = REFLECTANCE,
    axial_fwhm_nm: float = AXIAL_FWHM_NM,
    structure: Structure = "filaments",
) -> ReflectiveStack:
    """Show a specimen and its mirror image, super-resolved in the plane.

    Parameters
    ----------
    seed
        Another seed is another specimen, and other noise.
    shape
        Planes, rows and columns of the camera, once deskewed: the stack has half as many rows and
        columns more.
    tilt
        Degrees between the detection axis and the normal of the coverslip, from 0 to below 90.
    angle_x
        Degrees by which the coverslip is tilted otherwise, in the plane of its normal and x.
    mirror_nm
        How far the mirror lies from the middle of the stack, along its normal.
    thickness_nm
        How far the specimen reaches from the mirror.
    reflectance
        How bright the mirror image is, the specimen being 1.
    axial_fwhm_nm
        Full width at half maximum of the blur along the detection axis.
    structure
        ``filaments``, mostly parallel to the coverslip, or ``puncta``.

    Returns
    -------
    ReflectiveStack
        The stack, of 16 bits, and where its mirror is.

    Raises
    ------
    ValueError
        If the shape is not three positive numbers, a length not positive, the reflectance or an
        angle not possible, or the structure unknown.

    Examples
    --------
    >>> sample = reflective_stack(1, (8, 24, 20), mirror_nm=61.7)
    >>> sample.stack.shape, round(sample.mirror_plane, 2)
    ((8, 36, 30), 4.0)
    """
    check_light(1.0, structure)
    mirror = Mirror(tilt, angle_x, mirror_nm, thickness_nm, reflectance)
    grid = _grid(shape)
    specimen = _specimen(seed, grid, mirror, structure, axial_fwhm_nm)
    lateral = TRUTH_FWHM_NM[2]
    lit = np.ones((1, len(specimen.places)))
    shown = image(specimen, grid, (axial_fwhm_nm, lateral, lateral), lit)[:, 0]
    noise = TRUTH_NOISE * rng_of(seed, 13).standard_normal(shown.shape)
    counts = sixteen_bit(TRUTH_COUNTS * shown + STACK_BACKGROUND + noise)
    return ReflectiveStack(counts, mirror.plane(grid.shape), tilt, angle_x)


def reflective_raw(
    seed: int = 0,
    shape: Triple = (48, 176, 96),
    *,
    tilt: float = ANGLE_DEGREES,
    angle_x: float = 0.0,
    mirror_nm: float = 0.0,
    thickness_nm: float = THICKNESS_NM,
    reflectance: float = REFLECTANCE,
    axial_fwhm_nm: float = AXIAL_FWHM_NM,
    signal: float = 200.0,
    structure: Structure = "filaments",
) -> ReflectiveRaw:
    """Return what the microscope writes of the specimen that `reflective_stack` shows.

    Planes are 92.6 nm apart, as pixels are, and the stage moves along the coverslip where the tilt
    is that of the light sheet: then the mirror is at the same row in all planes. Deskewed, the
    mean of the phases is the stack of the same arguments with the resolution and the pixels of the
    camera, but for the corners into which displaced planes do not reach.

    Parameters
    ----------
    seed, shape, tilt, angle_x, mirror_nm, thickness_nm, reflectance, axial_fwhm_nm, structure
        As those of `reflective_stack`.
    signal
        Mean number of photons, each a count, of the peak of the brightest lone filament or punctum
        in the mean of the phases.

    Returns
    -------
    ReflectiveRaw
        Phases of 16 bits, and where the mirror will be.

    Raises
    ------
    ValueError
        As `reflective_stack` does, and if the signal is not positive or planes are displaced by
        more rows than there are.

    Examples
    --------
    >>> raw = reflective_raw(1, (8, 64, 30))
    >>> raw.phases.shape, round(raw.mirror_plane, 2)
    ((50, 30, 24), 0.5)
    """
    check_light(signal, structure)
    mirror = Mirror(tilt, angle_x, mirror_nm, thickness_nm, reflectance)
    grid = _grid(shape)
    specimen = _specimen(seed, grid, mirror, structure, axial_fwhm_nm)
    x = specimen.places[:, 2] * (2.0 * math.pi / PATTERN_NM)
    turns = 2.0 * math.pi * np.arange(PHASES) / PHASES
    stripes = 1.0 + PATTERN_DEPTH * np.cos(x - turns[:, None])
    camera = displaced(Grid(shape, (PLANE_NM, PIXEL_NM, PIXEL_NM)), STAGE_STEP_NM)
    shown = image(specimen, camera, (axial_fwhm_nm, *INPUT_FWHM_NM[1:]), stripes)
    phases = exposed(rng_of(seed, 14), signal * shown.reshape(-1, *shown.shape[2:]))
    planes, rows, columns = grid.shape
    left = (max(1, planes - 2 * LOST_PLANES), rows, columns)
    return ReflectiveRaw(
        np.asfortranarray(phases.transpose(1, 2, 0)), mirror.plane(left), tilt, angle_x
    )


def _grid(shape: Triple) -> Grid:
    """Return the voxels of a super-resolved stack; the shape is that of the camera's."""
    check_shape(shape)
    planes, rows, columns = shape
    fine = planes, math.floor(FINER * rows), math.floor(FINER * columns)
    return Grid(fine, (PLANE_NM, VOXEL_NM, VOXEL_NM))


def _specimen(
    seed: int, grid: Grid, mirror: Mirror, structure: Structure, axial_fwhm_nm: float
) -> Specimen:
    """Return what is seen in a stack, with its mirror image."""
    if not axial_fwhm_nm > 0:
        raise ValueError(f"expected axial_fwhm_nm > 0, got {axial_fwhm_nm}")
    extent = np.array(grid.shape) * grid.voxel_size_nm
    return mirror.doubled(rng_of(seed, 12), extent, structure)
