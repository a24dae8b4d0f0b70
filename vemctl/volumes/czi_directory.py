"""The directory of a Zeiss CZI file: which tile of which plane lies where; no pixels are read.

pylibCZIrw reads the pixels, but says neither where a dimension starts, nor which planes lack, nor
whether the file is whole: planes that are not there would be read as black.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vemctl.errors import InputError

MAGIC = b"ZISRAWFILE"
SEGMENT = struct.Struct("<16sqq")
"""Name, bytes that are reserved, bytes that are used after this head."""
FILE = struct.Struct("<48xiqq")
"""Of what follows the first segment's head: part, places of the directory and the metadata."""
ENTRY = struct.Struct("<2siqii6xi")
"""Schema, pixel type, place, part, compression, number of dimensions."""
DIMENSION = struct.Struct("<4sii4xi")
"""Name, first index, size, size as stored."""
DIRECTORY_HEAD = 128
"""Bytes from the number of entries to the first."""

GREY = {0: "Gray8", 1: "Gray16", 2: "Gray32Float"}
COLOUR = {3: "Bgr24", 4: "Bgr48", 8: "Bgr96Float", 9: "Bgra32"}
OTHER = {10: "Gray64ComplexFloat", 11: "Bgr192ComplexFloat", 12: "Gray32", 13: "Gray64Float"}
DTYPES = {"Gray8": "uint8", "Gray16": "uint16", "Gray32Float": "float32"}
DECODED = (0, 4, 5, 6)
"""Uncompressed, JPEG XR and two kinds of Zstandard."""
NOT_DECODED = {1: "JPEG", 2: "LZW"}
REFUSED = {
    "R": "rotations",
    "I": "illuminations",
    "H": "phases",
    "V": "views",
    "B": "blocks of acquisition",
}


@dataclass(frozen=True)
class Tile:
    """One tile at full resolution.

    Attributes
    ----------
    pixel_type, compression : int
        As in the file.
    at : mapping of str to int
        Its index along each dimension but X and Y.
    x, y, width, height : int
        Pixels.
    """

    pixel_type: int
    compression: int
    at: Mapping[str, int]
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class CziImage:
    """The one image in a CZI file.

    Attributes
    ----------
    pixel_type : str
        As pylibCZIrw calls it: ``"Gray8"``, ``"Gray16"`` or ``"Gray32Float"``.
    starts, sizes : mapping of str to int
        First index and number of indices along T, C and Z.
    x, y, width, height : int
        What the tiles of all planes cover together, in pixels; `x` and `y` may be negative.
    tile : (y, x)
        The commonest size of a tile, in pixels.
    has_metadata : bool
        Whether there is XML to read.
    """

    pixel_type: str
    starts: Mapping[str, int]
    sizes: Mapping[str, int]
    x: int
    y: int
    width: int
    height: int
    tile: tuple[int, int]
    has_metadata: bool

    @property
    def axes(self) -> str:
        """Of ``tczyx``, those that are longer than 1, and always y and x."""
        return "".join(a for a in "tcz" if self.sizes[a.upper()] > 1) + "yx"

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of the pixels."""
        return np.dtype(DTYPES[self.pixel_type])


def read_czi_directory(path: Path) -> CziImage:
    """Read and check what a CZI file says of its tiles.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputError
        It is no CZI file, truncated, damaged, lacks planes, or holds several scenes, colours,
        several types of pixels or a dimension beyond time, channel and z.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(SEGMENT.size + FILE.size)
        if not head.startswith(MAGIC):
            raise InputError(f"{path}: no CZI file ({size} bytes, starts with {head[:4]!r})")
        if len(head) < SEGMENT.size + FILE.size:
            raise InputError(f"{path}: truncated to {size} bytes; copy or export it again")
        part, directory, metadata = FILE.unpack_from(head, SEGMENT.size)
        if directory == 0:
            raise InputError(
                f"{path}: a CZI file without a directory: whatever wrote it did not finish"
            )
        used = _check_segment(path, file, size, directory, b"ZISRAWDIRECTORY")
        try:
            entries = list(_parse(file.read(used)))
        except (struct.error, ValueError) as error:
            raise InputError(
                f"{path}: its directory is damaged ({error}); copy or export it again"
            ) from error
        if part or any(entry_part for _, entry_part, _ in entries):
            raise InputError(
                f"{path}: one file of a set that belongs together: save it as a single file in ZEN"
            )
        # the segments before the last one are in front of its end
        if entries:
            last = max(place for place, _, _ in entries)
            _check_segment(path, file, size, last, b"ZISRAWSUBBLOCK")
        if metadata:
            _check_segment(path, file, size, metadata, b"ZISRAWMETADATA")
    return _image(path, [tile for _, _, tile in entries if tile], has_metadata=metadata != 0)


def _check_segment(path: Path, file: BinaryIO, size: int, position: int, name: bytes) -> int:
    """Check that a segment is there to its end; go behind its head, return its bytes."""
    found, used = b"", 0
    if 0 < position <= size - SEGMENT.size:
        file.seek(position)
        found, reserved, used = SEGMENT.unpack(file.read(SEGMENT.size))
        used = used or reserved
        if found.rstrip(b"\0") == name and 0 <= used <= size - file.tell():
            return int(used)
    end = position + SEGMENT.size + max(used, 0)
    if end > size and found.rstrip(b"\0") in (b"", name):
        raise InputError(
            f"{path}: truncated: a part of it ends at byte {end}, the file has {size}; copy or "
            "export it again"
        )
    raise InputError(
        f"{path}: damaged: expected {name.decode()} at byte {position}; copy or export it again"
    )


