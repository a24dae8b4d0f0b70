"""Whether an output can be written, asked before any work is done."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from vemctl.errors import OutputError, nearest
from vemctl.volumes.durable import TEMPORARY, free_bytes, show_bytes
from vemctl.volumes.volume import Layout

TiffFormat = Literal["ome", "imagej"]
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

DTYPES: dict[str, tuple[str, ...]] = {
    "OME-TIFF": ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"),
    "ImageJ TIFF": ("uint8", "uint16", "int16", "float32"),
    "MRC": ("int8", "uint8", "int16", "uint16", "float16", "float32"),
}
"""What each format can hold; OME-Zarr and .npy hold all that we read."""


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


def check_output(
    path: Path,
    *,
    inputs: Sequence[Path],
    overwrite: bool,
    resume: bool,
    needed_bytes: int,
    layout: Layout | None = None,
    tiff_format: TiffFormat = "ome",
) -> None:
    """Refuse an output that could not be written in the end.

    A finished output passes with `resume`: the caller decides that there is nothing left to do.

    Parameters
    ----------
    path : Path
    inputs : sequence of Path
    overwrite, resume : bool
        What the user allowed.
    needed_bytes : int
        Of disk space.
    layout : Layout, optional
        If known, whether the format can hold it is checked too.
    tiff_format : {"ome", "imagej"}
        What a TIFF will be.

    Raises
    ------
    OutputError
        Says what is in the way.
    """
    kind = output_kind(path)
    if layout is not None:
        check_layout(path, layout, tiff_format)
    _check_apart(path, inputs)
    _check_absent(path, kind, overwrite=overwrite, resume=resume)
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise OutputError(f"{path}: {parent} is a file: expected a folder; choose another output")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(
            f"{path}: the folder {parent} is not writable: allow it or choose another output"
        )
    free = free_bytes(parent)
    if needed_bytes > free:
        raise OutputError(
            f"{path}: needs {show_bytes(needed_bytes)} but only {show_bytes(free)} are free: make "
            "room, choose another disk or restore a part with --roi"
        )


def check_layout(path: Path, layout: Layout, tiff_format: TiffFormat = "ome") -> None:
    """Refuse a volume that the format of `path` cannot hold.

    Parameters
    ----------
    path : Path
    layout : Layout
    tiff_format : {"ome", "imagej"}

    Raises
    ------
    OutputError
        Says what can.
    """
    kind = output_kind(path)
    if kind in ("zarr", "npy"):
        return
    name = "MRC" if kind == "mrc" else {"ome": "OME-TIFF", "imagej": "ImageJ TIFF"}[tiff_format]
    if layout.dtype.name not in DTYPES[name]:
        raise OutputError(
            f"{path}: {name} cannot hold {layout.dtype.name}, only {', '.join(DTYPES[name])}: "
            "choose one with --dtype, or write to .zarr"
        )
    several = (layout.num_channels or 1) * (layout.num_timepoints or 1)
    if kind == "mrc" and several > 1:
        raise OutputError(
            f"{path}: MRC holds one channel at one time point, this volume has {several}: write "
            "to .zarr or .ome.tif"
        )


def _check_apart(path: Path, inputs: Sequence[Path]) -> None:
    """Refuse an output in an input, and an input in the output that would replace it."""
    output = path.resolve()
    for given in inputs:
        source = given.resolve()
        for folder in (output, partial_folder(output)):
            if source == folder:
                raise OutputError(f"{path}: is the input itself: choose another output")
            if folder in source.parents:
                raise OutputError(
                    f"{path}: the input {given} lies inside it: choose another output"
                )
        if source in output.parents:
            raise OutputError(f"{path}: lies inside the input {given}: choose another output")
    for parent in output.parents:
        if any((parent / name).exists() for name in ("zarr.json", ".zgroup", ".zarray")):
            raise OutputError(
                f"{path}: lies inside the Zarr store {parent}: choose an output beside it"
            )


def _check_absent(path: Path, kind: Kind, *, overwrite: bool, resume: bool) -> None:
    if path.is_symlink() and not path.exists():
        raise OutputError(f"{path}: a link to nothing: remove it or choose another output")
    if path.exists():
        if kind == "zarr" and not path.is_dir():
            raise OutputError(f"{path}: a file, expected a folder: choose another output")
        if kind != "zarr" and path.is_dir():
            raise OutputError(f"{path}: a folder, expected a file: choose another output")
        if kind == "zarr" and not _is_replaceable(path):
            raise OutputError(
                f"{path}: a folder that is no Zarr store, which is not replaced: remove it "
                "yourself or choose another output"
            )
        if not (overwrite or resume):
            raise OutputError(f"{path}: exists: pass --overwrite or choose another output")
    partial = partial_folder(path)
    if partial.exists() and not partial.is_dir():
        raise OutputError(f"{partial}: a file in the way of the unfinished output: remove it")
    if partial.exists() and not (overwrite or resume):
        raise OutputError(
            f"{path}: an unfinished run is in {partial}: continue it with --resume or start again "
            "with --overwrite"
        )


def _is_replaceable(folder: Path) -> bool:
    """Only what is a Zarr store, or empty, is ever deleted to make room for another."""
    names = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
    return any((folder / name).exists() for name in names) or not any(folder.iterdir())
