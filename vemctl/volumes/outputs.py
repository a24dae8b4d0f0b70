"""What outputs are called, and where they lie until they are finished."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from vemctl.durable import TEMPORARY
from vemctl.errors import OutputError, nearest

STATE = "destination.json"
"""What makes a partial folder ours; written first and removed last."""

Kind = Literal["zarr", "tiff", "npy", "mrc"]

KINDS: dict[str, Kind] = {
    ".zarr": "zarr",
    ".ome.zarr": "zarr",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".ome.tif": "tiff",
    ".npy": "npy",
    ".mrc": "mrc",
}
"""What an output may be called."""


def output_kind(path: Path) -> Kind:
    """Tell an output's format from its suffix.

    Parameters
    ----------
    path : Path

    Raises
    ------
    OutputError
        The suffix is unknown; names those that are known.
    """
    try:
        return KINDS[path.suffix.lower()]
    except KeyError:
        raise OutputError(
            f"{path}: unknown suffix {path.suffix!r}: expected one of {' '.join(KINDS)}."
            f"{nearest(path.suffix, KINDS)}"
        ) from None


def partial_folder(path: Path) -> Path:
    """Name the folder in which everything lies until an output is finished."""
    return path.with_name(path.name + TEMPORARY)


def image_name(path: Path) -> str:
    """Return what the image in an OME-Zarr is called, after its folder."""
    return path.name.removesuffix(path.suffix).removesuffix(".ome")
