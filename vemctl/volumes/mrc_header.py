"""The 1024 bytes before the voxels of MRC, IMOD and DeltaVision files."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vemctl.errors import InputError
from vemctl.volumes.units import voxel_size
from vemctl.volumes.volume import Layout, VoxelSize

HEADER_BYTES = 1024
MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
REFUSED = {
    3: "complex 16-bit integers: save the magnitude as mode 2",
    4: "complex numbers: save the magnitude as mode 2",
    16: "RGB: save one channel as mode 0",
    101: "4-bit integers: convert to mode 0",
}
IMOD_STAMP = 1146047817
DELTAVISION = -16224
LITTLE, BIG = b"DD", b"\x11\x11"
Order = Literal["<", ">"]


@dataclass(frozen=True)
class MrcHeader:
    """What the header says.

    Attributes
    ----------
    kind : str
        ``"MRC"`` or ``"DeltaVision"``.
    axes : str
        In stored order.
    shape : tuple of int
        Along the axes.
    dtype : numpy.dtype
        As stored.
    offset : int
        Bytes before the first voxel.
    voxel_size : (z, y, x), optional
        Nanometres.
    """

    kind: str
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    voxel_size: VoxelSize | None


def read_mrc_header(path: Path) -> MrcHeader:
    """Read and check the header.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputError
        It is no MRC file, of a refused mode, or truncated.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    if len(head) < HEADER_BYTES:
        raise InputError(
            f"{path}: {size} bytes, shorter than the 1024 bytes of an MRC header; copy it again"
        )
    order = _byte_order(path, head, size)
    nx, ny, nz, mode = struct.unpack_from(order + "4i", head, 0)
    if mode not in MODES:
        why = REFUSED.get(mode, "which is unknown: convert it with the program that made it")
        raise InputError(f"{path}: MRC mode {mode}, {why}")
    extended = max(0, struct.unpack_from(order + "i", head, 92)[0])
    is_dv = struct.unpack_from(order + "h", head, 96)[0] == DELTAVISION
    stamp, flags = struct.unpack_from(order + "2i", head, 152)
    kind = MODES[mode]
    if mode == 0 and (is_dv or (stamp == IMOD_STAMP and not flags & 1)):
        kind = "u1"  # the standard's bytes are signed, IMOD's and DeltaVision's are not
    dtype = np.dtype(kind).newbyteorder(order)
    offset = HEADER_BYTES + extended
    expected = offset + nx * ny * nz * dtype.itemsize
    if size < expected:
        raise InputError(
            f"{path}: truncated: {size} bytes, the header promises {expected}; copy it again"
        )
    if is_dv:
        axes, leading, spacing = _read_deltavision(path, head, order, nz)
        return MrcHeader("DeltaVision", axes, (*leading, ny, nx), dtype, offset, spacing)
    axes = _read_axes(head, order)
    leading = (nz,)
    _, _, mz = struct.unpack_from(order + "3i", head, 28)
    group = struct.unpack_from(order + "i", head, 88)[0]
    if 401 <= group <= 630 and 0 < mz < nz and nz % mz == 0:  # a stack of volumes
        axes, leading = "t" + axes, (nz // mz, mz)
    return MrcHeader("MRC", axes, (*leading, ny, nx), dtype, offset, _spacing(head, order))


def _byte_order(path: Path, head: bytes, size: int) -> Order:
    """Find the byte order by the stamp, else by which makes sense, else by the file's size."""
    if head[208:211] == b"MAP":
        if head[212:213] == LITTLE[:1]:
            return "<"
        if head[212:213] == BIG[:1]:
            return ">"
    sensible: list[tuple[bool, Order]] = []
    orders: tuple[Order, Order] = ("<", ">")
    for order in orders:
        nx, ny, nz, mode = struct.unpack_from(order + "4i", head, 0)
        extended = struct.unpack_from(order + "i", head, 92)[0]
        if (mode in MODES or mode in REFUSED) and min(nx, ny, nz) > 0 and max(nx, ny) < 2**24:
            item = np.dtype(MODES.get(mode, "c8")).itemsize
            surplus = size - HEADER_BYTES - max(0, extended) - nx * ny * nz * item
            sensible.append((surplus != 0, order))
    if not sensible:
        raise InputError(
            f"{path}: no MRC file: no sensible size and mode in either byte order; check what "
            "wrote it"
        )
    return min(sensible, key=lambda found: found[0])[1]


def _read_axes(head: bytes, order: str) -> str:
    """Name the axes of sections, rows and columns; most files have z, y, x."""
    columns, rows, sections = struct.unpack_from(order + "3i", head, 64)
    if sorted((columns, rows, sections)) != [1, 2, 3]:
        return "zyx"
    return "".join("?xyz"[axis] for axis in (sections, rows, columns))


def _spacing(head: bytes, order: str) -> VoxelSize | None:
    """Cell length in Angstrom over intervals, along z, y, x."""
    intervals = struct.unpack_from(order + "3i", head, 28)
    cell = struct.unpack_from(order + "3f", head, 40)
    sizes = [c / n / 10 if n > 0 else None for c, n in zip(cell, intervals, strict=True)]
    return voxel_size([_tidy(size) for size in reversed(sizes)])


def _read_deltavision(
    path: Path, head: bytes, order: str, planes: int
) -> tuple[str, tuple[int, ...], VoxelSize | None]:
    """Split the planes into waves and times; the spacing is in micrometres."""
    times, sequence = struct.unpack_from(order + "2h", head, 180)
    waves = struct.unpack_from(order + "h", head, 196)[0]
    times, waves = max(1, times), max(1, waves)
    if planes % (times * waves) or sequence not in (0, 1, 2):
        raise InputError(
            f"{path}: DeltaVision header with {planes} planes for {waves} waves and {times} times "
            f"in order {sequence}: expected a multiple; export it again"
        )
    depth = planes // (times * waves)
    leading, names = {
        0: ((waves, times, depth), "ctz"),
        1: ((times, depth, waves), "tzc"),
        2: ((times, waves, depth), "tcz"),
    }[sequence]
    spacing = struct.unpack_from(order + "3f", head, 40)
    sizes = [_tidy(length * 1000) for length in reversed(spacing)]
    return names + "yx", leading, voxel_size(sizes)


def _tidy(size: float | None) -> float | None:
    """Undo single precision: 0.8000000119 is 0.8."""
    return None if size is None else float(f"{size:.7g}")


def make_mrc_header(layout: Layout, statistics: tuple[float, float, float, float]) -> bytes:
    """Make an MRC2014 header, little-endian.

    uint8 becomes mode 0 with IMOD's stamp and unsigned flag: IMOD and vemctl read it right,
    programs that know only the standard read it as signed. int8 carries the stamp and the signed
    flag, which both kinds read right.

    Parameters
    ----------
    layout : Layout
        Of one channel at one time point.
    statistics : (min, max, mean, standard deviation)

    Returns
    -------
    bytes
        1024 of them.
    """
    mode = {"int8": 0, "uint8": 0, "int16": 1, "float32": 2, "uint16": 6, "float16": 12}
    nz, ny, nx = layout.shape
    size = layout.voxel_size or (0.0, 0.0, 0.0)
    cell = [n * s * 10 for n, s in zip((nx, ny, nz), reversed(size), strict=True)]
    head = bytearray(HEADER_BYTES)
    struct.pack_into("<4i", head, 0, nx, ny, nz, mode[layout.dtype.name])
    struct.pack_into("<3i", head, 28, nx, ny, nz)
    struct.pack_into("<6f", head, 40, *cell, 90.0, 90.0, 90.0)
    struct.pack_into("<3i", head, 64, 1, 2, 3)
    struct.pack_into("<3f", head, 76, *statistics[:3])
    struct.pack_into("<i", head, 88, 1 if nz > 1 else 0)
    struct.pack_into("<i", head, 108, 20141)
    if mode[layout.dtype.name] == 0:
        struct.pack_into("<2i", head, 152, IMOD_STAMP, int(layout.dtype == np.int8))
    head[208:212] = b"MAP "
    head[212:214] = LITTLE
    struct.pack_into("<f", head, 216, statistics[3])
    label = b"vemctl"
    struct.pack_into("<i", head, 220, 1)
    head[224 : 224 + len(label)] = label
    return bytes(head)
