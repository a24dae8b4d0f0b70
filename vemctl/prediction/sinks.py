"""Who takes the tiles that a network restores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from vemctl.plugin import Triple
from vemctl.prediction.shortage import Movable
from vemctl.tiles.grid import Region

if TYPE_CHECKING:
    from torch import Tensor


class Sink(Movable, Protocol):
    """Takes the tiles of a run where it is: `vemctl.tiles.blend.Block` is one.

    Attributes
    ----------
    device : str
        The network's own, or "cpu" for main memory.
    """

    def add(self, index: Triple, wanted: Region, piece: Tensor) -> None:
        """Take a part of the core of a tile, (z, y, x) float32; nothing where memory runs out."""


class Nowhere:
    """A sink for tiles that nobody needs; they stay where they are.

    Parameters
    ----------
    device : str
    """

    def __init__(self, device: str) -> None:
        self.device = device

    def add(self, index: Triple, wanted: Region, piece: Tensor) -> None:
        """Take nothing."""

    def move(self, device: str) -> None:
        """Move nothing."""
        self.device = device
