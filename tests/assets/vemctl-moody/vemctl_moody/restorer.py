"""Runs moody on tiles."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import functional

from vemctl.plugin import Footprint, Output, Place, Tiling, Triple
from vemctl_moody.method import MoodyOptions

TILE = (4, 16, 16)


class MoodyRestorer:
    """Averages over 27 voxels, if its mood allows.

    The environment's MOODY_DELAY stands for an option that is not given, and is recorded nowhere.

    Parameters
    ----------
    options : MoodyOptions
    tiling : Tiling
    output : Output
    """

    def __init__(self, options: MoodyOptions, tiling: Tiling, output: Output) -> None:
        self.footprint = tiling.applied_to(
            Footprint(tile=TILE, halo=(1, 1, 1), overlap=(0, 4, 4), padding="edge", window="linear")
        )
        self.output = output
        self._options = options

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        """Return the cores, (n, 1, z, y, x) float32 in the input's grey values."""
        delay = self._options.delay or float(os.environ.get("MOODY_DELAY", "0"))
        if delay:
            time.sleep(delay * len(places))
        if not self._options.mood or Path(self._options.mood).exists():
            for place in places:
                if place.start == self._options.poison:
                    os.kill(os.getpid(), signal.SIGKILL)
                if place.start == self._options.refuse:
                    raise ValueError(f"I do not like the tile at {place.start}")
        (values,) = tiles
        return functional.avg_pool3d(values, 3, stride=1)

    def memory(self, tile: Triple, batch: int) -> int:
        """Return the bytes of two float32 copies."""
        return 2 * 4 * batch * math.prod(tile)
