"""A folder of TIFF planes as one volume."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vemctl.errors import InputError
from vemctl.volumes.array_volume import ArrayVolume, MappedFile, make_header
from vemctl.volumes.axes import check_dtype, resolve_axes
from vemctl.volumes.tiff_pages import check_chain, check_compression, check_pages
from vemctl.volumes.volume import Array


class PlaneFiles:
    """Planes in a file each; opened when read, so that a thousand stay within the limit of files.

    Parameters
    ----------
    planes : sequence of Path
    shape : (planes, y, x)
    dtype : numpy.dtype
    """

    def __init__(
        self, planes: Sequence[Path], shape: tuple[int, int, int], dtype: np.dtype[Any]
    ) -> None:
        self.planes = planes
        self.shape = shape
        self.dtype = dtype

    def __getitem__(self, index: tuple[slice | int, ...], /) -> Array:
        """Read the part at `index`."""
        first, rest = index[0], index[1:]
        if isinstance(first, int):
            return _read_plane(self.planes[first], rest)
        return np.stack([_read_plane(plane, rest) for plane in self.planes[first]])


def _read_plane(path: Path, index: tuple[slice | int, ...]) -> Array:
    import tifffile

    try:
        with tifffile.TiffFile(path) as tif:
            page: Any = tif.pages[0]
            if page.is_memmappable and page.is_contiguous:
                dtype = np.dtype(page.dtype).newbyteorder(tif.byteorder)
                offset = page.dataoffsets[0]
                return MappedFile(path, dtype, tuple(page.shape), offset=offset)[index]
            plane: Array = page.asarray()
            return plane[index]
    except (OSError, ValueError, RuntimeError, tifffile.TiffFileError) as error:
        raise InputError(
            f"{path}: plane cannot be read ({error}); copy or export it again"
        ) from error


def natural_key(path: Path) -> list[tuple[int, int | str]]:
    """Sort ``plane9`` before ``plane10``."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part)) if part.isdecimal() else (1, part.lower()) for part in parts]


def holds_plane(path: Path) -> bool:
    """Tell whether a TIFF is a single plane, grey or coloured, rather than a stack.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputError
        It is no TIFF, is truncated, or a stack of which parts lie in other files.
    """
    import tifffile

    num_pages = check_chain(path)
    try:
        tif: Any = tifffile.TiffFile(path)
    except tifffile.TiffFileError as error:
        raise InputError(f"{path}: no readable TIFF ({error}); export it again") from error
    with tif:
        page = tif.pages[0]
        if num_pages == 1 and (tif.is_ome or page.samplesperpixel > 1):
            return True  # in a set of OME-TIFF files each describes all of them
        series = tif.series
        if series and series[0].is_multifile:
            raise InputError(
                f"{path}: one of a set of OME-TIFF files that are one volume together: give that "
                "file itself, not its folder"
            )
        return num_pages == 1 and not (series and len(series[0].shape) > 2)


def open_tiff_folder(folder: Path, planes: Sequence[Path], axes: str | None) -> ArrayVolume:
    """Open a folder of planes; the header of each is read.

    Parameters
    ----------
    folder : Path
    planes : sequence of Path
        In any order; they are sorted by the numbers in their names.
    axes : str, optional
        Three letters, instead of zyx.

    Raises
    ------
    InputError
        A plane differs from the first, is no plane, or is damaged.
    MissingExtraError
        The compression needs the optional codecs.
    """
    ordered = sorted(planes, key=natural_key)
    shape, dtype = _check_plane(ordered[0])
    for plane in ordered[1:]:
        found = _check_plane(plane)
        if found != (shape, dtype):
            raise InputError(
                f"{plane}: a {found[1]} plane of shape {found[0]}, but {ordered[0].name}, the "
                f"first in its folder, is {dtype} of shape {shape}: move it elsewhere or export "
                "it again"
            )
    check_dtype(folder, dtype)
    source = PlaneFiles(ordered, (len(ordered), *shape), dtype)
    names = resolve_axes(folder, source.shape, None, axes)
    return ArrayVolume(make_header(folder, "folder of TIFF planes", names, source), source)


def _check_plane(path: Path) -> tuple[tuple[int, int], np.dtype[Any]]:
    import tifffile

    num_pages = check_chain(path)
    with tifffile.TiffFile(path) as tif:
        page: Any = tif.pages[0]
        if num_pages > 1 or len(page.shape) != 2:
            raise InputError(
                f"{path}: {num_pages} pages of shape {tuple(page.shape)} in a folder of planes: "
                "expected one grey plane per file; give that file itself, or convert it"
            )
        check_compression(path, page)
        check_pages(path, [page])
        return (page.shape[0], page.shape[1]), np.dtype(page.dtype)
