"""Reading patches of volumes whose chunks are larger: those decoded last are kept."""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vemctl.volumes.volume import Array, Header, Region, Triple, Volume, check_region

CACHE_BYTES = 2**30
"""Of decoded chunks that a process keeps unless told otherwise."""
SMALLEST_BOX = 2**19
"""Bytes up to which chunks are read and kept together: each reading has a price of its own."""
SLAB_BYTES = 2**26
"""What is decoded at once where all of a volume is read."""

Index = tuple[int, ...]
"""Which box along (z, y, x)."""


def box_shape(header: Header, room: int) -> Triple:
    """Return whole chunks that are read and kept together.

    Parameters
    ----------
    header : Header
    room : int
        Bytes that several chunks may have together; one chunk may have more.

    Returns
    -------
    (z, y, x)
        Voxels; no longer than the volume.
    """
    box = list(header.chunk_shape)
    while open_axes := [axis for axis in range(3) if box[axis] < header.shape[axis]]:
        shortest = min(open_axes, key=lambda axis: box[axis])
        if 2 * math.prod(box) * header.dtype.itemsize > room:
            break
        box[shortest] *= 2
    z, y, x = (min(length, size) for length, size in zip(box, header.shape, strict=True))
    return z, y, x


def boxes(header: Header, room: int, start: int, stop: int) -> Iterator[Region]:
    """Cut the slices `start` to `stop` of a volume into regions of whole chunks, in C order."""
    box = box_shape(header, room)
    first = (start // box[0], 0, 0)
    last = (stop, header.shape[1], header.shape[2])
    counts = [range(f, -(-n // b)) for f, n, b in zip(first, last, box, strict=True)]
    for index in itertools.product(*counts):
        z, y, x = (
            slice(i * b, min(i * b + b, n)) for i, b, n in zip(index, box, last, strict=True)
        )
        yield slice(max(z.start, start), z.stop), y, x


class ChunkCache:
    """Boxes of decoded voxels, those used last, within a number of bytes.

    It may be used from several threads, which at worst decode the same box twice. Copied into
    another process it is empty there.

    Parameters
    ----------
    max_bytes : int
        Of all volumes together.
    box_bytes : int
        Up to which chunks are read together.

    Attributes
    ----------
    num_bytes : int
        Kept now.
    num_decoded : int
        Boxes decoded so far.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES, box_bytes: int = SMALLEST_BOX) -> None:
        self.max_bytes = max_bytes
        self.box_bytes = box_bytes
        self.num_bytes = 0
        self.num_decoded = 0
        self._boxes: OrderedDict[tuple[Any, ...], Array] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return ChunkCache, (self.max_bytes, self.box_bytes)

    def read(
        self, volume: Volume, region: Region, *, channel: int = 0, timepoint: int = 0
    ) -> Array:
        """Read what `volume.read` would.

        Parameters
        ----------
        volume : Volume
            Kept alive by what is kept of it.
        region : Region
        channel, timepoint : int

        Returns
        -------
        ndarray, (z, y, x)
            The caller's own.
        """
        header = volume.header
        check_region(region, header.shape)
        box = box_shape(header, self.box_bytes)
        touched = [
            range(along.start // length, -(-along.stop // length))
            for along, length in zip(region, box, strict=True)
        ]
        indices = list(itertools.product(*touched))
        if len(indices) * math.prod(box) * header.dtype.itemsize > self.max_bytes:
            # keeping a part of it would only drive out the rest
            return volume.read(region, channel=channel, timepoint=timepoint)
        series = (channel, timepoint)
        found = self._find((volume, *series), indices)
        if missing := [index for index in indices if index not in found]:
            found |= self._decode(volume, series, box, missing)
        z, y, x = (along.stop - along.start for along in region)
        result = np.empty((z, y, x), header.dtype)
        for index in indices:
            part = found[index]
            source, target = [], []
            for along, i, length, size in zip(region, index, box, part.shape, strict=True):
                low, high = max(along.start, i * length), min(along.stop, i * length + size)
                source.append(slice(low - i * length, high - i * length))
                target.append(slice(low - along.start, high - along.start))
            result[tuple(target)] = part[tuple(source)]
        return result

    def _find(self, key: tuple[Any, ...], indices: Sequence[Index]) -> dict[Index, Array]:
        found: dict[Index, Array] = {}
        with self._lock:
            for index in indices:
                part = self._boxes.get((*key, *index))
                if part is not None:
                    self._boxes.move_to_end((*key, *index))
                    found[index] = part
        return found

    def _decode(
        self, volume: Volume, series: tuple[int, int], box: Triple, missing: Sequence[Index]
    ) -> dict[Index, Array]:
        """Read boxes and keep them: in one go, unless that would decode far more of them."""
        hull = [range(min(along), max(along) + 1) for along in zip(*missing, strict=True)]
        together = math.prod(map(len, hull)) <= 2 * len(missing)
        groups = [hull] if together else [[range(i, i + 1) for i in index] for index in missing]
        decoded: dict[Index, Array] = {}
        for group in groups:
            z, y, x = (
                slice(along.start * length, min(along.stop * length, size))
                for along, length, size in zip(group, box, volume.header.shape, strict=True)
            )
            block = volume.read((z, y, x), channel=series[0], timepoint=series[1])
            for index in itertools.product(*group):
                part = block[
                    tuple(
                        slice((i - along.start) * length, (i + 1 - along.start) * length)
                        for i, along, length in zip(index, group, box, strict=True)
                    )
                ]
                decoded[index] = part.copy()  # not a view, which would keep all of the block
        with self._lock:
            self.num_decoded += len(decoded)
            for index, part in decoded.items():
                self._keep((volume, *series, *index), part)
        return decoded

    def _keep(self, key: tuple[Any, ...], part: Array) -> None:
        if key in self._boxes:
            return
        while self._boxes and self.num_bytes + part.nbytes > self.max_bytes:
            self.num_bytes -= self._boxes.popitem(last=False)[1].nbytes
        self._boxes[key] = part
        self.num_bytes += part.nbytes

    def clear(self) -> None:
        """Keep nothing."""
        with self._lock:
            self._boxes.clear()
            self.num_bytes = 0
