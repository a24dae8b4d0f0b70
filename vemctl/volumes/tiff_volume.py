"""TIFF, BigTIFF, OME-TIFF and ImageJ hyperstacks, read region by region."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vemctl.errors import InputError, OptionError
from vemctl.volumes.array_volume import ArrayVolume, MappedFile, make_header
from vemctl.volumes.axes import check_dtype, resolve_axes
from vemctl.volumes.sidecar import read_described
from vemctl.volumes.tiff_metadata import tiff_axes, tiff_kind, tiff_voxel_size
from vemctl.volumes.tiff_pages import check_chain, check_compression, check_end, check_pages
from vemctl.volumes.volume import VoxelSize

LARGEST_PAGE = 2**28
"""Bytes up to which a page in strips is decoded whole, which is quicker than strip by strip."""


def open_tiff(path: Path, axes: str | None, level: int) -> ArrayVolume:
    """Open a TIFF file; only the headers of its pages are read.

    Parameters
    ----------
    path : Path
    axes : str, optional
        As stored, instead of those in the metadata.
    level : int
        Of the pyramid in the file, 0 the finest.

    Raises
    ------
    InputError
        It is no TIFF, truncated, ambiguous or of the wrong kind.
    MissingExtraError
        Its compression needs the optional codecs.
    OptionError
        There is no such level.
    """
    import tifffile

    num_pages = check_chain(path)
    try:
        tif: Any = tifffile.TiffFile(path)
    except tifffile.TiffFileError as error:
        raise InputError(f"{path}: no readable TIFF ({error}); export it again") from error
    try:
        tif = _as_stack(tif)
        return _open(path, tif, axes, level, num_pages)
    except BaseException:
        tif.close()
        raise


def _open(path: Path, tif: Any, axes: str | None, level: int, num_pages: int) -> ArrayVolume:
    finest = _pick_series(path, tif)
    if not 0 <= level < len(finest.levels):
        there = (
            f"levels 0 to {len(finest.levels) - 1}" if len(finest.levels) > 1 else "one level, 0"
        )
        raise OptionError(f"--level {level}: {path} has {there}")
    series = finest.levels[level]
    check_dtype(path, np.dtype(series.dtype))
    check_compression(path, series.keyframe)
    if tif.is_imagej:
        _check_imagej(path, tif, series, num_pages)
    names = resolve_axes(path, series.shape, tiff_axes(path, tif, series, axes), axes)
    size = _at_level(tiff_voxel_size(tif, series, has_z="z" in names), names, finest, series)
    common: dict[str, Any] = {
        "voxel_size": size,
        "level": level,
        "num_levels": len(finest.levels),
    }
    if size is not None and level == 0:  # TIFF itself has no room for a place
        common["translation"] = read_described(path, series.shape).translation
    kind = tiff_kind(tif)
    if series.dataoffset is not None and series.keyframe.is_memmappable:
        dtype = np.dtype(series.dtype).newbyteorder(tif.byteorder)
        check_end(path, series.dataoffset + math.prod(series.shape) * dtype.itemsize)
        mapped = MappedFile(path, dtype, tuple(series.shape), offset=series.dataoffset)
        header = make_header(path, kind, names, mapped, **common)
        tif.close()
        return ArrayVolume(header, mapped)
    check_pages(path, series.pages)
    array, close = _decoded(tif, series)
    header = make_header(path, kind, names, array, chunks=array.chunks, **common)
    return ArrayVolume(header, array, close=close)


def _as_stack(tif: Any) -> Any:
    """See planes that tifffile wrote one by one, each as an image of its own, as one stack."""
    import tifffile

    if not tif.is_shaped or len(tif.series) < 2:
        return tif
    planes = {(tuple(s.shape), s.axes, s.dtype) for s in tif.series}
    first = tif.series[0]
    if len(planes) > 1 or first.axes != "YX" or len(first.levels) > 1:
        return tif
    stack: Any = tifffile.TiffFile(tif.filehandle.path, is_shaped=False)
    found = [(tuple(s.shape), s.dtype) for s in stack.series]
    if found != [((len(tif.series), *first.shape), first.dtype)]:
        stack.close()
        return tif
    tif.close()
    return stack


def _decoded(tif: Any, series: Any) -> tuple[Any, Callable[[], None]]:
    """See compressed or scattered pages as a Zarr array, which tifffile decodes as needed."""
    import zarr

    page = series.keyframe
    whole = not page.is_tiled and page.nbytes <= LARGEST_PAGE and page.is_final
    store = series.aszarr(chunkmode="page" if whole else None)
    opened: Any = zarr.open(store, mode="r")
    array = opened if isinstance(opened, zarr.Array) else opened["0"]

    def close() -> None:
        store.close()
        tif.close()

    return array, close


def _pick_series(path: Path, tif: Any) -> Any:
    """Take the first image, past smaller thumbnails and labels; refuse anything else."""
    if not tif.series:
        raise InputError(f"{path}: a TIFF without an image: export it again")
    first = tif.series[0]
    others = [s for s in tif.series[1:] if s.nbytes >= first.nbytes or s.ndim >= max(3, first.ndim)]
    unlike = len(tif.series) > 1 and not (tif.is_ome or tif.is_imagej or tif.is_lsm)
    if others or unlike:
        shapes = ", ".join(str(tuple(s.shape)) for s in tif.series[:4])
        raise InputError(
            f"{path}: holds {len(tif.series)} images of shapes {shapes}: expected one: save the "
            "one you mean on its own"
        )
    return first


def _check_imagej(path: Path, tif: Any, series: Any, num_pages: int) -> None:
    """ImageJ writes large stacks behind one page header: without their end it looks like one."""
    promised = int((tif.imagej_metadata or {}).get("images", 1))
    found = math.prod(
        n for n, axis in zip(series.shape, series.axes, strict=True) if axis not in "YXS"
    )
    if promised > found:
        keyframe = series.keyframe
        expected = keyframe.dataoffsets[0] + promised * keyframe.nbytes
        raise InputError(
            f"{path}: truncated: ImageJ's metadata promise {promised} planes up to byte {expected},"
            f" the file has {num_pages} page headers and {path.stat().st_size} bytes; copy or "
            "export it again"
        )


def _at_level(size: VoxelSize | None, axes: str, finest: Any, series: Any) -> VoxelSize | None:
    """Scale a voxel size from the finest level to another."""
    if size is None or series is finest:
        return size
    ratio = dict.fromkeys("zyx", 1.0) | {
        axis: a / b for axis, a, b in zip(axes, finest.shape, series.shape, strict=True)
    }
    z, y, x = (s * ratio[axis] for s, axis in zip(size, "zyx", strict=True))
    return (z, y, x)
