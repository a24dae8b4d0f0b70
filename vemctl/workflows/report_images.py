"""Pictures of a page, made small enough for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.pages.slider import Image
from vemctl.pictures.encoding import data_uri, encoded

QUALITIES = (92, 85, 75, 60)
SMALLEST_EDGE = 64
LONGEST_EDGE = 1600
"""Pixels to which stored pictures are reduced in any case."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """A picture before it is encoded.

    Attributes
    ----------
    pixels : ndarray, (y, x) or (y, x, 3), uint8
    alt : str
    """

    pixels: Pixels
    alt: str


def images(pictures: Sequence[Picture], budget: int) -> list[Image]:
    """Encode pictures, all in the same way, so that they are compared and not their encodings.

    Without loss if that fits; else as JPEG of ever less quality, then ever smaller.

    Parameters
    ----------
    pictures : sequence of Picture
    budget : int
        Bytes that all may take together, encoded as text.
    """
    shown = [each.pixels for each in pictures]
    for way in _ways(shown):
        shown, kind, quality = way
        files = [encoded(pixels, kind, quality) for pixels in shown]
        if sum(-(-len(data) // 3) * 4 for data in files) <= budget:
            break
    else:
        return []
    return [
        Image(data_uri(data, kind), each.alt, pixels.shape[1], pixels.shape[0])
        for data, each, pixels in zip(files, pictures, shown, strict=True)
    ]


def stored_picture(path: Path, alt: str) -> Picture | None:
    """Return a stored picture, reduced if it is large; None if it is damaged or gone.

    Parameters
    ----------
    path : Path
    alt : str
    """
    from PIL import Image as Pillow

    try:
        with Pillow.open(path) as file:
            file.thumbnail((LONGEST_EDGE, LONGEST_EDGE))
            mode = "L" if file.mode in ("1", "L") else "RGB"
            return Picture(np.asarray(file.convert(mode)), alt)
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError):
        return None


def _ways(pictures: list[Pixels]) -> Iterator[tuple[list[Pixels], Any, int]]:
    """Yield pictures and how they might be encoded, each way smaller than the one before."""
    yield pictures, "png", 0
    for quality in QUALITIES:
        yield pictures, "jpeg", quality
    while pictures and max(max(each.shape[:2]) for each in pictures) >= 2 * SMALLEST_EDGE:
        pictures = [_halved(each) for each in pictures]
        yield pictures, "jpeg", QUALITIES[-1]


def _halved(pixels: Pixels) -> Pixels:
    from PIL import Image as Pillow

    picture = Pillow.fromarray(pixels)
    return np.asarray(picture.reduce(2))
