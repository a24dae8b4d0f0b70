"""Several pictures on one sheet, each below its caption, with notes at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vemctl.pictures.gray import BACKGROUND, Gray
from vemctl.pictures.lettering import FONT_SIZE, INK, PALE_INK, Lettering

MARGIN = 12
"""Pixels around everything."""
GAP = 10
"""Pixels between pictures."""
NARROWEST = 300
"""Pixels of a sheet, so that notes can be read."""
ASPECT = 4 / 3
"""Width to height of a sheet of many like pictures, about."""
WASTE = 0.75
"""A row becomes a column only if that takes at most this much of the room."""


@dataclass(frozen=True)
class Panel:
    """A picture on a sheet.

    Attributes
    ----------
    gray : ndarray, (y, x), uint8
    caption : str
        One line.
    """

    gray: Gray
    caption: str


def sheet(
    rows: Sequence[Sequence[Panel]], *, headings: Sequence[str] = (), notes: Sequence[str] = ()
) -> Gray:
    """Return panels in rows and columns, as a picture.

    Parameters
    ----------
    rows : sequence of sequence of Panel
        From the top, from left to right; a row may be shorter than others.
    headings : sequence of str
        Above the columns, or one above all; shortened in the middle where they are too long.
    notes : sequence of str
        Below; each begins a line and takes as many as it needs.

    Returns
    -------
    ndarray, (y, x), uint8
    """
    from PIL import Image, ImageDraw

    lettering, title = Lettering(FONT_SIZE), Lettering(FONT_SIZE + 2)
    widths, heights = _cells(rows, lettering)
    inner = max(NARROWEST, sum(widths) + GAP * (len(widths) - 1))
    lines = [line for note in notes for line in lettering.wrapped(note, inner)]
    top = MARGIN + (title.line + GAP // 2 if headings else 0)
    body = sum(lettering.line + height + GAP for height in heights)
    bottom = lettering.line * len(lines) if lines else -GAP
    picture = Image.new("L", (inner + 2 * MARGIN, top + body + bottom + MARGIN), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    lefts = [MARGIN + sum(widths[:number]) + GAP * number for number in range(len(widths))]
    for number, heading in enumerate(headings):
        room = inner if len(headings) == 1 else widths[number]
        title.write(draw, (lefts[number], MARGIN), title.shortened(heading, room))
    for row, height in zip(rows, heights, strict=True):
        for left, panel in zip(lefts, row, strict=False):
            lettering.write(draw, (left, top), panel.caption, INK)
            picture.paste(Image.fromarray(panel.gray), (left, top + lettering.line))
        top += lettering.line + height + GAP
    for number, line in enumerate(lines):
        lettering.write(draw, (MARGIN, top + number * lettering.line), line, PALE_INK)
    return np.array(picture)


def arranged(panels: Sequence[Panel]) -> list[list[Panel]]:
    """Return a few panels as one row, or as a column where that takes much less room.

    Parameters
    ----------
    panels : sequence of Panel
    """
    row, column = [list(panels)], [[panel] for panel in panels]
    return column if _area(column) < WASTE * _area(row) else row


def tabulated(panels: Sequence[Panel]) -> list[list[Panel]]:
    """Return many like panels in rows of one length, on a sheet a little wider than high.

    Parameters
    ----------
    panels : sequence of Panel
    """
    height, width = panels[0].gray.shape
    wanted = math.sqrt(ASPECT * len(panels) * height / width)
    columns = max(1, min(len(panels), round(wanted)))
    return [list(panels[start : start + columns]) for start in range(0, len(panels), columns)]


def _area(rows: Sequence[Sequence[Panel]]) -> int:
    widths, heights = _cells(rows, Lettering())
    return (sum(widths) + GAP * len(widths)) * sum(height + 2 * GAP for height in heights)


def _cells(rows: Sequence[Sequence[Panel]], lettering: Lettering) -> tuple[list[int], list[int]]:
    """Return the widths of columns and the heights of rows, without captions."""
    widths = [0] * max(map(len, rows))
    for row in rows:
        for number, panel in enumerate(row):
            needed = max(panel.gray.shape[1], lettering.width(panel.caption))
            widths[number] = max(widths[number], needed)
    return widths, [max(panel.gray.shape[0] for panel in row) for row in rows]
