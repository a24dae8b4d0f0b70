"""Two images in one place: what is left of a line is the first, what is right of it the second."""

from __future__ import annotations

from dataclasses import dataclass

from vemctl.pages.page import escaped

SMALL = 640
"""Pixels of the width below which an image is enlarged, so that single voxels are seen."""
LARGEST_FACTOR = 4
THIN = 90
"""Pixels of the height below which labels would hide what is shown."""


@dataclass(frozen=True)
class Image:
    """An image of a page.

    Attributes
    ----------
    uri : str
        ``data:``, with all of it.
    alt : str
        What it shows, for those who do not see it: ``"Plane z = 12 of clean.zarr, restored"``.
    width, height : int
        Pixels.
    """

    uri: str
    alt: str
    width: int
    height: int


def picture(image: Image) -> str:
    """Return an image, no wider than the page; small ones are enlarged."""
    factor = _factor(image)
    kind = ' class="small"' if factor > 1 else ""
    return (
        f'<img src="{escaped(image.uri)}" alt="{escaped(image.alt)}"{kind} width="{image.width}" '
        f'height="{image.height}" style="--wide:{image.width * factor}px">'
    )


def figure(image: Image, caption: str) -> str:
    """Return an image with plain text below it."""
    return f"<figure>{picture(image)}<figcaption>{escaped(caption)}</figcaption></figure>"


def slider(
    before: Image, after: Image, *, name: str, labels: tuple[str, str] = ("before", "after")
) -> str:
    """Return two images to compare.

    A range input, which keys move too, moves the line between them, as dragging in the image does.
    Without a script, and on paper, they stand side by side.

    Parameters
    ----------
    before, after : Image
        Of one place; both are drawn in the size of `after`.
    name : str
        Plain text that tells it from other sliders of the page: ``"Plane z = 12"``.
    labels : (str, str)
        Plain text.
    """
    first, second = (escaped(label) for label in labels)
    factor = _factor(after)
    thin = " thin" if after.height * factor < THIN else ""
    panes = "".join(
        f'<div class="pane"><p class="badge">{label}</p>{picture(image)}</div>'
        for label, image in ((first, before), (second, after))
    )
    return (
        f'<figure class="compare{thin}" data-compare data-first="{first}" data-second="{second}" '
        f'style="--wide:{after.width * factor}px;--shape:{after.width}/{after.height}">'
        f'<div class="panes">{panes}</div>'
        f"<figcaption>{escaped(name)}"
        f'<label class="control" hidden>{first} <input type="range" min="0" max="100" value="50" '
        f'aria-label="{escaped(name)}: how much of {first} is shown"> {second}</label>'
        "</figcaption></figure>"
    )


def _factor(image: Image) -> int:
    """Return how many times larger an image is shown than it is."""
    return min(LARGEST_FACTOR, max(1, SMALL // image.width))
