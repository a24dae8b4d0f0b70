"""The planes of a preview: read from one volume or from two, and their contrast."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from dataclasses import dataclass

from vemctl.durable import show_bytes
from vemctl.errors import OptionError
from vemctl.events import Listener, Noted, StageAdvanced, StageFinished, StageStarted
from vemctl.pictures.gray import Range, contrast, contrasts, percentile_range
from vemctl.quality.field_of_view import Field, Window, common_fields, whole_field
from vemctl.quality.levels import open_levels
from vemctl.quality.orthoslices import (
    Plane,
    pixel_of,
    positions_of,
    read_pair,
    read_plane,
    shown_axes,
    size_of,
)
from vemctl.quality.projections import projected_level, read_projections
from vemctl.volumes.volume import Header
from vemctl.workflows.preview_options import (
    COUNT,
    PreviewRequest,
    parse_contrast,
    parse_slices,
)

THINNEST = 24
"""Pixels that a side of a volume has, unless it is asked for."""
LARGE = 2**28
"""Voxels of a volume above which progress is told."""
LONG = 2**34
"""Bytes of a projection above which it is said that reading takes long."""


@dataclass(frozen=True)
class Shown:
    """What a preview shows of a volume.

    Attributes
    ----------
    name : str
        Of the file.
    header : Header
        Of level 0.
    channel, timepoint : int
    window : Window
        What is shown, in voxels of level 0.
    step : (z, y, x)
        Length of a voxel in the preview's unit.
    planes : tuple of Plane
    contrast : (low, high)
        What is black and what is white.
    """

    name: str
    header: Header
    channel: int
    timepoint: int
    window: Window
    step: tuple[float, float, float]
    planes: tuple[Plane, ...]
    contrast: Range


@dataclass(frozen=True)
class Content:
    """What a preview shows.

    Attributes
    ----------
    volumes : tuple of Shown
        One or two, with planes of the same places.
    pixel : float
        Length of a pixel: nanometres, or voxels.
    is_nm : bool
    contrast : str
        Where the contrast is from, for people.
    is_thin : bool
        Whether its sides are left out, since they would be mere lines.
    """

    volumes: tuple[Shown, ...]
    pixel: float
    is_nm: bool
    contrast: str
    is_thin: bool


def read_content(request: PreviewRequest, listen: Listener) -> Content:
    """Read what a preview shows.

    Parameters
    ----------
    request : PreviewRequest
        Checked.
    listen : Listener
        Is told how far reading has come.

    Raises
    ------
    InputError, MissingExtraError
        A volume is missing or unusable, or the two have no field of view in common.
    OptionError
        A plane, channel or time point is not in the volume.
    """
    given = parse_contrast(request.contrast)
    asked = parse_slices(request.slices)
    channel, timepoint = request.channel, request.timepoint
    with ExitStack() as stack:
        first = stack.enter_context(
            open_levels(request.volume, axes=request.axes, channel=channel, timepoint=timepoint)
        )
        fields: tuple[Field, ...] = (whole_field(first),)
        if request.other is not None:
            other = stack.enter_context(
                open_levels(request.other, channel=channel, timepoint=timepoint, or_only=True)
            )
            fields = common_fields(first, other)
        places = _places(request, fields[0], asked)
        axes = [axis for axis, _ in places]
        pixel = pixel_of(fields, axes, request.longest_edge, enlarge=True)
        is_thin = not asked and len(set(axes)) > 1 and fields[0].length("z") < THINNEST * pixel
        if is_thin:
            places, axes = places[:1], axes[:1]
        if request.mip:
            read = _projected(fields, axes, pixel, listen)
        else:
            read = _planes(fields, places, pixel, listen)
        contrasts, source = _contrasts(fields, read, given)
        volumes = [
            Shown(
                name,
                field.levels.header,
                field.levels.channel,
                field.levels.timepoint,
                field.window,
                field.step,
                planes,
                own,
            )
            for name, field, planes, own in zip(
                _names(request), fields, read, contrasts, strict=True
            )
        ]
    return Content(tuple(volumes), pixel, fields[0].is_nm, source, is_thin)


def _names(request: PreviewRequest) -> list[str]:
    """Return the names of the files, with that of their folders where they are alike."""
    paths = [path for path in (request.volume, request.other) if path is not None]
    names = [path.resolve().name for path in paths]
    if len(set(names)) == len(names):
        return names
    return [f"{path.resolve().parent.name}/{name}" for path, name in zip(paths, names, strict=True)]


def _places(
    request: PreviewRequest, field: Field, asked: list[tuple[str, int]]
) -> list[tuple[str, int]]:
    """Return which planes are shown; of projections, along which axes."""
    header = field.levels.header
    if request.montage:
        start, stop = field.window[0]
        count = min(request.count or COUNT, header.shape[0])
        step = (stop - start) / count
        return [("z", int(start + (number + 0.5) * step)) for number in range(count)]
    if request.mip:
        return [(axis, 0) for axis in shown_axes(header.shape)]
    if not asked:
        return positions_of(field)
    for axis, position in asked:
        try:
            positions_of(field, {axis: position})
        except OptionError as error:
            raise OptionError(str(error).replace("plane ", "--slice ", 1)) from None
        start, stop = field.window["zyx".index(axis)]
        if not start - 1 < position < stop:
            raise OptionError(
                f"--slice {axis}={position}: both volumes show {axis} {start:.0f} to "
                f"{stop - 1:.0f} of {header.path}; expected a plane among them"
            )
    return asked


def _planes(
    fields: tuple[Field, ...], places: list[tuple[str, int]], pixel: float, listen: Listener
) -> list[tuple[Plane, ...]]:
    shapes = [field.levels.shape(0) for field in fields]
    began = time.monotonic()
    if any(math.prod(shape) > LARGE for shape in shapes):
        listen(StageStarted("reading", len(places), "planes"))
    rows: list[tuple[Plane, ...]] = []
    for axis, position in places:
        if len(fields) == 1:
            rows.append((read_plane(fields[0], axis, position, pixel),))
        else:
            rows.append(read_pair(fields[0], fields[1], axis, position, pixel))
        listen(StageAdvanced("reading"))
    listen(StageFinished("reading", time.monotonic() - began))
    return list(zip(*rows, strict=True))


def _projected(
    fields: tuple[Field, ...], axes: list[str], pixel: float, listen: Listener
) -> list[tuple[Plane, ...]]:
    sizes = [size_of(fields[0], axis, pixel) for axis in axes]
    return [
        read_projections(field, axes, pixel, sizes, _Told(field, pixel, listen)) for field in fields
    ]


class _Told:
    """Tells of a projection how much of the volume is read, if that is much."""

    def __init__(self, field: Field, pixel: float, listen: Listener) -> None:
        header = field.levels.header
        self._name = f"projecting {header.path.name}"
        self._voxel_bytes = header.dtype.itemsize
        self._listen = listen
        self._told = 0
        self._began = time.monotonic()
        total = math.prod(field.levels.shape(projected_level(field, pixel))) * self._voxel_bytes
        if total > LONG:
            text = f"{header.path}: reads {show_bytes(total)}: no coarser level shows as much"
            listen(Noted(text, "warning"))

    def __call__(self, done: int, total: int) -> None:
        """Tell that so many voxels are read."""
        if not done and total > LARGE:
            self._listen(StageStarted(self._name, total * self._voxel_bytes, "bytes"))
        self._listen(StageAdvanced(self._name, (done - self._told) * self._voxel_bytes))
        self._told = done
        if done == total:
            self._listen(StageFinished(self._name, time.monotonic() - self._began))


def _contrasts(
    fields: tuple[Field, ...], read: list[tuple[Plane, ...]], given: Range | None
) -> tuple[list[Range], str]:
    """Return the contrast of each volume, and where it is from."""
    if given is not None:
        return [given] * len(fields), "as given"
    source = "percentiles 0.5 and 99.5 of what is shown"
    values = [[plane.values for plane in planes] for planes in read]
    if any(percentile_range(*each) is None for each in values):
        source = "extremes of what is shown, since hardly any values differ"
    if len(fields) == 1:
        return [contrast(*values[0])], source
    first, other = contrasts(*values)
    if first != other:
        source += "; each volume its own, since their gray values differ widely"
        return [first, other], source
    return [first, other], f"{source}, the same for both volumes"
