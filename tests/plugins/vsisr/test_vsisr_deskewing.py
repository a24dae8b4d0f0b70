"""Deskewing, against the published programs and by construction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from parity import load_fixture
from vemctl_vsisr.deskewing import Shear, header_word

from vemctl.errors import InputError, OptionError


def published(**options: Any) -> tuple[Shear, np.ndarray, dict[str, np.ndarray]]:
    """Return the fixture's shear and volume, (z, y, x), and its arrays."""
    spec, arrays, _ = load_fixture("vsisr_deskew")
    volume = arrays["volume"].transpose(2, 1, 0)
    parameters = spec["params"]
    shear = Shear(
        len(volume),
        volume.shape[2],
        angle_degrees=parameters["angle"],
        dy=header_word(1000 * parameters["dy"]),
        dz=header_word(1000 * parameters["dz"]),
        **options,
    )
    return shear, volume, arrays


@pytest.mark.parametrize(
    ("interpolation", "single", "tolerance"),
    [
        ("convolution", False, 1e-9),
        ("convolution", True, 1e-3),
        ("spline", False, 1e-4),  # the reference is stored in single precision
        ("spline", True, 1e-3),
    ],
)
def test_sections_are_the_published_ones(
    interpolation: Any, single: bool, tolerance: float
) -> None:
    """By cubic convolution as in MATLAB, and by a spline as in Python."""
    shear, volume, arrays = published(interpolation=interpolation, single=single)
    found = np.stack([shear.apply(plane, index) for index, plane in enumerate(volume)])
    assert found.dtype == (np.float32 if single else np.float64)
    expected = arrays[interpolation].transpose(2, 1, 0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("interpolation", ["convolution", "spline"])
@pytest.mark.parametrize("single", [False, True])
def test_parts_are_cut_from_the_whole(interpolation: Any, single: bool) -> None:
    """Each part, made of its own source positions only, is what the whole has there."""
    shear, volume, _ = published(interpolation=interpolation, single=single)
    for index, plane in enumerate(volume):
        whole = shear.apply(plane, index)
        for first in range(0, shear.length, 5):
            for size in (0, 1, 6, shear.length):
                end = min(first + size, shear.length)
                start, stop = shear.source_range(index, first, end)
                assert 0 <= start <= stop <= shear.source_length
                part = shear.apply_part(plane[:, start:stop], index, first, end)
                np.testing.assert_array_equal(part, whole[:, first:end])


def test_a_part_needs_few_positions() -> None:
    """Four for one position, three at an end; none where it is 0; a spline needs all."""
    # 2 pixels and a half per section: 3 sections grow by 8, and the middle one by half of it
    shear = Shear(3, 20, angle_degrees=0, dy=1, dz=2.5)
    assert shear.length == 28
    assert shear.source_range(1, 14, 15) == (9, 13)
    assert shear.source_range(1, 4, 5) == (0, 3)
    assert shear.source_range(1, 23, 24) == (17, 20)
    assert shear.source_range(1, 0, 4) == (0, 0)
    assert shear.source_range(1, 24, 28) == (0, 0)
    assert not shear.apply_part(np.ones((2, 0)), 1, 24, 28).any()
    spline = Shear(3, 20, angle_degrees=0, dy=1, dz=2.5, interpolation="spline")
    assert spline.source_range(1, 14, 15) == (0, 20)


@pytest.mark.parametrize("interpolation", ["convolution", "spline"])
def test_later_sections_move_to_smaller_x(interpolation: Any) -> None:
    """By whole pixels it is the section itself, with 0 about it."""
    plane = np.random.default_rng(0).integers(1, 1000, (40, 7)).astype(np.uint16)
    shear = Shear(3, 7, angle_degrees=0, dy=100, dz=200, interpolation=interpolation)
    assert shear.length == 13
    for index, first in enumerate((5, 3, 1)):
        expected = np.zeros((40, 13))
        expected[:, first : first + 7] = plane
        np.testing.assert_allclose(shear.apply(plane, index), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("interpolation", "degree"), [("convolution", 2), ("spline", 3)])
def test_smooth_curves_are_kept_up_to_their_ends(interpolation: Any, degree: int) -> None:
    """A parabola by convolution, a cubic by the spline."""
    curve = np.polynomial.Polynomial([3, -2, 0.5, 0.1][: degree + 1])
    shear = Shear(5, 12, dy=1, dz=1.3, interpolation=interpolation)
    plane = curve(np.arange(12.0))[None]
    step = 1.3 * np.cos(np.radians(30.8))
    for index in range(5):
        places = np.arange(shear.length) + (index - 2) * step - (shear.length - 12) / 2
        inside = (places >= 0) & (places <= 11)
        expected = np.where(inside, curve(places), 0)
        assert inside.sum() in (11, 12)
        np.testing.assert_allclose(shear.apply(plane, index)[0], expected, rtol=0, atol=1e-9)


def test_edges_are_those_of_the_header() -> None:
    """In single precision, which decides on the last digits of every place."""
    assert header_word(92.6) == 0.09260000288486481
    assert header_word(350) == 0.3499999940395355


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"dy": 0}, OptionError, "edge 0 along x"),
        ({"dz": float("nan")}, OptionError, "edge nan along z"),
        ({"angle_degrees": 90}, OptionError, "angle 90"),
        ({"length": 3}, InputError, "3 pixels along x; expected at least 4"),
    ],
)
def test_what_cannot_be_deskewed_is_told(change: dict, error: type, message: str) -> None:
    """Edges, angles and sections that make no sense."""
    arguments = {"num_slices": 5, "length": 10, "dy": 1, "dz": 2} | change
    with pytest.raises(error, match=message):
        Shear(**arguments)
