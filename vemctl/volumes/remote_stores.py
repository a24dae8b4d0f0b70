"""Zarr stores in object stores and on web servers; see `local_stores`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Self

from zarr.abc.store import (  # noqa: TID253 - see there
    ByteRequest,
    RangeByteRequest,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype  # noqa: TID253 - see there
from zarr.core.buffer.core import default_buffer_prototype  # noqa: TID253 - see there
from zarr.storage import ObjectStore  # noqa: TID253 - see there

from vemctl import object_store
from vemctl.remote_path import RemotePath
from vemctl.store_failures import translated
from vemctl.volumes.local_stores import checked


class RemoteStore(ObjectStore[Any]):
    """The objects below a place, checked as those of `CheckedStore`.

    Parameters
    ----------
    root : RemotePath
    read_only : bool
    blosc : bool
        Whether chunks are stored in Blosc's format.
    """

    def __init__(self, root: RemotePath, *, read_only: bool = False, blosc: bool = False) -> None:
        super().__init__(object_store.connect(root.place), read_only=read_only)
        self.root = root
        self.blosc = blosc

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteStore) and self.root == other.root

    def __hash__(self) -> int:
        return hash(self.root)

    def __str__(self) -> str:
        return str(self.root)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.root, self.read_only, self.blosc)

    def with_read_only(self, read_only: bool = False) -> Self:
        """Return the same store, writable or not."""
        return type(self)(self.root, read_only=read_only, blosc=self.blosc)

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Read one value or a part of it."""
        prototype = prototype or default_buffer_prototype()
        with translated(str(self.root / key)):
            try:
                value = await super().get(self._full(key), prototype, byte_range)
            except Exception:
                if not isinstance(byte_range, SuffixByteRequest):
                    raise
                # Some web servers know no such ranges, and say so each in its own way.
                size = await self.getsize(key)
                ends = RangeByteRequest(max(size - byte_range.suffix, 0), size)
                value = await super().get(self._full(key), prototype, ends)
        return checked(self.root, key, value, byte_range, blosc=self.blosc)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Any
    ) -> list[Buffer | None]:
        """Read parts of several values."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        """Tell whether there is a value."""
        return await asyncio.to_thread((self.root / key).is_file)

    async def set(self, key: str, value: Buffer) -> None:
        """Store one value, whole or not at all."""
        self._check_writable()
        place = (self.root / key).place
        await asyncio.to_thread(object_store.put, place, value.as_buffer_like())

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Store one value if there is none."""
        if not await self.exists(key):
            await self.set(key, value)

    async def delete(self, key: str) -> None:
        """Remove one value."""
        self._check_writable()
        await asyncio.to_thread((self.root / key).unlink, missing_ok=True)

    def list(self) -> AsyncGenerator[str, None]:
        """List all keys."""
        return self.list_prefix("")

    async def list_prefix(self, prefix: str) -> AsyncGenerator[str, None]:
        """List the keys that begin with `prefix`, which ends at a slash."""
        folder = self.root / prefix.rstrip("/")
        for path in await asyncio.to_thread(lambda: list(folder.rglob("*"))):
            yield path.relative_to(self.root).as_posix()

    async def list_dir(self, prefix: str) -> AsyncGenerator[str, None]:
        """List the names directly below `prefix`."""
        folder = self.root / prefix.rstrip("/")
        for path in await asyncio.to_thread(lambda: list(folder.iterdir())):
            yield path.name

    async def delete_dir(self, prefix: str) -> None:
        """Remove all values below `prefix`."""
        async for key in self.list_prefix(prefix):
            await self.delete(key)

    async def getsize(self, key: str) -> int:
        """Return the bytes of a value."""
        return await asyncio.to_thread(object_store.size, (self.root / key).place)

    def _full(self, key: str) -> str:
        return (self.root / key).place.key


def _again(root: RemotePath, read_only: bool, blosc: bool) -> RemoteStore:
    return RemoteStore(root, read_only=read_only, blosc=blosc)
