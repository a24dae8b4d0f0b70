"""Volumes by the names of files and folders; nothing is opened."""

from __future__ import annotations

import re
from pathlib import Path

from vemctl.errors import OptionError

SUFFIXES = (".tif", ".tiff", ".zarr", ".mrc", ".npy", ".czi")
TIFF = (".tif", ".tiff")
ZARR_METADATA = ("zarr.json", ".zarray", ".zgroup")


def volumes_at(path: Path) -> tuple[Path, ...]:
    """Return the volumes that a path stands for: itself, or those in it where it is a mere folder.

    TIFFs whose names differ in numbers alone are the planes of one volume.

    Raises
    ------
    OptionError
        It is a folder without volumes.
    """
    if not path.is_dir() or any((path / name).exists() for name in ZARR_METADATA):
        return (path,)
    inside = volumes_by_suffix(path)
    tiffs = [each.name for each in inside if each.suffix.lower() in TIFF]
    if len(tiffs) > 1 and len({re.sub(r"\d+", "0", name) for name in tiffs}) == 1:
        return (path,)
    if not inside:
        raise OptionError(
            f"{path}: no volumes in this folder; expected {', '.join(SUFFIXES)}, or TIFF planes"
        )
    return tuple(inside)


def volumes_by_suffix(folder: Path) -> list[Path]:
    """Return what is a volume by its name in a folder, sorted; hidden files are none."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
