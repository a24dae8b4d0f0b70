"""Images of a validation, side by side in one PNG, to see what a training has come to."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vemctl.durable import output_errors, write_whole
from vemctl.errors import MethodError

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL.ImageFont import FreeTypeFont, ImageFont

LEADING = ("target", "input")
"""Panels whose contrast all have, the first that is there."""
PERCENTILES = (0.5, 99.5)
SMALLEST_EDGE = 256
"""Pixels of the longer edge to which small panels grow, so that captions fit."""
GAP = 4
MARGIN = 6
FONT_SIZE = 13
BACKGROUND, INK, PALE_INK = 18, 235, 160


def write_preview(
    path: Path,
    panels: Mapping[str, npt.NDArray[Any]],
    texts: Sequence[str] = (),
    scaled_as: Mapping[str, str] | None = None,
) -> None:
    """Write panels side by side, all with the contrast of the target.

    Parameters
    ----------
    path : Path
        A PNG; replaced.
    panels : mapping of str to ndarray, (y, x)
        By caption, from left to right; smaller ones grow by repeating pixels. NaN is black.
        Without any, nothing is written.
    texts : sequence of str
        What stands below them, such as ``"step 1200"``.
    scaled_as : mapping of str to str, optional
        Panels with the contrast of another, which is their own then.

    Raises
    ------
    OutputError
        It cannot be written.
    MethodError
        A panel is no image; only a plugin can cause it.
    """
    if panels:
        data = io.BytesIO()
        _picture(panels, texts, scaled_as or {}).save(data, format="PNG")
        with output_errors(path):
            write_whole(path, data.getbuffer())


def _picture(
    panels: Mapping[str, npt.NDArray[Any]], texts: Sequence[str], scaled_as: Mapping[str, str]
) -> Any:
    from PIL import Image, ImageDraw, ImageFont

    values = {name: _values(name, panel) for name, panel in panels.items()}
    common = _contrast(values)
    height, width = (max(each.shape[axis] for each in values.values()) for axis in (0, 1))
    factor = max(1, round(SMALLEST_EDGE / max(height, width)))
    height, width = height * factor, width * factor
    font = ImageFont.load_default(FONT_SIZE)
    line = FONT_SIZE + MARGIN
    top = MARGIN + line
    size = (
        2 * MARGIN + len(values) * width + (len(values) - 1) * GAP,
        top + height + (line + MARGIN if texts else MARGIN),
    )
    picture = Image.new("L", size, BACKGROUND)
    draw = ImageDraw.Draw(picture)
    for number, (name, panel) in enumerate(values.items()):
        left = MARGIN + number * (width + GAP)
        low, high = common
        if name in scaled_as:
            low, high = _contrast({"input": values[scaled_as[name]]})
        gray = _grown(_gray(panel, low, high), height, width)
        picture.paste(Image.fromarray(gray), (left, top))
        draw.text((left, MARGIN), _fitting(name, font, width), INK, font)
    words = _fitting("    ".join(texts), font, size[0] - 2 * MARGIN)
    draw.text((MARGIN, top + height + MARGIN - 1), words, PALE_INK, font)
    return picture


def _values(name: str, panel: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    values = np.asarray(panel)
    if values.ndim != 2 or not values.size:
        raise MethodError(
            f"panel {name!r} of a validation has the shape {values.shape}, expected (y, x); the "
            "plugin must be mended"
        )
    return values.astype(np.float64)


def _contrast(panels: Mapping[str, npt.NDArray[np.float64]]) -> tuple[float, float]:
    """Return what is black and what is white."""
    first = next((name for name in LEADING if name in panels), next(iter(panels)))
    for values in (panels[first], *panels.values()):
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = np.percentile(finite, PERCENTILES)
            if high > low:
                return float(low), float(high)
    return 0.0, 1.0


def _gray(values: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.uint8]:
    shown = np.clip(np.nan_to_num(values, nan=low, posinf=high, neginf=low), low, high)
    return np.round((shown - low) / (high - low) * 255).astype(np.uint8)


def _grown(gray: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return an image of the size given, in which this one is as large as fits, in the middle."""
    scale = min(height / gray.shape[0], width / gray.shape[1])
    rows, columns = (max(1, int(length * scale + 1e-6)) for length in gray.shape)
    nearest = [
        (np.arange(new) * old // new) for new, old in zip((rows, columns), gray.shape, strict=True)
    ]
    canvas = np.full((height, width), BACKGROUND, np.uint8)
    y, x = (height - rows) // 2, (width - columns) // 2
    canvas[y : y + rows, x : x + columns] = gray[np.ix_(*nearest)]
    return canvas


def _fitting(text: str, font: FreeTypeFont | ImageFont, width: int) -> str:
    """Return `text`, or as much of its beginning as fits."""
    words = " ".join(text.split()) if "\n" in text else text
    while words and font.getlength(words) > width:
        words = words[:-1]
    return words
