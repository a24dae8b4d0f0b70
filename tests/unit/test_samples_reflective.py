"""Synthetic stacks of a specimen on a mirror: where the mirror is, and what lies on both sides."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import ndimage

from vemctl.samples import (
    ReflectiveRaw,
    ReflectiveStack,
    dual_view,
    reflective_raw,
    reflective_stack,
)

SHAPE = (40, 144, 64)
PER_DEVIATION = math.sqrt(8 * math.log(2))
MAKERS = (reflective_stack, reflective_raw)


def half_away(value):
    """Round halves away from zero."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def in_coverslip(stack, tilt, angle_x):
    """Rotate a stack (z, y, x) into the frame (y, x, z) of the coverslip, cropped to its size.

    Written down from the definition: rotation about the middle, planes of 1.5 voxels, sizes in
    whole voxels, and a crop in the middle that rounds halves away from zero.
    """
    source = stack.transpose(1, 2, 0).astype(float)
    size = np.array(source.shape)
    s, c = math.sin(math.radians(tilt)), math.cos(math.radians(tilt))
    sx, cx = math.sin(math.radians(angle_x)), math.cos(math.radians(angle_x))
    first = np.array([[c, 0, -1.5 * s], [0, 1, 0], [s, 0, 1.5 * c]])
    forward = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]]) @ first
    depth = size[0] * abs(s) + 1.5 * size[2] * abs(c)
    whole = np.array(
        [
            math.ceil(size[0] * abs(c) + 1.5 * size[2] * abs(s)),
            math.ceil(size[1] * abs(cx) + depth * abs(sx)),
            math.ceil(size[1] * abs(sx) + depth * abs(cx)),
        ]
    )
    back = np.linalg.inv(forward)
    offset = (size - 1) / 2 - back @ ((whole - 1) / 2)
    full = ndimage.affine_transform(source, back, offset, tuple(whole), order=1)
    start = [half_away((large - small) / 2) for large, small in zip(whole, size, strict=True)]
    cropped = np.zeros(source.shape)
    taken = tuple(
        slice(max(a, 0), min(a + n, m)) for a, n, m in zip(start, size, whole, strict=True)
    )
    placed = tuple(
        slice(max(-a, 0), max(-a, 0) + t.stop - t.start) for a, t in zip(start, taken, strict=True)
    )
    cropped[placed] = full[taken]
    return cropped


