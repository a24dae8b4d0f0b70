"""Writes views: slabs along x come in, planes go out."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, Self

import numpy as np

from vemctl.plugin import Triple, Workplace
from vemctl_rldfn.splitting import Counts

DTYPE = "uint16"
BYTES = 2
LARGE_TIFF = 2**32 - 2**25
"""Bytes of voxels that a TIFF whose places have 32 bit does not hold."""
WAITING = 64
"""Slices that wait for their file."""
COPIES = 3
"""Of them, while the file is written: they are joined, and encoded."""

Layout = Literal["zarr", "tiff"]
SUFFIXES: dict[Layout, str] = {"zarr": ".zarr", "tiff": ".tif"}


class Scratch:
    """A file of some planes, filled column by column and read plane by plane.

    Parameters
    ----------
    path : Path
        Removed in the end.
    planes : range
        Of the stack.
    shape : (z, y, x)
        Of the stack.
    """

    def __init__(self, path: Path, planes: range, shape: Triple) -> None:
        self._path, self._planes = path, planes
        _, self._height, self._width = shape

    def __enter__(self) -> Self:
        self._file = self._path.open("w+b")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink()

    def write(self, first: int, counts: Counts) -> None:
        """Put columns of all planes, (z, y, columns)."""
        for number, plane in enumerate(counts):
            self._file.seek(BYTES * self._height * (number * self._width + first))
            self._file.write(np.ascontiguousarray(plane.T).data)

    def read(self, plane: int) -> Counts:
        """Return a plane of the stack, (y, x)."""
        size = self._height * self._width
        self._file.seek(BYTES * size * self._planes.index(plane))
        found = np.frombuffer(self._file.read(BYTES * size), np.uint16)
        return found.reshape(self._width, self._height).T


def write_view(
    place: Workplace,
    name: str,
    shape: Triple,
    pixel: float,
    layout: Layout,
    planes: Iterator[Counts],
) -> None:
    """Write the planes of a view, (y, x) each.

    Parameters
    ----------
    place : Workplace
    name : str
        Path in its folder, without a suffix.
    shape : (z, y, x)
    pixel : float
        Nanometres.
    layout : {"zarr", "tiff"}
    planes : iterator
    """
    if layout == "tiff":
        _write_tiff(place.folder / f"{name}{SUFFIXES['tiff']}", shape, pixel, planes)
        return
    made = place.make_volume(name, shape, DTYPE, (pixel, pixel, pixel))
    for plane in planes:
        made.append(np.ascontiguousarray(plane)[None])
    made.close()


def writing_bytes(shape: Triple, layout: Layout) -> int:
    """Return about how many bytes of a view (z, y, x) are in memory at once."""
    z, y, x = shape
    return BYTES * y * x * (COPIES * min(z, WAITING) if layout == "zarr" else COPIES)


def turned_planes(
    scratch: Scratch,
    planes: range,
    table: Counts,
    quarter_turns: int,
    advance: Callable[[], None],
) -> Iterator[Counts]:
    """Read planes of the stack, look their counts up and turn them counter-clockwise."""
    for plane in planes:
        advance()
        yield table[np.rot90(scratch.read(plane), quarter_turns)]


def _write_tiff(path: Path, shape: Triple, pixel: float, planes: Iterator[Counts]) -> None:
    import tifffile

    path.parent.mkdir(parents=True, exist_ok=True)
    # tifffile would make a random one: equal volumes shall be equal files
    identity = uuid.uuid5(uuid.NAMESPACE_OID, f"{shape}{pixel}{path.name}")
    metadata: dict[str, str | float] = {"axes": "ZYX", "UUID": f"urn:uuid:{identity}"}
    for axis in "ZYX":
        metadata |= {f"PhysicalSize{axis}": pixel / 1000, f"PhysicalSize{axis}Unit": "µm"}
    tifffile.imwrite(
        path,
        (np.ascontiguousarray(plane) for plane in planes),
        shape=shape,
        dtype=DTYPE,
        ome=True,
        bigtiff=BYTES * shape[0] * shape[1] * shape[2] > LARGE_TIFF,
        photometric="minisblack",
        metadata=metadata,
    )
