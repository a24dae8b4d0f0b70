"""Lines in an object store, where nothing can be appended to what is there.

Each append is one object, whose name says its turn: ``<generation>-<first>-<last>-<random>``. When
there are many of them they are merged, which moves a line twice in a million appends. Rewriting
begins a new generation with one object; older generations count no longer.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
import threading
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from vemctl import object_store
from vemctl.remote_path import RemotePath

MERGED = 256
"""So many objects become one."""
FETCHED_AT_ONCE = 8
_NAME = re.compile(r"(\d{6})-(\d{10})-(\d{10})-[0-9a-f]{8}\.jsonl")


class Part(NamedTuple):
    """One object of a journal; in order.

    Attributes
    ----------
    generation : int
        How often the journal was rewritten before.
    first, last : int
        The appends that it holds; 0 is what `rewrite` has put.
    key : str
    """

    generation: int
    first: int
    last: int
    key: str

    @property
    def turns(self) -> int:
        """How many appends it holds."""
        return self.last - self.first + 1


class RemoteLines:
    """Lines in an object store; see `vemctl.journal.Journal`.

    Parameters
    ----------
    path : RemotePath
        The objects lie below it.
    """

    def __init__(self, path: RemotePath) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._parts: list[Part] | None = None

    def exists(self) -> bool:
        """Tell whether any object is there."""
        return self.path.is_dir()

    def append(self, text: bytes) -> None:
        """Add whole lines; when this returns they are stored."""
        with self._lock:
            parts = self._known()
            generation = parts[-1].generation if parts else 0
            turn = max((part.last for part in parts), default=0) + 1
            parts.append(self._put(generation, turn, turn, [text]))
            for turns in (1, MERGED):
                tail = [part for part in parts if part.first and part.turns == turns]
                if len(tail) >= MERGED:
                    self._merge(parts, tail)

    def read(self) -> Iterator[bytes]:
        """Read the lines, without their ends.

        Parts are fetched ahead. When one is gone, because the writer has merged or rewritten it,
        the reader looks again at what there is and goes on after the last append it has seen.
        """
        generation, seen = -1, -1
        if not (parts := self._list()):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path))
        while parts:
            if parts[0].generation != generation:
                generation, seen = parts[0].generation, -1
            todo = [part for part in parts if part.last > seen]
            parts = []
            for part, text in self._fetch(todo):
                if text is None:
                    parts = self._list()
                    break
                yield from text
                seen = part.last

    def rewrite(self, lines: Iterable[bytes]) -> None:
        """Replace all lines at once."""
        with self._lock:
            old = self._list(every=True)
            generation = old[-1].generation + 1 if old else 0
            self._parts = [self._put(generation, 0, 0, lines)]
            self._delete(old)

    def _known(self) -> list[Part]:
        if self._parts is None:
            self._parts = self._list()
        return self._parts

    def _list(self, *, every: bool = False) -> list[Part]:
        """List the parts that count, in order."""
        found = []
        for key, _size in object_store.below(self.path.place):
            if name := _NAME.fullmatch(key.rpartition("/")[2]):
                found.append(Part(int(name[1]), int(name[2]), int(name[3]), key))
        newest = max((part.generation for part in found), default=0)
        return sorted(part for part in found if every or part.generation == newest)

    def _put(self, generation: int, first: int, last: int, lines: Iterable[bytes]) -> Part:
        name = f"{generation:06d}-{first:010d}-{last:010d}-{uuid.uuid4().hex[:8]}.jsonl"
        place = (self.path / name).place
        with tempfile.SpooledTemporaryFile(object_store.PART_BYTES) as file:
            file.writelines(lines)
            object_store.put(place, file)
        return Part(generation, first, last, place.key)

    def _merge(self, parts: list[Part], some: list[Part]) -> None:
        """Make one part of some that follow one another; a crash may leave their lines twice."""
        lines = (line + b"\n" for part, text in self._fetch(some) if text for line in text)
        merged = self._put(some[0].generation, some[0].first, some[-1].last, lines)
        self._delete(some)
        gone = set(some)
        parts[:] = sorted([merged, *(part for part in parts if part not in gone)])

    def _delete(self, parts: list[Part]) -> None:
        object_store.delete(self.path.place, [part.key for part in parts])

    def _fetch(self, parts: list[Part]) -> Iterator[tuple[Part, Iterator[bytes] | None]]:
        """Get the lines of parts, in order; None of one that is gone."""
        with ThreadPoolExecutor(min(FETCHED_AT_ONCE, max(1, len(parts)))) as pool:
            ahead: deque[tuple[Part, Future[bytes | None]]] = deque()
            try:
                for part in parts:
                    if part.turns > MERGED or part.first == 0:
                        # large: one after the other, in pieces
                        yield from _drain(ahead)
                        yield part, self._stream(part)
                        continue
                    ahead.append((part, pool.submit(self._get, part)))
                    if len(ahead) >= FETCHED_AT_ONCE:
                        yield from _drain(ahead, leave=FETCHED_AT_ONCE - 1)
                yield from _drain(ahead)
            finally:
                for _, future in ahead:
                    future.cancel()

    def _get(self, part: Part) -> bytes | None:
        try:
            return object_store.get(self.path.place._replace(key=part.key))
        except FileNotFoundError:
            return None

    def _stream(self, part: Part) -> Iterator[bytes] | None:
        try:
            _, pieces = object_store.stream(self.path.place._replace(key=part.key))
        except FileNotFoundError:
            return None
        return _split(pieces)


def _drain(
    ahead: deque[tuple[Part, Future[bytes | None]]], leave: int = 0
) -> Iterator[tuple[Part, Iterator[bytes] | None]]:
    while len(ahead) > leave:
        part, future = ahead.popleft()
        text = future.result()
        yield part, None if text is None else _split([text])


def _split(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Cut pieces of text into lines without ends."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
    if rest:
        yield rest
