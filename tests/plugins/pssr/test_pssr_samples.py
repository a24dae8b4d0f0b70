"""Pairs to learn from: that both show the same place, and which frames they have."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from vemctl_pssr.samples import Frames, MadeSampler, PairSampler, in_time, oriented
from vemctl_pssr.scaling_down import zoom

from vemctl.plugin import Sample, Triple, VolumeFacts

EDGE = 6
UNIT = "0,1"
SAME = {"lr": UNIT, "hr": UNIT}
CODES = 2**22
SINGLE = Frames()


def rng(seed: int = 0) -> np.random.Generator:
    """Return a fresh generator."""
    return np.random.default_rng(seed)


def code(shape: Triple) -> np.ndarray:
    """Return a volume in [0, 1] whose every voxel tells where it is; exact in float32."""
    return (np.arange(np.prod(shape)).reshape(shape) / CODES).astype(np.float32)


def quarter(images: np.ndarray) -> np.ndarray:
    """Return means of four by four pixels, which are as exact: the same for all orientations."""
    z, y, x = images.shape
    means = images.reshape(z, y // 4, 4, x // 4, 4).mean(axis=(2, 4), dtype=np.float64)
    return means.astype(np.float32)


def poor_of(image: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Make a poor image without noise."""
    return quarter(image[None])[0]


def corner_of(sample: Sample, shape: Triple) -> Triple:
    """Return where the good image of an unaltered sample is from."""
    z, y, x = np.unravel_index(round(float(sample["hr"][0, 0, 0]) * CODES), shape)
    return int(z), int(y), int(x)


def pairs(augment: Any = "none", frames: Frames = SINGLE, **more: Any) -> PairSampler:
    """Return a sampler of real pairs."""
    return PairSampler(EDGE, frames, augment, 4.0, SAME, **more)


def made(augment: Any = "none", frames: Frames = SINGLE, choose: Any = None) -> MadeSampler:
    """Return a sampler that makes poor images."""
    return MadeSampler(EDGE, frames, augment, 4.0, UNIT, poor_of, choose)


def with_facts(array_patches: type, facts: dict[str, Sequence[VolumeFacts]], **roles: Any):
    """Return patches of arrays that are known to be of some file, channel and time point."""

    class Known(array_patches):
        def facts(self, role: str) -> list[VolumeFacts]:
            return [
                replace(known, shape=volume.shape, dtype=volume.dtype.name)
                for known, volume in zip(facts[role], self.roles[role], strict=True)
            ]

    return Known(**roles)


@pytest.fixture
def scene(array_patches: type):
    """Return two volumes of coordinates and what is a quarter of each."""
    good = [code((3, 40, 48)), code((2, 28, 32)) + np.float32(0.25)]
    return array_patches(hr=good, lr=[quarter(volume) for volume in good])


@pytest.mark.parametrize("sampler", [pairs("none"), pairs("flips"), made("none"), made("flips")])
def test_both_images_show_the_same_place(sampler: Any, scene) -> None:
    """To the voxel, in each of the orientations; validation has the first of them alone."""
    orientations = set()
    for seed in range(60):
        for draw in (sampler.draw, sampler.draw_validation):
            sample = draw(scene, rng(seed), seed)
            poor, good = sample["lr"], sample["hr"]
            assert (poor.shape, good.shape) == ((1, EDGE, EDGE), (1, 4 * EDGE, 4 * EDGE))
            for image in (poor, good):
                assert image.dtype == np.float32
                assert image.flags.c_contiguous
            np.testing.assert_array_equal(quarter(good), poor)
            steps = np.rint(
                [CODES * (good[0, 1, 0] - good[0, 0, 0]), CODES * (good[0, 0, 1] - good[0, 0, 0])]
            )
            if draw == sampler.draw:
                orientations.add(tuple(np.sign(steps) * (1 + (abs(steps) > 1))))
            else:
                assert steps[1] == 1
    assert len(orientations) == (8 if sampler.augment == "flips" else 1)


@pytest.mark.parametrize("sampler", [pairs("original"), made("original")])
def test_magnified_and_turned_images_show_the_same_place(sampler: Any, array_patches) -> None:
    """The published augmentation looks at both from corner to corner, as they were made."""
    y, x = np.meshgrid(np.linspace(0, 0.7, 48), np.linspace(0, 0.3, 48), indexing="ij")
    good = (y + x).astype(np.float32)[None]  # of which 24 x 24 are the ramp that 6 x 6 are

    def poor_of_ramp(image: np.ndarray, _: np.random.Generator) -> np.ndarray:
        return zoom(image)

    if isinstance(sampler, MadeSampler):
        sampler = replace(sampler, make_poor=poor_of_ramp, edge=12)
    else:
        sampler = replace(sampler, edge=12)
    patches = array_patches(hr=[good], lr=[zoom(good[0])[None]])
    seen = []
    for seed in range(20):
        sample = sampler.draw(patches, rng(seed), 0)
        assert (sample["lr"].shape, sample["hr"].shape) == ((1, 12, 12), (1, 48, 48))
        off = abs(zoom(sample["hr"][0]) - sample["lr"][0])
        # only where a mirrored edge runs through is a ramp no ramp
        assert np.median(off) < 1e-4
        assert off.max() < 0.06
        seen.append(sample["hr"])
    assert len({each.tobytes() for each in seen}) == 20
    untouched = sampler.draw_validation(patches, rng(), 0)
    np.testing.assert_array_equal(untouched["hr"][0], good[0])
    np.testing.assert_allclose(untouched["lr"][0], zoom(good[0]), atol=1e-6)


