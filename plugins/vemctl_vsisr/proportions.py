"""What the network takes and gives, and how the published program stores it. Imports nothing."""

from __future__ import annotations

FRAMES, PLANES = 7, 3
"""Slices of a window, and super-resolved planes of its middle that the network gives."""
ENLARGED = 1.5
"""Pixels of the result per pixel of the input, along y and x."""
COUNTS = 65535
"""What 1 is in the 16 bits of files, and between the published program's steps."""


def enlarged_size(height: int, width: int) -> tuple[int, int]:
    """Return the pixels (y, x) of what the network makes of planes of this size."""
    return height * 3 // 2, width * 3 // 2
