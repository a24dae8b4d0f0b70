"""Pictures as bytes of files, and as text in pages."""

from __future__ import annotations

import base64
import io
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["png", "jpeg", "webp"]
QUALITY = 90


def encoded(picture: npt.NDArray[np.uint8], kind: Kind, quality: int = QUALITY) -> bytes:
    """Return a picture as the bytes of a file; equal pictures give equal bytes.

    Parameters
    ----------
    picture : ndarray, (y, x) or (y, x, 3), uint8
        Gray or RGB.
    kind : {"png", "jpeg", "webp"}
    quality : int
        1 to 100; PNG loses nothing anyway.
    """
    from PIL import Image

    options: dict[str, Any] = {"png": {"optimize": False}}.get(kind, {"quality": quality})
    if kind == "jpeg":
        options["optimize"] = True
    if kind == "webp":
        options["method"] = 4
    data = io.BytesIO()
    Image.fromarray(picture).save(data, format=kind.upper(), **options)
    return data.getvalue()


def data_uri(data: bytes, kind: Kind) -> str:
    """Return the bytes of a picture as an address that holds them, for pages."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
