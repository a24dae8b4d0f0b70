"""Which parts of a volume are looked at: all of it, or slabs spread over what is too large."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vemctl.errors import OptionError
from vemctl.volumes.volume import Header, Region, Triple

WINDOW = 2**22
"""Pixels of a plane that are looked at at once: whole planes of cameras, parts of mosaics."""
VOXELS = 2**25
"""Of a slab, about."""
SHALLOWEST, DEEPEST = 8, 64
"""Planes of a slab."""
WHOLE = 2**28
"""Voxels of all series up to which everything is looked at by default."""
SLABS = 8
"""Of each channel, where it is not."""
EVERYTHING = "all"
NAMED = 10
"""Slabs whose depth is told to people."""


@dataclass(frozen=True)
class Slab:
    """Consecutive planes of a window, in one channel at one time point.

    Attributes
    ----------
    timepoint, channel : int
    region : Region
        Voxels of the volume.
    """

    timepoint: int
    channel: int
    region: Region

    def grown(self, by: int, shape: Triple) -> Region:
        """Return the region with so many voxels more at every end, inside a volume of `shape`."""
        z, y, x = (
            slice(max(0, part.start - by), min(size, part.stop + by))
            for part, size in zip(self.region, shape, strict=True)
        )
        return z, y, x

    def within(self, region: Region) -> Region:
        """Return where the slab lies in an array that was read for a larger `region`."""
        z, y, x = (
            slice(own.start - part.start, own.stop - part.start)
            for own, part in zip(self.region, region, strict=True)
        )
        return z, y, x

    def to_json(self) -> dict[str, Any]:
        """Return the slab as JSON types."""
        ends = {
            axis: [part.start, part.stop] for axis, part in zip("zyx", self.region, strict=True)
        }
        return {"timepoint": self.timepoint, "channel": self.channel, **ends}


@dataclass(frozen=True)
class Sampling:
    """What is looked at.

    Attributes
    ----------
    slabs : tuple of Slab
        In the order of reading; each channel has as many.
    share : float
        Of the voxels of all series that were asked for, 1 at most.
    """

    slabs: tuple[Slab, ...]
    share: float

    @property
    def whole(self) -> bool:
        """Whether nothing is left out."""
        return self.share == 1

    @property
    def text(self) -> str:
        """What is looked at, for people."""
        if self.whole:
            return "the whole volume"
        size = " x ".join(map(str, self.largest))
        share = f"{100 * self.share:.3g} % of the volume"
        depths = sorted({slab.region[0].start for slab in self.slabs})
        shown = ", ".join(map(str, depths[:NAMED])) + ", ..." * (len(depths) > NAMED)
        return f"{len(self.slabs)} slabs of up to {size} voxels, {share}, from z = {shown}"

    @property
    def largest(self) -> Triple:
        """The largest size of a slab along each axis."""
        sizes = [[side.stop - side.start for side in slab.region] for slab in self.slabs]
        z, y, x = (max(side) for side in zip(*sizes, strict=True))
        return z, y, x

    def to_json(self) -> dict[str, Any]:
        """Return the sampling as JSON types."""
        return {
            "slabs": len(self.slabs),
            "share": self.share,
            "whole": self.whole,
            "text": self.text,
            "regions": [slab.to_json() for slab in self.slabs],
        }


def number_of_slabs(text: str | None) -> int | None:
    """Return how many slabs ``--slabs`` asks for; 0 for all, None for the default.

    Raises
    ------
    OptionError
        It is neither a number nor "all".
    """
    if text is None:
        return None
    if text == EVERYTHING:
        return 0
    if not text.isdecimal() or int(text) < 1:
        raise OptionError(f"--slabs {text}: expected all, or how many, such as 8")
    return int(text)


def choose_slabs(
    header: Header, series: Sequence[tuple[int, int]], asked: int | None = None
) -> Sampling:
    """Choose what is looked at; the same volume is always looked at in the same places.

    Parameters
    ----------
    header : Header
        Of the volume, after any region of interest was taken.
    series : sequence of (timepoint, channel)
    asked : int, optional
        Slabs of each channel, spread over depth, plane and time points; 0 for everything. By
        default everything up to `WHOLE` voxels, else `SLABS`.
    """
    window = _window(header)
    depth = min(header.shape[0], max(SHALLOWEST, min(DEEPEST, VOXELS // math.prod(window))))
    size = (depth, *window)
    total = math.prod(header.shape) * len(series)
    channels: dict[int, list[int]] = {}
    for timepoint, channel in series:
        channels.setdefault(channel, []).append(timepoint)
    if asked == 0 or (asked is None and total <= WHOLE):
        layers = _boxes(header.shape, size)
        slabs = [Slab(t, c, box) for t, c in series for layer in layers for box in layer]
        return Sampling(tuple(slabs), 1.0)
    chosen = [
        slab
        for channel, timepoints in channels.items()
        for slab in _spread(header.shape, size, channel, timepoints, asked or SLABS)
    ]
    seen = sum(math.prod(p.stop - p.start for p in slab.region) for slab in chosen)
    return Sampling(tuple(chosen), seen / total)


def _window(header: Header) -> tuple[int, int]:
    """Return the size of the windows: whole planes, or equal parts of whole chunks."""
    _, height, width = header.shape
    _, *chunk = header.chunk_shape
    while height * width > WINDOW:
        if height >= width:
            height = _halved(height, chunk[0])
        else:
            width = _halved(width, chunk[1])
    return height, width


def _halved(length: int, chunk: int) -> int:
    half = -(-length // 2)
    return -(-half // chunk) * chunk if chunk < half else half


def _boxes(shape: Triple, size: Triple) -> list[list[Region]]:
    """Return the slabs of a volume: for each layer of planes, its windows."""
    zs, ys, xs = (
        [slice(start, min(start + step, n)) for start in range(0, n, step)]
        for n, step in zip(shape, size, strict=True)
    )
    return [[(z, y, x) for y, x in itertools.product(ys, xs)] for z in zs]


def _spread(
    shape: Triple, size: Triple, channel: int, timepoints: Sequence[int], count: int
) -> list[Slab]:
    """Choose slabs evenly over time points and depth, and all over the plane; no voxel twice."""
    layers = _boxes(shape, size)
    windows = len(layers[0])
    total = len(timepoints) * len(layers) * windows
    taken: set[int] = set()
    for number in range(min(count, total)):
        place = (number + 0.5) / min(count, total)
        # A low-discrepancy sequence visits the windows of a plane evenly, however few slabs.
        window = int(_radical_inverse(number + 1) * windows)
        layer = int(place * len(timepoints) * len(layers))
        found = layer * windows + window
        while found in taken:
            found = (found + 1) % total
        taken.add(found)
    slabs = []
    for each in sorted(taken):
        layer, window = divmod(each, windows)
        timepoint, depth = divmod(layer, len(layers))
        slabs.append(Slab(timepoints[timepoint], channel, layers[depth][window]))
    return slabs


def _radical_inverse(number: int) -> float:
    """Return the binary digits of `number` behind the point, the last first."""
    value, part = 0.0, 1.0
    while number:
        part /= 2
        number, digit = divmod(number, 2)
        value += digit * part
    return value
