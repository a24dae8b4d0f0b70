"""Where the mirror lies in a rotated stack: how it is askew, and between which planes.

Source: the published program. A projection along y or x is turned by some angles, and laid over its
mirror image for some shifts; where their product is largest they are taken to coincide. Its scores
are kept as published: of products that are not normalised, so that small angles are underestimated
(only the angle 0 is not interpolated), and with labels that are less than the shift by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
MARGIN = 100
"""Rows that are not searched at either end, published; twice, for the projection lacks them too."""
LEAST_ROWS = 64
SIGMA, TAPS = 1.0, 5
LEAST_CONTRAST = 0.1
PER_SAMPLE = 10
"""Pixels of a projection that vary as one, about."""


def fitting_margin(length: int) -> int:
    """Return the published margin, or less where it would leave few of so many rows.

    At least `LEAST_ROWS` rows stay after the margin was taken twice at both ends, or a half of
    them.
    """
    least = min(LEAST_ROWS, (length + 1) // 2)
    return min(MARGIN, max(0, (length - least) // 4))


@dataclass(frozen=True)
class Found:
    """The mirror as a projection shows it.

    Attributes
    ----------
    angle : float
        Degrees by which the projection was turned.
    shift : int
        Label of the shift, published: less than the shift by one.
    score : float
        Mean product of the projection and its mirror image; 0 where nothing was found.
    contrast : float
        By how much their correlation, from -1 to 1, is above its mean over all shifts.
    threshold : float
        Contrast that a projection of noise stays below.
    angle_at_end, shift_at_end : bool
        The best one is the first or the last of several.
    """

    angle: float
    shift: int
    score: float
    contrast: float
    threshold: float
    angle_at_end: bool
    shift_at_end: bool

    @classmethod
    def nothing(cls, angles: Sequence[float], shifts: tuple[int, int]) -> Found:
        """Return what stands for a mirror that is not found: the least angle and shift."""
        return cls(min(angles, key=abs), min(range(*shifts), key=abs), 0.0, 0.0, 0.0, False, False)

    @property
    def is_faint(self) -> bool:
        """Whether the mirror image may be there by chance."""
        return not self.contrast > self.threshold


def find_mirror(
    projection: npt.NDArray[np.floating],
    angles: Sequence[float],
    shifts: tuple[int, int],
    margin: int,
    *,
    smoothed: bool,
    advance: Callable[[], None] = lambda: None,
) -> Found:
    """Search angles and shifts for the first best.

    Parameters
    ----------
    projection : ndarray, (rows, planes)
        Largest values.
    angles : sequence of float
        Degrees, counter-clockwise.
    shifts : (low, high)
        Labels from the first one to before the second one.
    margin : int
        Rows at both ends that are not compared.
    smoothed : bool
        Whether the projection is smoothed after it was turned.
    advance : callable
        Told of every angle.
    """
    labels = range(*shifts)
    best = Found.nothing(angles, shifts)
    for angle in angles:
        advance()
        image = turned(np.asarray(projection, np.float64), angle)
        image = smooth(image) if smoothed else image
        rows = image[margin : len(image) - margin]
        mirrored = rows[:, ::-1]
        scores = np.array([np.mean(rows * np.roll(mirrored, s + 1, axis=1)) for s in labels])
        index = int(scores.argmax())
        if scores[index] > best.score:
            best = Found(
                angle,
                labels[index],
                float(scores[index]),
                _contrast(scores, index, rows),
                max(LEAST_CONTRAST, 5 / math.sqrt(max(rows.size / PER_SAMPLE, 1))),
                len(angles) > 1 and angle in (angles[0], angles[-1]),
                len(labels) > 1 and index in (0, len(labels) - 1),
            )
    return best


def turned(image: Floats, degrees: float) -> Floats:
    """Turn an image counter-clockwise about its centre; its shape stays, and 0 comes in."""
    if not degrees:
        return image
    from scipy import ndimage

    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = np.array([[cosine, sine], [-sine, cosine]])
    centre = (np.array(image.shape) - 1) / 2
    made: Floats = ndimage.affine_transform(
        image, matrix, centre - matrix @ centre, order=1, mode="constant", cval=0.0
    )
    return made


def smooth(image: Floats) -> Floats:
    """Blur an image by a Gaussian of five taps; what is at its borders goes on."""
    from scipy import ndimage

    made: Floats = ndimage.gaussian_filter(image, SIGMA, mode="nearest", radius=TAPS // 2)
    return made


def _contrast(scores: Floats, index: int, rows: Floats) -> float:
    """Return how far a correlation is above the mean over all shifts.

    A mirror image has the mean and the variance of the image, and so has what is shifted in a
    circle; hence what a product is of a correlation does not depend on the shift.
    """
    variance = float(rows.var())
    return float(scores[index] - scores.mean()) / variance if variance > 0 else 0.0
