"""One image of several, such as those of a training over time."""

from __future__ import annotations

from collections.abc import Mapping

from vemctl.pages.page import escaped
from vemctl.pages.slider import Image, picture


def picker(images: Mapping[str, Image], *, name: str) -> str:
    """Return images of which a range input shows one, the last at first.

    Without a script, and on paper, all are shown below one another.

    Parameters
    ----------
    images : mapping of str to Image
        By caption, in their order.
    name : str
        Plain text: what is picked, ``"Step"``.
    """
    figures = "\n".join(
        f'<figure data-name="{escaped(caption)}">{picture(image)}'
        f"<figcaption>{escaped(caption)}</figcaption></figure>"
        for caption, image in images.items()
    )
    last = len(images) - 1
    if last < 1:
        return figures
    label = escaped(name)
    return (
        f'<div data-picker>\n<label class="control" hidden>{label} '
        f'<input type="range" min="0" max="{last}" value="{last}" step="1">'
        f"<output></output></label>\n{figures}\n</div>"
    )
