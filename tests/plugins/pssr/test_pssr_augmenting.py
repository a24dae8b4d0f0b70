"""The augmentation of pssr against the published one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from parity import load_fixture
from vemctl_pssr.augmenting import Draw, apply, drawn
from vemctl_pssr.resize import fastai_resize

TOLERANCE = 1e-5


def image_of(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Return random values in [0, 1]."""
    return np.random.default_rng(seed).random(shape, np.float32)


@pytest.mark.parametrize("case", range(4))
def test_samples_are_the_published_ones(case: int) -> None:
    """One draw, applied to the low and to the high resolution."""
    spec, arrays, _ = load_fixture("pssr_augment")
    params = spec["params"][case]
    draw = Draw(**{each.name: params[each.name] for each in dataclasses.fields(Draw)})
    for kind, size in (("lr", params["x_size"]), ("hr", params["size"])):
        found = apply(arrays[f"{kind}_{case}"], draw, size)
        assert found.dtype == np.float32
        expected = arrays[f"{kind}_out_{case}"]
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE, err_msg=kind)


@pytest.mark.parametrize(
    ("k", "of"),
    [
        (0, lambda image: image),
        (1, lambda image: image[:, :, ::-1]),
        (2, lambda image: image[:, ::-1]),
        (3, lambda image: image[:, ::-1, ::-1]),
        (4, lambda image: image.swapaxes(1, 2)),
        (5, lambda image: image[:, :, ::-1].swapaxes(1, 2)),
        (6, lambda image: image[:, ::-1].swapaxes(1, 2)),
        (7, lambda image: image.swapaxes(1, 2)[:, ::-1, ::-1]),
    ],
)
def test_symmetries_are_exact(k: int, of) -> None:
    """All eight of a square, up to rounding; 1 mirrors columns, 2 rows, then 4 swaps both."""
    image = image_of((2, 24, 24))
    found = apply(image, Draw(k=k), 24)
    matches = [np.abs(found - of(image)).max(), np.abs(found - of(image).swapaxes(1, 2)).max()]
    assert matches[0] < TOLERANCE < matches[1]


def test_the_whole_image_is_resized_as_for_a_prediction() -> None:
    """Nothing drawn: averaged over areas, sampled, cut in the middle."""
    for shape, size in (((1, 64, 64), 16), ((2, 48, 80), 16), ((1, 20, 20), 32)):
        image = image_of(shape)
        expected = fastai_resize(torch.from_numpy(image)[None], size)[0].numpy()
        np.testing.assert_allclose(apply(image, Draw(), size), expected, rtol=0, atol=TOLERANCE)


def test_a_zoom_looks_at_a_part() -> None:
    """At the corner that the draw tells, or anywhere between."""
    image = image_of((1, 33, 33))
    corner = apply(image, Draw(scale=2, row_pct=0, col_pct=1), 17)
    np.testing.assert_allclose(corner, image[:, :17, 16:], rtol=0, atol=TOLERANCE)
    middle = apply(image, Draw(scale=2), 17)
    np.testing.assert_allclose(middle, image[:, 8:25, 8:25], rtol=0, atol=TOLERANCE)


def test_a_rotation_keeps_squares_square() -> None:
    """Also in an image that is not square, of which a part is cut out."""
    wide = np.zeros((1, 64, 96), np.float32)
    wide[:, 28:36, 40:56] = 1  # in the middle, so that the cut is where a square one would be
    square = np.ascontiguousarray(wide[:, :, 16:80])
    draw = Draw(degrees=10, crop_col_pct=0.49)  # int(33 * 0.49) = 16
    found = apply(wide, draw, 64)
    assert np.abs(apply(square, Draw(), 64) - found).max() > 0.3
    np.testing.assert_allclose(found, apply(square, draw, 64), rtol=0, atol=0.01)


def test_an_image_is_cut_where_the_draw_tells() -> None:
    """What is left over on the longer edge is before it, after it, or on both sides."""
    image = image_of((1, 16, 24))
    for part, left in ((0.0, 0), (0.5, 4), (0.999, 8)):
        found = apply(image, Draw(crop_col_pct=part), 16)
        np.testing.assert_allclose(found, image[:, :, left : left + 16], rtol=0, atol=TOLERANCE)


def test_any_array_will_do() -> None:
    """One that cannot be written, runs backwards, or is not contiguous; it stays as it is."""
    image = image_of((1, 16, 32))[:, ::-1, ::2]
    image.flags.writeable = False
    before = image.copy()
    found = apply(image, Draw(k=3), 16)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_allclose(found, image[:, ::-1, ::-1], rtol=0, atol=TOLERANCE)
    assert found.flags.c_contiguous
    assert found.flags.writeable


def test_draws_have_the_published_ranges() -> None:
    """All of them, and no more."""
    rng = np.random.default_rng(0)
    draws = [drawn(rng) for _ in range(2000)]
    assert {draw.k for draw in draws} == set(range(8))
    ranges = {"degrees": (-10, 10), "scale": (1, 4)}
    shares = ("row_pct", "col_pct", "crop_row_pct", "crop_col_pct")
    for name, (low, high) in (ranges | dict.fromkeys(shares, (0, 1))).items():
        values = np.array([getattr(draw, name) for draw in draws])
        assert low <= values.min() < low + 0.01 * (high - low), name
        assert high - 0.01 * (high - low) < values.max() <= high, name
        assert abs(values.mean() - (low + high) / 2) < 0.03 * (high - low), name


def test_draws_can_be_confined() -> None:
    """To no zoom and no rotation; the same generator gives the same draw."""
    draw = drawn(np.random.default_rng(1), max_zoom=1, degrees=0)
    assert (draw.scale, draw.degrees) == (1, 0)
    assert drawn(np.random.default_rng(1)) == drawn(np.random.default_rng(1))
    assert drawn(np.random.default_rng(1)) != drawn(np.random.default_rng(2))
