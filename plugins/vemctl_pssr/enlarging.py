"""Enlarge a part of a plane as `scipy.ndimage.zoom` of order 1 does the whole, corner to corner.

Source: the specification, 6.3 step 1: output pixel i of 4 n lies at i (n - 1) / (4 n - 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vemctl_pssr.architecture import SCALE

if TYPE_CHECKING:
    from torch import Tensor

Span = tuple[int, int]


def sources(span: Span, length: int) -> Span:
    """Return first and end of the input pixels that the enlarged pixels of `span` are made of.

    Parameters
    ----------
    span : (int, int)
        First and end, in enlarged pixels of the plane.
    length : int
        Of the plane, in input pixels.
    """
    first, last = (pixel * (length - 1) // (SCALE * length - 1) for pixel in (span[0], span[1] - 1))
    return first, min(last + 2, length)


def enlarge(
    frames: Tensor, origin: tuple[int, int], plane: tuple[int, int], part: tuple[Span, Span]
) -> Tensor:
    """Return a part of the enlarged plane.

    Parameters
    ----------
    frames : tensor, (..., y, x) float32
        Input pixels; at least those of `sources`, but for what lies outside the plane.
    origin : (y, x)
        Of `frames` in the plane.
    plane : (y, x)
        Input pixels of the whole.
    part : two (first, end)
        Rows and columns, in enlarged pixels; may go beyond the plane where `frames` do.

    Returns
    -------
    tensor, (..., rows, columns) float32
    """
    for axis, begin, length, span in zip((-2, -1), origin, plane, part, strict=True):
        frames = _along(frames, axis, begin, length, span)
    return frames


def _along(frames: Tensor, axis: int, begin: int, length: int, span: Span) -> Tensor:
    import torch

    pixels = torch.arange(span[0], span[1], dtype=torch.int64)
    places = pixels * (length - 1)
    below = places // (SCALE * length - 1)
    # The rest of a whole division: exact wherever the part lies.
    fraction = ((places % (SCALE * length - 1)).double() / (SCALE * length - 1)).float()
    last = frames.shape[axis] - 1
    low = (below - begin).clamp(0, last).to(frames.device)
    high = (below - begin + 1).clamp(0, last).to(frames.device)
    shape = [1] * frames.ndim
    shape[axis] = len(pixels)
    weight = fraction.to(frames.device).reshape(shape)
    return torch.lerp(frames.index_select(axis, low), frames.index_select(axis, high), weight)
