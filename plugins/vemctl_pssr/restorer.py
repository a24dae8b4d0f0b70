"""Enlarge planes tile by tile, as the published program does or as it should."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from vemctl.plugin import Footprint, Output, Place, Triple
from vemctl_pssr.architecture import SCALE
from vemctl_pssr.enlarging import enlarge, sources
from vemctl_pssr.footprints import MARGIN
from vemctl_pssr.memory import call_bytes
from vemctl_pssr.published_tiling import (
    Part,
    TileAxis,
    blur_seams,
    part_of,
)
from vemctl_pssr.ranges import Ranges, scaled, unscaled
from vemctl_pssr.upscaling import Upscaler

KEPT_BYTES = 128 * 2**20
"""Of tiles that are kept for the next calls, whose parts of the plane they reach into."""
FLOAT = 4
Floats = npt.NDArray[np.float32]
Index = tuple[int, int]


@dataclass(frozen=True)
class Setup:
    """What is enlarged, and by what.

    Attributes
    ----------
    upscaler : Upscaler
    output : Output
    ranges : Ranges
        What is 0 and 1 to the network.
    plane : (z, y, x)
        Shape of the input.
    in_time : bool
        Whether frames are time points, which come as tiles of their own, or slices.
    device : str
        A torch device.
    settled : mapping
        JSON types: what is recorded of the choices.
    """

    upscaler: Upscaler
    output: Output
    ranges: Ranges
    plane: Triple
    in_time: bool
    device: str = "cpu"
    settled: Mapping[str, Any] = field(default_factory=dict)


class _PssrRestorer:
    """What both ways of tiling have in common."""

    def __init__(self, setup: Setup, footprint: Footprint) -> None:
        self.footprint = footprint
        self.output = setup.output
        self.settled = setup.settled
        self._upscaler = setup.upscaler
        self._ranges = setup.ranges
        self._plane = setup.plane
        self._in_time = setup.in_time
        self._device = setup.device

    def _frames(self, tiles: Sequence[Tensor], number: int, place: Place) -> Tensor:
        """Return the frames of one sample in [0, 1], (frames, y, x)."""
        if self._in_time:
            frames = torch.stack([tile[number, 0, 0] for tile in tiles])
        else:
            half = self._upscaler.architecture.frames // 2
            first = place.start[0] - place.halo_low[0]
            wanted = range(place.start[0] - half, place.start[0] + half + 1)
            # Beyond the ends of the volume the first or the last slice stands for its neighbour.
            slices = [min(max(z, 0), self._plane[0] - 1) - first for z in wanted]
            frames = tiles[0][number, 0, slices]
        ends = self._ranges.of(place.series, place.start[0])
        inside: Tensor = scaled(frames, ends)
        return inside

    def _call_bytes(self, height: int, width: int, batch: int) -> int:
        """Return what a call on tiles of so many input pixels takes."""
        architecture = self._upscaler.architecture
        scale = 1 if architecture.upsamples else SCALE
        seen = (scale * height, scale * width)
        enlarged = FLOAT * (3 * architecture.frames + 3) * batch * SCALE**2 * height * width
        return call_bytes(architecture, seen, batch, device=self._device) + enlarged

    def _in_units(self, restored: Tensor, place: Place) -> Tensor:
        if self.output.unit_range:
            return restored
        back: Tensor = unscaled(restored, self._ranges.of(place.series, place.start[0]))
        return back


class EvenTiles(_PssrRestorer):
    """Tiles of one size on the input's grid, the last shifted back; joined by a window.

    Parameters
    ----------
    setup : Setup
    footprint : Footprint
        See `even_footprint`.
    straight : bool
        Give networks that enlarge by themselves the input's own pixels, and others these enlarged
        edges on edges. Otherwise, as the published program, all are enlarged corners on corners
        of the plane, and shrunk again for networks that enlarge.
    """

    def __init__(self, setup: Setup, footprint: Footprint, *, straight: bool) -> None:
        super().__init__(setup, footprint)
        self._straight = straight

    def __call__(self, tiles: Sequence[Tensor], places: Sequence[Place]) -> Tensor:
        """Enlarge tiles, (n, 1, z, y, x) in the volume's units -> (n, 1, 1, 4 y, 4 x)."""
        seen = [self._seen(self._frames(tiles, i, place), place) for i, place in enumerate(places)]
        batch = torch.stack(seen)  # (n, frames, h, w)
        upsamples = self._upscaler.architecture.upsamples
        restore = self._upscaler if self._straight and upsamples else self._upscaler.of_enlarged
        restored = restore(batch)  # (n, H, W)
        cores = [self._in_units(*pair) for pair in zip(restored, places, strict=True)]
        return torch.stack(cores)[:, None, None]

    def _seen(self, frames: Tensor, place: Place) -> Tensor:
        """Return what the network sees of a tile that has a margin."""
        if self._straight and self._upscaler.architecture.upsamples:
            return frames[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
        if self._straight:
            whole = functional.interpolate(frames[None], scale_factor=SCALE, mode="bilinear")[0]
            edge = SCALE * MARGIN
            return whole[:, edge:-edge, edge:-edge]
        (_, top, left), (_, height, width) = place.start, place.core
        part = (
            (SCALE * top, SCALE * (top + height)),
            (SCALE * left, SCALE * (left + width)),
        )
        return enlarge(frames, (top - MARGIN, left - MARGIN), self._plane[1:], part)

    def memory(self, tile: Triple, batch: int) -> int:
        """Return the bytes of the network and of what it is given and gives."""
        height, width = (n - 2 * MARGIN for n in tile[1:])
        return self._call_bytes(height, width, batch)


class PublishedTiles(_PssrRestorer):
    """The tiles of the published program, of which a call makes as many as its part takes.

    Parameters
    ----------
    setup : Setup
    footprint : Footprint
        See `published_footprint`.
    size, overlap : int
        Of tiles, in enlarged pixels.
    batch : int
        Tiles per call of the network.
    """

    def __init__(
        self, setup: Setup, footprint: Footprint, *, size: int, overlap: int, batch: int
    ) -> None:
        super().__init__(setup, footprint)
        self._batch = batch
        self._kept: OrderedDict[Index, Floats] = OrderedDict()
        self._kept_of: tuple[int, int] | None = None
        self._last: Place | None = None
        self._rows, self._columns = (
            TileAxis(SCALE * length, size, overlap) for length in self._plane[1:]
        )

    def __call__(self, tiles: Sequence[Tensor], places: Sequence[Place]) -> Tensor:
        """Enlarge the core of one tile, (1, 1, z, y, x) in the volume's units."""
        (place,) = places
        frames = self._frames(tiles, 0, place)
        made = torch.from_numpy(self._made(frames, place)).to(frames.device)
        return self._in_units(made, place)[None, None, None]

    def _made(self, frames: Tensor, place: Place) -> Floats:
        """Return the enlarged core, (4 y, 4 x) on the CPU."""
        (_, top, left), (_, height, width) = place.start, place.core
        wanted = (
            (SCALE * top, SCALE * (top + height)),
            (SCALE * left, SCALE * (left + width)),
        )
        part = part_of(self._rows, self._columns, wanted)
        (row, row_end), (column, column_end) = part.raw
        raw = np.empty((row_end - row, column_end - column), np.float32)
        origin = top - place.halo_low[1], left - place.halo_low[2]
        for (i, j), restored in self._tiles(frames, origin, part, place):
            ours = []  # what of the part is this tile's: in the part, and in the tile
            for axis, k, (begin, end) in (
                (self._rows, i, part.raw[0]),
                (self._columns, j, part.raw[1]),
            ):
                first, stop = axis.owned(k)
                low, high = max(first, begin), min(stop, end)
                ours.append((slice(low - begin, high - begin), low - k * axis.step))
            (rows, y), (columns, x) = ours
            h, w = rows.stop - rows.start, columns.stop - columns.start
            raw[rows, columns] = restored[y : y + h, x : x + w]
        return np.ascontiguousarray(blur_seams(raw, self._rows, self._columns, part))

    def _tiles(
        self, frames: Tensor, origin: tuple[int, int], part: Part, place: Place
    ) -> Iterator[tuple[Index, Floats]]:
        """Yield the tiles that a part is made of, (size, size) each; those that were made stay."""
        if place == self._last or self._kept_of != (place.series, place.start[0]):
            self._kept.clear()  # another plane; or the same part again, by who measures the time
        self._last, self._kept_of = place, (place.series, place.start[0])
        wanted = [
            (i, j)
            for i in self._rows.owners(part.raw[0])
            for j in self._columns.owners(part.raw[1])
        ]
        missing = [index for index in wanted if index not in self._kept]
        for index in wanted:
            if index in self._kept:
                self._kept.move_to_end(index)
                yield index, self._kept[index]
        for first in range(0, len(missing), self._batch):
            now = missing[first : first + self._batch]
            cut = torch.stack([self._tile(frames, origin, index) for index in now])
            for index, made in zip(now, self._upscaler.of_enlarged(cut).cpu().numpy(), strict=True):
                yield index, made
                self._kept[index] = made.copy()
        while len(self._kept) > max(1, KEPT_BYTES // (FLOAT * self._rows.size**2)):
            self._kept.popitem(last=False)

    def _tile(self, frames: Tensor, origin: tuple[int, int], index: tuple[int, int]) -> Tensor:
        """Return an enlarged tile, padded with zeros beyond the plane, (frames, size, size)."""
        size = self._rows.size
        spans, cut = [], frames
        for axis, begin, k, dim in zip(
            (self._rows, self._columns), origin, index, (1, 2), strict=True
        ):
            span = k * axis.step, min(k * axis.step + size, axis.length)
            low, high = sources(span, axis.length // SCALE)
            cut = cut.narrow(dim, low - begin, high - low)
            spans.append((span, low))
        (rows, y), (columns, x) = spans
        inside = enlarge(cut, (y, x), self._plane[1:], (rows, columns))
        right, bottom = size - inside.shape[2], size - inside.shape[1]
        return functional.pad(inside, (0, right, 0, bottom))

    def memory(self, tile: Triple, batch: int) -> int:  # noqa: ARG002
        """Return the bytes of the network, of its tiles, and of the part that they make."""
        edge = self._rows.size // SCALE
        made = 3 * FLOAT * SCALE**2 * tile[1] * tile[2]
        return self._call_bytes(edge, edge, self._batch) + made + KEPT_BYTES
