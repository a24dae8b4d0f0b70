"""Tissue as two microscopes show it: expansion light microscopy and electron microscopy.

`light_and_em` paints one phantom twice, in registration: as a confocal microscope shows expanded
tissue in which all protein is labelled, and as volume EM shows it. Both show the same structures
with other contrast, so that virtual EM can be learnt from unpaired volumes and then be measured.
"""

# ruff: noqa: TID253 (scipy is needed as soon as this module is; nothing imports it for --help)
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

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

VOXEL_SIZE_NM = (12.5, 10.0, 10.0)  # of the tissue before its expansion
CELL_PIXELS = 40.0  # typical distance between the centres of neighbouring cells
ELONGATION = 1.5  # of the cells along z
LUMEN_SHARE = 0.28  # of the volume that is given to the space between cells
MEMBRANE_PIXELS = 4.5  # thickness of every membrane
GAP = 4.0  # least cytoplasm between two structures, in pixels
REACH = 20.0  # pixels from a structure beyond which it takes no room from others
BLUR = (0.8, 1.0, 1.0)  # standard deviation of the light microscope's focus, in voxels
PHOTONS = 500.0  # mean number that makes a white voxel


@dataclass(frozen=True)
class LightAndEM:
    """One piece of tissue under two microscopes.

    Attributes
    ----------
    lm, em
        8-bit volumes of the same shape (z, y, x): expansion microscopy of all protein, and EM.
    voxel_size_nm
        Edge lengths of a voxel in nanometres of unexpanded tissue, (z, y, x).
    """

    lm: NDArray[np.uint8]
    em: NDArray[np.uint8]
    voxel_size_nm: tuple[float, float, float] = VOXEL_SIZE_NM


class _Material(NamedTuple):
    """Grey values, of [0, 1], of one substance under both microscopes."""

    lm: float
    em: float


MEMBRANE = _Material(lm=0.15, em=0.23)
LUMEN = _Material(lm=0.15, em=0.80)
LIPID = _Material(lm=0.15, em=0.19)
CYTOPLASM = _Material(lm=0.66, em=0.56)
MATRIX = _Material(lm=0.82, em=0.50)  # of mitochondria


@dataclass(frozen=True)
class _Scene:
    """What is painted so far, and where there is room for more.

    ``room`` is the distance in pixels to the next structure, negative in structures and lumina.
    """

    owner: NDArray[np.intp]
    room: Float
    lm: Float
    em: Float

    def paint(self, part: tuple[slice, ...], weight: Float, material: _Material) -> None:
        """Paint a substance over a part of both volumes."""
        blend(self.lm[part], weight, material.lm)
        blend(self.em[part], weight, material.em)


class _Kind(NamedTuple):
    """What an organelle looks like."""

    inside: _Material
    radii: tuple[float, float]  # least and greatest, in pixels
    lengthening: tuple[float, float]  # length divided by width
    membrane: float  # thickness in pixels, 0 for none
    density: float  # attempts per cube of 24 pixels


VACUOLE = _Kind(LUMEN, (10.0, 13.0), (1.0, 1.3), MEMBRANE_PIXELS, 6.0)
MITOCHONDRION = _Kind(MATRIX, (8.0, 10.0), (1.3, 2.5), MEMBRANE_PIXELS - 1.0, 4.0)
DROPLET = _Kind(LIPID, (3.5, 5.0), (1.0, 1.1), 0.0, 0.8)


def light_and_em(shape: Triple = (16, 256, 256), seed: int = 0) -> LightAndEM:
    """Paint a piece of tissue as expansion microscopy and as EM show it.

    =============  ========  ================
    structure      LM        EM
    =============  ========  ================
    cytoplasm      170       140
    mitochondrion  210       125
    membrane       40, dark  60, dark
    lipid droplet  40, dark  50, dark
    lumen          40, dark  205, bright
    =============  ========  ================

    Bright LM (> 110) is middle grey in EM (120 to 160); dark LM (< 110) is dark (< 120) or bright
    (> 160) in EM, in all but the voxels on edges. Which of both a dark voxel is, its own value
    does not tell, but its surroundings do: thin sheets and small balls are dark in EM, large blobs
    are bright and have a dark rim, a membrane thick (4.5 pixels). So LM correlates weakly with EM
    (Pearson below 0.15), and what a simple rule about these shapes makes of LM about 0.95.

    Parameters
    ----------
    shape
        Slices, rows and columns; each at least 1.
    seed
        Another seed is another piece of tissue.

    Returns
    -------
    LightAndEM
        Two volumes of this shape: LM with the blur and noise of a confocal microscope, EM with a
        fine grain.

    Raises
    ------
    ValueError
        If the shape is not three positive numbers.

    Examples
    --------
    >>> light_and_em((2, 32, 48), seed=1).lm.shape
    (2, 32, 48)
    """
    check_shape(shape)
    rng = np.random.Generator(np.random.PCG64([seed, 2]))  # not a stream of `synthetic_em`
    step = VOXEL_SIZE_NM[0] / VOXEL_SIZE_NM[2]  # pixels from one slice to the next
    scene = _paint_cells(rng, shape, step)
    for kind in (VACUOLE, MITOCHONDRION, DROPLET):
        _paint_organelles(rng, scene, kind, step)
    em = ndimage.gaussian_filter(scene.em, (0.0, 0.5, 0.5), mode="nearest")
    em += np.float32(0.012) * smooth_noise(rng, shape, 1.1, step)
    em += np.float32(0.006) * rng.standard_normal(shape, dtype=np.float32)
    lm = eight_bit(ndimage.gaussian_filter(scene.lm, BLUR, mode="nearest"))
    return LightAndEM(eight_bit(quanta(rng, lm, PHOTONS, 0.015)), eight_bit(em))