def likeness(volume, mirror):
    """Return how like the sides of a mirror are, in the middle of a volume (y, x, z)."""
    rows, _, planes = volume.shape
    middle = volume[rows // 2 - 20 : rows // 2 + 20, 8:-8]
    near = np.arange(planes)
    far = 2 * mirror - near
    there = (far >= 0) & (far <= planes - 1)
    places = np.meshgrid(*map(np.arange, middle.shape[:2]), far[there], indexing="ij")
    reflected, direct = ndimage.map_coordinates(middle, places, order=1), middle[..., near[there]]
    known = (reflected > 0) & (direct > 0)
    return np.corrcoef(reflected[known], direct[known])[0, 1]


CASES = [
    {},
    {"mirror_nm": 250.0, "angle_x": 0.5},
    {"shape": (39, 143, 65), "mirror_nm": -170.0, "angle_x": -0.8, "seed": 3},
    {"tilt": 31.5, "mirror_nm": 100.0, "structure": "puncta", "seed": 2},
]


@pytest.mark.parametrize("case", CASES)
def test_mirror_is_where_it_is_said_to_be(case):
    """A rotated stack whose blur is alike along all axes is symmetric about that very plane."""
    sample = reflective_stack(
        **{"shape": SHAPE, **case}, axial_fwhm_nm=200.0, reflectance=1.0, thickness_nm=2000.0
    )
    rotated = in_coverslip(sample.stack, sample.tilt, sample.angle_x)
    offsets = np.arange(-1.0, 1.01, 0.25)
    found = [likeness(rotated, sample.mirror_plane + offset) for offset in offsets]
    assert offsets[np.argmax(found)] == pytest.approx(0, abs=0.01)
    assert max(found) > 0.93
    turned_back = in_coverslip(sample.stack, -sample.tilt, sample.angle_x)
    assert likeness(turned_back, sample.mirror_plane) < 0.5


def test_specimen_is_before_the_mirror_and_its_image_behind():
    """The direct image has smaller planes, is brighter, and neither reaches beyond its height."""
    sample = reflective_stack(4, SHAPE, reflectance=0.5, axial_fwhm_nm=200.0, thickness_nm=700.0)
    rotated = in_coverslip(sample.stack, sample.tilt, 0.0)[90:126, 10:-10] - 20.0
    light = rotated.mean((0, 1))
    mirror = sample.mirror_plane
    assert mirror == pytest.approx(19.5, abs=0.5)
    height = 700.0 / 61.73
    direct = light[math.ceil(mirror - height) : math.floor(mirror)].sum()
    image = light[math.ceil(mirror) + 1 : math.floor(mirror + height) + 1].sum()
    assert 1.5 < direct / image < 2.6
    beyond = np.abs(np.arange(len(light)) - mirror) > height + 4
    assert light[beyond].max() < 0.05 * light.max()


def test_views_are_blurred_as_dual_views_are():
    """Split, flipped and turned by 90 degrees, each view is blurred like its dual view."""
    sample = reflective_stack(6, SHAPE, structure="puncta", thickness_nm=4000.0, reflectance=1.0)
    rotated = in_coverslip(sample.stack, sample.tilt, 0.0)
    first, second = rotated[..., :18], rotated[..., ::-1][..., :18]
    known = dual_view(0, (18, 96, 96), structure="puncta", signal=5000.0, haze=0.0)

    def lean(view):
        """Return the covariance of changes along z and x, (z, y, x), over their size."""
        z, _, x = np.gradient(ndimage.gaussian_filter(view.astype(float), 0.7))
        return np.sum(z * x) / math.sqrt(np.sum(z * z) * np.sum(x * x))

    def turned(view):
        """Turn pages by 90 degrees clockwise: (y, x, z) to the (z, y, x) of a view."""
        return np.rot90(view[50:-50], -1).transpose(2, 0, 1)

    for ours, wanted in ((first, known.view_a), (second, known.view_b)):
        assert lean(turned(ours)) == pytest.approx(lean(wanted), abs=0.12)
    assert lean(known.view_a) < -0.2 < 0.2 < lean(known.view_b)


def test_seed_determines_what_is_written():
    """The same seed gives the same bytes, another seed another specimen."""
    for make, name in ((reflective_stack, "stack"), (reflective_raw, "phases")):
        first, again, other = (getattr(make(seed, (8, 40, 30)), name) for seed in (3, 3, 4))
        assert first.tobytes() == again.tobytes()
        assert np.mean(first != other) > 0.3


def test_form_of_a_stack():
    """A stack has 16 bits, half as many rows and columns more, and cannot be changed."""
    sample = reflective_stack(1, (8, 31, 21), angle_x=0.3)
    assert isinstance(sample, ReflectiveStack)
    assert sample.stack.dtype == np.uint16
    assert sample.stack.shape == (8, 46, 31)
    assert sample.voxel_size_nm == pytest.approx((92.6, 92.6 / 1.5, 92.6 / 1.5))
    assert (sample.tilt, sample.angle_x) == (30.8, 0.3)
    assert np.median(sample.stack[:, :3]) == pytest.approx(20, abs=200)
    with pytest.raises(dataclasses.FrozenInstanceError):
        sample.stack = sample.stack[1:]


def test_form_of_raw_phases():
    """Raw arrays are (rows, columns, 3 planes), Fortran-ordered, with the step of the stage."""
    raw = reflective_raw(1, SHAPE)
    assert isinstance(raw, ReflectiveRaw)
    step = 92.6 / math.sin(math.radians(30.8))
    more = math.ceil(40 * step / 92.6 * math.cos(math.radians(30.8)))
    assert raw.phases.shape == (144 - more, 64, 120)
    assert raw.phases.dtype == np.uint16
    assert raw.phases.flags.f_contiguous
    assert raw.spacing_um == pytest.approx((0.0926, 0.0926, step / 1000))
    assert raw.angle_degrees == 30.8


def test_mirror_of_raw_data_is_at_one_row():
    """All planes show the mirror at the same row, about which the two images lie."""
    raw = reflective_raw(
        2, SHAPE, signal=5000.0, reflectance=1.0, thickness_nm=500.0, axial_fwhm_nm=300.0
    )
    mean = raw.phases.reshape(*raw.phases.shape[:2], -1, 3).mean(-1) - 100.0
    rows = np.arange(mean.shape[0])[:, None]
    centre = (rows * mean.sum(1)).sum(0) / mean.sum((0, 1))  # of each plane
    assert centre.mean() == pytest.approx((mean.shape[0] - 1) / 2, abs=1.0)
    assert abs(np.polyfit(np.arange(40), centre, 1)[0]) < 0.05  # rows per plane


def test_deskewed_phases_are_the_stack():
    """The mean of the phases, deskewed, is the stack as the camera resolves it."""
    wanted = {"mirror_nm": 200.0, "angle_x": 0.4}
    raw = reflective_raw(1, SHAPE, signal=5000.0, **wanted)
    stack = reflective_stack(1, SHAPE, **wanted).stack
    mean = raw.phases.reshape(*raw.phases.shape[:2], -1, 3).mean(-1)
    rows = mean.shape[0]
    each = raw.spacing_um[2] / raw.spacing_um[0] * math.cos(math.radians(raw.angle_degrees))
    deskewed = np.full(SHAPE, np.nan)
    for i in range(SHAPE[0]):
        source = np.arange(SHAPE[1]) + (i - (SHAPE[0] - 1) / 2) * each - (SHAPE[1] - rows) / 2
        places = np.meshgrid(source, np.arange(SHAPE[2]), indexing="ij")
        deskewed[i] = ndimage.map_coordinates(mean[..., i], places, order=3)
        deskewed[i, (source < 3) | (source > rows - 4)] = np.nan
    sigma = math.sqrt(250.0**2 - 140.0**2) / PER_DEVIATION / (92.6 / 1.5)
    blurred = ndimage.gaussian_filter(stack.astype(float), (0, sigma, sigma), truncate=6.0)
    z, y, x = np.indices(SHAPE)
    exact = ndimage.map_coordinates(
        blurred, (z, (y + 0.5) * 1.5 - 0.5, (x + 0.5) * 1.5 - 0.5), order=3, mode="nearest"
    )
    known = np.isfinite(deskewed)
    known[:, :, :6] = known[:, :, -6:] = False
    assert np.mean(known) > 0.3
    slopes = [slope[known] for slope in np.gradient(exact)]
    terms = np.stack([np.ones(known.sum()), exact[known], *slopes], -1)
    _, scale, *shifts = np.linalg.lstsq(terms, deskewed[known], rcond=None)[0]
    np.testing.assert_allclose(np.array(shifts) / scale, 0, atol=0.02)
    assert np.corrcoef(exact[known], deskewed[known])[0, 1] > 0.998


def test_mirror_of_raw_data_is_that_of_a_stack_with_less_planes():
    """Super-resolution leaves three planes out at either end, and the middle stays."""
    raw = reflective_raw(1, (14, 48, 20), mirror_nm=123.0, angle_x=0.4)
    same = reflective_stack(1, (8, 48, 20), mirror_nm=123.0, angle_x=0.4)
    assert raw.mirror_plane == same.mirror_plane
    assert reflective_raw(0, (5, 20, 8)).mirror_plane == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 60), (9, 24, 7)])
