"""Whether a TIFF is whole: tifffile opens truncated ones as smaller ones, with a log line."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vemctl.errors import InputError, MissingExtraError


def check_chain(path: Path) -> int:
    """Follow the chain of page headers to its end.

    Parameters
    ----------
    path : Path

    Returns
    -------
    int
        Number of pages.

    Raises
    ------
    InputError
        It is no TIFF, or the chain leaves the file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        version = struct.unpack(order + "H", head[2:4])[0] if order and len(head) >= 8 else 0
        if version not in (42, 43) or (version == 43 and len(head) < 16):
            raise InputError(f"{path}: no TIFF file ({size} bytes, starts with {head[:4]!r})")
        # classic and big files differ in the widths of: number of entries, entry, offset
        count, entry, offset = ("H", 12, "I") if version == 42 else ("Q", 20, "Q")
        position = struct.unpack_from(f"{order}{offset}", head, 4 if version == 42 else 8)[0]
        seen: set[int] = set()
        while position:
            file.seek(position)
            raw = file.read(struct.calcsize(count))
            if len(raw) == struct.calcsize(count):
                entries = struct.unpack(f"{order}{count}", raw)[0]
                file.seek(position + len(raw) + entries * entry)
                raw = file.read(struct.calcsize(offset))
            if len(raw) < struct.calcsize(offset) or position in seen:
                raise InputError(
                    f"{path}: truncated or damaged: the header of page {len(seen)} should be at "
                    f"byte {position}, the file has {size}; copy or export it again"
                )
            seen.add(position)
            position = struct.unpack(f"{order}{offset}", raw)[0]
    if not seen:
        raise InputError(f"{path}: a TIFF without pages: whatever wrote it did not finish")
    return len(seen)


def check_pages(path: Path, pages: Sequence[Any]) -> None:
    """Check that every page of a series is there, with all its bytes.

    Parameters
    ----------
    path : Path
    pages : sequence of tifffile pages

    Raises
    ------
    InputError
        A page or its end is missing.
    """
    for number, page in enumerate(pages):
        if page is None:
            raise InputError(
                f"{path}: plane {number} of {len(pages)} is missing: it should be in another file "
                "of the set, or the file is truncated; copy all its files again"
            )
        size = page.parent.filehandle.size
        ends = (o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False))
        if (end := max(ends, default=0)) > size:
            raise InputError(
                f"{path}: truncated: plane {number} of {len(pages)} ends at byte {end}, the file "
                f"has {size}; copy or export it again"
            )


def check_end(path: Path, end: int) -> None:
    """Check that a file reaches as far as its header promises.

    Parameters
    ----------
    path : Path
    end : int
        Bytes.

    Raises
    ------
    InputError
        It is truncated.
    """
    size = path.stat().st_size
    if end > size:
        raise InputError(
            f"{path}: truncated: {size} bytes, the header promises {end}; copy or export it again"
        )


def check_compression(path: Path, page: Any) -> None:
    """Check that a page can be decoded with what is installed.

    Parameters
    ----------
    path : Path
    page : tifffile.TiffPage

    Raises
    ------
    MissingExtraError
        The optional codecs are needed.
    InputError
        Even they do not know the compression.
    """
    import tifffile

    try:
        tifffile.TIFF.DECOMPRESSORS[page.compression]
        tifffile.TIFF.UNPREDICTORS[page.predictor]
    except KeyError as error:
        name = getattr(page.compression, "name", str(page.compression))
        if "imagecodecs" in str(error) and not _has_codecs():
            raise MissingExtraError(
                f"reading {path}, a TIFF with {name} compression,", "codecs"
            ) from error
        raise InputError(
            f"{path}: unknown TIFF compression {name}: save it uncompressed or with zlib"
        ) from error


def _has_codecs() -> bool:
    from importlib.util import find_spec

    try:
        return find_spec("imagecodecs") is not None
    except (ImportError, ValueError):
        return False