def _paint_cells(rng: Rng, shape: Triple, step: float) -> _Scene:
    """Paint cytoplasm, membranes around it, and lumina wherever it is further than a membrane."""
    owner = divide(rng, shape, step, spacing=CELL_PIXELS, elongation=ELONGATION).owner
    lumen = _choose(rng, np.bincount(owner.ravel()))[owner]
    depth = _pixels_to(_border(np.where(lumen, -1, owner)), step) + 0.5
    room = np.where(lumen, -MEMBRANE_PIXELS, depth - MEMBRANE_PIXELS / 2).astype(np.float32)
    outside = _pixels_to(room > 1.0, step) - 1.5  # what is thinner is not seen in LM, so not in EM
    protein = 0.5 * smooth_noise(rng, shape, 12.0, step) + smooth_noise(rng, shape, 2.5, step)
    np.clip(protein, -2.0, 2.0, out=protein)  # the denser, the brighter in LM and darker in EM
    scene = _Scene(
        owner=owner,
        room=room,
        lm=np.float32(CYTOPLASM.lm) + np.float32(0.04) * protein,
        em=np.float32(CYTOPLASM.em) - np.float32(0.012) * protein,
    )
    whole = (slice(None),) * 3
    scene.paint(whole, edge(-room), MEMBRANE)
    scene.paint(whole, edge(outside - MEMBRANE_PIXELS), LUMEN)
    return scene


def _choose(rng: Rng, sizes: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return the cells, drawn by lot, that are lumina: as large together as their share allows."""
    chosen = np.zeros(sizes.size, np.bool_)
    left = LUMEN_SHARE * float(sizes.sum())
    for cell in rng.permutation(sizes.size):
        chosen[cell] = sizes[cell] <= left
        left -= sizes[cell] * chosen[cell]
    return chosen


def _border(owner: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return the voxels that touch, with a face, a voxel of another owner."""
    cross = ndimage.generate_binary_structure(3, 1)
    least = ndimage.minimum_filter(owner, footprint=cross, mode="nearest")
    most = ndimage.maximum_filter(owner, footprint=cross, mode="nearest")
    border: NDArray[np.bool_] = least != most
    return border


def _pixels_to(mask: NDArray[np.bool_], step: float) -> Float:
    """Return how far the next voxel of a mask is, in pixels, a little smoothed."""
    if not mask.any():
        return np.full(mask.shape, 2.0 * MEMBRANE_PIXELS, np.float32)  # beyond all membranes
    distance = ndimage.distance_transform_edt(~mask, sampling=(step, 1.0, 1.0))
    smooth: Float = ndimage.gaussian_filter(distance.astype(np.float32), 0.7, mode="nearest")
    return smooth


def _paint_organelles(rng: Rng, scene: _Scene, kind: _Kind, step: float) -> None:
    """Paint warped ellipsoids wherever there is room for one, within the cells."""
    shape = scene.owner.shape
    scale = np.array([step, 1.0, 1.0])
    extent = np.array(shape) * scale
    bend = 1.2 * smooth_noise(rng, shape, 8.0, step)
    for _ in range(math.ceil(kind.density * np.prod(extent / 24.0))):
        centre = rng.uniform(0.0, extent)
        axis = rng.standard_normal(3)
        axis /= math.sqrt(float(np.sum(axis**2)))
        radius, longer = rng.uniform(*kind.radii), rng.uniform(*kind.lengthening)
        middle = tuple((centre / scale).astype(int))
        if scene.room[middle] < radius + GAP:  # leaves cytoplasm around it
            continue
        box = radius * (1.0 + np.abs(axis) * (longer - 1.0)) + REACH
        start = np.maximum(np.floor((centre - box) / scale), 0).astype(int)
        stop = np.minimum(np.ceil((centre + box) / scale), shape).astype(int)
        part = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        depth = radius - _distance(part, centre, axis, longer, step) + bend[part]
        room, home = scene.room[part], scene.owner[part] == scene.owner[middle]
        depth = np.where(home, np.minimum(depth, room - GAP), -GAP)
        scene.paint(part, edge(depth), MEMBRANE if kind.membrane else kind.inside)
        if kind.membrane:
            scene.paint(part, edge(depth - kind.membrane), kind.inside)
        np.minimum(room, -depth, out=room, where=home)


def _distance(
    part: tuple[slice, ...], centre: Double, axis: Double, longer: float, step: float
) -> Double:
    """Return how far voxels are from a centre, in pixels, distances along an axis shortened."""
    z, y, x = np.ogrid[part]
    offset = (z * step - centre[0], y - centre[1], x - centre[2])
    along = sum(value * weight for value, weight in zip(offset, axis, strict=True))
    squared = sum(value**2 for value in offset) - along**2 * (1.0 - 1.0 / longer**2)
    distance: Double = np.sqrt(np.maximum(squared, 0.0))
    return distance
