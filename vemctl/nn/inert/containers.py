"""The two kinds of file that torch writes: an archive, and pickles one after the other."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from vemctl.nn.inert.bounds import MOST_BYTES, Stream
from vemctl.nn.inert.machine import Machine
from vemctl.nn.inert.storages import Place
from vemctl.nn.inert.values import DamagedError, RefusedError, StorageReference, shown

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
ARCHIVE = b"PK\x03\x04"
MOST_ENTRIES = 100_000
ENTRY = struct.Struct("<4s22xHH")
"""In front of an entry of an archive: signature, lengths of its name and of what follows that."""


@dataclass(frozen=True)
class Contents:
    """What a file holds, before any tensor is read.

    Attributes
    ----------
    root : Any
        Plain values and records.
    foreign : tuple of str
        What was named, or used in another way, than torch reads safely.
    places : dict of str to Place
        Of the storages, by key; all lie in the file.
    """

    root: Any
    foreign: tuple[str, ...]
    places: dict[str, Place]


def read_contents(path: Path) -> Contents:
    """Read everything but the numbers of tensors.

    Raises
    ------
    DamagedError
        The file is none of torch's, or not whole.
    RefusedError
        It names what no file of weights needs, or is a program.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(len(ARCHIVE))
        file.seek(0)
        if head.startswith(ARCHIVE):
            return _read_archive(file, size)
        return _read_pickles(file, size)


def _read_archive(file: BinaryIO, size: int) -> Contents:
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            by_name = {entry.filename: entry for entry in entries}
            _check_entries(entries, by_name, archive.comment, size)
            top = _top_folder(by_name.keys())
            pickle = archive.read(f"{top}/data.pkl")
            order = archive.read(f"{top}/byteorder") if f"{top}/byteorder" in by_name else b"little"
    except (DamagedError, RefusedError):
        raise
    except Exception as error:
        # The library says in many ways that what it reads is no archive.
        raise DamagedError(f"no whole archive ({type(error).__name__})") from error
    if order != b"little":
        raise DamagedError("numbers of a big-endian machine")
    machine = Machine(Stream(io.BytesIO(pickle), len(pickle)))
    root = machine.run()
    places = {
        key: _place(file, by_name.get(f"{top}/data/{key}"), storage, size)
        for key, storage in machine.storages.items()
    }
    return Contents(root, tuple(sorted(machine.foreign)), places)


def _check_entries(
    entries: list[zipfile.ZipInfo],
    by_name: dict[str, zipfile.ZipInfo],
    comment: bytes,
    size: int,
) -> None:
    if comment or len(entries) > MOST_ENTRIES:
        raise DamagedError("an archive that torch did not write")
    if len(by_name) != len(entries):
        raise DamagedError("two entries of one name")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise DamagedError(f"a compressed entry {shown(entry.filename)}")
        if entry.flag_bits & 1:
            raise DamagedError(f"an encrypted entry {shown(entry.filename)}")
        if entry.filename.endswith(".pkl") and entry.file_size > MOST_BYTES:
            raise DamagedError(f"a pickle of more than {MOST_BYTES} bytes")
    if sum(entry.file_size for entry in entries) > size:
        raise DamagedError("entries that lie one in another")


def _top_folder(names: Collection[str]) -> str:
    tops = [name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl")]
    tops = [top for top in tops if "/" not in top]
    if len(tops) != 1:
        raise DamagedError(f"an archive with {len(tops)} pickles called data.pkl, not 1")
    if any(
        name == f"{tops[0]}/constants.pkl" or name.startswith(f"{tops[0]}/code/") for name in names
    ):
        raise RefusedError(
            "it is a TorchScript archive, which is a program; expected a state dict: save the "
            "weights alone"
        )
    return tops[0]


def _place(
    file: BinaryIO, entry: zipfile.ZipInfo | None, storage: StorageReference, size: int
) -> Place:
    if entry is None:
        raise DamagedError(f"no numbers for the storage {shown(storage.key)}")
    length = storage.count * storage.width
    if entry.file_size != length:
        raise DamagedError(
            f"{entry.file_size} bytes in the storage {shown(storage.key)}, not {length}"
        )
    file.seek(entry.header_offset)
    head = file.read(ENTRY.size)
    if len(head) < ENTRY.size:
        raise DamagedError("it ends early")
    signature, name_length, extra_length = ENTRY.unpack(head)
    offset = entry.header_offset + ENTRY.size + name_length + extra_length
    if signature != ARCHIVE or offset + length > size:
        raise DamagedError(f"no numbers for the storage {shown(storage.key)}")
    return Place(offset, length, entry.CRC)


def _read_pickles(file: BinaryIO, size: int) -> Contents:
    machine = Machine(Stream(file, size))
    if machine.run() != MAGIC:
        raise DamagedError("a pickle, but not torch's")
    if machine.run() != PROTOCOL:
        raise DamagedError(f"another protocol than {PROTOCOL}")
    system = machine.run()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise DamagedError("numbers of a big-endian machine")
    root, keys = machine.run(), machine.run()
    if not isinstance(keys, list) or not all(type(key) is str for key in keys):
        raise DamagedError("no list of storages")
    if len(set(keys)) != len(keys) or set(keys) != machine.storages.keys():
        raise DamagedError("other storages than the tensors name")
    places = {}
    offset = file.tell()
    for key in keys:
        storage = machine.storages[key]
        file.seek(offset)
        if file.read(8) != storage.count.to_bytes(8, "little"):
            raise DamagedError(f"another length of the storage {shown(key)} than stated")
        places[key] = Place(offset + 8, storage.count * storage.width)
        offset += 8 + storage.count * storage.width
    if offset != size:
        raise DamagedError(f"{size} bytes in the file, not {offset}")
    return Contents(root, tuple(sorted(machine.foreign)), places)
