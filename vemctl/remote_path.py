"""Paths to object stores and web servers, for code that takes paths."""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PosixPath, PurePath, PurePosixPath
from typing import IO, Any, NoReturn, Self

from vemctl import object_store
from vemctl.errors import OptionError
from vemctl.object_store import SCHEMES, Place

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/+)")
_FOREIGN = ("abfs", "adl", "az", "azure", "file", "ftp", "gcs", "hdfs", "s3a", "sftp", "ssh")
_SHOWN = " ".join(f"{scheme}://" for scheme in SCHEMES)
NODES = ("zarr.json", ".zgroup", ".zarray")
"""What makes a folder of a web server, which lists nothing, a folder."""


class RemotePath(PosixPath):
    """A place such as ``s3://bucket/folder/image.zarr``, used like any path.

    There are no folders but by the names of the objects in them. What an object store cannot do,
    such as renaming, raises an OSError; nothing ever touches the local disk.

    Make one with `as_path`. Every operation that asks the server may raise an OSError with
    `errno`, `strerror` and `filename` set.
    """

    def __str__(self) -> str:
        first, *rest = self.parts or ("",)
        return f"{first}//{'/'.join(rest)}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __fspath__(self) -> str:
        raise self._unable("be used as a file of this machine")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(("remote", self.parts))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.parts

    @property
    def place(self) -> Place:
        """Scheme, bucket or host, and key."""
        scheme, host, *rest = self.parts
        return Place(scheme.removesuffix(":"), host, "/".join(rest))

    @property
    def can_list(self) -> bool:
        """Whether the server tells what it has, and takes new objects; web servers do not."""
        return self.place.can_list

    # Names alone ------------------------------------------------------------------------------

    @property
    def parent(self) -> Self:
        """The folder; the bucket is its own."""
        return self if len(self.parts) <= 2 else type(self)(*self.parts[:-1])

    @property
    def parents(self) -> tuple[Self, ...]:
        """All folders, up to the bucket."""
        return tuple(type(self)(*self.parts[:end]) for end in range(len(self.parts) - 1, 1, -1))

    def relative_to(self, *other: Any, **_: Any) -> PurePosixPath:  # type: ignore[override]
        """Return the names that lead from a folder to here."""
        start = as_path(other[0]).parts
        if not isinstance(as_path(other[0]), RemotePath) or self.parts[: len(start)] != start:
            raise ValueError(f"{self} does not lie in {other[0]}")
        return PurePosixPath(*self.parts[len(start) :])

    def as_posix(self) -> str:
        """Return the same as `str`."""
        return str(self)

    def is_absolute(self) -> bool:
        """Return True."""
        return True

    def absolute(self) -> Self:
        """Return the path itself."""
        return self

    def resolve(self, strict: bool = False) -> Self:
        """Return the path itself: there are no links."""
        del strict
        return self

    def expanduser(self) -> Self:
        """Return the path itself."""
        return self

    # Reading ----------------------------------------------------------------------------------

    def exists(self, **_: Any) -> bool:
        """Tell whether an object is here, or below."""
        return self.is_file() or self.is_dir()

    def is_file(self, **_: Any) -> bool:
        """Tell whether an object is here."""
        if not self.place.key:
            return False
        try:
            object_store.size(self.place)
        except FileNotFoundError:
            return False
        return True

    def is_dir(self, **_: Any) -> bool:
        """Tell whether an object is below; of a web server, whether Zarr's metadata are."""
        if not self.can_list:
            return any((self / name).is_file() for name in NODES)
        try:
            return object_store.holds_any(self.place)
        except FileNotFoundError:
            return False

    def is_symlink(self) -> bool:
        """Return False."""
        return False

    def stat(self, **_: Any) -> os.stat_result:
        """Return the size of the object or that this is a folder, and nothing else that is true."""
        try:
            mode, size = stat.S_IFREG | 0o644, object_store.size(self.place)
        except FileNotFoundError:
            if not self.is_dir():
                raise
            mode, size = stat.S_IFDIR | 0o755, 0
        return os.stat_result((mode, 0, 0, 1, 0, 0, size, 0, 0, 0))

    def samefile(self, other_path: Any) -> bool:
        """Tell whether both are one place."""
        return self == as_path(other_path)

    def read_bytes(self) -> bytes:
        """Return what the object holds."""
        return object_store.get(self.place)

    def read_text(self, *_: Any, **__: Any) -> str:
        """Return what the object holds, as UTF-8."""
        return self.read_bytes().decode()

    def open(self, mode: str = "r", *_: Any, **__: Any) -> IO[Any]:  # type: ignore[override]
        """Open the object for reading, as a stream that begins again where one seeks to."""
        if mode == "rb":
            return io.BufferedReader(_Reader(self.place), 2**16)
        if mode in ("r", "rt"):
            return io.TextIOWrapper(self.open("rb"), "utf-8")
        raise self._unable(f"be opened in the mode {mode!r}")

    def iterdir(self) -> Iterator[Self]:  # type: ignore[override]
        """List what is directly below."""
        folders, files = object_store.children(self.place)
        for key in sorted([*folders, *files]):
            yield self / key.rpartition("/")[2]

    def rglob(self, pattern: str, **_: Any) -> Iterator[Self]:  # type: ignore[override]
        """List the objects below whose names match; there are no folders."""
        for key, _size in object_store.below(self.place):
            if fnmatchcase(key.rpartition("/")[2], pattern):
                yield type(self)(*self.parts[:2], key)

    # Writing ----------------------------------------------------------------------------------

    def write_bytes(self, data: Any) -> int:
        """Store the object, whole or not at all."""
        object_store.put(self.place, data)
        return memoryview(data).nbytes

    def write_text(self, data: str, *_: Any, **__: Any) -> int:
        """Store the object, whole or not at all, as UTF-8."""
        return self.write_bytes(data.encode())

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object."""
        if not missing_ok:
            object_store.size(self.place)
        object_store.delete(self.place, [self.place.key])

    def _unable(self, what: str) -> OSError:
        return OSError(errno.ENOTSUP, f"a remote place cannot {what}", str(self))

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse what object stores cannot do."""
        raise self._unable("do that: it has neither folders nor renames nor links")

    mkdir = rename = replace = touch = rmdir = chmod = lchmod = _refuse
    symlink_to = hardlink_to = readlink = owner = group = glob = _refuse


