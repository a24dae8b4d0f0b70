"""NumPy's .npy files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from vemctl.errors import InputError
from vemctl.volumes.array_volume import ArrayVolume, MappedFile, make_header
from vemctl.volumes.axes import check_dtype, resolve_axes
from vemctl.volumes.sidecar import read_described


def open_npy(path: Path, axes: str | None) -> ArrayVolume:
    """Open a .npy file; nothing but the header is read.

    Parameters
    ----------
    path : Path
    axes : str, optional
        As stored; a file written by vemctl says so in its sidecar.

    Raises
    ------
    InputError
        It is no .npy file, truncated, pickled or of the wrong kind.
    """
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read: Any = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, dtype = read(file)
        except (ValueError, KeyError, EOFError) as error:
            raise InputError(
                f"{path}: no readable .npy header ({error}); save it again with numpy.save"
            ) from error
        offset = file.tell()
    if dtype.hasobject:
        raise InputError(
            f"{path}: holds pickled Python objects, which may run code and are never loaded; save "
            "the image itself as an array of numbers"
        )
    if dtype == np.dtype(bool):  # a mask; each takes a byte, which is 0 or 1
        dtype = np.dtype(np.uint8)
    check_dtype(path, dtype)
    described = read_described(path, shape)
    names = resolve_axes(path, shape, described.axes, axes)
    expected, found = offset + math.prod(shape) * dtype.itemsize, path.stat().st_size
    if found < expected:
        raise InputError(
            f"{path}: truncated: {found} bytes, the header promises {expected}; copy it again"
        )
    source = MappedFile(path, dtype, shape, offset=offset, order="F" if fortran else "C")
    header = make_header(
        path,
        "NumPy array",
        names,
        source,
        voxel_size=described.voxel_size,
        translation=described.translation,
    )
    return ArrayVolume(header, source)
