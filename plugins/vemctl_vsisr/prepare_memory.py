"""What volumes take that are being written. Imports no numpy."""

from __future__ import annotations

from vemctl.plugin import Triple

WAITING = 64
"""Slices that wait for their file."""
COPIES = 3
"""Of them, while the file is written: they are joined, and encoded."""
COUNT_BYTES = 2


def waiting_bytes(shape: Triple) -> int:
    """Return about how many bytes of a 16-bit volume (z, y, x) are in memory at once."""
    z, y, x = shape
    return COUNT_BYTES * COPIES * min(z, WAITING) * y * x
