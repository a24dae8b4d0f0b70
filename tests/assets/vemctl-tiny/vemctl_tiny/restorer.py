"""Run the convolution on tiles."""

from collections.abc import Sequence
from pathlib import Path

import torch

from vemctl.nn.state_dict import load, read_state_dict
from vemctl.plugin import Footprint, Output, Place, Request, Triple
from vemctl_tiny.trainer import RANGE, make_network


class TinyRestorer:
    """The convolution, with a halo of one pixel."""

    def __init__(self, weights: Path, request: Request) -> None:
        footprint = Footprint(tile=(4, 32, 32), overlap=(0, 0, 0), halo=(0, 1, 1))
        self.footprint = request.tiling.applied_to(footprint)
        self.output = Output()
        self._network = make_network().eval().to(request.device)
        load(self._network, read_state_dict(weights), weights)

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        """Filter tiles (n, 1, z, y + 2, x + 2) to (n, 1, z, y, x)."""
        filtered: torch.Tensor = self._network(tiles[0] / RANGE)
        return filtered[..., 1:-1, 1:-1] * RANGE

    def memory(self, tile: Triple, batch: int) -> int:
        """Return the bytes of a tile and its result in float32."""
        z, y, x = tile
        return 8 * batch * z * y * x
