"""Interpolation between the pixels of lines. Imports no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


def cubic_weights(t: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the weights of cubic convolution (Keys, a = -1/2).

    Parameters
    ----------
    t : ndarray
        How far places lie behind the second of the four pixels about them, from 0 to 1.

    Returns
    -------
    tuple of four ndarray
        Of the pixels in their order.
    """
    return (
        ((2 - t) * t - 1) * t / 2,
        ((3 * t - 5) * t * t + 2) / 2,
        ((4 - 3 * t) * t + 1) * t / 2,
        (t - 1) * t * t / 2,
    )


def continued(lines: Floats, margin: int, begins: bool, ends: bool) -> Floats:
    """Continue lines by one pixel, on the parabola through the three pixels at their end.

    Parameters
    ----------
    lines : ndarray, (rows, positions)
    margin : int
        Pixels that are added at both ends; those that are not continued are 0.
    begins, ends : bool
        Whether the first, and the last, position is an end of the lines.

    Returns
    -------
    ndarray, (rows, positions + 2 margin)
    """
    padded = np.zeros((len(lines), lines.shape[1] + 2 * margin), lines.dtype)
    padded[:, margin:-margin] = lines
    if begins:
        padded[:, margin - 1] = 3 * lines[:, 0] - 3 * lines[:, 1] + lines[:, 2]
    if ends:
        padded[:, -margin] = 3 * lines[:, -1] - 3 * lines[:, -2] + lines[:, -3]
    return padded


def splined(lines: Floats, places: Floats) -> Floats:
    """Interpolate by the cubic spline whose third derivative is smooth next to its ends.

    Parameters
    ----------
    lines : ndarray, (rows, positions)
        At least four positions.
    places : ndarray, (places,)
        Positions from 0, not beyond the last one.

    Returns
    -------
    ndarray, (rows, places)
        Of float64.
    """
    from scipy.interpolate import make_interp_spline

    # By columns: scipy solves for, and evaluates, all lines at once.
    spline = make_interp_spline(np.arange(lines.shape[1]), lines.T, k=3)
    found: Floats = spline(places).T
    return found
