"""A preview as a picture and as a page."""

from __future__ import annotations

from collections.abc import Iterator

from vemctl.pages.page import page, paragraph, section
from vemctl.pages.slider import Image, figure, slider
from vemctl.pictures.encoding import data_uri, encoded
from vemctl.pictures.gray import Gray, to_gray
from vemctl.pictures.scale_bar import ScaleBar, length_text, scale_bar, with_scale_bar
from vemctl.pictures.sheet import Panel, arranged, sheet, tabulated
from vemctl.quality.orthoslices import ACROSS, Plane
from vemctl.volumes.volume import Header
from vemctl.workflows.preview_options import Mode
from vemctl.workflows.preview_planes import Content, Shown


def as_picture(content: Content, mode: Mode) -> Gray:
    """Return a preview as one picture.

    Parameters
    ----------
    content : Content
    mode : {"planes", "projections", "montage"}
    """
    names = [volume.name for volume in content.volumes]
    columns = [
        [
            Panel(gray, caption(plane, volume, content, short=mode == "montage"))
            for gray, plane in zip(_grays(volume, content), volume.planes, strict=True)
        ]
        for volume in content.volumes
    ]
    if len(columns) == 2:
        rows = [list(row) for row in zip(*columns, strict=True)]
    else:
        rows = tabulated(columns[0]) if mode == "montage" else arranged(columns[0])
    return sheet(rows, headings=names, notes=notes(content))


def as_page(content: Content) -> str:
    """Return a preview as a page: with sliders, if two volumes are compared.

    Parameters
    ----------
    content : Content
    """
    names = [volume.name for volume in content.volumes]
    pictures = [
        [
            _image(gray, f"{caption(plane, volume, content)} of {volume.name}")
            for gray, plane in zip(_grays(volume, content), volume.planes, strict=True)
        ]
        for volume in content.volumes
    ]
    captions = [caption(plane, content.volumes[0], content) for plane in content.volumes[0].planes]
    if len(pictures) == 2:
        title = f"{names[0]} and {names[1]}"
        description = f"The same places before, in {names[0]}, and after, in {names[1]}."
        figures = [
            slider(before, after, name=name, labels=(f"before: {names[0]}", f"after: {names[1]}"))
            for name, before, after in zip(captions, *pictures, strict=True)
        ]
    else:
        title = names[0]
        description = f"What {names[0]} shows."
        figures = [figure(image, name) for name, image in zip(captions, pictures[0], strict=True)]
    body = [
        section("Planes", figures),
        section("How it is shown", [paragraph(note) for note in notes(content)]),
    ]
    return page(title, body, description=description)


def caption(plane: Plane, volume: Shown, content: Content, *, short: bool = False) -> str:
    """Return what stands above a plane: ``XY, z = 12 (480 nm)``.

    Parameters
    ----------
    plane : Plane
    volume : Shown
    content : Content
    short : bool
        Leave the sides of the plane out.
    """
    down, right = (axis.upper() for axis in ACROSS[plane.axis])
    sides = "" if short else f"{right}{down}, "
    if plane.position is None:
        return f"{sides}maximum along {plane.axis}"
    number = "zyx".index(plane.axis)
    start = (volume.header.translation or (0.0, 0.0, 0.0))[number]
    depth = start + plane.position * volume.step[number]
    where = f" ({length_text(depth)})" if content.is_nm and depth > 0 else ""
    return f"{sides}{plane.axis} = {plane.position}{where}"


def notes(content: Content) -> list[str]:
    """Return what one should know of a preview: volumes, levels, contrast, scale."""
    lines = [_facts(volume) for volume in content.volumes]
    low_high = [
        f"black is {volume.contrast[0]:.4g}, white is {volume.contrast[1]:.4g}"
        for volume in content.volumes
    ]
    if len(set(low_high)) == 1:
        shown = low_high[0]
    else:
        shown = "; ".join(
            f"in {volume.name} {text}"
            for volume, text in zip(content.volumes, low_high, strict=True)
        )
    lines.append(f"Contrast: {shown} ({content.contrast}).")
    if content.is_nm:
        lines.append(f"A pixel is {length_text(content.pixel)} wide and high.")
    else:
        lines.append("Voxel size unknown: no scale bar, and voxels are shown as cubes.")
    if content.is_thin:
        lines.append("Too thin to be shown from its sides; --slice shows them even so.")
    return lines


def bar_of(content: Content) -> ScaleBar | None:
    """Return the scale bar of all planes of a preview; None where there is none."""
    if not content.is_nm:
        return None
    sizes = sorted(
        (plane.values.shape for plane in content.volumes[0].planes),
        key=lambda shape: shape[1],
        reverse=True,
    )
    fitting = (scale_bar(height, width, content.pixel) for height, width in sizes)
    return next((bar for bar in fitting if bar is not None), None)


def _grays(volume: Shown, content: Content) -> Iterator[Gray]:
    bar = bar_of(content)
    for plane in volume.planes:
        gray = to_gray(plane.values, *volume.contrast)
        yield gray if bar is None else with_scale_bar(gray, content.pixel, bar)


def _image(gray: Gray, alt: str) -> Image:
    data = encoded(gray, "webp")
    return Image(data_uri(data, "webp"), alt, gray.shape[1], gray.shape[0])


def _facts(volume: Shown) -> str:
    header = volume.header
    shape = " x ".join(map(str, header.shape))
    text = f"{volume.name}: {shape} voxels (z, y, x) of {header.dtype.name}"
    if header.voxel_size is not None:
        text += f", {_sizes(header)} nm each"
    for name, number, count in (
        ("channel", volume.channel, header.num_channels),
        ("time point", volume.timepoint, header.num_timepoints),
    ):
        if (count or 1) > 1:
            text += f"; {name} {number} of 0 to {(count or 1) - 1}"
    return f"{text}{_part(volume)}{_levels(volume)}{_rows(volume)}."


def _sizes(header: Header) -> str:
    sizes = [f"{size:.4g}" for size in header.voxel_size or ()]
    return " x ".join(sizes)


def _part(volume: Shown) -> str:
    """Say which part is shown, if it is not all of the volume."""
    parts = [
        f"{axis} {max(0, round(start))} to {round(stop) - 1}"
        for axis, (start, stop), count in zip(
            "zyx", volume.window, volume.header.shape, strict=True
        )
        if round(start) > 0 or round(stop) < count
    ]
    return f"; shown are {', '.join(parts)}" if parts else ""


def _levels(volume: Shown) -> str:
    """Say which levels were read, if there are several."""
    if volume.header.num_levels == 1:
        return ""
    levels = {plane.level: plane.averaged for plane in volume.planes}
    told = []
    for level, averaged in sorted(levels.items()):
        means = " x ".join(f"{each:.3g}" for each in averaged)
        told.append(f"{level} (means of {means} voxels)" if level else "0 (full resolution)")
    return f"; read at level {' and '.join(told)}"


def _rows(volume: Shown) -> str:
    """Say which planes show a part of their rows only."""
    parts = [
        f"of {ACROSS[plane.axis][1]}{ACROSS[plane.axis][0]} {plane.rows_read} rows were read"
        for plane in volume.planes
        if plane.rows_read is not None
    ]
    return f"; {', '.join(parts)}, as it has no pyramid" if parts else ""
