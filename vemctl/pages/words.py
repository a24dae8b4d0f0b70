"""Values as people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

NOTHING = "\N{EN DASH}"
LONGEST = 2000
"""Characters of one value; what is longer is cut and says so."""


def number_text(value: float, digits: int = 4) -> str:
    """Return a number with so many significant digits; whole numbers are written in full."""
    if isinstance(value, int) or (
        math.isfinite(value) and value == int(value) and abs(value) < 1e6
    ):
        return str(int(value))
    return f"{value:.{digits}g}"


def size_text(num_bytes: float) -> str:
    """Return a number of bytes, for instance ``"1.5 GiB"``."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if num_bytes < 1024 or unit == "TiB":
            break
        num_bytes /= 1024
    return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"


def duration_text(seconds: float) -> str:
    """Return a duration, for instance ``"65 s"`` or ``"2 h 05 min"``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def shape_text(shape: Sequence[float]) -> str:
    """Return lengths along axes, with multiplication signs between them."""
    return " \N{MULTIPLICATION SIGN} ".join(number_text(length) for length in shape)


def value_text(value: Any) -> str:
    """Return a value of a JSON type.

    Parameters
    ----------
    value : object
        Three or more numbers are lengths along axes.
    """
    text = _value_text(value)
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}\N{HORIZONTAL ELLIPSIS} ({len(text)} characters in all)"


def _value_text(value: Any) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number_text(value, 6)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_value_text(each)}" for key, each in value.items()) or NOTHING
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) > 2 and all(_is_number(each) for each in value):
            return shape_text(value)
        return ", ".join(_value_text(each) for each in value) or "none"
    return str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
