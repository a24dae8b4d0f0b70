"""Super-resolve the slices of a volume in one orientation, window after window."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vemctl_vsisr.normalising import scale_samples_to_unit
from vemctl_vsisr.proportions import COUNTS, enlarged_size
from vemctl_vsisr.rotating import Rotation

REACH = 3
"""Slices that the network sees on each side of the middle one."""

Network = Callable[[Tensor], Tensor]
"""From windows of slices (n, 7, y, x) to the middle three (n, 3, 1.5 y, 1.5 x), as scaled."""


@dataclass(frozen=True)
class Span:
    """Slices of a volume: those with a result, and how it goes on beyond its ends.

    Attributes
    ----------
    first, last : int
        Slices that may be the middle of a window.
    num_slices : int
        Of the volume, which is continued by its mirror image.
    """

    first: int
    last: int
    num_slices: int

    def mirrored(self, z: int) -> int:
        """Return the slice that stands at a place that may lie beyond the ends."""
        period = 2 * (self.num_slices - 1) or 1
        z %= period
        return min(z, period - z)


class Direction:
    """Super-resolves the slices of a volume in one orientation, and remembers the last windows.

    Parameters
    ----------
    network : callable
    rotation : Rotation
        Into the orientation.
    span : Span
    batch : int
        Windows per call of the network.
    overlap : int
        Slices by which what is asked for next may begin before where the last ended.
    network_bytes : int
        That a call of the network takes.

    Attributes
    ----------
    overlap : int
    """

    def __init__(
        self,
        network: Network,
        rotation: Rotation,
        span: Span,
        batch: int,
        overlap: int = 0,
        *,
        network_bytes: int = 0,
    ) -> None:
        self._network = network
        self._network_bytes = network_bytes
        self._rotation = rotation
        self._span = span
        self.overlap = overlap
        self._batch = batch
        self._rotated: dict[int, Tensor] = {}
        self._windows: dict[int, Tensor] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """Of its super-resolved slices, (y', x')."""
        return enlarged_size(*self._rotation.shape)

    def held_bytes(self) -> int:
        """Return the bytes of what is remembered, and of what goes into a call of the network."""
        window = 2 * REACH + 1
        planes = 2 * window + self._batch + self._batch * window
        rotated = planes * math.prod(self._rotation.shape)
        windows = REACH + self.overlap + 2 * self._batch
        return 4 * (rotated + 3 * windows * math.prod(self.shape))

    def call_bytes(self) -> int:
        """Return the bytes that a call of the network or of the rotation takes."""
        new = 2 * REACH + self._batch
        return max(self._network_bytes, self._rotation.memory(new))

    @property
    def remembers(self) -> bool:
        """Whether a window's result is the same whatever came before."""
        return self._batch == 1

    def forget(self) -> None:
        """Forget all windows, for what comes next does not follow them."""
        self._rotated.clear()
        self._windows.clear()

    def slices(self, planes: Mapping[int, Tensor], centres: range) -> Iterator[Tensor]:
        """Yield super-resolved slices, still rotated, as counts of 16 bits.

        Each is the mean of what up to three overlapping windows say of it.

        Parameters
        ----------
        planes : mapping of int to tensor, (y, x)
            The slices around, in [0, 1].
        centres : range
            Of the slices that are wanted.

        Yields
        ------
        tensor, (y', x') float32
        """
        for centre in centres:
            around = [z for z in (centre - 1, centre, centre + 1) if self._inside(z)]
            while missing := [z for z in around if z not in self._windows]:
                end = min(missing[0] + self._batch - 1, centres[-1] + 1, self._span.last)
                self._compute(planes, range(missing[0], end + 1))
            yield torch.floor(
                COUNTS * mean_of_planes([self._windows[z][centre - z + 1] for z in around])
            )
            for z in [z for z in self._windows if z < centre - self.overlap]:
                del self._windows[z]

    def _inside(self, z: int) -> bool:
        return self._span.first <= z <= self._span.last

    def _compute(self, planes: Mapping[int, Tensor], centres: range) -> None:
        """Run the network on windows about some slices."""
        numbers = [
            [self._span.mirrored(centre + offset) for offset in range(-REACH, REACH + 1)]
            for centre in centres
        ]
        wanted = {z for window in numbers for z in window}
        for z in [z for z in self._rotated if z not in wanted]:
            del self._rotated[z]
        new = sorted(wanted - self._rotated.keys())
        if new:
            turned = self._rotation(torch.stack([planes[z] for z in new]))
            self._rotated |= dict(zip(new, turned.float(), strict=True))
        windows = torch.stack(
            [torch.stack([self._rotated[z] for z in window]) for window in numbers]
        )
        self._windows |= dict(
            zip(centres, scale_samples_to_unit(self._network(windows)), strict=True)
        )


def mean_of_planes(planes: Sequence[Tensor]) -> Tensor:
    """Return the mean of one or more planes (y, x), added in their order, in their precision.

    The published program adds in the order of windows and divides in single precision. It then
    cuts to 16 bits, where any other rounding would show.
    """
    total = planes[0]
    for plane in planes[1:]:
        total = total + plane
    return total / len(planes)
