"""Text in pictures, in the font that comes with Pillow."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

FONT_SIZE = 13
INK, PALE_INK = 235, 160
MICRO = "\N{MICRO SIGN}"
ELLIPSIS = "..."


class Lettering:
    """Text of one size.

    Parameters
    ----------
    size : int
        Pixels.

    Notes
    -----
    The font has little more than ASCII. The micro sign is a u with a longer first stroke; accents
    are left out, and what else is missing is a question mark.
    """

    def __init__(self, size: int = FONT_SIZE) -> None:
        from PIL import ImageFont

        self.size = size
        self._font: Any = ImageFont.load_default(size)

    @property
    def line(self) -> int:
        """Pixels from one line to the next."""
        return round(self.size * 1.4)

    def width(self, text: str) -> int:
        """Return how many pixels wide a text is."""
        return -int(-self._font.getlength(self._known(text)) // 1)

    def write(self, draw: ImageDraw, place: tuple[int, int], text: str, ink: int = INK) -> None:
        """Write one line.

        Parameters
        ----------
        draw : PIL.ImageDraw.ImageDraw
        place : (x, y)
            Where the line's box begins, at the top left.
        text : str
        ink : int
            Gray.
        """
        x, y = place
        draw.text(place, self._known(text), ink, self._font)
        known = plain(text)
        for number, letter in enumerate(known):
            if letter == MICRO:
                self._lengthen(draw, x + self._font.getlength(self._known(known[:number])), y, ink)

    def fitting(self, text: str, width: int) -> str:
        """Return `text` in one line, or as much of its beginning as fits into so many pixels."""
        words = " ".join(text.split()) if "\n" in text else text
        while words and self.width(words) > width:
            words = words[:-1]
        return words

    def shortened(self, text: str, width: int) -> str:
        """Return `text`, without a part of its middle if it needs more than so many pixels."""
        if self.width(text) <= width:
            return text
        for kept in range(len(text) - 1, 1, -1):
            end = kept // 2
            words = text[: kept - end] + ELLIPSIS + text[len(text) - end :]
            if self.width(words) <= width:
                return words
        return ""

    def wrapped(self, text: str, width: int) -> list[str]:
        """Return the lines that a text takes; words that fit into none are shortened."""
        lines: list[str] = []
        for word in text.split():
            short = self.shortened(word, width)
            if lines and self.width(f"{lines[-1]} {short}") <= width:
                lines[-1] += f" {short}"
            else:
                lines.append(short)
        return lines

    def _lengthen(self, draw: ImageDraw, x: float, y: float, ink: int) -> None:
        """Make a micro sign of the u at a place."""
        left, top, _, bottom = self._font.getbbox("u")
        _, _, _, lowest = self._font.getbbox("p")
        stroke = max(1, round(self.size / 11))
        start = round(x + left)
        draw.rectangle((start, y + (top + bottom) // 2, start + stroke - 1, y + lowest - 1), ink)

    @staticmethod
    def _known(text: str) -> str:
        return plain(text).replace(MICRO, "u")


def plain(text: str) -> str:
    """Return a text in the letters that the font has."""
    marked = text.replace("\N{GREEK SMALL LETTER MU}", MICRO)
    letters = "".join(
        each if each == MICRO else unicodedata.normalize("NFKD", each) for each in marked
    )
    bare = (each for each in letters if not unicodedata.combining(each))
    return "".join(each if each.isascii() or each == MICRO else "?" for each in bare)
