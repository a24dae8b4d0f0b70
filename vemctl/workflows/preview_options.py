"""What a preview shows, as options that are checked before anything is read."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vemctl.errors import OptionError, OutputError, nearest
from vemctl.pictures.encoding import Kind
from vemctl.workflows.places import check_folder

KINDS: dict[str, Kind] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
PAGE = ".html"
STANDARD_OUTPUT = "-"
"""As the name of an output: a PNG in a pipeline."""
SIZE, PAGE_SIZE, MONTAGE_SIZE = 512, 768, 256
SMALLEST, LARGEST = 16, 4096
"""Pixels of the longest edge of a picture."""
COUNT = 12
"""Planes of a montage."""

Mode = Literal["planes", "projections", "montage"]


@dataclass(frozen=True)
class PreviewRequest:
    """Everything that a preview depends on.

    Attributes
    ----------
    volume : Path
    output : Path
        A picture, a page, or "-" for a PNG on standard output.
    other : Path, optional
        A volume that is shown beside it.
    slices : tuple of str
        Planes such as "z=12"; without, those through the middle.
    mip : bool
        Show maximum intensity projections instead.
    montage : bool
        Show planes along z instead.
    count : int, optional
        How many of them.
    axes : str, optional
        Of `volume`, where the file does not say.
    channel, timepoint : int
    size : int, optional
        Longest edge of a panel, in pixels.
    contrast : str, optional
        What is black and what is white, such as "0,255".
    overwrite : bool
    """

    volume: Path
    output: Path
    other: Path | None = None
    slices: tuple[str, ...] = ()
    mip: bool = False
    montage: bool = False
    count: int | None = None
    axes: str | None = None
    channel: int = 0
    timepoint: int = 0
    size: int | None = None
    contrast: str | None = None
    overwrite: bool = False

    @property
    def mode(self) -> Mode:
        """What is shown."""
        return "projections" if self.mip else "montage" if self.montage else "planes"

    @property
    def is_page(self) -> bool:
        """Whether the output is a page, not a picture."""
        return self.output.suffix.lower() == PAGE

    @property
    def is_standard_output(self) -> bool:
        """Whether the picture goes to standard output."""
        return str(self.output) == STANDARD_OUTPUT

    @property
    def kind(self) -> Kind:
        """Kind of the picture."""
        return "png" if self.is_standard_output else KINDS[self.output.suffix.lower()]

    @property
    def longest_edge(self) -> int:
        """Pixels of the longest edge of a panel."""
        if self.size is not None:
            return self.size
        if self.montage:
            return MONTAGE_SIZE
        return PAGE_SIZE if self.is_page else SIZE


def check_request(request: PreviewRequest) -> None:
    """Refuse options that contradict each other, and a place that is taken.

    Parameters
    ----------
    request : PreviewRequest

    Raises
    ------
    OptionError
        An option has an unusable value, or does not go with another.
    OutputError
        The output exists, its folder does not, or its ending is unknown.
    """
    ways = [
        name
        for name, given in (
            ("--slice", request.slices),
            ("--mip", request.mip),
            ("--montage", request.montage),
        )
        if given
    ]
    if len(ways) > 1:
        raise OptionError(f"{ways[0]} and {ways[1]} show different things: give one of them")
    if request.montage and request.other is not None:
        raise OptionError(
            "--montage shows one volume: leave --compare out, or choose planes with --slice z=..."
        )
    if request.count is not None and not request.montage:
        raise OptionError(f"--count {request.count} counts the planes of --montage: add it")
    if request.size is not None and not SMALLEST <= request.size <= LARGEST:
        raise OptionError(f"--size {request.size}: expected {SMALLEST} to {LARGEST} pixels")
    _check_place(request)


def _check_place(request: PreviewRequest) -> None:
    path = request.output
    if request.is_standard_output:
        return
    suffix = path.suffix.lower()
    known = (*KINDS, PAGE)
    if suffix not in known:
        raise OutputError(
            f"{path}: unknown kind of picture: expected one of {' '.join(known)}."
            f"{nearest(suffix, known)}"
        )
    check_folder(path)
    if path.is_dir():
        raise OutputError(f"{path}: a folder; expected a file, such as {path / 'preview.png'}")
    if path.exists() and not request.overwrite:
        raise OutputError(f"{path}: exists; use --overwrite, or choose another name")


def parse_slices(texts: tuple[str, ...]) -> list[tuple[str, int]]:
    """Return axes and voxels of the planes that ``--slice`` asks for.

    Parameters
    ----------
    texts : tuple of str
        Such as ``("z=12", "x=300")``.

    Raises
    ------
    OptionError
        One is not of this form.
    """
    planes = []
    for text in texts:
        match = re.fullmatch(r"\s*([zyxZYX])\s*=\s*(\d+)\s*", text)
        if match is None:
            raise OptionError(
                f"--slice {text}: expected an axis and a voxel of full resolution, such as z=12"
            )
        planes.append((match[1].lower(), int(match[2])))
    return planes


def parse_contrast(text: str | None) -> tuple[float, float] | None:
    """Return what ``--contrast`` says is black and white; None without it.

    Raises
    ------
    OptionError
        It is not two numbers, the smaller first.
    """
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise OptionError(f"--contrast {text}: expected what is black, what is white: 0,255")
    return low, high
