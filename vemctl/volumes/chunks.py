"""In what pieces a new volume is stored."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vemctl.volumes.volume import Triple

CHUNK: Triple = (32, 128, 128)
"""Reading unit of a thick volume: half a megabyte of uint8, read well from every side."""
SHARD: Triple = (64, 512, 512)
"""Writing unit of a thick volume: 16 MiB of uint8 in one file."""
LARGEST_SHARD = 64 * 2**20
"""Bytes of a shard, uncompressed: a writer holds one in memory."""


def default_chunks(shape: Triple, dtype: np.dtype[Any]) -> tuple[Triple, Triple]:
    """Choose chunks and shards for a volume.

    Parameters
    ----------
    shape : (z, y, x)
        Voxels.
    dtype : numpy.dtype

    Returns
    -------
    chunk_shape : (z, y, x)
        About 32 x 128 x 128; no longer than the volume, wider where the volume is thin.
    shard_shape : (z, y, x)
        A multiple of it, at most 64 MiB, no longer than the chunks need.
    """
    depth = CHUNK[0] if shape[0] >= CHUNK[0] // 2 else shape[0]
    width = CHUNK[1] if depth > 8 else 2 * CHUNK[1]
    chunk = (_fit(depth, shape[0]), _fit(width, shape[1]), _fit(width, shape[2]))
    shard = [_round_up(min(n, s), c) for n, s, c in zip(shape, SHARD, chunk, strict=True)]
    while math.prod(shard) * dtype.itemsize > LARGEST_SHARD and shard[0] > chunk[0]:
        shard[0] -= chunk[0]
    for axis in (2, 1) * 4:  # thin volumes: fewer, wider files
        wider = [2 * n if i == axis else n for i, n in enumerate(shard)]
        if shard[axis] < shape[axis] and 4 * math.prod(wider) * dtype.itemsize <= LARGEST_SHARD:
            shard = [
                min(n, _round_up(whole, c)) for n, whole, c in zip(wider, shape, chunk, strict=True)
            ]
    return chunk, (shard[0], shard[1], shard[2])


def fit_chunks(shape: Triple, chunk: Triple, shard: Triple) -> tuple[Triple, Triple]:
    """Shrink chunks and shards that are longer than a volume, as lower pyramid levels need it.

    Parameters
    ----------
    shape, chunk, shard : (z, y, x)
        Voxels; the shard is a multiple of the chunk.

    Returns
    -------
    chunk, shard : (z, y, x)
    """
    small = [min(n, c) for n, c in zip(shape, chunk, strict=True)]
    large = [
        c * min(s // whole, -(-n // c))
        for n, c, s, whole in zip(shape, small, shard, chunk, strict=True)
    ]
    return (small[0], small[1], small[2]), (large[0], large[1], large[2])


def _fit(chunk: int, size: int) -> int:
    """Take the whole axis rather than leave a sliver of less than half a chunk behind one."""
    return size if size <= chunk * 3 // 2 else chunk


def _round_up(size: int, step: int) -> int:
    return -(-size // step) * step
