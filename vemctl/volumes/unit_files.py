"""The files of an OME-Zarr image, named and digested without opening its arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from vemctl.volumes.volume import Layout, Region

DIGEST_BYTES = 16
"""Of BLAKE2b."""


def unit_path(
    folder: Path, level: int, layout: Layout, unit: Region, channel: int = 0, timepoint: int = 0
) -> Path:
    """Name the file of one unit.

    Parameters
    ----------
    folder : Path
        Of the group.
    level : int
    layout : Layout
        Of the level.
    unit : Region
    channel, timepoint : int
    """
    places = [along.start // n for along, n in zip(unit, layout.shard_shape, strict=True)]
    key = "/".join(str(place) for place in layout.along_axes(places, channel, timepoint))
    return folder / str(level) / (f"c/{key}" if layout.ome_zarr == "0.5" else key)


def metadata_paths(level: int, layout: Layout) -> list[str]:
    """Name the files that describe the array of one level, relative to the group."""
    names = ["zarr.json"] if layout.ome_zarr == "0.5" else [".zarray", ".zattrs"]
    return [f"{level}/{name}" for name in names]


def checksum(paths: Iterable[Path]) -> bytes | None:
    """Compute the checksum of files.

    Parameters
    ----------
    paths : iterable of Path

    Returns
    -------
    bytes or None
        BLAKE2b over the digests of the files in their order; None if one is missing.

    Raises
    ------
    OSError
        One is there and cannot be read.
    """
    total = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for path in paths:
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(
                    file, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES)
                )
        except (FileNotFoundError, NotADirectoryError):
            return None
        total.update(digest.digest())
    return total.digest()


def checksum_of(content: bytes) -> bytes:
    """Compute the `checksum` of one file that will hold `content`."""
    first = hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()
    return hashlib.blake2b(first, digest_size=DIGEST_BYTES).digest()
