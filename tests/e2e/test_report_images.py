"""Pictures of a report fit into what a page may be large."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from vemctl.workflows.report_images import Picture, images, stored_picture


def opened(uri: str) -> Image.Image:
    """Return the picture that is in an address."""
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def noise(*shape: int) -> Picture:
    """Return what hardly can be compressed."""
    return Picture(np.random.default_rng(0).integers(0, 256, shape, np.uint8), "noise")


def test_pictures_that_fit_lose_nothing():
    """Gray and colour, as they were."""
    pictures = [noise(20, 30), noise(20, 30, 3)]
    for picture, image in zip(pictures, images(pictures, 10**6), strict=True):
        assert (np.asarray(opened(image.uri)) == picture.pixels).all()
        assert (image.width, image.height, image.alt) == (30, 20, "noise")


@pytest.mark.parametrize("budget", [300_000, 100_000, 30_000, 5_000])
def test_pictures_fit_whatever_they_show(budget):
    """Less quality, then smaller; all of them alike."""
    smooth = Picture(np.zeros((400, 600), np.uint8), "black")
    found = images([noise(400, 600), smooth], budget)

    assert sum(len(each.uri) for each in found) <= budget + 100
    assert len({(each.uri[:20], each.width, each.height) for each in found}) == 1
    assert opened(found[0].uri).size == (found[0].width, found[0].height)
    assert found[0].uri.startswith("data:image/jpeg;base64,")


def test_pictures_are_left_out_if_nothing_else_helps():
    """No budget, no pictures."""
    assert images([noise(400, 600)], 0) == []
    assert images([], 0) == []


def test_stored_pictures_are_reduced_and_damaged_ones_are_none(tmp_path):
    """Whatever lies in a folder of previews."""
    large, odd, damaged = (tmp_path / f"{name}.png" for name in ("large", "odd", "damaged"))
    Image.new("L", (4000, 500)).save(large)
    Image.new("RGBA", (40, 50)).save(odd)
    damaged.write_bytes(large.read_bytes()[:200])

    assert stored_picture(large, "a").pixels.shape == (200, 1600)
    assert stored_picture(odd, "a").pixels.shape == (50, 40, 3)
    assert stored_picture(damaged, "a") is None
    assert stored_picture(tmp_path / "gone.png", "a") is None
