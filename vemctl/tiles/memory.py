"""Main memory of a prediction as plain sums, so that it can be said before it is taken."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vemctl.plugin import Triple
from vemctl.tiles.grid import AxisGrid, TileGrid

CHUNKS_IN_FLIGHT = 10
"""Chunks that a reader decodes at the same time."""
SLACK_BYTES = 64 * 2**20
"""What allocators, conversions and the threads that read and write keep for themselves."""
CUDA_CALLS = 3
"""One that runs, one that waits behind it, and one for which tiles are being cut."""


@dataclass(frozen=True)
class BlockMemory:
    """Bytes of main memory that working on blocks takes, above the network's own.

    Attributes
    ----------
    reading : int
        Two blocks' worth of input, the one at work and the one read ahead, and chunks being
        decoded.
    blending : int
        The block that is being filled, wherever that is, and the one that is being written.
    writing : int
        Encoding one unit.
    tiles : int
        The tiles of the network's calls and their results.
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
    device: str = "cpu",
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
    device : str
        A torch device: on CUDA several calls are under way at once, in buffers of which each may
        be twice as large as what is in it.

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
    buffers = 2 * calls_in_flight(device) if device.startswith("cuda") else 1
    return BlockMemory(
        reading=2 * read * bytes_in
        + min(CHUNKS_IN_FLIGHT, touched) * math.prod(chunk) * max(input_itemsizes),
        blending=2 * voxels * output_itemsize + sums_bytes(grid, block),
        writing=4 * unit_voxels * output_itemsize,
        # Tiles wait as they are stored, but in no more than four bytes, and become floats.
        tiles=buffers * (8 * tile_voxels * len(input_itemsizes) + 12 * core_voxels),
    )


def calls_in_flight(device: str) -> int:
    """Return how many calls of the network are under way at once on a torch device, at most."""
    return CUDA_CALLS if device.startswith("cuda") else 1


def sums_bytes(grid: TileGrid, block: Triple) -> int:
    """Return the bytes of the sums and the weights with which a block's tiles are blended.

    Parameters
    ----------
    grid : TileGrid
    block : (z, y, x)
        Output voxels.
    """
    if grid.owned:
        return 0
    # A linear window has other weights at each end of each axis.
    windows = math.prod(min(3, axis.num_tiles) for axis in grid.axes)
    return 8 * math.prod(block) + 4 * windows * math.prod(grid.core_shape)


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
