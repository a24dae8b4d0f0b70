"""References to tensors, checked, and the tensors that they stand for."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vemctl.nn.inert.names import STORAGES, UNTYPED_KINDS
from vemctl.nn.inert.values import DamagedError, Inert, StorageReference, TensorReference, shown

if TYPE_CHECKING:
    import torch

LONGEST_KEY = 200
MOST_AXES = 64
LARGEST = 2**62
MOST_PER_FILE_BYTE = 4
"""Bytes of tensors to each byte of their file; shared weights may count several times."""

CHUNK = 2**22


@dataclass(frozen=True)
class Place:
    """Where the numbers of a storage are in the file.

    Attributes
    ----------
    offset, length : int
        In bytes.
    checksum : int, optional
        CRC-32 of them.
    """

    offset: int
    length: int
    checksum: int | None = None


def refer_to_storage(identity: Any) -> StorageReference:
    """Return the storage that a persistent id of torch stands for.

    Parameters
    ----------
    identity : tuple
        ``("storage", type, key, location, number of elements)`` and, before torch 1.6, None.

    Raises
    ------
    DamagedError
        It is no such tuple, or names a type of storage that is not known.
    """
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise DamagedError("a persistent id that is no storage")
    _, kind, key, _, count, *view = identity
    if any(part is not None for part in view):
        raise DamagedError("a storage that is a view of another")
    if not isinstance(kind, Inert) or kind.arguments is not None or kind.name not in STORAGES:
        raise DamagedError(f"a storage of unknown type {shown(kind)}")
    if type(key) is not str or len(key) > LONGEST_KEY:
        raise DamagedError("a storage without a name")
    name, width = STORAGES[kind.name]
    if type(count) is not int or not 0 <= count < LARGEST:
        raise DamagedError("a storage of an impossible length")
    return StorageReference(key, name, width, count)


def refer_to_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, dtype: Any = None
) -> TensorReference:
    """Return a tensor that lies inside its storage.

    Parameters
    ----------
    storage : StorageReference
    offset : int
        In elements, as all that follow.
    size, stride : sequence of int
    dtype : Inert, optional
        Of a storage of bytes.

    Raises
    ------
    DamagedError
        It reaches outside, has more elements than its storage, or is none of these things.
    """
    if not isinstance(storage, StorageReference):
        raise DamagedError("a tensor without a storage")
    kind, width = storage.kind, storage.width
    if dtype is not None:
        name = dtype.name if isinstance(dtype, Inert) and dtype.arguments is None else ""
        if name not in UNTYPED_KINDS or width != 1:
            raise DamagedError(f"a tensor of unknown type {shown(dtype)}")
        kind, width = UNTYPED_KINDS[name]
    size, stride = _whole_numbers(size), _whole_numbers(stride)
    (offset,) = _whole_numbers((offset,))
    if len(size) != len(stride):
        raise DamagedError("a tensor whose sizes and strides differ in number")
    count = 1
    for length in size:
        count *= length
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    available = storage.count * storage.width // width
    if offset > available or count > available or (count and last >= available):
        raise DamagedError(
            f"a tensor of {shown(count)} elements that reaches outside its storage of {available}"
        )
    return TensorReference(storage, kind, width, offset, size, stride, count)


def _whole_numbers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or len(values) > MOST_AXES:
        raise DamagedError("a tensor without a shape")
    if not all(type(value) is int and 0 <= value < LARGEST for value in values):
        raise DamagedError("a tensor with negative or impossible sizes, strides or offset")
    return tuple(values)


def check_total(references: Iterable[TensorReference], file_size: int) -> None:
    """Refuse tensors that are much larger together than their file.

    Raises
    ------
    DamagedError
        Files of torch hold each storage once, so that only shared weights add up to more.
    """
    total = sum(reference.count * reference.width for reference in references)
    if total > MOST_PER_FILE_BYTE * file_size:
        raise DamagedError(f"tensors of {total} bytes in a file of {file_size}")


def read_tensors(
    path: Path, places: Mapping[str, Place], references: Mapping[str, TensorReference]
) -> dict[str, torch.Tensor]:
    """Return tensors on the CPU, which share memory where they shared storages.

    Parameters
    ----------
    path : Path
    places : mapping of storage keys to Place
        Checked to lie in the file.
    references : mapping of str to TensorReference

    Raises
    ------
    DamagedError
        The file ends early, or the numbers are not those that were written.
    """
    import torch

    memory: dict[str, torch.Tensor] = {}
    tensors: dict[str, torch.Tensor] = {}
    with path.open("rb") as file:
        for name, reference in references.items():
            key = reference.storage.key
            if key not in memory:
                memory[key] = _read_storage(file, places[key])
                if reference.storage.kind == "bool":
                    memory[key].clamp_(max=1)  # torch counts and indexes wrongly with other bytes
            # The names are those of the tables in `names`, never the file's.
            kind: torch.dtype = getattr(torch, reference.kind)
            whole = memory[key].numel() // reference.width * reference.width
            tensors[name] = (
                memory[key][:whole]
                .view(kind)
                .as_strided(reference.size, reference.stride, reference.offset)
            )
    return tensors


def _read_storage(file: io.BufferedReader, place: Place) -> torch.Tensor:
    import torch

    memory = torch.empty(place.length, dtype=torch.uint8)
    view = memory.numpy().data
    file.seek(place.offset)
    checksum = done = 0
    while done < place.length:
        got = file.readinto(view[done : done + CHUNK])
        if not got:
            raise DamagedError("it ends early")
        if place.checksum is not None:
            checksum = zlib.crc32(view[done : done + got], checksum)
        done += got
    if place.checksum is not None and checksum != place.checksum:
        raise DamagedError("a wrong checksum")
    return memory