@pytest.mark.parametrize(
    "sampler", [pairs(), made(), pairs("flips"), made("flips"), pairs("original"), made("original")]
)
def test_a_sample_is_that_of_its_generator(sampler: Any, scene) -> None:
    """The same again, another from another; the number of the sample makes no difference."""
    for draw in (sampler.draw, sampler.draw_validation):
        first, again, other = (draw(scene, rng(seed), n) for n, seed in enumerate((1, 1, 2)))
        for name in ("lr", "hr"):
            np.testing.assert_array_equal(first[name], again[name])
        assert not np.array_equal(first["hr"], other["hr"])


def test_places_are_anywhere(array_patches) -> None:
    """The last positions of all volumes included; of pairs on whole pixels of the poor one."""
    shape = (2, 28, 32)
    patches = array_patches(hr=[code(shape)], lr=[quarter(code(shape))])
    for sampler, step in ((made(), 1), (pairs(), 4)):
        found = {corner_of(sampler.draw(patches, rng(seed), 0), shape) for seed in range(900)}
        assert found == {
            (z, y, x) for z in (0, 1) for y in range(0, 5, step) for x in range(0, 9, step)
        }
        assert sampler.patch == sampler.validation_patch
    assert made().patch == (1, 24, 24)
    assert pairs().patch == (1, 6, 6)


def test_chosen_places_are_taken(scene) -> None:
    """In the volume that was drawn, of the slices that were."""
    asked = []

    def choose(patches, role: str, index: int, corner: Triple, size: Triple, _: Any) -> Triple:
        asked.append((role, index, corner, size))
        return corner[0], 1, 2

    sampler = made(choose=choose)
    for seed in range(10):
        sample = sampler.draw(scene, rng(seed), 0)
        role, index, corner, size = asked[-1]
        assert (role, size) == ("hr", (1, 24, 24))
        np.testing.assert_array_equal(
            sample["hr"][0], scene.roles["hr"][index][corner[0], 1:25, 2:26]
        )
    assert {index for _, index, _, _ in asked} == {0, 1}


@pytest.mark.parametrize("sampler", [pairs("none", Frames(5)), made("none", Frames(5))])
def test_frames_along_z_are_neighbouring_slices(sampler: Any, array_patches) -> None:
    """Ascending; the good image is of the middle one, and all lie inside of the volume."""
    shape = (8, 28, 32)
    patches = array_patches(hr=[code(shape)], lr=[quarter(code(shape))])
    assert sampler.patch[0] == 5
    middles = set()
    for seed in range(40):
        sample = sampler.draw(patches, rng(seed), 0)
        z, y, x = corner_of(sample, shape)
        middles.add(z)
        whole = patches.roles["hr"][0][z - 2 : z + 3, y : y + 24, x : x + 24]
        np.testing.assert_array_equal(sample["lr"], quarter(whole))
        np.testing.assert_array_equal(sample["hr"], whole[2:3])
    assert middles == {2, 3, 4, 5}


@pytest.mark.parametrize("sampler", [
    pairs("none", Frames(5, in_time=True)), made("none", Frames(5, in_time=True)),
])  # fmt: skip
def test_frames_over_time_are_of_the_same_file_and_channel(sampler: Any, array_patches) -> None:
    """The first and the last time point stand for those beyond them."""
    series = [
        VolumeFacts((1, 1, 1), "float32", file_index=file, channel=c, timepoint=t)
        for file, points, channels in ((0, 4, 2), (1, 3, 1), (2, 1, 1))
        for t, c in itertools.product(range(points), range(channels))
    ]
    values = [(32 * one.file_index + 8 * one.channel + one.timepoint) / 128 for one in series]
    good = [np.full((2, 24, 24), value, np.float32) for value in values]
    patches = with_facts(
        array_patches, {"hr": series, "lr": series}, hr=good, lr=[quarter(each) for each in good]
    )
    assert sampler.patch[0] == 1
    seen = set()
    for seed in range(80):
        sample = sampler.draw(patches, rng(seed), 0)
        middle = float(sample["hr"][0, 0, 0])
        one = series[values.index(middle)]
        last = (3, 2, 0)[one.file_index]
        points = [min(max(one.timepoint + k, 0), last) for k in range(-2, 3)]
        expected = [middle + (t - one.timepoint) / 128 for t in points]
        np.testing.assert_array_equal(sample["lr"][:, 0, 0], np.float32(expected))
        assert sample["lr"].shape == (5, EDGE, EDGE)
        assert sample["hr"].shape == (1, 24, 24)
        seen.add(middle)
    assert seen == set(values)


