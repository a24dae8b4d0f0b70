"""Point spread functions of the two views: from numbers of a microscope, or from files.

Arrays are (z, y, x), z grows towards the mirror, and voxels are as wide as deep. What a function is
divided by does not matter: it is divided by its sum where it is used.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vemctl.errors import InputError, OptionError
from vemctl.plugin import Triple

Floats = npt.NDArray[np.float32]
ViewName = Literal["a", "b"]

TILT = 30.8
"""Degrees between a view's axis of detection and the normal of the mirror, in the x-z plane."""
VOXEL_SIZE = 61.73
"""Of the authors' views, nm."""
SIZE = 33
"""Voxels along each side: all that matters of the default function, and of the form 4k + 1."""
WIDTH, LENGTH = 3.5, 11.2
"""FWHMs across and along the axis, in voxels of `VOXEL_SIZE`, as a figure of the authors has it."""
DEGRADING_SIDE = 19
"""Voxels along each side of what the fused volume is blurred with in training."""
SIGMAS = 2 * math.sqrt(2 * math.log(2))
"""In a full width at half maximum."""
MENDABLE = 0.6
"""Voxels off the middle above which another place fits better; a half is left by even sides."""
SUFFIXES = (".tif", ".tiff", ".npy")


def default_fwhms() -> tuple[float, float]:
    """Return the FWHMs of views that diffraction limits, across and along the axis, in nm."""
    return WIDTH * VOXEL_SIZE, LENGTH * VOXEL_SIZE


def theoretical_psf(
    view: ViewName,
    *,
    tilt: float = TILT,
    fwhm_lateral: float = WIDTH * VOXEL_SIZE,
    fwhm_axial: float = LENGTH * VOXEL_SIZE,
    voxel_size: float = VOXEL_SIZE,
    size: int = SIZE,
) -> Floats:
    """Return a tilted Gaussian, sampled at the middles of voxels.

    The long axis of view A is along (x, z) = (sin, cos) of the tilt, that of B along (-sin, cos).

    Parameters
    ----------
    view : {"a", "b"}
    tilt : float
        Of the axis of detection from z, degrees.
    fwhm_lateral, fwhm_axial : float
        Across and along the axis of detection, nm.
    voxel_size : float
        nm.
    size : int
        Of each side, voxels. The peak is at ``size // 2``; see `is_misplaced` for good sizes.

    Returns
    -------
    ndarray, (size, size, size) float32
        1 at its peak.

    Raises
    ------
    OptionError
        A number is impossible.
    """
    _check_numbers(tilt, fwhm_lateral, fwhm_axial, voxel_size, size)
    axis = np.arange(size) - size // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    sine, cosine = math.sin(math.radians(tilt)), math.cos(math.radians(tilt))
    if view == "b":
        sine = -sine
    along, across = z * cosine + x * sine, x * cosine - z * sine
    lateral, axial = (fwhm / (SIGMAS * voxel_size) for fwhm in (fwhm_lateral, fwhm_axial))
    exponent = (across**2 + y**2) / (2 * lateral**2) + along**2 / (2 * axial**2)
    return np.exp(-exponent).astype(np.float32)


