"""The voxel sizes of raw volumes: of flags, of files, and of headers that others read wrongly."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from vemctl.plugin import VolumeFacts, Warn
from vemctl_vsisr.prepare_options import PrepareOptions
from vemctl_vsisr.proportions import ENLARGED

VoxelSize = tuple[float, float, float]
SHORTEST, LONGEST = 10.0, 1e4
"""Nanometres that the edge of a voxel of a light microscope may have."""
SQUARE = 0.01
"""Relative difference up to which the edges of a pixel count as equal."""


def spacing_of(
    options: PrepareOptions, facts: VolumeFacts, name: str, warn: Warn, *, is_truth: bool
) -> tuple[float | None, float | None, float | None]:
    """Return the pixel along the sheared axis, the movement, and the other pixel, in nanometres.

    Parameters
    ----------
    options : PrepareOptions
    facts : VolumeFacts
    name : str
        Path of the file.
    warn : callable
    is_truth : bool
        A reconstruction, whose pixels are smaller than those that the options state.
    """
    dy, dz = options.dy, options.dz
    size = None if dy is not None and dz is not None else _plausible(facts, name, warn)
    if dz is None and size is not None:
        dz = size[0]
    if dy is not None:  # pixels of a camera are square
        dy /= ENLARGED if is_truth else 1
        return dy, dz, dy
    if size is None:
        return None, dz, None
    sheared, other = (size[2], size[1]) if options.deskew_axis == "x" else (size[1], size[2])
    return sheared, dz, other


def missing(options: PrepareOptions) -> str:
    """Return the flags that would state what a file does not say, and were not given."""
    flags = {
        f"--dy (pixel, along {options.deskew_axis} of the file)": options.dy,
        "--dz (from slice to slice)": options.dz,
    }
    return " and ".join(flag for flag, given in flags.items() if given is None)


def warn_of_oblong(sizes: Iterable[tuple[str, VoxelSize | None]], warn: Warn) -> None:
    """Tell of the first volume whose pixels are no squares.

    Parameters
    ----------
    sizes : iterable of (str, (z, y, x))
        Paths of files, and their voxel sizes after deskewing in nanometres, None where unknown.
    warn : callable
    """
    for name, size in sizes:
        if size is not None and abs(size[1] - size[2]) > SQUARE * min(size[1:]):
            warn(
                f"{name}: its pixels are {size[1]:.4g} x {size[2]:.4g} nm (y, x) after deskewing, "
                "and prediction, which turns planes, needs squares; expected --dy where the file "
                "is wrong"
            )
            return


def _plausible(facts: VolumeFacts, name: str, warn: Warn) -> VoxelSize | None:
    """Return a voxel size that a light microscope may have.

    Where a standard MRC file has the length of some intervals in Angstrom, the files of the
    authors' microscope have the edge of a voxel in micrometres; not all of them say so.
    """
    size = facts.voxel_size
    if Path(name).suffix.lower() != ".mrc" or (size is not None and max(size) >= 1):
        return size
    for z, y, x in _header_words(Path(name)):
        if min(z, y, x) >= SHORTEST and max(z, y, x) <= LONGEST:
            warn(
                f"{name}: its header is read as micrometres per voxel, {z:g} x {y:g} x {x:g} nm "
                "(z, y, x); expected --dy and --dz where that is wrong"
            )
            return z, y, x
    return None


def _header_words(path: Path) -> Iterator[VoxelSize]:
    """Return the lengths in a header as micrometres, in either byte order."""
    with path.open("rb") as file:
        words = file.read(52)[40:]
    for order in "<>":
        # Single precision has no more digits.
        x, y, z = (float(f"{1000 * word:.7g}") for word in struct.unpack(f"{order}3f", words))
        yield z, y, x
