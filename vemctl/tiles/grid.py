"""One global grid of tiles over a volume, whatever the blocks in which it is computed.

Along each axis::

    input   |<lost>|============ produced ============|<lost>|
    core k         [ start_k .......... start_k+core )
    tile k   [halo [ start_k .......... start_k+core ) halo)

Starts are ``lost + k * (core - overlap)``; the last core is shifted back to end where the
produced range ends, or beyond where starts are aligned: at the next multiple. All functions count
in voxels; triples are (z, y, x).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from vemctl.errors import OptionError
from vemctl.plugin import Footprint, Place, Triple

AXES = "zyx"
Region = tuple[slice, slice, slice]


@dataclass(frozen=True)
class AxisGrid:
    """The tiles along one axis.

    Attributes
    ----------
    size : int
        Input voxels of the volume.
    num_tiles, core, stride, cut, halo, lost : int
        Input voxels; `cut` is what "crop" takes off a core at each inner end.
    last_start : int
        Where the last core starts.
    scale : Fraction
        Output voxels per input voxel.
    clip : bool
        Tiles end at the volume's ends instead of being padded.
    """

    size: int
    num_tiles: int
    core: int
    stride: int
    cut: int
    halo: int
    lost: int
    last_start: int
    scale: Fraction
    clip: bool

    @property
    def output_size(self) -> int:
        """Output voxels, rounded down."""
        return math.floor((self.size - 2 * self.lost) * self.scale)

    @property
    def output_core(self) -> int:
        """Output voxels of one core."""
        return math.floor(self.core * self.scale)

    def start(self, k: int) -> int:
        """Return the first input voxel of core `k`."""
        return self.last_start if k == self.num_tiles - 1 else self.lost + k * self.stride

    def halos(self, k: int) -> tuple[int, int]:
        """Return the context that tile `k` really has at its low and high end."""
        if not self.clip:
            return self.halo, self.halo
        start = self.start(k)
        return min(self.halo, start), min(self.halo, max(0, self.size - start - self.core))

    def tile_range(self, k: int) -> tuple[int, int]:
        """Return first and end input voxel of tile `k`, halo included; may leave the volume."""
        low, high = self.halos(k)
        return self.start(k) - low, self.start(k) + self.core + high

    def output_range(self, k: int) -> tuple[int, int]:
        """Return first and end output voxel that core `k` covers."""
        first = math.floor((self.start(k) - self.lost) * self.scale)
        return first, min(first + self.output_core, self.output_size)

    def owned_range(self, k: int) -> tuple[int, int]:
        """Return first and end output voxel that tile `k` decides alone when tiles are cropped.

        A core loses `cut` voxels at every inner end, and where two still overlap the later wins.
        """
        return self._owned_first(k), self._owned_first(k + 1)

    def _owned_first(self, k: int) -> int:
        if k == 0:
            return 0
        if k == self.num_tiles:
            return self.output_size
        return self.output_range(k)[0] + math.floor(self.cut * self.scale)

    def touching(self, first: int, end: int, *, owned: bool) -> range:
        """Return the tiles that contribute to the output voxels from `first` up to `end`."""
        ranges = self.owned_range if owned else self.output_range
        low, high = self._guess(first), self._guess(end) + 1
        while low > 0 and ranges(low - 1)[1] > first:
            low -= 1
        while low < self.num_tiles - 1 and ranges(low)[1] <= first:
            low += 1
        high = max(high, low + 1)
        while high > low + 1 and ranges(high - 1)[0] >= end:
            high -= 1
        while high < self.num_tiles and ranges(high)[0] < end:
            high += 1
        return range(low, high)

    def _guess(self, voxel: int) -> int:
        """Return a tile near output voxel `voxel`, from which `touching` walks."""
        k = math.floor(voxel / self.scale) // self.stride
        return max(0, min(k, self.num_tiles - 1))


def axis_grid(size: int, axis: int, footprint: Footprint) -> AxisGrid:
    """Lay the tiles of `footprint` along one axis.

    Parameters
    ----------
    size : int
        Input voxels along the axis.
    axis : int
        0, 1, 2 for z, y, x.
    footprint : Footprint

    Raises
    ------
    OptionError
        The axis is too short for the planes that the method loses, or tile, halo and overlap
        contradict each other.
    ValueError
        Starts are to be aligned, and tiles clipped.
    """
    name = AXES[axis]
    halo, lost, overlap = footprint.halo[axis], footprint.lost[axis], footprint.overlap[axis]
    multiple, scale = footprint.multiple_of[axis], footprint.scale[axis]
    tile, clip = footprint.tile[axis], footprint.padding == "clip"
    aligned = footprint.aligned[axis]
    if clip and aligned > 1:
        raise ValueError(f"aligned to {aligned} along {name}: tiles that are clipped cannot be")
    produced = size - 2 * lost
    if produced < 1:
        raise OptionError(
            f"axis {name} has {size} voxels, the method loses {lost} at each end: "
            f"expected at least {2 * lost + 1}; use a larger volume or region"
        )
    output_size = math.floor(produced * scale)
    if output_size < 1:
        raise OptionError(
            f"axis {name} has {size} voxels, too few for one output voxel at scale {scale}"
        )
    produced = math.ceil(output_size / scale)
    core = produced if tile is None else tile - 2 * halo
    if core < 1:
        raise OptionError(
            f"tile of {tile} voxels along {name} is all halo (2 x {halo}): use --tile with more"
        )
    if produced <= core:
        if tile is None or footprint.fit or clip:  # clipped tiles are never padded
            core = produced
            if not clip:
                core = -(-(produced + 2 * halo) // multiple) * multiple - 2 * halo
        return AxisGrid(size, 1, core, core, 0, halo, lost, lost, scale, clip)
    stride = core - overlap
    if overlap < 0 or stride < 1:
        raise OptionError(
            f"overlap of {overlap} voxels along {name} does not fit the tile of {tile}"
            f"{f' with halo {halo}' if halo else ''}: expected 0 to {core - 1}; "
            f"change --overlap or --tile"
        )
    if tile is not None and tile % multiple:
        raise OptionError(
            f"tile of {tile} voxels along {name}: the network needs a multiple of {multiple}; "
            f"use --tile with {tile // multiple * multiple or multiple} or "
            f"{(tile // multiple + 1) * multiple}"
        )
    whole = scale.denominator
    if core % whole or stride % whole or (whole > 1 and clip):
        raise OptionError(
            f"tile of {tile} and overlap of {overlap} voxels along {name} do not fit the scale "
            f"{scale}: expected multiples of {whole}; change --tile or --overlap"
        )
    step = math.lcm(whole, aligned)
    if stride % step:
        raise OptionError(
            f"tile of {tile} and overlap of {overlap} voxels along {name} start tiles every "
            f"{stride} voxels: the network needs a multiple of {step}; "
            f"use {_aligning(core, stride, step, halo, multiple)}"
        )
    num_tiles = -(-(produced - core) // stride) + 1
    last = lost + -(-(produced - core) // step) * step
    return AxisGrid(size, num_tiles, core, stride, overlap // 2, halo, lost, last, scale, clip)


def _aligning(core: int, stride: int, step: int, halo: int, multiple: int) -> str:
    """Return the flags that make the stride a multiple of `step`."""
    strides = (-(-stride // step) * step, stride // step * step)
    overlaps = [str(core - each) for each in strides if 0 < each <= core]
    if overlaps:
        return f"--overlap with {' or '.join(overlaps)}"
    tile = -(-(step + 2 * halo) // multiple) * multiple
    return f"--tile with {tile} and --overlap with {(tile - 2 * halo) % step}"


@dataclass(frozen=True)
class TileGrid:
    """All tiles of a volume; their global order is z outermost, x innermost.

    Attributes
    ----------
    axes : three AxisGrid
        Along z, y, x.
    owned : bool
        Whether every output voxel has one tile that decides it ("crop"), or all that cover it.
    """

    axes: tuple[AxisGrid, AxisGrid, AxisGrid]
    owned: bool

    @property
    def output_shape(self) -> Triple:
        """Output voxels along (z, y, x)."""
        z, y, x = (axis.output_size for axis in self.axes)
        return z, y, x

    @property
    def num_tiles(self) -> int:
        """How many tiles there are."""
        return math.prod(axis.num_tiles for axis in self.axes)

    @property
    def tile_shape(self) -> Triple:
        """Input voxels of the largest tile, halo included."""
        z, y, x = (axis.core + 2 * axis.halo for axis in self.axes)
        return z, y, x

    @property
    def core_shape(self) -> Triple:
        """Output voxels of a core, along (z, y, x)."""
        z, y, x = (axis.output_core for axis in self.axes)
        return z, y, x

    def touching(self, block: Region) -> Iterator[Triple]:
        """Yield the indices of the tiles that contribute to `block`, in global order."""
        return itertools.product(*self._touching(block))

    def count_touching(self, block: Region) -> int:
        """Return how many tiles contribute to `block`."""
        return math.prod(len(indices) for indices in self._touching(block))

    def _touching(self, block: Region) -> tuple[range, range, range]:
        z, y, x = (
            axis.touching(part.start, part.stop, owned=self.owned)
            for axis, part in zip(self.axes, block, strict=True)
        )
        return z, y, x

    def place(self, index: Triple) -> Place:
        """Return where tile `index` lies in the input."""
        (z0, z1), (y0, y1), (x0, x1) = (a.halos(k) for a, k in zip(self.axes, index, strict=True))
        sz, sy, sx = (axis.start(k) for axis, k in zip(self.axes, index, strict=True))
        cz, cy, cx = (axis.core for axis in self.axes)
        return Place((sz, sy, sx), (cz, cy, cx), (z0, y0, x0), (z1, y1, x1))

    def contribution(self, index: Triple) -> Region:
        """Return the output voxels to which tile `index` contributes."""
        ranges = (
            axis.owned_range(k) if self.owned else axis.output_range(k)
            for axis, k in zip(self.axes, index, strict=True)
        )
        z, y, x = (slice(*ends) for ends in ranges)
        return z, y, x

    def covered(self, index: Triple) -> Region:
        """Return the output voxels that the core of tile `index` covers."""
        z, y, x = (slice(*axis.output_range(k)) for axis, k in zip(self.axes, index, strict=True))
        return z, y, x

    def source(self, block: Region) -> Region:
        """Return the input voxels that the tiles of `block` read; inside the volume."""
        parts = []
        for axis, indices in zip(self.axes, self._touching(block), strict=True):
            first, end = axis.tile_range(indices[0])[0], axis.tile_range(indices[-1])[1]
            parts.append(slice(max(0, first), min(axis.size, end)))
        z, y, x = parts
        return z, y, x


def tile_grid(shape: Triple, footprint: Footprint) -> TileGrid:
    """Lay the tiles of `footprint` over a volume of `shape` (z, y, x).

    Raises
    ------
    OptionError
        Where `axis_grid` does.
    """
    z, y, x = (axis_grid(size, axis, footprint) for axis, size in enumerate(shape))
    return TileGrid((z, y, x), owned=footprint.window == "crop")
