"""Restore slices: three orientations through the network, averaged along z, and joined."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vemctl.plugin import Footprint, Output, Place, Triple
from vemctl_vsisr.directions import Direction, Span
from vemctl_vsisr.intensities import Floats, Limits
from vemctl_vsisr.proportions import COUNTS
from vemctl_vsisr.recombining import JointReconstruction, top


class VsisrRestorer:
    """Makes a volume laterally isotropic, slice by slice.

    Parameters
    ----------
    directions : sequence of Direction
        One per orientation.
    joints : sequence of JointReconstruction
        One per channel.
    limits : Limits
        Of each series.
    profiles : ndarray, (series, z), optional
        How bright each slice with a result is to be.
    percent : float
        The brightness of a slice is the mean of its pixels above this percentile.
    span : Span
    footprint : Footprint
    output : Output
    transposed : bool
        Whether the network super-resolves along y of the volume.
    settled : mapping
    """

    def __init__(
        self,
        directions: Sequence[Direction],
        joints: Sequence[JointReconstruction],
        limits: Limits,
        profiles: Floats | None,
        percent: float,
        span: Span,
        footprint: Footprint,
        output: Output,
        *,
        transposed: bool,
        settled: Mapping[str, Any],
    ) -> None:
        self.footprint = footprint
        self.output = output
        self.settled = settled
        self._directions = directions
        self._joints = joints
        self._limits = limits
        self._profiles = profiles
        self._percent = percent
        self._span = span
        self._transposed = transposed
        self._remembers = all(direction.remembers for direction in directions)
        self._overlap = min(direction.overlap for direction in directions)
        self._following: set[tuple[int, int]] = set()  # series and slice that may come next

    def __call__(self, tiles: Sequence[Tensor], places: Sequence[Place]) -> Tensor:
        """Restore the core of a tile of whole planes, (1, 1, z, y, x), to any positive range."""
        (place,) = places
        tile = tiles[0][0, 0]
        # Of the sums below none may be rounded; the network's calls choose for themselves.
        with torch.autocast(tile.device.type, enabled=False):
            core = torch.stack(list(self._restored(tile, place)))
            if not self._limits.low[place.series] < self._limits.high[place.series]:
                core.zero_()  # the network makes a full range of anything, also of its borders
        return (core.transpose(-1, -2) if self._transposed else core)[None, None]

    def memory(self, tile: Triple, batch: int) -> int:  # noqa: ARG002 - windows have their own
        """Return the bytes that a call takes on the device."""
        height, width = self._joints[0].output_shape
        planes = 4 * (3 * math.prod(tile) + 2 * tile[0] * height * width)
        shapes = [direction.shape for direction in self._directions]
        joints = max(joint.memory(shapes) for joint in self._joints) * len(set(self._joints))
        held = sum(direction.held_bytes() for direction in self._directions)
        calls = max(direction.call_bytes() for direction in self._directions)
        return planes + held + max(calls, joints)

    def _restored(self, tile: Tensor, place: Place) -> Iterator[Tensor]:
        start, series = place.start[0], place.series
        # What is remembered must not depend on which tiles came before: a batch would.
        if not self._remembers or (series, start) not in self._following:
            for direction in self._directions:
                direction.forget()
        end = start + place.core[0]
        self._following = {(series, end - back) for back in range(self._overlap + 1)}
        planes = self._scaled(tile, start - place.halo_low[0], series)
        joint = self._joints[series % len(self._joints)]
        centres = range(start, start + place.core[0])
        images = zip(*(each.slices(planes, centres) for each in self._directions), strict=True)
        for centre, oriented in zip(centres, images, strict=True):
            raw = torch.floor(COUNTS * planes[centre])
            joined = joint(oriented, raw)
            if self._profiles is not None:
                highest = top(joined, self._percent)
                wanted = self._profiles[series][centre - self._span.first]
                joined = joined * (wanted / highest) if highest > 0 else joined
            yield joined.float()

    def _scaled(self, tile: Tensor, first: int, series: int) -> dict[int, Tensor]:
        """Return the planes of a tile in [0, 1], by their number in the volume."""
        unit = self._limits.scaled(tile, series)
        if self._transposed:
            unit = unit.transpose(-1, -2)
        return dict(enumerate(unit, first))
