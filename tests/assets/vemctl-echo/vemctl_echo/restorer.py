"""Runs echo on tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from vemctl.plugin import Footprint, Output, Place, Tiling, Triple
from vemctl_echo.method import EchoOptions

TILE = (32, 128, 128)
BOX = 3


class EchoRestorer:
    """Multiplies, adds, and averages over a box if asked to.

    Parameters
    ----------
    options : EchoOptions
    tiling : Tiling
        The user's wishes; the defaults are ours.
    """

    def __init__(self, options: EchoOptions, tiling: Tiling) -> None:
        reach = BOX // 2 if options.smooth == "box" else 0
        self.footprint = tiling.applied_to(
            Footprint(tile=TILE, halo=(reach, reach, reach), padding="edge")
        )
        self.output = Output("round")
        self._options = options

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        """Return the cores, (n, 1, z, y, x) float32 in the input's grey values."""
        (values,) = tiles  # (n, 1, z, y, x), with the halo
        if self._options.smooth == "box":
            values = functional.avg_pool3d(values, BOX, stride=1)  # uses the halo up
        return values * self._options.gain + self._options.offset

    def memory(self, tile: Triple, batch: int) -> int:
        """Return the bytes of three float32 copies: the tiles, their averages, the result."""
        return 3 * 4 * batch * math.prod(tile)
