"""How the published program brings a tile to the size of its network.

Source: the specification of the published inference, section 6.2, step 1. Imports no torch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

CENTRE = 0.5


def fastai_resize(images: Tensor, size: int) -> Tensor:
    """Resize images so that their shorter edge fits, and cut a square out of their middle.

    Bilinear between the centres of the corner pixels; images more than twice as large as they
    become are averaged over areas before.

    Parameters
    ----------
    images : tensor, (n, c, h, w)
        Floating.
    size : int
        Pixels.

    Returns
    -------
    tensor, (n, c, size, size)
        A view of `images` if nothing had to be resampled.
    """
    from torch.nn import functional

    height, width = images.shape[-2:]
    target = target_size(height, width, size)
    if target != (height, width):
        images = averaged(images, target)
        images = functional.interpolate(images, target, mode="bilinear", align_corners=True)
    return cropped(images, size, CENTRE, CENTRE)


def target_size(height: int, width: int, size: int) -> tuple[int, int]:
    """Return the height and width of an image whose shorter edge becomes `size`."""
    ratio = min(height / size, width / size)
    return round(height / ratio), round(width / ratio)


def averaged(images: Tensor, target: tuple[int, int], extent: float = 2.0) -> Tensor:
    """Average images over areas where they are more than twice as large as they become.

    Parameters
    ----------
    images : tensor, (n, c, h, w)
    target : (int, int)
        Height and width that they will be sampled to.
    extent : float
        What will be sampled of them: from the least coordinate to the greatest, where the whole
        image is 2. Of a small part, averages would be too coarse.

    Returns
    -------
    tensor, (n, c, h', w')
        The same if there is nothing to average.
    """
    from torch.nn import functional

    height, width = images.shape[-2:]
    factor = min(height / target[0], width / target[1]) / 2
    if factor <= 1 or factor <= 2 / extent:
        return images
    smaller = (math.floor(height / factor), math.floor(width / factor))
    return functional.adaptive_avg_pool2d(images, smaller)


def cropped(images: Tensor, size: int, row_pct: float, col_pct: float) -> Tensor:
    """Cut squares out of images, (n, c, h, w), which are no smaller.

    Parameters
    ----------
    images : tensor, (n, c, h, w)
    size : int
        Pixels.
    row_pct, col_pct : float
        Where in what is left over, from 0 to 1.
    """
    height, width = images.shape[-2:]
    top, left = int((height - size + 1) * row_pct), int((width - size + 1) * col_pct)
    return images[..., top : top + size, left : left + size]
