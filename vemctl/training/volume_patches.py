"""Patches from volumes of any kind and size, opened in each process when they are first read."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vemctl.errors import InputError
from vemctl.geometry import Triple
from vemctl.restoring import VolumeFacts
from vemctl.training.chunk_cache import SLAB_BYTES, ChunkCache, boxes
from vemctl.volumes.array_volume import ArrayVolume, MappedFile
from vemctl.volumes.open import open_volume
from vemctl.volumes.volume import Array, Header, Region, Volume, show_region

MOST_OPEN = 256
"""Volumes that are open at a time: each may be a file, of which a process may have 1024."""

Key = tuple[Path, str | None, int]


@dataclass(frozen=True)
class VolumeSource:
    """One channel at one time point of a volume, or some slices of it.

    Attributes
    ----------
    path : Path
    axes : str, optional
        As stored, where the file does not say.
    level : int
        Of a resolution pyramid.
    channel, timepoint : int
        0 where the volume has no such axis.
    start, stop : int
        Slices.
    """

    path: Path
    axes: str | None
    level: int
    channel: int
    timepoint: int
    start: int
    stop: int

    @property
    def key(self) -> Key:
        """What to open."""
        return self.path, self.axes, self.level


class OpenVolumes:
    """Volumes that are open for reading, from any thread; those used last stay open."""

    def __init__(self) -> None:
        self._open: OrderedDict[Key, Volume] = OrderedDict()
        self._users: Counter[Key] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def using(self, key: Key) -> Iterator[Volume]:
        """Give an open volume, which stays open until it is given back."""
        with self._lock:
            if key not in self._open:
                path, axes, level = key
                self._open[key] = open_volume(path, axes=axes, level=level)
            self._open.move_to_end(key)
            self._users[key] += 1
            volume = self._open[key]
            self._close_idle(MOST_OPEN)
        try:
            yield volume
        finally:
            with self._lock:
                self._users[key] -= 1

    def close(self) -> None:
        """Close all that nobody reads."""
        with self._lock:
            self._close_idle(0)

    def _close_idle(self, most: int) -> None:
        idle = [key for key in self._open if not self._users[key]]
        for key in idle[: max(0, len(self._open) - most)]:
            self._open.pop(key).close()


class LazyVolume:
    """A volume whose file may be closed between two readings.

    Attributes
    ----------
    header : Header
    is_mapped : bool
        Whether any part of it is read without decoding more than that part.
    """

    def __init__(self, key: Key, files: OpenVolumes) -> None:
        self._key = key
        self._files = files
        with files.using(key) as volume:
            self.header: Header = volume.header
            self.is_mapped = isinstance(volume, ArrayVolume) and isinstance(
                volume.source, MappedFile
            )

    def read(self, region: Region, *, channel: int = 0, timepoint: int = 0) -> Array:
        """Read a region: see `Volume.read`."""
        with self._files.using(self._key) as volume:
            return volume.read(region, channel=channel, timepoint=timepoint)

    def close(self) -> None:
        """Leave it to those who opened the files."""


class VolumePatches:
    """Patches of volumes; copied into another process, it opens them there.

    Parameters
    ----------
    sources : mapping of str to sequence of VolumeSource
        By role.
    facts : mapping of str to sequence of VolumeFacts, optional
        Of these sources; without, they are found when asked for.
    cache : ChunkCache, optional
        Shared with others of the same process.
    """

    def __init__(
        self,
        sources: Mapping[str, Sequence[VolumeSource]],
        *,
        facts: Mapping[str, Sequence[VolumeFacts]] | None = None,
        cache: ChunkCache | None = None,
    ) -> None:
        self.sources = {role: tuple(each) for role, each in sources.items()}
        self.cache = ChunkCache() if cache is None else cache
        self._facts = {role: tuple(each) for role, each in (facts or {}).items()}
        self._files = OpenVolumes()
        self._volumes: dict[Key, LazyVolume] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.sources, self._facts, self.cache)

    @property
    def roles(self) -> tuple[str, ...]:
        """Whose volumes there are."""
        return tuple(self.sources)

    def facts(self, role: str) -> Sequence[VolumeFacts]:
        """Return what is known of the parts of volumes that may be drawn from."""
        if role not in self._facts:
            self._facts[role] = tuple(
                part_facts(self._volume(source).header, source.start, source.stop)
                for source in self.sources[role]
            )
        return self._facts[role]

    def read(self, role: str, index: int, corner: Triple, size: Triple) -> Array:
        """Read a patch: see `Patches.read`.

        Raises
        ------
        InputError
            The volume is damaged there, or has values that are not finite.
        """
        shape = self.facts(role)[index].shape
        if any(not 0 <= c < c + n <= s for c, n, s in zip(corner, size, shape, strict=True)):
            raise ValueError(f"no patch of {size} at {corner} in {role} {index} of shape {shape}")
        source = self.sources[role][index]
        z, y, x = (slice(begin, begin + n) for begin, n in zip(corner, size, strict=True))
        region = (slice(source.start + z.start, source.start + z.stop), y, x)
        volume = self._volume(source)
        where = {"channel": source.channel, "timepoint": source.timepoint}
        # the pages of a mapped file are kept by the system, and planes may be far larger than that
        block = (
            volume.read(region, **where)
            if volume.is_mapped
            else self.cache.read(volume, region, **where)
        )
        return _finite(source, region, block)

    def blocks(self, role: str, index: int) -> Iterator[tuple[Region, Array]]:
        """Read all of a part once, in blocks of whole chunks, past the cache.

        Yields
        ------
        region : Region
            Inside the part.
        block : ndarray, (z, y, x)
        """
        source = self.sources[role][index]
        volume = self._volume(source)
        for region in boxes(volume.header, SLAB_BYTES, source.start, source.stop):
            block = volume.read(region, channel=source.channel, timepoint=source.timepoint)
            z, y, x = region
            inside = slice(z.start - source.start, z.stop - source.start)
            yield (inside, y, x), _finite(source, region, block)

    def close(self) -> None:
        """Release files and memory; what is read later is opened again."""
        self._files.close()
        self.cache.clear()

    def _volume(self, source: VolumeSource) -> LazyVolume:
        volume = self._volumes.get(source.key)
        if volume is None:  # two threads at once make two, of which one is used from then on
            volume = self._volumes.setdefault(source.key, LazyVolume(source.key, self._files))
        return volume


def part_facts(header: Header, start: int, stop: int) -> VolumeFacts:
    """Return what is known of the slices `start` to `stop` of a volume."""
    shape = (stop - start, header.shape[1], header.shape[2])
    return VolumeFacts(shape, header.dtype.name, header.voxel_size)


def _restore(
    sources: Mapping[str, Sequence[VolumeSource]],
    facts: Mapping[str, Sequence[VolumeFacts]],
    cache: ChunkCache,
) -> VolumePatches:
    return VolumePatches(sources, facts=facts, cache=cache)


def _finite(source: VolumeSource, region: Region, block: Array) -> Array:
    """Refuse what would turn every weight into NaN."""
    if block.dtype.kind == "f" and not np.isfinite(block).all():
        raise InputError(
            f"{source.path}: has values that are not finite (NaN or infinity) in "
            f"{show_region(region)}: expected numbers only; clean the volume, or crop that part"
        )
    return block
