"""Paired volumes of two sizes: checked, cut at one place, and asked for in their own voxels."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.training.samplers import PlainSampler
from unit.volumes.conftest import make_data

from vemctl.errors import InputError
from vemctl.restoring import VolumeFacts
from vemctl.sampling import TrainingData
from vemctl.training.data import DataDescription, Part
from vemctl.training.patches import VolumeSource, open_data, split

ONE = Fraction(1)
LARGER = (ONE, Fraction(4), Fraction(4))
DEEPER = (Fraction(5), ONE, ONE)
PAIR = (("poor", "good"),)
SAMPLER = PlainSampler((1, 8, 6), (2, 8, 6))


def saved(folder: Path, name: str, shape: tuple[int, ...]) -> Path:
    """Write noise."""
    path = folder / f"{name}.npy"
    np.save(path, make_data(shape))
    return path


def pair(folder: Path, poor: tuple[int, ...], good: tuple[int, ...], **facts) -> TrainingData:
    """Write a poor and a good volume that are a pair."""
    paths = {name: (saved(folder, name, s),) for name, s in (("poor", poor), ("good", good))}
    return TrainingData(paths, facts.pop("paired", PAIR), **facts)


@pytest.mark.parametrize(
    ("scale", "poor", "good"),
    [
        ({"good": LARGER}, (10, 9, 12), (10, 36, 48)),
        ({"good": (ONE, Fraction(3, 2), Fraction(3, 2))}, (10, 10, 12), (10, 15, 18)),
        ({"poor": DEEPER, "good": LARGER}, (10, 9, 12), (2, 36, 48)),
        ({"poor": (ONE, Fraction(1, 4), Fraction(1, 4))}, (10, 9, 12), (10, 36, 48)),
        ({}, (10, 9, 12), (10, 9, 12)),
    ],
)
@pytest.mark.parametrize("paired", [PAIR, (("good", "poor"),)])
def test_volumes_of_the_right_sizes_are_pairs(tmp_path: Path, scale, poor, good, paired):
    """Whichever of them is named first, and whichever the scale is of."""
    data = pair(tmp_path, poor, good, scale=scale, paired=paired)
    described = open_data(data)
    assert described.facts["poor"][0].shape == poor
    assert described.facts["good"][0].shape == good
    assert described.wanted is data


def test_volumes_of_wrong_sizes_are_refused_with_the_right_one(tmp_path: Path):
    """The line has both files, their shapes, the scale and the shape that was expected."""
    data = pair(tmp_path, (3, 9, 12), (3, 36, 47), scale={"good": LARGER})
    with pytest.raises(InputError) as caught:
        open_data(data)
    assert str(caught.value) == (
        f"{tmp_path / 'good.npy'}: good has 3 x 36 x 47 voxels (z, y, x), and "
        f"{tmp_path / 'poor.npy'} of poor 3 x 9 x 12: expected 3 x 36 x 48, for a scale of "
        f"1 x 4 x 4; crop or resample one of them"
    )


def test_a_scale_excuses_no_other_difference(tmp_path: Path):
    """Channels and time points are as many; without a scale shapes are equal."""
    data = pair(tmp_path, (2, 3, 9, 12), (3, 3, 36, 48), scale={"good": LARGER})
    with pytest.raises(InputError, match=r"different channels: .*poor\.npy has 2, .* has 3"):
        open_data(data, axes="czyx")
    data = pair(tmp_path, (3, 9, 12), (3, 36, 48), scale={"other": LARGER})
    with pytest.raises(
        InputError, match=r"different shape: .*poor\.npy has 3 x 9 x 12, .* has 3 x 36 x 48"
    ):
        open_data(data)


def test_validation_volumes_have_the_same_scale(tmp_path: Path):
    """They are pairs of their own, checked like the others and against the validation patch."""
    train = pair(tmp_path, (3, 9, 12), (3, 36, 48))
    (tmp_path / "held").mkdir()
    for good, error in (((3, 36, 44), "expected 3 x 36 x 48"), ((3, 36, 48), None)):
        held = pair(tmp_path / "held", (3, 9, 12), good)
        data = TrainingData(train.volumes, PAIR, held.volumes, {"good": LARGER})
        if error:
            with pytest.raises(InputError, match=error):
                open_data(data)
        else:
            _, validation = split(open_data(data), SAMPLER, 0.5)
            assert validation.facts("good")[0].shape == (3, 36, 48)
            large = PlainSampler((1, 8, 6), (1, 8, 13))
            with pytest.raises(InputError, match=r"held/poor\.npy: .*patch 1 x 8 x 13.*larger val"):
                split(open_data(data), large, 0.5)


@pytest.mark.parametrize("patch", [(1, 10, 6), (4, 9, 12)])
def test_a_patch_is_measured_in_the_voxels_of_each_role(tmp_path: Path, patch):
    """What fits the poor one fits the good one; what does not is shown in the role's voxels."""
    description = open_data(pair(tmp_path, (3, 9, 12), (3, 36, 48), scale={"good": LARGER}))
    split(description, PlainSampler((3, 9, 12)), 0)
    with pytest.raises(InputError, match=r"poor\.npy: its shape 3 x 9 x 12 is smaller than"):
        split(description, PlainSampler(patch), 0)
    loose = TrainingData(description.wanted.volumes, (), scale={"good": (ONE, ONE * 5, ONE * 4)})
    with pytest.raises(InputError, match=r"good\.npy: .*smaller than the patch 1 x 45 x 48"):
        split(open_data(loose), PlainSampler((1, 9, 12)), 0)


