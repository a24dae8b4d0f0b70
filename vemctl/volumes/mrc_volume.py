"""MRC, IMOD and DeltaVision files."""

from __future__ import annotations

from pathlib import Path

from vemctl.volumes.array_volume import ArrayVolume, MappedFile, make_header
from vemctl.volumes.axes import resolve_axes
from vemctl.volumes.mrc_header import read_mrc_header
from vemctl.volumes.sidecar import read_described


def open_mrc(path: Path, axes: str | None) -> ArrayVolume:
    """Open an MRC or DeltaVision file; nothing but the header is read.

    Parameters
    ----------
    path : Path
    axes : str, optional
        Instead of those in the header, in stored order.

    Raises
    ------
    InputError
        It is no MRC file, truncated or of the wrong kind.
    """
    found = read_mrc_header(path)
    names = resolve_axes(path, found.shape, found.axes, axes)
    source = MappedFile(path, found.dtype, found.shape, offset=found.offset)
    size = found.voxel_size
    place = read_described(path, found.shape).translation if size else None
    header = make_header(path, found.kind, names, source, voxel_size=size, translation=place)
    return ArrayVolume(header, source)
