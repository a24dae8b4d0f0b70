"""Planes of an output, beside those of its input where that is still there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vemctl.errors import InputError, VemctlError
from vemctl.pages.page import paragraph
from vemctl.pages.slider import figure, slider
from vemctl.pictures.gray import Range, contrast, contrasts, to_gray
from vemctl.pictures.scale_bar import with_scale_bar
from vemctl.quality.field_of_view import Field, common_fields, whole_field
from vemctl.quality.levels import Levels, open_levels
from vemctl.quality.orthoslices import (
    Plane,
    pixel_of,
    positions_of,
    read_pair,
    read_plane,
    size_of,
)
from vemctl.workflows.recorded_input import (
    input_options,
    input_paths,
    open_recorded,
)
from vemctl.workflows.report_images import Picture, images
from vemctl.workflows.sources import parse_roi

LONGEST_EDGE = 1024
ENLARGED_EDGE = 768
"""Pixels to which small volumes are enlarged, so that single voxels and the scale bar are seen."""
LABELS = ("before", "after")


@dataclass(frozen=True)
class Planes:
    """What is shown of an output.

    Attributes
    ----------
    output : str
        Its name.
    source : str
        That of its input.
    before : tuple of Plane
        Of the input; empty where it cannot be shown.
    after : tuple of Plane
    why : str
        Why the input cannot be shown.
    """

    output: str
    source: str
    before: tuple[Plane, ...]
    after: tuple[Plane, ...]
    why: str


def read_both(
    output: Path, provenance: Mapping[str, Any], *, channel: int, timepoint: int
) -> Planes:
    """Read three orthogonal planes of an output and of its input.

    Parameters
    ----------
    output : Path
    provenance : mapping
        Of the output.
    channel, timepoint : int
        Of the output.

    Raises
    ------
    InputError, OptionError
        The output cannot be read, or has no such channel or time point.
    """
    with ExitStack() as stack:
        after = stack.enter_context(open_levels(output, channel=channel, timepoint=timepoint))
        try:
            before, name = _open_input(stack, provenance, after)
            own, its = _fields(after, before, input_options(provenance))
            places = positions_of(own)
            pixel = _pixel([own, its], places)
            pairs = [read_pair(own, its, axis, place, pixel) for axis, place in places]
        except VemctlError as error:
            # The report is of the output; what is wrong with the input does not end it.
            own = whole_field(after)
            places = positions_of(own)
            pixel = _pixel([own], places)
            alone = tuple(read_plane(own, axis, place, pixel) for axis, place in places)
            return Planes(output.name, "", (), alone, str(error))
    restored, originals = zip(*pairs, strict=True)
    return Planes(output.name, name, originals, restored, "")


def planes_parts(planes: Planes, budget: int) -> list[str]:
    """Return the planes as HTML: sliders, or single pictures where there is nothing to compare.

    Parameters
    ----------
    planes : Planes
    budget : int
        Bytes that pictures may take.
    """
    ranges = _contrasts(planes)
    after = _pictures(planes.after, f"of {planes.output}, restored", ranges[-1])
    before = _pictures(planes.before, f"of {planes.source}, before", ranges[0])
    encoded = images([*before, *after], budget)
    if not encoded:
        return [paragraph("The planes are left out, for they would make this page too large.")]
    names = [_name(plane) for plane in planes.after]
    remarks = [paragraph(text, quiet=True) for text in _remarks((*planes.before, *planes.after))]
    if not before:
        return [
            paragraph(f"Only the output is shown, because its input cannot be: {planes.why}."),
            *(figure(image, name) for image, name in zip(encoded, names, strict=True)),
            *remarks,
        ]
    gray = "Both are shown with one contrast."
    if ranges[0] != ranges[1]:
        gray = "Each has a contrast of its own, since their grey values differ widely."
    text = (
        f"Left of the line is {planes.source}, right of it {planes.output}. Drag the line, or move "
        f"the slider with the mouse or the arrow keys. {gray}"
    )
    pairs = zip(encoded[: len(before)], encoded[len(before) :], names, strict=True)
    sliders = [slider(a, b, name=name, labels=LABELS) for a, b, name in pairs]
    return [paragraph(text), *sliders, *remarks]


def _open_input(
    stack: ExitStack, provenance: Mapping[str, Any], after: Levels
) -> tuple[Levels, str]:
    """Open the first input, if it is what it was; return it and its name.

    Raises
    ------
    VemctlError
        It is not, or has other channels or time points than the output.
    """
    open_recorded(provenance).close()  # it is what it was
    options, paths = input_options(provenance), input_paths(provenance)
    path = paths[0]
    chosen = {}
    with open_levels(path, axes=options.get("axes")) as found:
        counts = {
            "channel": (after.channel, found.header.num_channels, after.header.num_channels),
            "timepoint": (
                after.timepoint,
                found.header.num_timepoints,
                after.header.num_timepoints,
            ),
        }
    for name, (own, there, made) in counts.items():
        asked = str(options.get(name, "all"))
        if asked == "all" and (there or 1) != (made or 1):
            raise InputError(f"{path} has {there or 1} {name}s, the output has {made or 1}")
        chosen[name] = own if asked == "all" else int(asked)
    opened = open_levels(
        path,
        axes=options.get("axes"),
        channel=chosen["channel"],
        timepoint=chosen["timepoint"],
    )
    several = f" (the first of {len(paths)} inputs)" if len(paths) > 1 else ""
    return stack.enter_context(opened), path.name + several


def _fields(after: Levels, before: Levels, options: Mapping[str, Any]) -> tuple[Field, Field]:
    """Return what an output and its input show both, in each."""
    known = after.header.voxel_size is not None and before.header.voxel_size is not None
    if known or not options.get("roi") or options.get("level"):
        return common_fields(after, before)
    # Without voxel sizes only the region of interest tells which part of the input was restored.
    z, y, x = (
        (float(part.start), float(part.stop)) for part in parse_roi(options["roi"], before.header)
    )
    own = whole_field(after)
    lengths = (stop - start for start, stop in own.window)
    sizes = (stop - start for start, stop in (z, y, x))
    a, b, c = (length / size for length, size in zip(lengths, sizes, strict=True))
    return own, Field(before, (z, y, x), (a, b, c), is_nm=False)


def _pixel(fields: Sequence[Field], places: Sequence[tuple[str, int]]) -> float:
    """Return how long a pixel is, by which all planes have one scale."""
    axes = [axis for axis, _ in places]
    pixel = pixel_of(fields, axes, LONGEST_EDGE)
    longest = max(max(size_of(fields[0], axis, pixel)) for axis in axes)
    if 2 * longest > ENLARGED_EDGE:
        return pixel
    return pixel_of(fields, axes, ENLARGED_EDGE, enlarge=True)


def _contrasts(planes: Planes) -> tuple[Range, Range]:
    """Return what is black and white in the input and in the output."""
    before, after = ([plane.values for plane in each] for each in (planes.before, planes.after))
    return contrasts(before, after) if before else (contrast(*after),) * 2


def _pictures(planes: Sequence[Plane], what: str, gray: Range) -> list[Picture]:
    pictures = []
    for plane in planes:
        pixels = to_gray(plane.values, *gray)
        if plane.pixel_size is not None:
            pixels = with_scale_bar(pixels, plane.pixel_size[1])
        pictures.append(Picture(pixels, f"{_name(plane)} {what}"))
    return pictures


def _name(plane: Plane) -> str:
    return f"Plane {plane.axis} = {plane.position}"


def _remarks(planes: Sequence[Plane]) -> list[str]:
    """Return what must be known of how planes were read."""
    if any(plane.rows_read is not None for plane in planes):
        return ["Of some planes, which are very large, only some rows were read, spread evenly."]
    if any(max(plane.averaged) > 1 for plane in planes):
        return ["Planes were read from a lower resolution of the volumes, as large as shown here."]
    return []
