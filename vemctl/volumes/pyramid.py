"""The lower levels of an OME-Zarr image, made from the finest without holding it in memory."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vemctl.durable import output_errors, write_whole
from vemctl.volumes.block_store import BlockStore
from vemctl.volumes.chunks import fit_chunks
from vemctl.volumes.ome_metadata import write_multiscale
from vemctl.volumes.stored_array import group_files
from vemctl.volumes.unit_listing import missing_units
from vemctl.volumes.volume import Array, Layout, Region, Triple, VoxelSize

SMALLEST = 256
"""The coarsest level is no longer than this along any axis: it loads at once in a viewer."""
MOST_THREADS = 4
"""Units made at once; each holds a shard in memory."""


def level_factors(shape: Triple, voxel_size: VoxelSize | None) -> list[Triple]:
    """Choose how much smaller each level is than level 0.

    Every level halves the axes along which voxels are still fine; a coarse axis, often z, waits
    until the others have caught up.

    Parameters
    ----------
    shape : (z, y, x)
        Voxels of level 0.
    voxel_size : (z, y, x), optional
        Nanometres; taken as equal along all axes if unknown.

    Returns
    -------
    list of (z, y, x)
        The first is (1, 1, 1).
    """
    steps = voxel_size or (1.0, 1.0, 1.0)
    factors: list[Triple] = [(1, 1, 1)]
    while True:
        now = factors[-1]
        sizes = [-(-n // f) for n, f in zip(shape, now, strict=True)]
        if max(sizes) <= SMALLEST:
            return factors
        lengths = [s * f for s, f in zip(steps, now, strict=True)]
        finest = min(length for length, n in zip(lengths, sizes, strict=True) if n > 1)
        halved = [
            2 * f if n > 1 and length < 2 * finest else f
            for f, n, length in zip(now, sizes, lengths, strict=True)
        ]
        factors.append((halved[0], halved[1], halved[2]))


def level_layouts(layout: Layout) -> list[Layout]:
    """Return how every level of an image is stored, of which `layout` is the finest."""
    factors = level_factors(layout.shape, layout.voxel_size)
    return [layout, *(_shrink(layout, factor) for factor in factors[1:])]


def block_mean(data: Array, factor: Triple) -> Array:
    """Average blocks of voxels; blocks cut by the volume's end average what they have.

    Parameters
    ----------
    data : ndarray, (z, y, x)
    factor : (z, y, x)
        Each 1 or 2.

    Returns
    -------
    ndarray, (ceil(z / factor), ...)
        Of the dtype of `data`; integers are rounded to the nearest, halves to even. Integers of
        64 bits keep 53.
    """
    padding = [(0, -n % f) for n, f in zip(data.shape, factor, strict=True)]
    if any(after for _, after in padding):
        data = np.pad(data, padding, mode="edge")
    z, y, x = (n // f for n, f in zip(data.shape, factor, strict=True))
    blocks = data.reshape(z, factor[0], y, factor[1], x, factor[2])
    exact = np.float32 if data.dtype.itemsize <= 2 or data.dtype == np.float32 else np.float64
    mean: Array = blocks.mean(axis=(1, 3, 5), dtype=exact)
    if data.dtype.kind != "f":
        mean = np.rint(mean)
    if data.dtype.kind != "f" and data.dtype.itemsize == 8:
        limits = np.iinfo(data.dtype)
        mean = mean.clip(limits.min, np.nextafter(np.float64(limits.max), 0))
    result: Array = mean.astype(data.dtype)
    return result


def build_pyramid(store: BlockStore, progress: Callable[[str, int, int], None]) -> list[Triple]:
    """Make every level above 0; what an earlier call has made stays.

    Parameters
    ----------
    store : BlockStore
        All of level 0 must be written.
    progress : callable
        Called with ``"pyramid"``, units done, units that were missing.

    Returns
    -------
    list of (z, y, x)
        The factors of all levels, level 0 first.

    Raises
    ------
    OutputError
        The disk is full or refuses.
    InputError
        Level 0 is damaged.
    """
    layout = store.layout
    factors = level_factors(layout.shape, layout.voxel_size)
    store.has_pyramid = True
    levels = [store]
    for level, factor in enumerate(factors[1:], start=1):
        levels.append(_level(store.folder, _shrink(layout, factor), level))
    with output_errors(store.folder):
        work = [list(missing_units(level)) for level in levels[1:]]
    total, done = sum(len(units) for units in work), 0
    progress("pyramid", done, total)
    for (finer, coarser), (before, after), units in zip(
        itertools.pairwise(levels), itertools.pairwise(factors), work, strict=True
    ):
        z, y, x = (b // a for a, b in zip(before, after, strict=True))
        fill = partial(_fill, finer, coarser, (z, y, x))
        pool = ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1))
        try:
            for _ in pool.map(lambda unit, fill=fill: fill(*unit), units):
                done += 1
                progress("pyramid", done, total)
        finally:
            pool.shutdown(cancel_futures=True)
    return factors


def every_unit(store: BlockStore) -> list[Region]:
    """List all units of one channel at one time point."""
    z, y, x = (slice(0, n) for n in store.layout.shape)
    return store.units((z, y, x))


def describe_levels(
    store: BlockStore, factors: list[Triple], name: str, attributes: Mapping[str, Any]
) -> dict[str, bytes]:
    """Return the metadata of a group that has all levels, and is finished.

    Parameters
    ----------
    store : BlockStore
    factors : list of (z, y, x)
        As `build_pyramid` returns them.
    name : str
        Of the image.
    attributes : mapping
        Further attributes of the group.

    Returns
    -------
    dict of str to bytes
        What `finish_metadata` writes: files of the group by their names.
    """
    content = write_multiscale(store.layout, factors, name) | dict(attributes)
    return group_files(store.layout, content)


def finish_metadata(store: BlockStore, described: Mapping[str, bytes]) -> None:
    """Put the metadata of `describe_levels` in the group, which is no longer unfinished then.

    Parameters
    ----------
    store : BlockStore
    described : mapping of str to bytes
        What makes it an image is the last of them.
    """
    with output_errors(store.folder):
        for name, content in described.items():
            write_whole(store.folder / name, content)


def _shrink(layout: Layout, factor: Triple) -> Layout:
    z, y, x = (-(-n // f) for n, f in zip(layout.shape, factor, strict=True))
    chunk, shard = fit_chunks((z, y, x), layout.chunk_shape, layout.shard_shape)
    return replace(layout, shape=(z, y, x), chunk_shape=chunk, shard_shape=shard)


def _level(folder: Path, layout: Layout, level: int) -> BlockStore:
    metadata = folder / str(level) / ("zarr.json" if layout.ome_zarr == "0.5" else ".zarray")
    if metadata.exists():
        return BlockStore(folder, layout, level=level)
    return BlockStore.add_level(folder, layout, level)


def _fill(
    finer: BlockStore,
    coarser: BlockStore,
    ratio: Triple,
    unit: Region,
    channel: int,
    timepoint: int,
) -> None:
    """Make one unit, reading what one of its chunks needs at a time."""
    z, y, x = (along.stop - along.start for along in unit)
    block = np.empty((z, y, x), coarser.layout.dtype)
    for part in _parts(unit, coarser.layout.chunk_shape):
        first, second, third = (
            slice(along.start * r, min(along.stop * r, n))
            for along, r, n in zip(part, ratio, finer.layout.shape, strict=True)
        )
        source = finer.read((first, second, third), channel, timepoint)
        place = tuple(
            slice(along.start - whole.start, along.stop - whole.start)
            for along, whole in zip(part, unit, strict=True)
        )
        block[place] = block_mean(source, ratio)
    coarser.write(unit, block, channel=channel, timepoint=timepoint)


def _parts(region: Region, chunk: Triple) -> Iterator[Region]:
    starts = (range(a.start, a.stop, n) for a, n in zip(region, chunk, strict=True))
    for z, y, x in itertools.product(*starts):
        yield (
            slice(z, min(z + chunk[0], region[0].stop)),
            slice(y, min(y + chunk[1], region[1].stop)),
            slice(x, min(x + chunk[2], region[2].stop)),
        )
