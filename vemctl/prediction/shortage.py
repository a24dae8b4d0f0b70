"""When a device's memory runs out: tell it from other faults, and say what would fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeVar

from vemctl.nn.device import free_memory
from vemctl.plugin import Footprint, Restorer, Triple

SMALLEST_TILE = 32
T = TypeVar("T")


class Movable(Protocol):
    """What a device's memory holds, and the main memory can hold as well."""

    device: str

    def move(self, device: str) -> None:
        """Go on in the memory of another device."""


def is_shortage(error: BaseException) -> bool:
    """Tell whether an error of torch says that memory ran out."""
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text


def making_room(held: Movable, do: Callable[[], T]) -> T:
    """Do something in the memory of a device, or else in main memory with what is held moved there.

    Parameters
    ----------
    held : Movable
    do : callable
        Changes nothing where memory runs out.
    """
    try:
        return do()
    except RuntimeError as error:  # such as torch.OutOfMemoryError
        if held.device == "cpu" or not is_shortage(error):
            raise
    held.move("cpu")
    return do()


def unused_memory(device: str) -> int:
    """Return the bytes that are free on a device, and those that torch holds without need."""
    import torch

    free = free_memory(device)
    if device.startswith("cuda"):
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free)


def empty_cache(device: str) -> None:
    """Give back what torch holds of a device's memory without need."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def too_large(restorer: Restorer, tile: Triple, device: str) -> str:
    """Say which tile would fit: sides are halved, once at least, until it should."""
    z, y, x = tile
    needed, free = restorer.memory(tile, 1), free_memory(device)
    while (z, y, x) == tile or restorer.memory((z, y, x), 1) > free:
        smaller = _smaller((z, y, x), restorer.footprint)
        if smaller == (z, y, x):
            break
        z, y, x = smaller
    return (
        f"out of memory on {device}: one tile takes about {needed / 2**30:.1f} GiB, "
        f"{free / 2**30:.1f} GiB are free; use a smaller tile, such as --tile {z},{y},{x}"
    )


def _smaller(tile: Triple, footprint: Footprint) -> Triple:
    """Halve y and x or, where these are small already, z, as far as the footprint allows."""
    z, y, x = (
        half if 2 * halo < (half := math.ceil(n / 2 / multiple) * multiple) < n else n
        for n, multiple, halo in zip(tile, footprint.multiple_of, footprint.halo, strict=True)
    )
    y, x = (half if n > SMALLEST_TILE else n for half, n in ((y, tile[1]), (x, tile[2])))
    if (y, x) != tile[1:] or footprint.tile[0] is None:
        return tile[0], y, x
    return z, y, x
