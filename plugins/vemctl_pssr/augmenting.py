"""The published augmentation: flips, turns and zooms.

Source: the specification of the published training, sections 4 and 12.7. Imports no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vemctl_pssr.resize import averaged, cropped, target_size

Floats = npt.NDArray[np.float32]

MAX_ZOOM = 4.0
MAX_DEGREES = 10.0


@dataclass(frozen=True)
class Draw:
    """What happens to a sample, to its low and to its high resolution alike.

    Attributes
    ----------
    k : int
        Which of the eight symmetries of a square: 1 mirrors the columns, 2 the rows, then
        4 swaps both.
    degrees : float
        Of the rotation.
    scale : float
        Of the zoom, 1 or more.
    row_pct, col_pct : float
        Where the zoom looks, from 0 to 1.
    crop_row_pct, crop_col_pct : float
        Where an image that is not square is cut, from 0 to 1.
    """

    k: int = 0
    degrees: float = 0.0
    scale: float = 1.0
    row_pct: float = 0.5
    col_pct: float = 0.5
    crop_row_pct: float = 0.5
    crop_col_pct: float = 0.5


def drawn(
    rng: np.random.Generator, max_zoom: float = MAX_ZOOM, degrees: float = MAX_DEGREES
) -> Draw:
    """Draw what happens to a sample; everything is uniform and certain to happen.

    Parameters
    ----------
    rng : Generator
    max_zoom : float
        1 or more.
    degrees : float
        The largest rotation, to both sides.
    """
    return Draw(
        k=int(rng.integers(8)),
        degrees=float(rng.uniform(-degrees, degrees)),
        scale=float(rng.uniform(1, max_zoom)),
        row_pct=float(rng.random()),
        col_pct=float(rng.random()),
        crop_row_pct=float(rng.random()),
        crop_col_pct=float(rng.random()),
    )


def apply(image: Floats, draw: Draw, size: int) -> Floats:
    """Return what a draw makes of an image, in one resampling.

    Bilinear between the centres of the corner pixels, mirrored beyond them.

    Parameters
    ----------
    image : ndarray, (c, h, w), float32
    draw : Draw
    size : int
        Pixels; for the same view of both halves of a pair, of one size relative to the other as
        the images are.

    Returns
    -------
    ndarray, (c, size, size), float32
    """
    import torch
    from torch.nn import functional

    # A copy: what was read may be a view that torch does not take.
    images = torch.from_numpy(np.array(image, np.float32, order="C"))[None]
    height, width = target_size(images.shape[-2], images.shape[-1], size)
    grid = _grid(draw, height, width)
    images = averaged(images, (height, width), float(grid.max() - grid.min()))
    sampled = functional.grid_sample(
        images,
        torch.from_numpy(grid)[None],
        mode="bilinear",
        padding_mode="reflection",
        align_corners=True,
    )
    square: Floats = cropped(sampled, size, draw.crop_row_pct, draw.crop_col_pct)[0].numpy()
    return np.ascontiguousarray(square)


def _grid(draw: Draw, height: int, width: int) -> Floats:
    """Return where in the image each pixel of the result is, (h, w, 2): x, y, from -1 to 1."""
    mirror = np.diag([-1.0 if draw.k & 1 else 1.0, -1.0 if draw.k & 2 else 1.0])
    swap = mirror[:, ::-1] if draw.k >= 4 else mirror
    angle = math.radians(draw.degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    turn = swap @ np.array([[cos, -sin], [sin, cos]])
    # As pixels see it, for coordinates are from -1 to 1 along the longer edge too.
    turn *= [[1.0, height / width], [width / height, 1.0]]
    zoom = 1 / draw.scale
    middle = (1 - zoom) * (2 * np.array([draw.col_pct, draw.row_pct]) - 1)
    x, y = (np.linspace(-1, 1, length) * zoom for length in (width, height))
    grid = np.empty((height, width, 2), np.float32)  # much quicker than torch's affine_grid
    for axis, offset in enumerate(turn @ middle):
        along_rows = (turn[axis, 1] * y + offset)[:, None].astype(np.float32)
        np.add(along_rows, (turn[axis, 0] * x).astype(np.float32), out=grid[..., axis])
    return grid
