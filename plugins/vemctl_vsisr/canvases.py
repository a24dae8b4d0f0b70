"""How large rotated planes become, where their pixels come from, and how they are cut again.

Imports no torch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Shape = tuple[int, int]
Floats = npt.NDArray[np.float64]


def rotation_map(
    shape: Shape, angle_degrees: float, *, reshape: bool
) -> tuple[Floats, Floats, Shape]:
    """Return where a rotated plane's pixels come from, by ``scipy.ndimage.rotate``'s arithmetic.

    Parameters
    ----------
    shape : (int, int)
        Of the plane, (y, x).
    angle_degrees : float
    reshape : bool
        Let the result hold all of the plane; otherwise it keeps the plane's shape.

    Returns
    -------
    matrix : ndarray, (2, 2)
    offset : ndarray, (2,)
        Pixel (i, j) of the result comes from ``matrix @ (i, j) + offset`` of the plane.
    canvas : (int, int)
        Shape of the result.
    """
    from scipy import special

    c, s = special.cosdg(angle_degrees), special.sindg(angle_degrees)
    matrix = np.array([[c, s], [-s, c]], np.float64)
    y, x = shape
    canvas = shape
    if reshape:
        bounds = matrix @ np.array([[0, 0, y, y], [0, x, 0, x]], np.float64)
        rows, columns = (np.ptp(bounds, axis=1) + 0.5).astype(int)
        canvas = int(rows), int(columns)
    offset = (np.array(shape) - 1) / 2 - matrix @ ((np.array(canvas) - 1) / 2)
    return matrix, offset, canvas


def crop_start(length: int, cropped: int) -> int:
    """Return where the published program begins to cut `cropped` of `length` pixels.

    Half of an odd length is rounded to even. Where that would begin outside (the published program
    fails there), it is moved inside; a `length` too small is surrounded evenly.
    """
    if length <= cropped:
        return (length - cropped) // 2
    start = round(length / 2) - cropped // 2 - cropped % 2
    return min(max(start, 0), length - cropped)
