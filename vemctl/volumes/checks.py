"""Whether an output can be written, asked before any work is done."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from vemctl.durable import TEMPORARY, free_bytes, show_bytes
from vemctl.errors import OutputError
from vemctl.remote_path import RemotePath
from vemctl.volumes.ours import check_ours, check_replaceable
from vemctl.volumes.outputs import Kind, output_kind, partial_folder
from vemctl.volumes.remote_checks import check_kept, is_there, try_writing
from vemctl.volumes.volume import Layout

__all__ = [
    "TiffFormat",
    "check_layout",
    "check_output",
    "lookup_errors",
    "output_kind",
    "partial_folder",
]

TiffFormat = Literal["ome", "imagej"]
DTYPES: dict[str, tuple[str, ...]] = {
    "OME-TIFF": ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"),
    "ImageJ TIFF": ("uint8", "uint16", "int16", "float32"),
    "MRC": ("int8", "uint8", "int16", "uint16", "float16", "float32"),
}
"""What each format can hold; OME-Zarr and .npy hold all that we read."""


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
    check_kept(path, kind)
    if layout is not None:
        check_layout(path, layout, tiff_format)
    with lookup_errors(path):
        _check_apart(path, inputs)
        _check_absent(path, kind, overwrite=overwrite, resume=resume)
        _check_room(path, needed_bytes)


def _check_room(path: Path, needed_bytes: int) -> None:
    if isinstance(path, RemotePath):
        try_writing(path)
        return
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
def lookup_errors(path: Path, but: tuple[type[OSError], ...] = ()) -> Iterator[None]:
    """Turn what the operating system says while a place is looked at into an OutputError."""
    try:
        yield
    except but:
        raise
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
        if any(is_there(parent / name) for name in ("zarr.json", ".zgroup", ".zarray")):
            raise OutputError(
                f"{path}: lies inside the Zarr store {parent}: choose an output beside it"
            )


def _check_absent(path: Path, kind: Kind, *, overwrite: bool, resume: bool) -> None:
    if path.is_symlink() and not path.exists():
        raise OutputError(f"{path}: a link to nothing: remove it or choose another output")
    if path.exists():
        check_replaceable(path, kind)
        begun = isinstance(path, RemotePath) and partial_folder(path).exists()
        if not (overwrite or resume or begun):
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
