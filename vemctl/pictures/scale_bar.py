"""Scale bars: how long something is in a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vemctl.pictures.gray import Gray
from vemctl.pictures.lettering import FONT_SIZE, Lettering

SHARE = 0.3
"""Of a picture's width, at most."""
SHORTEST = 16
"""Pixels; a shorter bar could not be read off."""
HALO = 2
"""Pixels of black around what is white, so that it is seen on any picture."""
WHITE, BLACK = 255, 0
UNITS = (("mm", 1e6), ("\N{MICRO SIGN}m", 1e3), ("nm", 1.0), ("pm", 1e-3))


@dataclass(frozen=True)
class ScaleBar:
    """A bar as it is drawn.

    Attributes
    ----------
    nanometres : float
        How long it is.
    text : str
        What stands above it.
    pixels : int
        How long it is in the picture.
    """

    nanometres: float
    text: str
    pixels: int


def bar_length(width_nm: float) -> tuple[float, str]:
    """Return how long a scale bar is in a picture of this width.

    Parameters
    ----------
    width_nm : float
        Nanometres, positive.

    Returns
    -------
    nanometres : float
        The longest of 1, 2, 5, 10, 20, ... that takes at most `SHARE` of the width.
    text : str
        It for people: ``"500 nm"``, ``"2 µm"``.
    """
    most = SHARE * width_nm * (1 + 1e-9)
    power = math.floor(math.log10(most))
    digit = max(each for each in (1, 2, 5) if each == 1 or each * 10.0**power <= most)
    length = digit * 10.0**power
    return length, length_text(length)


def length_text(nanometres: float) -> str:
    """Return a length for people, to three digits: ``"500 nm"``, ``"2.05 µm"``."""
    unit, factor = next(
        (each for each in UNITS if abs(nanometres) >= each[1] * (1 - 1e-9)), UNITS[-1]
    )
    return f"{float(f'{nanometres / factor:.3g}'):g} {unit}"


def scale_bar(height: int, width: int, pixel_size_nm: float) -> ScaleBar | None:
    """Return the bar that a picture gets; None where it has no room for one.

    Parameters
    ----------
    height, width : int
        Of the picture, in pixels.
    pixel_size_nm : float
        Nanometres along x.
    """
    nanometres, text = bar_length(width * pixel_size_nm)
    bar = ScaleBar(nanometres, text, round(nanometres / pixel_size_nm))
    return bar if _fits(bar, height, width) else None


def with_scale_bar(gray: Gray, pixel_size_nm: float, bar: ScaleBar | None = None) -> Gray:
    """Return a picture with a scale bar at its lower right.

    Parameters
    ----------
    gray : ndarray, (y, x), uint8
    pixel_size_nm : float
        Nanometres along x.
    bar : ScaleBar, optional
        Instead of the one for this width: that of another picture of the same scale.

    Returns
    -------
    ndarray, (y, x), uint8
        Bar and text are white, with a rim of black. A picture that has no room for them is
        returned without.
    """
    from PIL import Image, ImageDraw

    height, width = gray.shape
    bar = bar or scale_bar(height, width, pixel_size_nm)
    if bar is None or not _fits(bar, height, width):
        return gray
    lettering = Lettering(_font_size(width))
    picture = Image.fromarray(gray)
    draw = ImageDraw.Draw(picture)
    right, bottom = width - _margin(width), height - _margin(width)
    left, top = right - bar.pixels, bottom - _thickness(width)
    text_width = lettering.width(bar.text)
    place = (min(left + (bar.pixels - text_width) // 2, right - text_width), top - lettering.line)
    for x in range(-HALO, HALO + 1):
        for y in range(-HALO, HALO + 1):
            lettering.write(draw, (place[0] + x, place[1] + y), bar.text, BLACK)
    draw.rectangle((left - HALO, top - HALO, right - 1 + HALO, bottom - 1 + HALO), BLACK)
    draw.rectangle((left, top, right - 1, bottom - 1), WHITE)
    lettering.write(draw, place, bar.text, WHITE)
    return np.array(picture)


def _fits(bar: ScaleBar, height: int, width: int) -> bool:
    lettering = Lettering(_font_size(width))
    wide = max(bar.pixels, lettering.width(bar.text)) + 2 * _margin(width)
    high = lettering.line + _thickness(width) + 2 * _margin(width)
    return wide <= width and high <= height and bar.pixels >= SHORTEST


def _font_size(width: int) -> int:
    """Return a size that stays legible when a large picture is shown smaller."""
    return max(FONT_SIZE, min(4 * FONT_SIZE, width // 40))


def _margin(width: int) -> int:
    return max(8, width // 50)


def _thickness(width: int) -> int:
    return max(4, width // 130)