def _parse(content: bytes) -> Iterator[tuple[int, int, Tile | None]]:
    """Yield place, part and, at full resolution, the tile of each entry of the directory."""
    (count,) = struct.unpack_from("<i", content)
    position = DIRECTORY_HEAD
    for number in range(count):
        schema, pixel_type, place, part, compression, n = ENTRY.unpack_from(content, position)
        position += ENTRY.size
        end = position + n * DIMENSION.size
        if schema != b"DV" or not 2 <= n <= 32 or end > len(content):
            raise ValueError(f"entry {number} of {count}: kind {schema!r}, {n} dimensions")
        at: dict[str, int] = {}
        sizes: dict[str, int] = {}
        is_full = True
        for letter, start, length, stored in DIMENSION.iter_unpack(content[position:end]):
            name = letter.rstrip(b"\0").decode("ascii", "replace")
            at[name], sizes[name] = start, length
            # a tile of the pyramid covers more than it stores; 0 stands for the same size
            is_full &= name not in ("X", "Y") or stored in (0, length)
        position = end
        if min(sizes.get("X", 0), sizes.get("Y", 0)) < 1:
            raise ValueError(f"entry {number} of {count}: sizes {sizes}")
        x, y = at.pop("X"), at.pop("Y")
        tile = Tile(pixel_type, compression, at, x, y, sizes["X"], sizes["Y"])
        yield place, part, tile if is_full else None


def _image(path: Path, tiles: list[Tile], *, has_metadata: bool) -> CziImage:
    """Put tiles together to the one image that they are."""
    if not tiles:
        raise InputError(f"{path}: a CZI file without an image: export it again")
    scenes = {tile.at.get("S", 0) for tile in tiles}
    if len(scenes) > 1:
        raise InputError(
            f"{path}: holds {len(scenes)} scenes: expected one: save the one you mean on its own, "
            "with Split Scenes in ZEN or bfconvert -series of Bio-Formats"
        )
    for name, what in REFUSED.items():
        found = {tile.at.get(name, 0) for tile in tiles}
        if len(found) > 1:
            raise InputError(
                f"{path}: holds {len(found)} {what} (dimension {name}): expected time points, "
                "channels and planes only: save the one you mean on its own, for instance in ZEN"
            )
    pixel_type = _pixel_type(path, tiles)
    _check_compression(path, tiles)
    starts, sizes = _extent(path, tiles)
    x, y = min(tile.x for tile in tiles), min(tile.y for tile in tiles)
    return CziImage(
        pixel_type=pixel_type,
        starts=starts,
        sizes=sizes,
        x=x,
        y=y,
        width=max(tile.x + tile.width for tile in tiles) - x,
        height=max(tile.y + tile.height for tile in tiles) - y,
        tile=Counter((tile.height, tile.width) for tile in tiles).most_common(1)[0][0],
        has_metadata=has_metadata,
    )


def _extent(path: Path, tiles: list[Tile]) -> tuple[dict[str, int], dict[str, int]]:
    """Return where T, C and Z start and how long they are, if no plane of them lacks."""
    planes = {tuple(tile.at.get(name, 0) for name in "TCZ") for tile in tiles}
    ranges = [range(min(along), max(along) + 1) for along in zip(*planes, strict=True)]
    if len(planes) < (expected := math.prod(map(len, ranges))):
        missing = next(plane for plane in itertools.product(*ranges) if plane not in planes)
        where = ", ".join(
            f"{name} {index - along.start}"
            for name, index, along in zip(
                ("time point", "channel", "z"), missing, ranges, strict=True
            )
            if len(along) > 1
        )
        raise InputError(
            f"{path}: {expected - len(planes)} of {expected} planes are missing, the first at "
            f"{where}: was the acquisition stopped? export the part that is whole, for instance "
            "with Create Image Subset in ZEN"
        )
    return (
        {name: along.start for name, along in zip("TCZ", ranges, strict=True)},
        {name: len(along) for name, along in zip("TCZ", ranges, strict=True)},
    )


def _pixel_type(path: Path, tiles: list[Tile]) -> str:
    """Return the type of all pixels, if it is one and grey."""
    known = GREY | COLOUR | OTHER
    of_channel = {tile.at.get("C", 0): tile.pixel_type for tile in tiles}
    names = {c: known.get(kind, f"number {kind}") for c, kind in sorted(of_channel.items())}
    kinds = {tile.pixel_type for tile in tiles}
    if kinds & set(COLOUR):
        colour = COLOUR[min(kinds & set(COLOUR))]
        raise InputError(
            f"{path}: a colour image ({colour}): expected grey values: export the channel you mean "
            "as a grey image, for instance in ZEN or Fiji"
        )
    if len(kinds) > 1:
        listed = ", ".join(f"channel {c} {name}" for c, name in names.items())
        raise InputError(
            f"{path}: pixels of several types ({listed}): expected one: export the channels one by "
            "one, for instance in ZEN or Fiji"
        )
    (kind,) = kinds
    if kind not in GREY:
        raise InputError(
            f"{path}: pixels of type {known.get(kind, f'number {kind}')}: expected "
            f"{', '.join(GREY.values())}: convert them, for instance in ZEN or Fiji"
        )
    return GREY[kind]


def _check_compression(path: Path, tiles: list[Tile]) -> None:
    """Refuse what no version of libCZI decodes."""
    for kind in {tile.compression for tile in tiles}:
        if kind not in DECODED:
            raise InputError(
                f"{path}: compression {NOT_DECODED.get(kind, f'number {kind}')} is not read: save "
                "it uncompressed or with Zstandard in ZEN"
            )
