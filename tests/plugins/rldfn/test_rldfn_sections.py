"""Oblique sections: the published ones, where they lie, and how they are drawn."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from parity import load_fixture
from vemctl_rldfn.section_plans import (
    DISCRIMINATOR_AXES,
    GENERATOR_AXES,
    SMALLEST_SIDE,
    Offset,
    SectionPlan,
    check_patch,
    deviation_limit,
    draw_offsets,
    draw_step,
    fitted_plan,
    largest_offset,
    largest_section,
    published_plan,
)
from vemctl_rldfn.sections import section

from vemctl.errors import OptionError

PLAN = SectionPlan(11, 12, 30.8, -7.0, 0.3)
PATCH = (16, 20, 24)


def plan_of(configuration: dict[str, Any]) -> SectionPlan:
    """Return the plan of a configuration of the fixture."""
    return SectionPlan(
        configuration["H"],
        configuration["W"],
        configuration["theta_deg"],
        math.degrees(configuration["theta_off_rad"]),
        configuration["pixel_off"],
    )


def places_of(axis: int, plan: SectionPlan, offset: Offset) -> np.ndarray:
    """Return where the points of a section lie, (3 for z, y, x; width, height)."""
    sizes = (80, 140, 220)
    grids = torch.meshgrid(*(torch.arange(n).double() for n in sizes), indexing="ij")
    found = [section(grid[None, None], axis, plan, [offset])[0, 0].numpy() for grid in grids]
    return np.stack(found)


def test_sections_are_the_published_ones() -> None:
    """Of two items with offsets of their own, along every axis, with what offsets may be drawn."""
    spec, arrays, _ = load_fixture("rldfn_section")
    params = spec["params"]
    volume = torch.from_numpy(arrays["volume"])
    compared = 0
    for name, configuration in params["configs"].items():
        plan = plan_of(configuration)
        for axis, largest in configuration["off_max"].items():
            assert largest_offset(int(axis), plan, params["patch_zyx"]) == largest
        for axis, offsets in configuration["offsets"].items():
            found = section(volume, int(axis), plan, [Offset(*each) for each in offsets])
            expected = arrays[f"{name}_axis{axis}"]
            np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=2e-7)
            compared += 1
    assert compared == 12


def test_gradients_are_those_of_a_linear_map() -> None:
    """What a section gathers, its gradient returns to the same voxels with the same weights."""
    generator = torch.Generator().manual_seed(0)
    volume = torch.rand(2, 1, *PATCH, generator=generator, dtype=torch.float64)
    for axis in range(5):
        learnt = volume.clone().requires_grad_()
        cut = section(learnt, axis, PLAN, [Offset(2, 1), Offset(3, 0, 2)])
        weights = torch.rand(cut.shape, generator=generator, dtype=torch.float64)
        product = (cut * weights).sum()
        (gradient,) = torch.autograd.grad(product, learnt)
        torch.testing.assert_close((gradient * volume).sum(), product.detach())
        # Of one axis alone, weights of neighbours add up to those of points.
        torch.testing.assert_close(gradient.sum((1, 2, 3, 4)), weights.sum((1, 2, 3)))


@pytest.mark.parametrize("axis", range(5))
def test_sections_lie_where_views_are_sharp(axis: int) -> None:
    """They rise from the near end of z at the angle of their axis, and contain y."""
    places = places_of(axis, PLAN, Offset(5, 1, 3))
    z, y, x = places
    rises = (180 - 30.8, 30.8, 30.8 - 7, 180 - 30.8 - 7, 90)
    angle = math.radians(rises[axis])
    np.testing.assert_allclose(np.diff(z, axis=1), math.sin(angle), atol=1e-9)
    np.testing.assert_allclose(np.diff(x, axis=1), math.cos(angle), atol=1e-9)
    np.testing.assert_allclose(np.diff(y, axis=0), 1, atol=1e-9)
    np.testing.assert_allclose([z.min(), y.min(), x.min()], [2, 4, 6.3], atol=1e-9)


def test_half_precision_is_gathered_in_single() -> None:
    """Weights of neighbours are not rounded to halves."""
    volume = torch.rand(1, 1, *PATCH, generator=torch.Generator().manual_seed(1)).bfloat16()
    found = section(volume, 2, PLAN, [Offset(1, 0)])
    assert found.dtype == torch.float32
    expected = section(volume.float(), 2, PLAN, [Offset(1, 0)])
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("offset", "axis"), [(Offset(20, 0), 1), (Offset(0, 9), 4), (Offset(0, 0, 8), 0)]
)
def test_sections_do_not_leave_volumes(offset: Offset, axis: int) -> None:
    """No index wraps around."""
    with pytest.raises(ValueError, match=r"section at [xyz] = .* leaves a volume of"):
        section(torch.zeros(1, 1, *PATCH), axis, PLAN, [offset])


@pytest.mark.parametrize("tilt", [3.0, 15.0, 30.8, 45.0, 60.0, 85.0])
@pytest.mark.parametrize("patch", [(14, 13, 24), (64, 256, 256), (40, 60, 30), (72, 128, 64)])
def test_fitted_sections_stay_inside(patch, tilt: float) -> None:
    """At the largest deviations, shift and offsets, and at the smallest."""
    height, width = largest_section(patch, tilt)
    assert height >= SMALLEST_SIDE
    assert width == min(120, patch[1] - 3)
    limit = deviation_limit(tilt)
    volume = torch.zeros(1, 1, *patch)
    for deviation, shift in itertools.product((-limit, 0.0, limit), (0.0, 1 - 1e-12)):
        plan = SectionPlan(height, width, tilt, deviation, shift)
        for axis in range(5):
            offsets = [(0, 0, 0), (largest_offset(axis, plan, patch), 1, patch[1] - 3 - width)]
            for offset in offsets:
                found = section(volume, axis, plan, [Offset(*offset)])
                assert found.shape == (1, 1, width, height)


def test_fitted_sections_are_as_large_as_published_ones() -> None:
    """Where there is place; in less, they are as large as fits."""
    assert largest_section((64, 256, 256), 30.8) == (60, 120)
    assert largest_section((64, 123, 62), 30.8) == (60, 120)
    height, width = largest_section((64, 100, 61), 30.8)
    assert (height, width) == (59, 97)
    assert largest_section((32, 256, 256), 30.8) == (28, 120)


def test_fitted_plans_are_drawn() -> None:
    """First the shift, then the deviation, which is below the tilt."""
    for tilt in (5.0, 30.8, 50.0):
        limit = min(30, 0.99 * tilt)
        rng, again = np.random.default_rng(3), np.random.default_rng(3)
        plans = [fitted_plan(PATCH, tilt, rng) for _ in range(300)]
        for plan in plans[:3]:
            expected = [again.random(), again.uniform(-limit, limit)]
            assert [plan.shift, plan.deviation] == expected
        assert {(plan.height, plan.width, plan.tilt) for plan in plans} == {
            (*largest_section(PATCH, tilt), tilt)
        }
        deviations = [plan.deviation for plan in plans]
        assert -limit <= min(deviations) < -0.9 * limit
        assert 0.9 * limit < max(deviations) < limit


def test_published_plans_are_drawn() -> None:
    """Only the first depends on the patch and the tilt, and it has no deviation."""
    rng, again = np.random.default_rng(4), np.random.default_rng(4)
    patch = (64, 256, 200)
    found = published_plan(patch, rng, first=True, tilt=28.0)
    assert found == SectionPlan(58, 248, 28.0, 0.0, again.random())
    found = published_plan(patch, rng, first=False, tilt=28.0)
    shift = again.random()
    assert found == SectionPlan(60, 120, 30.8, again.uniform(-30, 30), shift)


def test_offsets_are_drawn_in_the_published_order() -> None:
    """Along x, then along z, item by item, section by section; along y only where asked for."""
    rng, again = np.random.default_rng(5), np.random.default_rng(5)
    found = draw_step(PLAN, PATCH, 2, rng)
    for axes, drawn in zip((GENERATOR_AXES, DISCRIMINATOR_AXES), found, strict=True):
        assert len(drawn) == 4
        for axis, offsets in zip(axes, drawn, strict=True):
            largest = largest_offset(axis, PLAN, PATCH)
            for offset in offsets:
                along_x = again.integers(0, largest + 1)
                assert offset == (along_x, again.integers(0, 2), 0)
    assert (GENERATOR_AXES, DISCRIMINATOR_AXES) == ((2, 3, 4, 4), (0, 2, 1, 3))


def test_all_offsets_occur() -> None:
    """Both ends of their ranges, too."""
    rng = np.random.default_rng(6)
    drawn = draw_offsets(4, PLAN, PATCH, 600, rng, y=True)
    assert {offset.x for offset in drawn} == set(range(24 - 10 + 1))
    assert {offset.z for offset in drawn} == {0, 1}
    assert {offset.y for offset in drawn} == set(range(20 - 3 - 12 + 1))
    assert {offset.y for offset in draw_offsets(4, PLAN, PATCH, 9, rng)} == {0}


@pytest.mark.parametrize(
    ("sections", "tilt", "least"),
    [
        ("fitted", 30.8, (14, 13, 19)),
        ("fitted", 62.0, (14, 13, 15)),
        ("fitted", 10.0, (14, 13, 20)),
        ("original", 30.8, (64, 123, 62)),
        ("original", 10.0, (64, 123, 68)),
    ],
)
def test_too_small_a_patch_is_refused(sections: str, tilt: float, least) -> None:
    """With the one that would do."""
    check_patch(least, sections, tilt)
    words = ",".join(map(str, least))
    for axis in range(3):
        patch = tuple(size - (n == axis) for n, size in enumerate(least))
        with pytest.raises(OptionError, match=rf"--patch .*: {sections} .* at least {words}") as e:
            check_patch(patch, sections, tilt)
        assert "\n" not in str(e.value)
        assert ("--sections fitted" in str(e.value)) is (sections == "original")
    if sections == "fitted":
        assert largest_section(least, tilt) == (SMALLEST_SIDE, SMALLEST_SIDE)
        with pytest.raises(OptionError, match="--patch"):
            fitted_plan(patch, tilt, np.random.default_rng())


@pytest.mark.parametrize("patch", [(64, 123, 62), (64, 256, 256), (100, 128, 96)])
def test_published_sections_fit_into_what_is_accepted(patch) -> None:
    """The first ones and the later ones, at the largest deviations."""
    check_patch(patch, "original", 30.8)
    volume = torch.zeros(1, 1, *patch)
    rng = np.random.default_rng(7)
    first = published_plan(patch, rng, first=True)
    later = [SectionPlan(60, 120, 30.8, deviation, 1 - 1e-12) for deviation in (-30.0, 30.0)]
    for plan in (first, *later):
        for axis in range(5):
            offsets = [Offset(largest_offset(axis, plan, patch), 1)]
            found = section(volume, axis, plan, offsets)
            assert found.shape == (1, 1, plan.width, plan.height)


def test_views_need_place_along_x() -> None:
    """Their sections are not drawn where the published program could not draw them either."""
    with pytest.raises(ValueError, match="need more than 19 along x"):
        largest_offset(0, PLAN, (16, 20, 18 + 1))
    assert largest_offset(2, PLAN, (16, 20, 19)) == 0
