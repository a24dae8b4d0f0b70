"""Fuse tiles of two views, in the units of the views or of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from vemctl.plugin import Footprint, Output, Place, Triple, Warn
from vemctl_rldfn.orientation import OrientationCheck
from vemctl_rldfn.solving import AXES, Solver

NEGATIVE = (
    "the views have negative values, which deconvolution cannot take: they count as 0; add what "
    "was subtracted, or keep the background"
)


@dataclass(frozen=True)
class Scaling:
    """What becomes 1 of each view, and what the result is in units of.

    Attributes
    ----------
    kind : {"volume", "tile", "none"}
        The largest value of each view, of each tile of each view, or one number for both views.
    maxima : sequence of sequence of float
        Of each view: its largest value in each series. None where they are not needed.
    values : {"input", "unit"}
        Whether the result is multiplied by what the views were divided by.
    """

    kind: Literal["volume", "tile", "none"]
    maxima: tuple[Sequence[float], Sequence[float]] | None
    values: Literal["input", "unit"]

    def divisors(self, views: Sequence[Tensor], series: int) -> tuple[Tensor, Tensor]:
        """Return what tiles of both views are divided by, to be broadcast to them."""
        first, second = views
        if self.kind == "tile":
            highest = [view.amax(AXES, keepdim=True) for view in views]
            return _positive(highest[0]), _positive(highest[1])
        if self.maxima is None:
            return first.new_ones(()), second.new_ones(())
        own = [_positive(first.new_tensor(each[series])) for each in self.maxima]
        if self.kind == "none":
            largest = torch.maximum(*own)
            return largest, largest
        return own[0], own[1]


class RldfnRestorer:
    """Fuses the views tile by tile.

    Parameters
    ----------
    solver : Solver
    checks : sequence of OrientationCheck
        One per channel, or none: looks at tiles until it knows whether the views fit their point
        spread functions.
    scaling : Scaling
    footprint : Footprint
    output : Output
    warn : callable
    literal : bool
        Whether values go through as they are, as in the published program.
    settled : mapping
        JSON types.
    """

    def __init__(
        self,
        solver: Solver,
        checks: Sequence[OrientationCheck],
        scaling: Scaling,
        footprint: Footprint,
        output: Output,
        warn: Warn,
        *,
        literal: bool,
        settled: Mapping[str, Any],
    ) -> None:
        self.footprint = footprint
        self.output = output
        self.settled = settled
        self._solver = solver
        self._checks = checks
        self._scaling = scaling
        self._warn = warn
        self._literal = literal
        self._told = False

    def __call__(self, tiles: Sequence[Tensor], places: Sequence[Place]) -> Tensor:
        """Fuse tiles (n, 1, z, y, x) of both views; return the cores."""
        place = places[0]
        if not self._literal:
            tiles = [self._without_negatives(tile) for tile in tiles]
        divisors = self._scaling.divisors(tiles, place.series)
        view_a, view_b = (tile / divisor for tile, divisor in zip(tiles, divisors, strict=True))
        z, y, x = (
            slice(low, low + size) for low, size in zip(place.halo_low, place.core, strict=True)
        )
        core = (..., z, y, x)
        if self._checks:
            check = self._checks[place.series % len(self._checks)]
            # Beyond the volume there is nothing to judge by.
            text = check.check(view_a[core], view_b[core])
            if text is not None:
                self._warn(text)
        result = self._solver(view_a, view_b)
        if not self._literal:  # of nothing the network makes something
            highest = torch.maximum(view_a, view_b).amax(AXES, keepdim=True)
            result = result.masked_fill(highest <= 0, 0)
        if self._scaling.values == "input":
            result = result * ((divisors[0] + divisors[1]) / 2)
        return result[core]

    def _without_negatives(self, tile: Tensor) -> Tensor:
        """Return a tile whose negative values, which no light has, are 0; tell of them once."""
        if not self._told and bool((tile < 0).any()):
            self._told = True
            self._warn(NEGATIVE)
        return tile.clamp(min=0)

    def memory(self, tile: Triple, batch: int) -> int:
        """Return the bytes that a call takes on the device."""
        given = 2 * 4 * batch * tile[0] * tile[1] * tile[2]
        return given + self._solver.memory(tile, batch)


def _positive(values: Tensor) -> Tensor:
    """Return values with 1 in place of those that nothing can be divided by."""
    return torch.where(values > 0, values, torch.ones_like(values))
