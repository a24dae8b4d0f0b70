"""Main memory of a prediction as plain sums, so that it can be said before it is taken."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vemctl.plugin import Triple
from vemctl.tiles.grid import AxisGrid, TileGrid

CHUNKS_IN_FLIGHT = 10
"""Chunks that a reader decodes at the same time."""
SLACK_BYTES = 64 * 2**20
"""What allocators and the threads that read and write keep for themselves."""


@dataclass(frozen=True)
class BlockMemory:
    """Bytes of main memory that working on blocks takes, above the network's own.

    Attributes
    ----------
    reading : int
        Two blocks' worth of input, the one at work and the one read ahead, and chunks being
        decoded.
    blending : int
        The block that is being filled and the one that is being written.
    writing : int
        Encoding one unit.
    tiles : int
        The tiles of one network call and their results.
    """

    reading: int
    blending: int
    writing: int
    tiles: int

    @property
    def total(self) -> int:
        """Bytes in all."""
        return self.reading + self.blending + self.writing + self.tiles + SLACK_BYTES


def block_memory(
    grid: TileGrid,
    block: Triple,
    unit: Triple,
    *,
    batch: int,
    input_itemsizes: tuple[int, ...],
    chunk: Triple,
    output_itemsize: int,
) -> BlockMemory:
    """Return what blocks of a given shape take.

    Parameters
    ----------
    grid : TileGrid
    block, unit : (z, y, x)
        Output voxels of a block and of a unit of writing.
    batch : int
        Tiles per network call.
    input_itemsizes : tuple of int
        Bytes per voxel of every input.
    chunk : (z, y, x)
        Voxels of the largest chunk among the inputs.
    output_itemsize : int
        Bytes per stored voxel.

    Returns
    -------
    BlockMemory
        In bytes.
    """
    extents = [
        largest_source(axis, size, owned=grid.owned)
        for axis, size in zip(grid.axes, block, strict=True)
    ]
    read = math.prod(extents)
    # A region cuts one chunk more than it is long, along axes of several chunks.
    touched = math.prod(
        min(math.ceil(axis.size / c), math.ceil(extent / c) + 1)
        for axis, c, extent in zip(grid.axes, chunk, extents, strict=True)
    )
    voxels, unit_voxels = math.prod(block), math.prod(unit)
    tile_voxels = batch * math.prod(grid.tile_shape)
    core_voxels = batch * math.prod(grid.core_shape)
    bytes_in = sum(input_itemsizes)
    # A linear window has other weights at each end of each axis.
    windows = math.prod(min(3, axis.num_tiles) for axis in grid.axes)
    sums = 0 if grid.owned else 8 * voxels + 4 * windows * math.prod(grid.core_shape)
    return BlockMemory(
        reading=2 * read * bytes_in
        + min(CHUNKS_IN_FLIGHT, touched) * math.prod(chunk) * max(input_itemsizes),
        blending=2 * voxels * output_itemsize + sums,
        writing=4 * unit_voxels * output_itemsize,
        tiles=8 * tile_voxels * len(input_itemsizes) + 12 * core_voxels,
    )


def largest_source(axis: AxisGrid, size: int, *, owned: bool) -> int:
    """Return the most input voxels along `axis` that any block of `size` output voxels reads."""
    longest = 0
    for first in range(0, axis.output_size, size):
        tiles = axis.touching(first, min(first + size, axis.output_size), owned=owned)
        start, end = axis.tile_range(tiles[0])[0], axis.tile_range(tiles[-1])[1]
        longest = max(longest, min(end, axis.size) - max(start, 0))
    return longest


def computed_along(axis: AxisGrid, size: int, *, owned: bool) -> int:
    """Return how many tiles blocks of `size` voxels compute along `axis`, repeats counted."""
    return sum(
        len(axis.touching(first, min(first + size, axis.output_size), owned=owned))
        for first in range(0, axis.output_size, size)
    )