def test_any_stack_can_be_shown(shape):
    """Thin, small and single-voxel stacks are painted too."""
    made = reflective_stack(1, shape)
    assert made.stack.shape == (shape[0], int(1.5 * shape[1]), int(1.5 * shape[2]))


@pytest.mark.parametrize("make", MAKERS)
def test_refuses_what_no_mirror_can_be(make):
    """Each impossible argument is refused with its value."""
    for shape in ((0, 4, 4), (4, 4)):
        with pytest.raises(ValueError, match="three positive numbers"):
            make(0, shape)
    for wrong, text in (
        ({"structure": "sheets"}, "filaments or puncta, got 'sheets'"),
        ({"tilt": -1.0}, "0 to below 90 degrees.* got -1"),
        ({"angle_x": 45.0}, "within 45, got 30.8 and 45"),
        ({"mirror_nm": math.inf}, "finite distance.* got inf"),
        ({"thickness_nm": 0.0}, "thickness above 0 nm, got 0.0 and 0"),
        ({"reflectance": 1.5}, "reflectance of 0 to 1, got 1.5"),
        ({"axial_fwhm_nm": 0.0}, "axial_fwhm_nm > 0, got 0"),
    ):
        with pytest.raises(ValueError, match=text):
            make(0, (2, 16, 8), **wrong)


def test_refuses_reflective_raw_data_without_light_or_rows():
    """No light and too few rows for the displacement of planes are refused."""
    with pytest.raises(ValueError, match="signal > 0, got 0"):
        reflective_raw(0, (2, 16, 8), signal=0.0)
    with pytest.raises(ValueError, match=r"more than 21 rows.*12 planes.*got 21"):
        reflective_raw(0, (12, 21, 8))
