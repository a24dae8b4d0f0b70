"""Zeiss CZI files, read plane by plane with the optional pylibCZIrw."""

from __future__ import annotations

import importlib
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

from vemctl.errors import InputError, MissingExtraError, OptionError
from vemctl.volumes.array_volume import ArrayVolume, Index, make_header
from vemctl.volumes.czi_directory import CziImage, read_czi_directory
from vemctl.volumes.units import NANOMETRES, voxel_size
from vemctl.volumes.volume import Array, VoxelSize

LARGEST_VOXEL = 1e6
"""Nanometres; above it a number was no length in metres, see `_voxel_size`."""


class CziPlanes:
    """The voxels of the one image in a CZI file.

    Mosaics are composed of their tiles, later ones on top, and are 0 where there is no tile.

    Parameters
    ----------
    reader : pylibCZIrw.czi.CziReader
        Open. Threads share it: libCZI reads at given places of the file, and without Python's lock.
    image : CziImage
    """

    def __init__(self, reader: Any, image: CziImage) -> None:
        self._reader = reader
        self._image = image
        self.dtype = image.dtype
        lengths = dict(image.sizes) | {"Y": image.height, "X": image.width}
        self.shape = tuple(lengths[axis.upper()] for axis in image.axes)

    def __getitem__(self, index: Index, /) -> Array:
        """Read the part at `index`: slices along z, y and x, integers along t and c."""
        image = self._image
        where: dict[str, Any] = dict(zip(image.axes, index, strict=True))
        rows, columns = where["y"], where["x"]
        height, width = rows.stop - rows.start, columns.stop - columns.start
        roi = (image.x + columns.start, image.y + rows.start, width, height)
        along_z = where.get("z", slice(0, 1))
        block = np.empty((along_z.stop - along_z.start, height, width), self.dtype)
        for number, z in enumerate(range(along_z.start, along_z.stop)):
            at = {"T": where.get("t", 0), "C": where.get("c", 0), "Z": z}
            plane = {name: image.starts[name] + offset for name, offset in at.items()}
            read = self._reader.read(roi=roi, plane=plane, pixel_type=image.pixel_type)
            block[number] = read.reshape(height, width)
        return block if "z" in image.axes else block[0]


def open_czi(path: Path, axes: str | None) -> ArrayVolume:
    """Open a CZI file; no pixels are read.

    Parameters
    ----------
    path : Path
    axes : str, optional
        As the file says itself, or it is refused.

    Raises
    ------
    InputError
        It is no CZI file, truncated, incomplete or of a kind that is not read.
    MissingExtraError
        pylibCZIrw is not installed.
    OptionError
        `axes` are not those of the file.
    """
    image = read_czi_directory(path)
    if axes is not None and axes.strip().lower() != image.axes:
        raise OptionError(
            f"--axes {axes}: {path} says itself that its axes are {image.axes}: leave --axes out"
        )
    try:
        czi = importlib.import_module("pylibCZIrw.czi")
    except ImportError as error:
        raise MissingExtraError(f"reading {path}, a Zeiss CZI file,", "czi") from error
    with ExitStack() as stack:
        try:
            reader = stack.enter_context(czi.open_czi(str(path)))
            xml = reader.raw_metadata if image.has_metadata else ""
            size = _voxel_size(xml, has_z="z" in image.axes)
        except (RuntimeError, ValueError, OSError, ET.ParseError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(
                f"{path}: no readable CZI file ({reason}); copy or export it again"
            ) from error
        planes = CziPlanes(reader, image)
        # a tile is decoded whole, whatever is wanted of it
        chunk = (1,) * (len(planes.shape) - 2) + image.tile
        header = make_header(path, "Zeiss CZI", image.axes, planes, chunks=chunk, voxel_size=size)
        return ArrayVolume(header, planes, close=stack.pop_all().close)


def _voxel_size(xml: str, *, has_z: bool) -> VoxelSize | None:
    """Read the voxel size, which CZI gives in metres.

    Users of pylibCZIrw's writer are told to give micrometres, which it stores as they are. A
    number far too large for metres is taken for unknown, since it may be anything; so is text.
    """
    if not xml:
        return None
    found: dict[str, float] = {}
    # expat, below, limits the growth of entities itself
    for distance in ET.fromstring(xml).iterfind("./Metadata/Scaling/Items/Distance"):  # noqa: S314
        with suppress(ValueError):
            metres = float(distance.findtext("Value", ""))
            # conversion adds a last digit
            found[distance.get("Id", "")] = float(f"{metres * NANOMETRES['m']:.7g}")
    size = voxel_size([found.get(axis) for axis in "ZYX"], has_z=has_z)
    return None if size is None or max(size) > LARGEST_VOXEL else size
