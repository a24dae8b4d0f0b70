"""Build optical transfer functions and the apodisation from numbers of a microscope, or of beads.

Formulas are those of the published program; what it read from a file of its authors' microscope
is built here from the aperture and the wavelengths. Imports no torch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.errors import InputError, OptionError
from vemctl_vsisr.optics import Floats, Optics
from vemctl_vsisr.proportions import ENLARGED

SIZE = 512
"""Pixels along each axis of a transfer function that is built."""
SHEET_ANGLE = 1.58
"""Radians between the excitation's beams and the axis, as the published program has it."""
APODISATION_POWER = 0.9
CAMERA_BACKGROUND = 100.0
NOISE_FLOOR = math.expm1(0.01)
"""Of a transfer function that is measured: what is not above it counts as zero."""


def build_optics(
    *,
    numerical_aperture: float,
    emission: float,
    excitation_aperture: float,
    excitation: float,
    pixel: float,
    otf0: Floats | None = None,
) -> Optics:
    """Build the transfer functions of a lattice light-sheet microscope.

    Parameters
    ----------
    numerical_aperture : float
        Of the detection.
    emission : float
        Wavelength of the emitted light, nm.
    excitation_aperture : float
        Outer numerical aperture of the lattice.
    excitation : float
        Wavelength of the exciting light, nm.
    pixel : float
        Of the low-resolution image, nm.
    otf0 : ndarray, (n, n), optional
        A measured transfer function on that pixel's grid, at most 1, such as `otf_of_beads`;
        without it, the ideal one of an aperture.

    Returns
    -------
    Optics

    Raises
    ------
    OptionError
        A number is impossible.
    """
    _check(numerical_aperture, excitation_aperture, emission, excitation, pixel)
    cutoff = 2e3 * numerical_aperture / emission  # periods per micrometre
    size = SIZE if otf0 is None else len(otf0)
    step = frequency_step(size, pixel)
    detection = ideal_otf(size, cutoff / step) if otf0 is None else otf0
    shift = pattern_shift(excitation_aperture, excitation, pixel, size)
    if not 0 < shift < size // 2:
        raise OptionError(
            f"--pixel-size {pixel:g} nm: the pattern of {excitation:g} nm light at an aperture of "
            f"{excitation_aperture:g} is {'too fine' if shift else 'too coarse'} for such pixels; "
            f"expected the pixel of the low-resolution image in nanometres"
        )
    apodisation = ideal_otf(round(size * ENLARGED), ENLARGED * cutoff / step) ** APODISATION_POWER
    return Optics(detection, shifted_pair(detection, shift), apodisation, pixel)


def frequency_step(size: int, pixel: float) -> float:
    """Return how far apart frequencies are, per micrometre, for `size` pixels of `pixel` nm."""
    return 1e3 / (size * pixel)


def pattern_shift(aperture: float, wavelength: float, pixel: float, size: int = SIZE) -> int:
    """Return the frequency of the illumination's pattern in pixels of the transfer function.

    Parameters
    ----------
    aperture : float
        Of the excitation.
    wavelength : float
        Of the excitation, nm.
    pixel : float
        Of the image, nm.
    size : int
        Of the transfer function.
    """
    frequency = 2e3 * aperture / wavelength * math.sin(SHEET_ANGLE)
    return int(frequency / frequency_step(size, pixel))


def ideal_otf(size: int, cutoff: float) -> Floats:
    """Return the incoherent transfer function of a circular aperture, frequency zero at size / 2.

    Parameters
    ----------
    size : int
    cutoff : float
        The frequency above which nothing passes, in pixels.

    Returns
    -------
    ndarray, (size, size) float64
    """
    q = np.minimum(_radii(size) / cutoff, 1.0)
    otf: Floats = 2 / math.pi * (np.arccos(q) - q * np.sqrt(1 - q * q))
    return otf


def shifted_pair(otf0: Floats, shift: int) -> Floats:
    """Return the transfer function of both side bands: `otf0` moved up and down, scaled to [0, 1].

    What is moved out is lost. (The published program lets it in again on the other side, which is
    the same for the transfer functions of its authors, for those are zero there.)
    """
    pair = np.zeros_like(otf0)
    pair[shift:] += otf0[:-shift]
    pair[:-shift] += otf0[shift:]
    low, high = float(pair.min()), float(pair.max())
    scaled: Floats = (pair - low) / (high - low)
    return scaled


def otf_of_beads(
    beads: npt.NDArray[Any],
    *,
    bead_pixel: float,
    pixel: float,
    background: float = CAMERA_BACKGROUND,
    size: int = SIZE,
) -> Floats:
    """Return the detection's transfer function as an image of a small bead shows it.

    It is the magnitude of the spectrum where the axial frequency is zero, averaged on circles
    (the published program takes a single line of it), 1 at frequency zero.

    Parameters
    ----------
    beads : ndarray, (z, y, x)
        Of one bead, or its mean over several.
    bead_pixel : float
        Lateral pixel of `beads`, nm.
    pixel : float
        Of the low-resolution image, nm, to whose grid of frequencies the result belongs.
    background : float
        Counts of the camera without light.
    size : int
        Of the result.

    Returns
    -------
    ndarray, (size, size) float64

    Raises
    ------
    InputError
        It is no volume, or has nothing above the background.
    """
    if beads.ndim != 3 or min(beads.shape[1:]) < 8:
        raise InputError(
            f"the bead's image has the shape {beads.shape}; expected a stack (z, y, x) of at least "
            f"8 x 8 pixels"
        )
    light = np.clip(beads.astype(np.float64) - background, 0, None).sum(axis=0)
    if not np.isfinite(light).all() or light.max() == 0:
        raise InputError(
            f"the bead's image has nothing above the background of {background:g}, or has values "
            f"that are no numbers; expected one bright bead"
        )
    magnitude = np.abs(np.fft.fft2(light))
    frequencies = np.hypot(
        np.fft.fftfreq(light.shape[0])[:, None], np.fft.fftfreq(light.shape[1])[None]
    ) * (1e3 / bead_pixel)  # per micrometre
    step = frequency_step(min(light.shape), bead_pixel)
    ring = np.rint(frequencies / step).astype(int).ravel()
    count = np.bincount(ring)
    mean = np.bincount(ring, magnitude.ravel()) / np.maximum(count, 1) / magnitude.flat[0]
    known = min(light.shape) // 2 + 1  # whole circles only
    wanted = _radii(size) * frequency_step(size, pixel)
    otf = np.interp(wanted, step * np.arange(known), mean[:known], right=0.0)
    return np.where(otf > NOISE_FLOOR, otf, 0.0)


def _radii(size: int) -> Floats:
    """Return the distance of each pixel from the one at size / 2."""
    axis = np.arange(size) - size // 2
    radii: Floats = np.hypot(axis[:, None], axis[None])
    return radii


def _check(
    aperture: float, excitation_aperture: float, emission: float, excitation: float, pixel: float
) -> None:
    """Refuse numbers in other units than expected."""
    ranges = {
        "--na": (aperture, 0.05, 2.0, "of the detection"),
        "--na-excitation": (excitation_aperture, 0.01, 2.0, "of the lattice"),
        "--emission": (emission, 200.0, 2000.0, "in nanometres"),
        "--excitation": (excitation, 200.0, 2000.0, "in nanometres"),
        "--pixel-size": (pixel, 1.0, 10000.0, "of the low-resolution image in nanometres"),
    }
    for name, (value, low, high, meaning) in ranges.items():
        if not low <= value <= high:
            raise OptionError(
                f"{name} {value:g}: expected a number {meaning}, from {low:g} to {high:g}"
            )