@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 4), st.integers(1, 6), st.data())
def test_roles_are_cut_at_one_place(slices, patch, validation_patch, deeper, data):
    """Whatever the scales along z: so many poor slices to a good one, in both parts."""
    scales = {
        "poor": (Fraction(deeper), ONE, ONE),
        "good": (data.draw(st.sampled_from([ONE, Fraction(3), Fraction(1, 2)])), *LARGER[1:]),
    }
    step = scales["good"][0].denominator
    base = slices * step
    fraction = data.draw(st.sampled_from([0.01, 0.1, 0.25, 0.5]))
    part = Part({}, {})
    for role, scale in scales.items():
        depth = int(base * scale[0])
        part.sources[role] = (VolumeSource(Path(role), None, 0, 0, 0, 0, depth),)
        part.facts[role] = (VolumeFacts((depth, 99, 99), "uint8"),)
    description = DataDescription(part, None, {}, TrainingData({}, PAIR, scale=scales))
    sampler = PlainSampler((patch, 2, 2), (validation_patch, 2, 2))
    kept = max(-(-int(fraction * 100) * base // 100), validation_patch)
    kept = -(-kept // step) * step
    if base - kept < patch:
        with pytest.raises(InputError):
            split(description, sampler, fraction)
        return
    training, validation = split(description, sampler, fraction)
    for role, scale in scales.items():
        assert training.facts(role)[0].shape[0] == (base - kept) * scale[0]
        assert validation.facts(role)[0].shape[0] == kept * scale[0]
        assert validation.sources[role][0].start == training.sources[role][0].stop


def test_five_poor_slices_to_a_good_one_stay_together(tmp_path: Path):
    """What is kept to validate on are the last good slices, and the poor ones of these."""
    good, poor = make_data((11, 16, 24)), make_data((55, 4, 6))
    np.save(tmp_path / "good.npy", good)
    np.save(tmp_path / "poor.npy", poor)
    paths = {role: (tmp_path / f"{role}.npy",) for role in ("poor", "good")}
    data = TrainingData(paths, PAIR, scale={"poor": DEEPER, "good": LARGER})
    training, validation = split(open_data(data), PlainSampler((1, 4, 6), (1, 4, 6)), 0.2)
    for part, first, count in ((training, 0, 8), (validation, 8, 3)):
        assert part.facts("good")[0].shape == (count, 16, 24)
        assert part.facts("poor")[0].shape == (5 * count, 4, 6)
        for z in range(count):
            read = part.read("good", 0, (z, 0, 0), (1, 16, 24))
            assert np.array_equal(read, good[first + z][None])
            read = part.read("poor", 0, (5 * z, 0, 0), (5, 4, 6))
            assert np.array_equal(read, poor[5 * (first + z) :][:5])


def test_too_few_slices_for_both_parts_are_told_in_the_roles_own(tmp_path: Path):
    """A role of five slices to one lacks five times as many."""
    data = pair(tmp_path, (10, 4, 6), (2, 16, 24), scale={"poor": DEEPER, "good": LARGER})
    with pytest.raises(InputError, match=r"takes 5 slices, .* too few for the patch 10 x 4 x 6"):
        split(open_data(data), PlainSampler((2, 4, 6), (1, 4, 6)), 0.1)


def test_facts_tell_file_channel_and_time_point(tmp_path: Path):
    """Each of a file is a volume of its own; parts of it are of the same."""
    paths = (saved(tmp_path, "a", (2, 3, 5, 9, 8)), saved(tmp_path, "b", (1, 2, 5, 9, 8)))
    described = open_data(TrainingData({"x": paths}), axes="tczyx")
    expected = [(0, t, c) for t in range(2) for c in range(3)] + [(1, 0, 0), (1, 0, 1)]
    found = [(f.file_index, f.timepoint, f.channel) for f in described.facts["x"]]
    assert found == expected
    sources = [(s.timepoint, s.channel) for s in described.training.sources["x"]]
    assert [each[1:] for each in expected] == sources
    for part in split(described, PlainSampler((1, 8, 8), (1, 8, 8)), 0.4):
        assert [(f.file_index, f.timepoint, f.channel) for f in part.facts("x")] == expected
    chosen = open_data(TrainingData({"x": paths[:1]}), axes="tczyx", channel="2", timepoint="1")
    assert [(f.timepoint, f.channel) for f in chosen.facts["x"]] == [(1, 2)]
