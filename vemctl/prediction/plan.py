"""The frozen plan of a prediction: what will be computed, in which blocks, with which memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vemctl.errors import OptionError
from vemctl.plugin import Footprint, Output, Triple
from vemctl.prediction.block_shape import grow, share_out
from vemctl.prediction.units import divided
from vemctl.tiles.grid import Region, TileGrid
from vemctl.tiles.memory import BlockMemory, block_memory, computed_along
from vemctl.volumes.volume import Header, Layout

MAX_TILES_PER_BLOCK = {"cpu": 1024, "cuda": 8192, "mps": 2048}
"""So that little is lost when a run is killed: minutes of work on the device named."""


@dataclass(frozen=True)
class Series:
    """One volume of several: a channel at a time point, in the input and in the output."""

    timepoint: int
    channel: int
    output_timepoint: int
    output_channel: int


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before the first voxel is restored.

    Attributes
    ----------
    grid : TileGrid
    footprint : Footprint
    output : Output
    layout : Layout
        Of the output volume.
    unit_shape, block_shape : (z, y, x)
        Output voxels; blocks consist of whole units.
    batch : int
        Tiles per network call.
    series : tuple of Series
        Each is restored as a volume of its own.
    memory : BlockMemory
        Projected main memory, above the network's own.
    network_bytes : int
        What the network's own calls take on the device, by the method's account.
    """

    grid: TileGrid
    footprint: Footprint
    output: Output
    layout: Layout
    unit_shape: Triple
    block_shape: Triple
    batch: int
    series: tuple[Series, ...]
    memory: BlockMemory
    network_bytes: int

    @property
    def stage(self) -> str:
        """The ledger's name for what blocks are written to."""
        return "scratch" if self.output.stretch else "final"

    def blocks(self) -> Iterator[Region]:
        """Yield the blocks of one series, z outermost."""
        yield from regions(self.layout.shape, self.block_shape)

    def units(self, block: Region) -> Iterator[Region]:
        """Yield the units of writing of which `block` consists."""
        yield from regions(self.layout.shape, self.unit_shape, block)

    @property
    def num_blocks(self) -> int:
        """Blocks of all series."""
        return len(self.series) * math.prod(self.blocks_along)

    @property
    def blocks_along(self) -> Triple:
        """Blocks of one series along (z, y, x)."""
        return divided(self.layout.shape, self.block_shape)

    @property
    def num_tiles(self) -> int:
        """Tiles of the global grid, over all series."""
        return len(self.series) * self.grid.num_tiles

    @property
    def tiles_computed(self) -> int:
        """Network calls, each of one tile; border tiles are computed for each block again."""
        return len(self.series) * math.prod(
            computed_along(axis, size, owned=self.grid.owned)
            for axis, size in zip(self.grid.axes, self.block_shape, strict=True)
        )

    @property
    def output_bytes(self) -> int:
        """Uncompressed bytes of the output, without its pyramid."""
        voxels = math.prod(self.layout.shape) * len(self.series)
        return voxels * int(self.layout.dtype.itemsize)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON types; sizes in voxels (z, y, x) and bytes."""
        return {
            "output_shape": list(self.layout.shape),
            "output_axes": self.layout.axes,
            "output_dtype": self.layout.dtype.name,
            "output_bytes": self.output_bytes,
            "chunk_shape": list(self.layout.chunk_shape),
            "shard_shape": list(self.layout.shard_shape),
            "volumes": len(self.series),
            "block_shape": list(self.block_shape),
            "blocks": self.num_blocks,
            "tile_shape": list(self.grid.tile_shape),
            "overlap": list(self.footprint.overlap),
            "window": self.footprint.window,
            "batch": self.batch,
            "tiles": self.num_tiles,
            "tiles_computed": self.tiles_computed,
            "redundancy": round(self.tiles_computed / self.num_tiles, 3),
            "block_memory_bytes": self.memory.total,
            "network_memory_bytes": self.network_bytes,
        }


def regions(shape: Triple, step: Triple, inside: Region | None = None) -> Iterator[Region]:
    """Yield the regions of a regular division of `shape`, z outermost; only those in `inside`."""
    ranges = inside or (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
    zs, ys, xs = (
        [slice(i, min(i + s, part.stop)) for i in range(part.start, part.stop, s)]
        for part, s in zip(ranges, step, strict=True)
    )
    yield from ((z, y, x) for z in zs for y in ys for x in xs)


def make_plan(
    *,
    grid: TileGrid,
    footprint: Footprint,
    output: Output,
    layout: Layout,
    headers: tuple[Header, ...],
    series: tuple[Series, ...],
    batch: int,
    budget: int,
    device: str,
    network_bytes: int,
    block: Triple | None = None,
    processes: int = 1,
    sharing: int = 1,
) -> Plan:
    """Choose the blocks and freeze the plan.

    Blocks grow, unit by unit along the axis where that saves most repeated tiles, while they
    stay within `budget` and within minutes of work.

    Parameters
    ----------
    budget : int
        Bytes of main memory for blocks.
    device : str
        A torch device.
    block : (z, y, x), optional
        Output voxels of a block, as the user wants it, whatever memory it takes.
    processes : int
        That share the blocks.
    sharing : int
        Processes of this machine, each of which has such a budget.

    Raises
    ------
    OptionError
        Not even one unit fits the budget, or `block` does not consist of whole units.
    """
    unit = layout.shard_shape
    chunk = max((header.chunk_shape for header in headers), key=math.prod)
    stored = np.dtype(np.float32) if output.stretch else layout.dtype

    if block and any(b < 1 or b % u for b, u in zip(block, unit, strict=True)):
        raise OptionError(
            f"--block {','.join(map(str, block))}: expected whole shards of "
            f"{','.join(map(str, unit))} voxels, or multiples"
        )

    def memory(size: Triple) -> BlockMemory:
        return block_memory(
            grid,
            size,
            unit,
            batch=batch,
            input_itemsizes=tuple(header.dtype.itemsize for header in headers),
            chunk=chunk,
            output_itemsize=stored.itemsize,
            device=device,
        )

    least = memory(unit)
    if least.total > budget and not block:
        each = f", and there are {sharing} processes" if sharing > 1 else ""
        raise OptionError(
            f"--memory of {sharing * budget / 2**20:.0f} MiB is too small: one shard of "
            f"{'x'.join(map(str, unit))} voxels takes {least.total / 2**20:.0f} MiB{each}, "
            f"{least.reading / 2**20:.0f} MiB of them to read input in chunks of "
            f"{'x'.join(map(str, chunk))}; give {math.ceil(sharing * least.total / 2**20)}MiB, use "
            f"a smaller --shard-shape, or convert an input of large chunks to OME-Zarr"
        )
    most_tiles = MAX_TILES_PER_BLOCK[device.partition(":")[0]]

    def allowed(size: Triple) -> bool:
        tiles = math.prod(
            len(axis.touching(0, min(n, axis.output_size), owned=grid.owned))
            for axis, n in zip(grid.axes, size, strict=True)
        )
        return tiles <= most_tiles and memory(size).total <= budget

    chosen = block
    if chosen is None and processes > 1:
        chosen = share_out(
            grid, unit, layout.shape, allowed, series=len(series), processes=processes
        )
    elif chosen is None:
        chosen = grow(grid, unit, layout.shape, allowed)
    return Plan(
        grid, footprint, output, layout, unit, chosen, batch, series, memory(chosen), network_bytes
    )