class _Reader(io.RawIOBase):
    """An object as a file: a stream that begins again where one seeks to."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._position = 0
        self._pieces: Iterator[bytes] | None
        self._size, self._pieces = object_store.stream(place)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset != self._position:
            self._position = max(0, base + offset)
            self._pieces, self._left = None, memoryview(b"")
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._position >= self._size:
            return 0
        if self._pieces is None:
            _, self._pieces = object_store.stream(self._place, self._position)
        if not self._left:
            self._left = memoryview(next(self._pieces, b""))
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._left))
        target[:count] = self._left[:count]
        self._left = self._left[count:]
        self._position += count
        return count


def as_path(text: str | Path) -> Path:
    """Return the path that a text means, in an object store or on this machine.

    Parameters
    ----------
    text : str or Path
        ``s3://bucket/key``, ``gs://bucket/key``, ``https://host/key``, or a path. A Path stays
        what it is, but for one that was made of such a text.

    Raises
    ------
    OptionError
        It begins like a remote place, but none that is known.
    """
    if isinstance(text, RemotePath):
        return text
    if isinstance(text, PurePath):
        # a Path has lost one of two slashes
        scheme, _, rest = text.as_posix().partition(":/")
        known = scheme in (*SCHEMES, *_FOREIGN) and rest
        return as_path(f"{scheme}://{rest}") if known else Path(text)
    found = _SCHEME.match(text)
    if found is None:
        return Path(text)
    scheme, rest = found[1].lower(), text[found.end() :].rstrip("/")
    if scheme not in SCHEMES and len(found[2]) == 1:
        return Path(text)  # a folder whose name ends in a colon
    if scheme not in SCHEMES or len(found[2]) != 2 or not rest:
        raise OptionError(f"{text}: no place that is known: expected a path, or one of {_SHOWN}")
    if ".." in rest.split("/"):
        raise OptionError(f"{text}: '..' has no meaning there: give the whole place")
    if scheme in ("http", "https") and re.search(r"[?#]", rest):
        raise OptionError(f"{text}: expected an address without a query (? or #)")
    return RemotePath(f"{scheme}:", rest)