def read_psf(path: Path) -> Floats:
    """Read a point spread function from a TIFF, whose pages are z, or from a .npy.

    Parameters
    ----------
    path : Path

    Returns
    -------
    ndarray, (z, y, x) float32

    Raises
    ------
    InputError
        The file is missing or damaged, or is no point spread function.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path}: expected a point spread function as one of {', '.join(SUFFIXES)}"
        )
    loaded = _read(path)
    if loaded.size == 0:
        raise InputError(f"{path}: holds no voxels; expected a point spread function")
    while loaded.ndim > 3 and loaded.shape[0] == 1:
        loaded = loaded[0]
    if loaded.ndim != 3:
        raise InputError(
            f"{path}: has the shape {loaded.shape}; expected one volume (z, y, x), in a TIFF a "
            f"page for each z"
        )
    if loaded.dtype.kind not in "uif":
        raise InputError(f"{path}: holds {loaded.dtype}; expected numbers, such as float32")
    with np.errstate(over="ignore"):  # becomes infinite, and is refused
        psf = loaded.astype(np.float32)
    if not np.isfinite(psf).all():
        raise InputError(f"{path}: has values that are not finite; expected finite numbers")
    total = float(psf.sum(dtype=np.float64))
    if not total > 0:
        raise InputError(
            f"{path}: adds up to {total:g}; expected a point spread function, whose sum is above 0"
        )
    return psf


def placement(side: int, length: int) -> tuple[slice, slice]:
    """Return which part of one side of a PSF goes to which part of a tile's, as published.

    Halves are rounded to even numbers, so the middle may come to lie a voxel aside.

    Parameters
    ----------
    side : int
        Of the point spread function.
    length : int
        Of the tile.
    """
    if length >= side:
        start = round((length - side) / 2)
        return slice(0, side), slice(start, start + side)
    start = round((side - length) / 2)
    return slice(start, start + length), slice(0, length)


def lost_energy(psf: npt.NDArray[Any], shape: Triple) -> float:
    """Return which part of a PSF's energy is cut off where it is longer than a tile.

    The published program cuts it too, so this is for a warning.

    Parameters
    ----------
    psf : ndarray, (z, y, x)
    shape : triple of int
        Of the tile.

    Returns
    -------
    float
        From 0 to 1.
    """
    energy = np.abs(psf).astype(np.float64)
    inside = tuple(placement(s, n)[0] for s, n in zip(psf.shape, shape, strict=True))
    return max(0.0, 1 - float(energy[inside].sum() / energy.sum()))


def lost_energy_by_axis(psf: npt.NDArray[Any], shape: Triple) -> tuple[float, float, float]:
    """Return what `lost_energy` would be if the tile were too short along z, y or x alone."""
    sides = psf.shape
    z = lost_energy(psf, (shape[0], sides[1], sides[2]))
    y = lost_energy(psf, (sides[0], shape[1], sides[2]))
    return z, y, lost_energy(psf, (sides[0], sides[1], shape[2]))


def middle(psf: npt.NDArray[Any]) -> tuple[float, float, float]:
    """Return the place of the peak along (z, y, x), in parts of a voxel.

    It is the centre of mass of what is above half of the peak and hangs together with it, after
    a mean over 3 x 3 x 3 voxels: single hot voxels do not matter.
    """
    from scipy import ndimage

    smooth = ndimage.uniform_filter(psf.astype(np.float64), 3, mode="constant")
    above = smooth - smooth.max() / 2
    regions, _ = ndimage.label(above > 0)
    region = regions[np.unravel_index(smooth.argmax(), smooth.shape)]
    z, y, x = ndimage.center_of_mass(above, regions, region)
    return float(z), float(y), float(x)


def background_of(psf: npt.NDArray[Any]) -> float:
    """Return the median of its outermost voxels, in parts of its peak."""
    inner = np.zeros(psf.shape, bool)
    inner[1:-1, 1:-1, 1:-1] = True
    return float(np.median(psf[~inner]) / psf.max())


def is_misplaced(psf: npt.NDArray[Any]) -> bool:
    """Tell whether blurs by this PSF are shifted, which `centred` would mend.

    Where tiles have sides that are multiples of four, the published alignment puts the middle of a
    side of 4k + 3 voxels one voxel before the tile's; and of a side of 4k voxels one behind
    the middle of the kernel of training.

    Parameters
    ----------
    psf : ndarray, (z, y, x)
    """
    for side, peak in zip(psf.shape, middle(psf), strict=True):
        tile = 4 * side  # any multiple of four does
        for length, centre in ((tile, tile // 2), (DEGRADING_SIDE, DEGRADING_SIDE // 2)):
            taken, put = placement(side, length)
            if abs(peak - taken.start + put.start - centre) > MENDABLE:
                return True
    return False


def centred(psf: npt.NDArray[Any]) -> Floats:
    """Return a PSF with its peak in the middle of sides of 4k + 1 voxels, which nothing shifts.

    Zeros are put around it where needed; nothing is cut off.

    Parameters
    ----------
    psf : ndarray, (z, y, x)

    Returns
    -------
    ndarray, (z, y, x) float32
    """
    widths = []
    for side, place in zip(psf.shape, middle(psf), strict=True):
        peak = math.floor(place + 0.51)  # of an even side's two middle voxels, the second
        half = max(peak, side - 1 - peak)
        half += half % 2
        widths.append((half - peak, half + peak + 1 - side))
    return np.pad(psf.astype(np.float32), widths)


def _check_numbers(
    tilt: float, fwhm_lateral: float, fwhm_axial: float, voxel_size: float, size: int
) -> None:
    """Refuse numbers in other units than expected."""
    ranges = {
        "--tilt": (tilt, 0.0, 89.0, "of degrees from the mirror's normal"),
        "--fwhm-lateral": (fwhm_lateral, 1.0, 1e5, "of nanometres"),
        "--fwhm-axial": (fwhm_axial, 1.0, 1e5, "of nanometres"),
        "--voxel-size": (voxel_size, 1.0, 1e4, "of nanometres"),
        "--psf-size": (size, 1, 513, "of voxels"),
    }
    for name, (value, low, high, meaning) in ranges.items():
        if not low <= value <= high:
            raise OptionError(
                f"{name} {value:g}: expected a number {meaning}, from {low:g} to {high:g}"
            )


def _read(path: Path) -> npt.NDArray[Any]:
    import tifffile

    try:
        if path.suffix.lower() != ".npy":
            return np.asarray(tifffile.imread(path))
        loaded = np.load(path, allow_pickle=False)
    except (OSError, ValueError, RuntimeError, EOFError, tifffile.TiffFileError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: cannot be read ({reason}); expected a point spread function as .tif or .npy"
        ) from None
    if not isinstance(loaded, np.ndarray):
        raise InputError(f"{path}: an archive of arrays; expected a .npy of one")
    return loaded
