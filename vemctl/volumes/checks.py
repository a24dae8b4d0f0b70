"""Whether an output can be written, asked before any work is done."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from vemctl.durable import TEMPORARY, free_bytes, show_bytes
from vemctl.errors import InputError, OutputError, nearest
from vemctl.volumes.volume import Layout
from vemctl.volumes.zarr_volume import read_node

STATE = "destination.json"
"""What makes a partial folder ours; written first and removed last."""

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
    with lookup_errors(path):
        _check_apart(path, inputs)
        _check_absent(path, kind, overwrite=overwrite, resume=resume)
        _check_room(path, needed_bytes)


def _check_room(path: Path, needed_bytes: int) -> None:
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise OutputError(f"{path}: {parent} is a file: expected a folder; choose another output")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(
            f"{path}: the folder {parent} is not writable: allow it or choose another output"
        )
    with suppress(FileNotFoundError):  # the longest name that will be made beside the output
        os.stat(parent / f"{path.name}.vemctl.json.{'0' * 32}{TEMPORARY}")  # noqa: PTH116 - raises
    free = free_bytes(parent)
    if needed_bytes > free:
        raise OutputError(
            f"{path}: needs {show_bytes(needed_bytes)} but only {show_bytes(free)} are free: make "
            "room, choose another disk or restore a part with --roi"
        )


@contextmanager
def lookup_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says while a place is looked at into an OutputError."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # pathlib raises RuntimeError for loops of links
        reason = getattr(error, "strerror", None) or str(error)
        where = getattr(error, "filename", None)
        about = f" {where}" if where and str(where) != str(path) and len(str(where)) < 200 else ""
        raise OutputError(
            f"{path}: cannot look at{about or ' it'} ({reason}): allow it or choose another output"
        ) from error


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
        check_replaceable(path, kind)
        if not (overwrite or resume):
            raise OutputError(f"{path}: exists: pass --overwrite or choose another output")
    partial = partial_folder(path)
    if partial.exists() and not partial.is_dir():
        raise OutputError(f"{partial}: a file in the way of the unfinished output: remove it")
    check_ours(path)
    if partial.exists() and not (overwrite or resume):
        raise OutputError(
            f"{path}: an unfinished run is in {partial}: continue it with --resume or start again "
            "with --overwrite"
        )


def check_replaceable(path: Path, kind: Kind) -> None:
    """Refuse to replace what lies at `path` if it is not what an output of this kind is.

    Parameters
    ----------
    path : Path
        Exists.
    kind : {"zarr", "tiff", "npy", "mrc"}

    Raises
    ------
    OutputError
        Says what is in the way.
    """
    if kind != "zarr":
        if path.is_dir():
            raise OutputError(f"{path}: a folder, expected a file: choose another output")
        return
    if not path.is_dir():
        raise OutputError(f"{path}: a file, expected a folder: choose another output")
    if (what := _irreplaceable(path)) is not None:
        raise OutputError(
            f"{path}: {what}, which is not replaced: remove it yourself or choose another output"
        )


def _irreplaceable(folder: Path) -> str | None:
    """Name what is never deleted to make room: all but images, arrays and empty folders."""
    try:
        node = read_node(folder)
    except InputError:
        return "a folder with damaged Zarr metadata"
    if node is None:
        return "a folder that is no Zarr store" if any(folder.iterdir()) else None
    found = node.attributes.get("ome")
    ome = found if isinstance(found, dict) else node.attributes
    for key, what in (
        ("plate", "an OME-Zarr plate"),
        ("well", "a well of an OME-Zarr plate"),
        ("bioformats2raw.layout", "a bioformats2raw collection"),
    ):
        if key in ome or key in node.attributes:
            return what
    if node.is_array or "multiscales" in ome or "vemctl" in node.attributes:
        return None
    return "a Zarr group that is no OME-Zarr image"


def check_ours(path: Path) -> None:
    """Refuse a partial folder that vemctl did not make, since it would be deleted.

    Parameters
    ----------
    path : Path
        Of the output.

    Raises
    ------
    OutputError
        Names the folder and something in it.
    """
    partial = partial_folder(path)
    if not partial.is_dir() or (partial / STATE).is_file():
        return
    # a killed writer may have come no further than the temporary file of its first file
    begun = (f"{STATE}.", TEMPORARY)
    for child in partial.iterdir():
        if not (child.name.startswith(begun[0]) and child.name.endswith(begun[1])):
            raise OutputError(
                f"{path}: {partial}, which holds {child.name}, is in the way and not made by "
                "vemctl: remove it yourself or choose another output"
            )
