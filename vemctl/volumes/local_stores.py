"""Zarr stores that notice cut chunks, and write what survives a crash.

This module and `remote_stores` import zarr when they are imported: do that inside functions only.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Self

from zarr.abc.store import ByteRequest, RangeByteRequest  # noqa: TID253 - see above
from zarr.core.buffer import Buffer, BufferPrototype  # noqa: TID253 - see above
from zarr.storage import LocalStore  # noqa: TID253 - see above

from vemctl.durable import write_whole

METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")


def checked(
    where: Path, key: str, value: Buffer | None, byte_range: ByteRequest | None, *, blosc: bool
) -> Buffer | None:
    """Check the length of what was read.

    Blosc's decoder believes the length in a chunk's header: of a cut chunk it makes voxels out of
    whatever memory comes after it.

    Parameters
    ----------
    where : Path
        Of the store.
    key : str
    value : Buffer or None
        What was read there, if it is there.
    byte_range : ByteRequest or None
        Which part of it was asked for.
    blosc : bool
        Whether chunks are stored in Blosc's format.

    Returns
    -------
    Buffer or None
        The `value`.

    Raises
    ------
    ValueError
        It is cut off.
    """
    if value is None:
        return None
    found = len(value)
    if isinstance(byte_range, RangeByteRequest) and found < byte_range.end - byte_range.start:
        raise ValueError(f"{where / key} is cut off at byte {byte_range.start + found}")
    is_chunk = byte_range is None or isinstance(byte_range, RangeByteRequest)
    if blosc and is_chunk and key.rpartition("/")[2] not in METADATA:
        promised = int.from_bytes(value[12:16].to_bytes(), "little")
        if found < max(16, promised):
            raise ValueError(f"a chunk of {where / key} is cut off or damaged")
    return value


class CheckedStore(LocalStore):
    """A LocalStore that checks the length of what it reads.

    Parameters
    ----------
    root : Path
    read_only : bool
    blosc : bool
        Whether chunks are in Blosc's format on the disk.
    """

    def __init__(self, root: Path | str, *, read_only: bool = False, blosc: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self.blosc = blosc

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
        value = await super().get(key, prototype, byte_range)
        return checked(self.root, key, value, byte_range, blosc=self.blosc)

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Read one value or a part of it from a thread."""
        value = super().get_sync(key, prototype=prototype, byte_range=byte_range)
        return checked(self.root, key, value, byte_range, blosc=self.blosc)


class DurableStore(CheckedStore):
    """A store whose values are flushed to the disk before they get their name."""

    async def set(self, key: str, value: Buffer, *_: Any) -> None:
        """Store one value."""
        await asyncio.to_thread(self.set_sync, key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Store one value from a thread."""
        self._check_writable()
        write_whole(self.root / key, value.as_buffer_like())
