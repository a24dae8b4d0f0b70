"""Lines and steps that are laid over the image of a reflecting plane. Imports no torch.

Arrays are here (length, width): the first axis is x of a raw section, across the plane, so that the
plane is about a row; the second one is y. They are drawn on a canvas that is a fifth larger than a
section, so that they can be shifted and turned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl_vsisr.counts import round_half_up
from vemctl_vsisr.midplane_presets import MidplanePreset

Doubles = npt.NDArray[np.float64]

CANVAS = 1.2
WINDOW = 10
"""Pixels of a Gaussian per standard deviation."""


@dataclass(frozen=True)
class Masks:
    """What is laid over the plane; each a canvas.

    Attributes
    ----------
    narrow, broad : ndarray
        Lines along the plane, from 0 to 1.
    step : ndarray
        0 on the side of the image, 1 on that of its reflection and on the plane.
    """

    narrow: Doubles
    broad: Doubles
    step: Doubles

    @classmethod
    def drawn(cls, shape: tuple[int, int], preset: MidplanePreset) -> Masks:
        """Draw them straight and in the middle.

        Parameters
        ----------
        shape : (length, width)
            Of a section.
        preset : MidplanePreset
        """
        length, width = (round_half_up(CANVAS * size) for size in shape)
        row = math.ceil(length / 2) - 1
        line, step = np.zeros((length, 1)), np.zeros((length, 1))
        line[row] = 1
        step[row:] = 1
        sigma, factor = preset.gauss_window, preset.scale_factor
        narrow = scaled_to_unit(smoothed(line, WINDOW * sigma, sigma))
        broad = scaled_to_unit(smoothed(line, WINDOW * sigma * factor, sigma * factor))
        return cls(*(np.repeat(each, width, axis=1) for each in (narrow, broad, step)))

    def rolled(self, rows: int) -> Masks:
        """Return them shifted cyclically towards larger x."""
        return Masks(*(np.roll(each, rows, axis=0) for each in self._all()))

    def turned(self, degrees: float, narrow: Doubles) -> Masks:
        """Return them turned, the narrow line replaced by one that was turned before."""
        return Masks(narrow, rotated(self.broad, degrees), rotated(self.step, degrees))

    def _all(self) -> tuple[Doubles, Doubles, Doubles]:
        return self.narrow, self.broad, self.step

    def damping(self, preset: MidplanePreset) -> Doubles:
        """Return which share of what is there is taken away, a canvas."""
        lines = preset.line_weight * scaled_to_unit(self.narrow) + scaled_to_unit(self.broad)
        return (1 - 2 * preset.modulation) * scaled_to_unit(lines)

    def boost(self, preset: MidplanePreset) -> Doubles:
        """Return the step with a smooth edge, a canvas; where it is 1, all is reflection."""
        sigma = preset.gauss_window
        return scaled_to_unit(smoothed(self.step, WINDOW * sigma, sigma))


def smoothed(image: Doubles, length: int, sigma: float) -> Doubles:
    """Correlate the columns with a Gaussian; outside of the image is 0.

    Parameters
    ----------
    image : ndarray, (length, width)
    length : int
        Of the Gaussian in pixels; of an even one the pixel before the middle is its centre.
    sigma : float
        Standard deviation in pixels.
    """
    from scipy import ndimage

    kernel = np.exp(-((np.arange(length) - (length - 1) / 2) ** 2) / (2 * sigma**2))
    kernel[kernel < np.finfo(np.float64).eps * kernel.max()] = 0
    kernel /= kernel.sum()
    # Odd and with its centre in the middle, it means the same thing to everybody.
    kernel = np.pad(kernel, (1, 0)) if length % 2 == 0 else kernel
    result: Doubles = ndimage.correlate1d(image, kernel, axis=0, mode="constant")
    return result


def scaled_to_unit(values: npt.NDArray[Any]) -> Doubles:
    """Scale to 0 to 1; 0 all over where all values are one."""
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return np.zeros(values.shape)
    scaled: Doubles = (values - low) / (high - low)
    return scaled


def rotated(image: Doubles, degrees: float) -> Doubles:
    """Turn about the centre, counter-clockwise as displayed, by linear interpolation; 0 outside."""
    from scipy import ndimage

    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = np.array([[cosine, sine], [-sine, cosine]])
    centre = (np.array(image.shape) - 1) / 2
    turned: Doubles = ndimage.affine_transform(
        image, matrix, offset=centre - matrix @ centre, order=1, mode="constant", cval=0.0
    )
    return turned


def middle(canvas: int, size: int) -> slice:
    """Return where along an axis of a canvas the section lies.

    Parameters
    ----------
    canvas, size : int
        Pixels of the canvas and of the section.
    """
    centre = round_half_up(canvas / 2)
    first = centre - size // 2 if size % 2 == 0 else centre - 1 - size // 2
    return slice(first, first + size)


def cropped(canvas: Doubles, shape: tuple[int, int]) -> Doubles:
    """Return what of a canvas lies over the section, a view."""
    rows, columns = (middle(*sizes) for sizes in zip(canvas.shape, shape, strict=True))
    return canvas[rows, columns]
