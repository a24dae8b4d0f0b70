"""A specimen under a lattice light-sheet microscope, diffraction-limited and super-resolved.

`lattice_pair` shows filaments or puncta twice, in register: as the microscope shows them, and as
structured illumination with a pattern of one orientation does, which resolves more along x only.
`lattice_raw` is what the microscope writes of the same: the stage moves the specimen at an angle to
the light sheet, so that planes are displaced, and there are three exposures of each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from vemctl.samples.filaments import Grid, Specimen, Structure, fluorescent, image
from vemctl.samples.painting import Double, Rng, Triple, check_shape

PIXEL_NM = 92.6  # of the camera, in the specimen
FINER = 1.5  # pixels of the truth along the edge of a pixel of the camera
STAGE_STEP_NM = 200.0  # from plane to plane, along the way of the stage
ANGLE_DEGREES = 30.8  # between the way of the stage and the light sheet
PLANE_NM = STAGE_STEP_NM * math.sin(math.radians(ANGLE_DEGREES))  # from plane to plane, across them
INPUT_FWHM_NM = (500.0, 250.0, 250.0)  # of a detection NA of 1.0 at 520 nm
TRUTH_FWHM_NM = (500.0, 250.0, 140.0)
PATTERN_NM = 616.0  # period of the illumination, along x
PATTERN_DEPTH = 0.8  # 1 is dark between the stripes
PHASES = 3
BACKGROUND = 100.0  # counts of the camera without light
READ_NOISE = 2.0  # standard deviation in counts
TRUTH_COUNTS = 4000.0  # of the peak of a bright filament that runs along x
TRUTH_NOISE = 8.0  # standard deviation in counts
PHOTON_STEPS = 16.0  # steps to a photon, to which means are rounded: see `exposed`

Counts = NDArray[np.uint16]


@dataclass(frozen=True)
class LatticePair:
    """One specimen as it is and as it could be seen.

    Attributes
    ----------
    input
        Camera counts over a background of 100, (z, y, x).
    truth
        The same scene, super-resolved along x only, over a background of 0,
        (z, floor(1.5 y), floor(1.5 x)). Pixel i of the input has its centre at
        (i + 0.5) * 1.5 - 0.5 of the truth.
    voxel_size_nm, truth_voxel_size_nm
        Edge lengths of their voxels in nanometres, (z, y, x).
    """

    input: Counts
    truth: Counts
    voxel_size_nm: tuple[float, float, float] = (PLANE_NM, PIXEL_NM, PIXEL_NM)
    truth_voxel_size_nm: tuple[float, float, float] = (PLANE_NM, PIXEL_NM / FINER, PIXEL_NM / FINER)


@dataclass(frozen=True)
class LatticeRaw:
    """What a lattice light-sheet microscope with structured illumination writes.

    Arrays are as their files have them, first the axis that varies fastest and along which planes
    are displaced. That is y of the deskewed volume; the second is its x, along which the stripes
    of the illumination change.

    Attributes
    ----------
    phases
        Camera counts, (rows, columns, 3 planes): sections 3 i to 3 i + 2 are plane i, with the
        stripes moved on by a third of their period from each to the next.
    truth
        What is reconstructed of a good exposure, (rows, columns, planes), as displaced.
    spacing_um, truth_spacing_um
        Micrometres from voxel to voxel along these three axes; the third is the stage's step.
    angle_degrees
        Between the way of the stage and the light sheet.
    """

    phases: Counts
    truth: Counts
    spacing_um: tuple[float, float, float] = (
        PIXEL_NM / 1000.0,
        PIXEL_NM / 1000.0,
        STAGE_STEP_NM / 1000.0,
    )
    truth_spacing_um: tuple[float, float, float] = (
        PIXEL_NM / FINER / 1000.0,
        PIXEL_NM / FINER / 1000.0,
        STAGE_STEP_NM / 1000.0,
    )
    angle_degrees: float = ANGLE_DEGREES


def lattice_pair(
    seed: int = 0,
    shape: Triple = (24, 96, 96),
    *,
    signal: float = 200.0,
    structure: Structure = "filaments",
) -> LatticePair:
    """Show a specimen with and without super-resolution along x.

    Parameters
    ----------
    seed
        Another seed is another specimen, and other noise.
    shape
        Planes, rows and columns of the input.
    signal
        Mean number of photons, each a count, of the peak of the brightest lone filament or punctum;
        the specimen and the truth do not depend on it.
    structure
        ``filaments`` or ``puncta``.

    Returns
    -------
    LatticePair
        Input and truth, of 16 bits.

    Raises
    ------
    ValueError
        If the shape is not three positive numbers, the signal not positive or the structure
        unknown.

    Examples
    --------
    >>> pair = lattice_pair(1, (3, 16, 21))
    >>> pair.input.shape, pair.truth.shape
    ((3, 16, 21), (3, 24, 31))
    """
    specimen = _specimen(seed, shape, signal, structure)
    lit = np.ones((1, len(specimen.places)))
    scene = image(specimen, _grid(shape), INPUT_FWHM_NM, lit)[:, 0]
    fine = image(specimen, _grid(_finer(shape), FINER), TRUTH_FWHM_NM, lit)[:, 0]
    return LatticePair(
        exposed(rng_of(seed, 4), signal * scene), _reconstructed(rng_of(seed, 5), fine)
    )


def lattice_raw(
    seed: int = 0,
    shape: Triple = (24, 96, 96),
    *,
    signal: float = 200.0,
    structure: Structure = "filaments",
) -> LatticeRaw:
    """Return what the microscope writes of the specimen that `lattice_pair` shows.

    The mean of the phases, deskewed, is the input of that pair (with less noise, as each phase has
    the photons of that input) and the truth, deskewed, its truth; but for the corners into which
    displaced planes do not reach. There are as many rows as a deskewed volume of the pair's shape
    is made of: fewer than it has, by the displacement from the first plane to the last.

    Parameters
    ----------
    seed, shape, signal, structure
        As those of `lattice_pair`: the shape is that of the deskewed volume, (z, y, x).

    Returns
    -------
    LatticeRaw
        Phases and displaced truth, of 16 bits.

    Raises
    ------
    ValueError
        As `lattice_pair` does, and if planes are displaced by more rows than there are.

    Examples
    --------
    >>> raw = lattice_raw(1, (8, 64, 30))
    >>> raw.phases.shape, raw.truth.shape
    ((49, 30, 24), (73, 45, 8))
    """
    specimen = _specimen(seed, shape, signal, structure)
    x = specimen.places[:, 2] * (2.0 * math.pi / PATTERN_NM)
    turns = 2.0 * math.pi * np.arange(PHASES) / PHASES
    stripes = 1.0 + PATTERN_DEPTH * np.cos(x - turns[:, None])  # (phases, points); their mean is 1
    scene = image(specimen, displaced(_grid(shape)), INPUT_FWHM_NM, stripes)
    fine = image(
        specimen,
        displaced(_grid(_finer(shape), FINER)),
        TRUTH_FWHM_NM,
        np.ones((1, len(specimen.places))),
    )
    phases = exposed(rng_of(seed, 6), signal * scene.reshape(-1, *scene.shape[2:]))
    return LatticeRaw(
        np.asfortranarray(phases.transpose(1, 2, 0)),
        np.asfortranarray(_reconstructed(rng_of(seed, 7), fine[:, 0]).transpose(1, 2, 0)),
    )


def _specimen(seed: int, shape: Triple, signal: float, structure: str) -> Specimen:
    """Return what is seen in a volume of this shape."""
    check_shape(shape)
    if not signal > 0:
        raise ValueError(f"expected signal > 0, got {signal}")
    for known in get_args(Structure):
        if structure == known:
            extent = np.array(shape) * (PLANE_NM, PIXEL_NM, PIXEL_NM)
            return fluorescent(rng_of(seed, 3), extent, known, INPUT_FWHM_NM[2])
    raise ValueError(f"expected structure to be filaments or puncta, got {structure!r}")


def rng_of(seed: int, stream: int) -> Rng:
    """Return random numbers that no other sample of this seed has; streams 0 to 2 are theirs."""
    return np.random.Generator(np.random.PCG64([seed, stream]))


def _finer(shape: Triple) -> Triple:
    """Return the shape of the truth."""
    return shape[0], math.floor(FINER * shape[1]), math.floor(FINER * shape[2])


def _grid(shape: Triple, finer: float = 1.0) -> Grid:
    """Return the voxels of a volume whose pixels are finer than those of the camera."""
    return Grid(shape, (PLANE_NM, PIXEL_NM / finer, PIXEL_NM / finer))


def displaced(grid: Grid, stage_step_nm: float = STAGE_STEP_NM) -> Grid:
    """Return the voxels that the microscope has, so that deskewing them gives those of a grid.

    The stage moves by a step from plane to plane. Deskewing makes ceil(n d) more rows, of n planes
    displaced by d rows from each to the next, and gets row r of plane i, both counted from 0, from
    row
    ``r + (i - (n - 1) / 2) d - ceil(n d) / 2``.
    """
    planes, rows, columns = grid.shape
    each = stage_step_nm * math.cos(math.radians(ANGLE_DEGREES)) / grid.voxel_size_nm[1]
    more = math.ceil(planes * each)
    if rows <= more:
        raise ValueError(
            f"expected more than {more} rows, by which {planes} planes are displaced, got {rows}"
        )
    middle = (planes - 1) / 2.0
    shifts = np.array([(plane - middle) * each - more / 2.0 for plane in range(planes)])
    return Grid((planes, rows - more, columns), grid.voxel_size_nm, shifts)


def exposed(rng: Rng, photons: Double, background: float = BACKGROUND) -> Counts:
    """Return what a camera, which has a background without light, counts of a mean of photons.

    Means are rounded first: how many random numbers a count takes depends on its mean, so that a
    last bit could otherwise change all counts that follow.
    """
    mean = np.rint(photons * PHOTON_STEPS) / PHOTON_STEPS
    counts = rng.poisson(mean) + background + READ_NOISE * rng.standard_normal(mean.shape)
    return sixteen_bit(counts)


def _reconstructed(rng: Rng, scene: Double) -> Counts:
    """Return a super-resolved scene: as much light on a narrower line, little noise."""
    counts = TRUTH_COUNTS * INPUT_FWHM_NM[2] / TRUTH_FWHM_NM[2] * scene
    return sixteen_bit(counts + TRUTH_NOISE * rng.standard_normal(scene.shape))


def sixteen_bit(counts: Double) -> Counts:
    """Return counts as 0..65535, rounded and clipped."""
    rounded: Counts = np.rint(np.clip(counts, 0.0, 65535.0)).astype(np.uint16)
    return rounded
