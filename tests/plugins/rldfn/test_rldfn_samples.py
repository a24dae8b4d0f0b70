"""What a training of rldfn draws: places, empty planes, maxima, and sections."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from vemctl_rldfn.data import MAXIMUM, ROLES
from vemctl_rldfn.samples import FOREGROUND, TRIES, FusionSampler, fitting_patch
from vemctl_rldfn.section_plans import (
    DISCRIMINATOR_AXES,
    GENERATOR_AXES,
    deviation_limit,
    largest_offset,
)
from vemctl_rldfn.section_schedule import SectionSchedule

PATCH = (64, 256, 256)


def rng(seed: int = 0) -> np.random.Generator:
    """Return a generator."""
    return np.random.default_rng(seed)


def sampler(crop, planes: int, **more) -> FusionSampler:
    """Return a sampler for volumes of so many planes."""
    patch = (min(crop[0], planes), *crop[1:])
    return FusionSampler(crop, patch, patch, **more)


@pytest.fixture
def views(array_patches) -> type:
    """Return the class of patches of views, of which each knows its maximum."""

    class Views(array_patches):
        def facts(self, role: str):
            maxima = [float(volume.max()) for volume in self.roles[role]]
            return [
                replace(facts, each_series={MAXIMUM: [maximum]})
                for facts, maximum in zip(super().facts(role), maxima, strict=True)
            ]

    return Views


def test_all_places_are_drawn_alike(views) -> None:
    """Of both views the same, at the borders too; of small volumes as often as of large ones."""
    shapes = [(5, 7, 6), (5, 4, 6)]
    volumes = views(**{role: [rng(n).random(shape) for shape in shapes] for n, role in
                       enumerate(ROLES)})  # fmt: skip
    one = sampler((4, 4, 5), 5)
    for number in range(960):
        one.draw(volumes, rng(number), number)
    reads = [read[1:] for read in volumes.reads if read[0] == ROLES[0]]
    assert reads == [read[1:] for read in volumes.reads if read[0] == ROLES[1]]
    assert Counter(index for index, *_ in reads) == {0: 480, 1: 480}
    corners = Counter(corner for index, corner, _ in reads if index == 0)
    assert set(corners) == {(z, y, x) for z in range(2) for y in range(4) for x in range(2)}
    assert min(corners.values()) > 12


def test_patches_reach_into_empty_planes(views) -> None:
    """Beyond the last plane, with at most half of theirs; never before the first."""
    ramp = np.broadcast_to(np.arange(1.0, 7.0)[:, None, None], (6, 4, 4)).copy()
    volumes = views(view_a=[ramp], view_b=[2 * ramp])
    seen = set()
    for number in range(200):
        sample = sampler((4, 4, 4), 6, end_padding=30).draw(volumes, rng(number), number)
        np.testing.assert_array_equal(sample["view_a"], sample["view_b"])
        seen.add(tuple(np.round(6 * sample["view_a"][0, :, 0, 0]).astype(int)))
    assert seen == {(1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 5, 6), (4, 5, 6, 0), (5, 6, 0, 0)}


def test_thin_volumes_are_filled_up(views) -> None:
    """What is read of them is no larger than they are."""
    volumes = views(view_a=[rng().random((3, 4, 4))], view_b=[rng(1).random((3, 4, 4))])
    thin = sampler((4, 4, 4), 3, end_padding=1)
    assert thin.patch == (3, 4, 4)
    for number in range(20):
        sample = thin.draw(volumes, rng(number), number)
        assert sample["view_a"].shape == (1, 4, 4, 4)
        assert not sample["view_a"][0, 3].any()
        assert sample["view_a"][0, :3].all()


def test_each_view_is_divided_by_its_maximum(views) -> None:
    """Of the whole volume, not of the patch, whatever its type."""
    of_a = np.full((4, 4, 8), 100, np.uint16)
    of_a[0, 0, 7], of_b = 400, of_a.astype(np.float32) / 10
    of_b[0, 0, 7] = 80
    sample = sampler((4, 4, 4), 4).draw(
        views(view_a=[of_a[:, :, :]], view_b=[of_b]), rng(3), 0
    )  # fmt: skip
    assert {sample[role].dtype for role in ROLES} == {np.dtype(np.float32)}
    assert sample["view_a"].min() == 0.25
    assert sample["view_b"].min() == 0.125


def test_foreground_is_looked_for(views) -> None:
    """With so many tries at most; where nothing stands out the best patch is taken."""
    sparse = np.full((8, 32, 32), 1, np.uint8)
    sparse[:, 12:20, 12:20] = 100
    volumes = views(view_a=[sparse], view_b=[sparse])
    plain, looking = (sampler((8, 8, 8), 8, foreground=flag) for flag in (False, True))
    shares = [
        np.mean([(one.draw(volumes, rng(n), n)["view_a"] > FOREGROUND).any() for n in range(60)])
        for one in (plain, looking)
    ]
    assert shares[0] < 0.6 < 0.95 < shares[1]
    validated = [plain.draw_validation(volumes, rng(n), n)["view_a"].max() for n in range(20)]
    assert np.mean(validated) > 0.9
    hot = np.ones((8, 16, 16), np.uint8)
    hot[0, 0, 0] = 100
    empty = views(view_a=[hot], view_b=[hot])
    sampler((4, 8, 8), 8, foreground=True).draw(empty, rng(), 0)
    assert len(empty.reads) == 2 * TRIES


def test_the_seed_alone_decides(views) -> None:
    """The same generator gives the same sample, also from a copy in another process."""
    volumes = views(view_a=[rng().random((8, 20, 20))], view_b=[rng(1).random((8, 20, 20))])
    one = sampler((4, 8, 8), 8, end_padding=2, foreground=True)
    copy = pickle.loads(pickle.dumps(one))
    for draw in ("draw", "draw_validation"):
        first, same = (getattr(each, draw)(volumes, rng(3), 5) for each in (one, copy))
        other = getattr(one, draw)(volumes, rng(4), 5)
        assert first.keys() == {*ROLES, "seed"}
        for name, values in first.items():
            np.testing.assert_array_equal(values, same[name])
            assert not np.array_equal(values, other[name])
        assert first["seed"].dtype == np.int64


@pytest.mark.parametrize(
    ("shape", "padding", "expected"),
    [
        ((101, 768, 768), 30, (64, 128, 128)),
        ((30, 90, 768), 30, (60, 88, 128)),
        ((40, 128, 128), 4, (44, 128, 128)),
        ((40, 128, 128), 0, (40, 128, 128)),
        ((10, 3, 128), 30, (20, 0, 128)),
    ],
)
def test_a_patch_that_fits_is_found(shape, padding: int, expected) -> None:
    """The largest of multiples of 4; empty planes are no more than half of it."""
    assert fitting_patch(shape, (64, 128, 128), padding, 4) == expected


@pytest.mark.parametrize("kind", ["fitted", "original"])
def test_plans_change_at_the_published_steps(kind: str) -> None:
    """After the first step, and after every 20th from there on."""
    plans = [SectionSchedule(kind, PATCH, 30.8, 20, 5).plan(step) for step in range(62)]
    changes = [step for step in range(1, 62) if plans[step] != plans[step - 1]]
    assert changes == [1, 21, 41, 61]
    other = SectionSchedule(kind, PATCH, 30.8, 20, 6).plan(30)
    assert other != plans[30]
    assert SectionSchedule(kind, PATCH, 30.8, 1, 5).plan(2) == plans[30]


def test_original_plans_are_the_published_ones() -> None:
    """As large as the patch first, then 60 x 120, whatever the patch."""
    schedule = SectionSchedule("original", PATCH, 35.0, 20, 0)
    first, later = schedule.plan(0), schedule.plan(1)
    assert (first.height, first.width, first.tilt, first.deviation) == (58, 248, 35.0, 0.0)
    assert (later.height, later.width, later.tilt) == (60, 120, 30.8)
    assert schedule.largest == (60, 248)


def test_fitted_plans_heed_patch_and_tilt() -> None:
    """From the first step on."""
    schedule = SectionSchedule("fitted", (32, 64, 64), 20.0, 20, 0)
    for step in (0, 1, 21):
        plan = schedule.plan(step)
        assert (plan.height, plan.width, plan.tilt) == (28, 61, 20.0)
        assert 0 < abs(plan.deviation) < deviation_limit(20.0)
    assert schedule.largest == (28, 61)


def test_offsets_are_those_of_each_sample() -> None:
    """A batch has what its samples have alone; their places are where sections fit."""
    schedule = SectionSchedule("fitted", (16, 32, 32), 30.8, 20, 0, y_offset=True)
    plan = schedule.plan(3)
    both = schedule.offsets(plan, [11, 12])
    alone = [schedule.offsets(plan, [seed]) for seed in (11, 12)]
    for axes, part in ((GENERATOR_AXES, "generator"), (DISCRIMINATOR_AXES, "discriminators")):
        for n, axis in enumerate(axes):
            found = getattr(both, part)[n]
            assert found == tuple(getattr(each, part)[n][0] for each in alone)
            assert all(0 <= each.x <= largest_offset(axis, plan, (16, 32, 32)) for each in found)
    assert len({schedule.offsets(plan, [seed]) for seed in range(20)}) == 20


def test_sections_lie_anywhere_along_y_if_asked() -> None:
    """By themselves they begin at the first voxels, as published."""
    placed = []
    for y_offset in (False, True):
        schedule = SectionSchedule("fitted", (16, 256, 32), 30.8, 20, 0, y_offset)
        plan = schedule.plan(0)
        drawn = [schedule.offsets(plan, [seed]).generator for seed in range(50)]
        placed.append({section[0].y for sections in drawn for section in sections})
    assert placed[0] == {0}
    assert min(placed[1]) < 20
    assert max(placed[1]) > 100
