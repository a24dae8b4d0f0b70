"""Images of a validation, side by side in one PNG, to see what a training has come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vemctl.durable import output_errors, write_whole
from vemctl.errors import MethodError
from vemctl.pictures.encoding import encoded
from vemctl.pictures.gray import BACKGROUND, grown, percentile_range, to_gray
from vemctl.pictures.lettering import FONT_SIZE, INK, PALE_INK, Lettering

if TYPE_CHECKING:
    import numpy.typing as npt

LEADING = ("target", "input")
"""Panels whose contrast all have, the first that is there."""
SMALLEST_EDGE = 256
"""Pixels of the longer edge to which small panels grow, so that captions fit."""
GAP = 4
MARGIN = 6


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
        data = encoded(_picture(panels, texts, scaled_as or {}), "png")
        with output_errors(path):
            write_whole(path, data)


def _picture(
    panels: Mapping[str, npt.NDArray[Any]], texts: Sequence[str], scaled_as: Mapping[str, str]
) -> npt.NDArray[np.uint8]:
    from PIL import Image, ImageDraw

    values = {name: _values(name, panel) for name, panel in panels.items()}
    common = _contrast(values)
    height, width = (max(each.shape[axis] for each in values.values()) for axis in (0, 1))
    factor = max(1, round(SMALLEST_EDGE / max(height, width)))
    height, width = height * factor, width * factor
    lettering = Lettering(FONT_SIZE)
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
        gray = grown(to_gray(panel, low, high), height, width)
        picture.paste(Image.fromarray(gray), (left, top))
        lettering.write(draw, (left, MARGIN), lettering.fitting(name, width), INK)
    words = lettering.fitting("    ".join(texts), size[0] - 2 * MARGIN)
    lettering.write(draw, (MARGIN, top + height + MARGIN - 1), words, PALE_INK)
    return np.array(picture)


def _values(name: str, panel: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    values = np.asarray(panel)
    if values.ndim != 2 or not values.size:
        raise MethodError(
            f"panel {name!r} of a validation has the shape {values.shape}, expected (y, x); the "
            "plugin must be mended"
        )
    return values.astype(np.float64)


def _contrast(panels: Mapping[str, npt.NDArray[np.float64]]) -> tuple[float, float]:
    """Return what is black and what is white: the contrast of the first panel that has any."""
    first = next((name for name in LEADING if name in panels), next(iter(panels)))
    for values in (panels[first], *panels.values()):
        found = percentile_range(values)
        if found is not None:
            return found
    return 0.0, 1.0