def test_neighbours_in_time_are_found_in_whatever_order() -> None:
    """By file and channel; beyond the ends it is the last one there."""
    order = [(0, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (1, 0, 0), (1, 0, 1)]
    facts = [
        VolumeFacts((1, 8, 8), "uint8", file_index=f, channel=c, timepoint=t) for f, c, t in order
    ]
    assert [in_time(facts, 0, k) for k in (-3, -1, 0, 1, 2, 9)] == [0, 0, 0, 2, 2, 2]
    assert [in_time(facts, 3, k) for k in (-2, -1, 1)] == [1, 1, 3]
    assert [in_time(facts, 4, k) for k in (-1, 1, 2)] == [4, 5, 5]


@pytest.mark.parametrize("frames", [1, 5])
@pytest.mark.parametrize("augment", ["none", "flips"])
def test_samples_of_a_prepared_set_keep_their_frames(
    frames: int, augment: str, array_patches
) -> None:
    """Every slice of the good ones is a sample; smaller patches are cut out of both alike."""
    good = code((7, 40, 32))
    lr = np.concatenate([
        np.repeat(quarter(good[n : n + 1]), frames, axis=0)
        + np.arange(frames, dtype=np.float32)[:, None, None] / 8  # which frame it is
        for n in range(7)
    ])  # fmt: skip
    patches = array_patches(hr=[good], lr=[lr])
    sampler = pairs(augment, Frames(frames), prepared=True)
    assert sampler.patch == (1, EDGE, EDGE)
    corners = set()
    for seed in range(150):
        sample = sampler.draw(patches, rng(seed), 0)
        assert sample["lr"].shape == (frames, EDGE, EDGE)
        expected = quarter(sample["hr"]) + np.arange(frames)[:, None, None] / 8
        np.testing.assert_allclose(sample["lr"], expected, atol=1e-6)
        corners.add(corner_of(sample, good.shape))
    assert {z for z, _, _ in corners} == set(range(7))
    if augment == "none":
        assert {y for _, y, _ in corners} == {0, 4, 8, 12, 16}
        assert {x for _, _, x in corners} == {0, 4, 8}
    whole = replace(sampler, edge=8)
    only = array_patches(hr=[good[:1, :32]], lr=[lr[:frames, :8]])
    assert whole.draw(only, rng(), 0)["hr"].shape == (1, 32, 32)


def test_every_file_has_the_range_of_its_type(array_patches) -> None:
    """8 bit of 255, others of their own maximum; ranges that are given are cut off."""
    facts = [
        VolumeFacts((1, 1, 1), "uint8", statistics={"bound:min": 0, "bound:max": 255}),
        VolumeFacts(
            (1, 1, 1), "uint16", statistics={"min": 0, "max": 4000, "bound:min": 0}, file_index=1
        ),
    ]
    good = [np.full((1, 24, 24), 51, np.uint8), np.full((1, 24, 24), 2000, np.uint16)]
    poor = [np.full((1, 6, 6), 102, np.uint8), np.full((1, 6, 6), 1000, np.uint16)]
    patches = with_facts(array_patches, {"hr": facts, "lr": facts}, hr=good, lr=poor)
    published = PairSampler(EDGE, Frames(), "none", 4.0, {"hr": None, "lr": None})
    given = PairSampler(EDGE, Frames(), "none", 4.0, {"hr": "0,100", "lr": None})
    made_of = MadeSampler(EDGE, Frames(), "none", 4.0, None, poor_of, None)
    found = set()
    for seed in range(10):
        sample = published.draw(patches, rng(seed), 0)
        pair = float(sample["hr"].max()), float(sample["lr"].max())
        assert pair == pytest.approx((0.2, 0.4) if pair[0] < 0.3 else (0.5, 0.25))
        found.add(pair)
        cut = given.draw_validation(patches, rng(seed), 0)["hr"].max()
        assert cut == pytest.approx(0.51) or cut == 1
        assert made_of.draw(patches, rng(seed), 0)["lr"].max() in {np.float32(0.2), 0.5}
    assert len(found) == 2


def test_poor_frames_have_noise_of_their_own(array_patches) -> None:
    """From the generator of the sample; validation's noise is always the same."""
    patches = array_patches(hr=[np.full((5, 24, 24), 0.5, np.float32)])

    def noisy(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return poor_of(image, generator) + generator.normal(0, 0.1, (EDGE, EDGE))

    sampler = replace(made("none", Frames(5)), make_poor=noisy)
    first, again = (sampler.draw_validation(patches, rng(3), n)["lr"] for n in (0, 1))
    np.testing.assert_array_equal(first, again)
    assert len({frame.tobytes() for frame in first}) == 5


def test_there_are_eight_orientations() -> None:
    """Each a permutation of the pixels of all frames alike."""
    images = code((2, 4, 4))
    made_of = {oriented(images, number).tobytes() for number in range(8)}
    assert len(made_of) == 8
    for number in range(8):
        turned = oriented(images, number)
        assert set(turned[1].ravel()) == set(images[1].ravel())
        np.testing.assert_array_equal(turned[1] - turned[0], images[1] - images[0])
