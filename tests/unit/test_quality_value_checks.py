"""What values a volume has, and what is said about odd ones."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from vemctl.quality.value_checks import ValueFacts, Values
from vemctl.quality.value_counts import MOST_LEVELS

RELATIVE = 1 / 8192


def facts(values: np.ndarray, parts: int = 1) -> ValueFacts:
    """Take note of values, in some parts."""
    found = Values(values.dtype)
    for part in np.array_split(values, parts):
        found.add(part)
    return found.result()


def random(dtype: str, size: int = 200_000) -> np.ndarray:
    """Draw values all over the range that a type usually has."""
    rng = np.random.default_rng(0)
    if dtype.startswith("f"):
        return rng.normal(1000, 30, size).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, size, dtype=dtype, endpoint=True)


@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "i8", "u8", "f2", "f4", "f8"]
)
def test_numbers_are_those_of_numpy(dtype: str) -> None:
    """Range, mean, spread, percentiles and histogram; exact ones where each value is counted."""
    values = random(dtype)
    found = facts(values, 3)
    exact = values.astype(np.float64)
    assert (found.dtype, found.voxels, found.nonfinite) == (values.dtype.name, values.size, 0)
    assert (found.minimum, found.maximum) == (exact.min(), exact.max())
    assert found.mean == pytest.approx(exact.mean(), rel=1e-9, abs=1e-9)
    assert found.std == pytest.approx(exact.std(), rel=1e-9)
    expected = np.percentile(exact, (0.1, 50, 99.9))
    percentiles = [found.percentile_01, found.percentile_50, found.percentile_999]
    if found.levels is not None:
        assert percentiles == pytest.approx(list(expected), rel=1e-12)
        assert found.levels == np.unique(values).size
    else:
        assert percentiles == pytest.approx(list(expected), rel=RELATIVE)
        assert np.unique(values).size > MOST_LEVELS
    assert len(found.histogram) == 256
    assert sum(found.histogram) == values.size
    counts, _ = np.histogram(exact, 256, found.histogram_range)
    assert np.abs(counts - found.histogram).max() <= (0 if found.levels else 0.1 * counts.max())


def test_each_value_of_eight_bits_has_a_bin() -> None:
    """So that the counts are exact."""
    values = random("u1")
    found = facts(values)
    assert found.histogram == np.bincount(values, minlength=256).tolist()
    assert found.histogram_range == (-0.5, 255.5)
    signed = facts(values.view("i1"))
    assert signed.histogram_range == (-128.5, 127.5)
    assert signed.histogram == np.bincount(values.view("i1").astype(int) + 128).tolist()


def test_bins_of_integers_hold_equally_many_values() -> None:
    """A comb would be seen otherwise."""
    found = facts(np.arange(100, 700, dtype=np.uint16))
    assert found.histogram_range == (99.5, 99.5 + 3 * 256)
    assert found.histogram == [3] * 200 + [0] * 56


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "f2", "f4", "f8"])
def test_the_order_and_the_parts_do_not_matter(dtype: str) -> None:
    """Everything is the same, but for the rounding of mean and spread."""
    values = random(dtype)
    whole, parts = facts(values), facts(np.random.default_rng(1).permutation(values), 17)
    one, other = whole.to_json(), parts.to_json()
    for name in ("mean", "std"):
        assert one.pop(name) == pytest.approx(other.pop(name), rel=1e-12)
    assert one == other


def test_an_outlier_costs_no_precision() -> None:
    """A single hot voxel is far beyond the rest."""
    values = random("f4")
    values[7] = 1e30
    found = facts(values)
    assert found.percentile_50 == pytest.approx(np.median(values), rel=RELATIVE)
    assert found.percentile_01 == pytest.approx(np.percentile(values, 0.1), rel=RELATIVE)
    assert found.maximum == pytest.approx(1e30)


def test_negative_and_small_floats_are_in_order() -> None:
    """Around 0, where bits turn around."""
    values = np.random.default_rng(0).normal(0, 1, 200_000)
    found = facts(values)
    for percentile, percent in ((found.percentile_01, 0.1), (found.percentile_999, 99.9)):
        assert percentile == pytest.approx(np.percentile(values, percent), rel=RELATIVE)
    assert found.percentile_50 == pytest.approx(np.median(values), abs=1e-5)
    zeros = np.concatenate([np.full(3, -0.0), np.zeros(3), np.arange(-70_000, 70_000) * 1e-40])
    assert facts(zeros).percentile_50 == pytest.approx(0, abs=1e-37)


def test_values_beyond_single_precision_are_counted() -> None:
    """As the largest that it has; range and mean are exact."""
    values = np.concatenate([np.linspace(0, 1, 70_000), [1e300, -1e300]])
    found = facts(values)
    assert (found.minimum, found.maximum) == (-1e300, 1e300)
    assert found.percentile_50 == pytest.approx(0.5, rel=1e-3)
    assert sum(found.histogram) == values.size


def test_voxels_that_are_not_finite_are_counted_and_left_out() -> None:
    """They have no place in a histogram."""
    values = np.array([1, np.nan, 2, np.inf, 3, -np.inf], np.float32)
    found = facts(values)
    assert (found.voxels, found.nonfinite) == (6, 3)
    assert (found.minimum, found.maximum, found.mean) == (1, 3, 2)
    assert sum(found.histogram) == 3
    assert found.warnings("prediction") == [
        "prediction: 3 of 6 voxels are NaN or infinite; they are left out of what is told of its "
        "values"
    ]


@pytest.mark.parametrize("values", [np.zeros(0, np.uint8), np.full(5, np.nan, np.float32)])
def test_without_finite_voxels_nothing_is_known(values: np.ndarray) -> None:
    """Every number is None, and JSON can hold it."""
    found = facts(values)
    assert found.minimum is found.mean is found.percentile_50 is None
    assert found.share_at_largest is None
    assert (found.histogram, found.levels) == ([], 0)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["voxels"] == values.size
    assert len(found.warnings("truth", truth=found)) == bool(values.size)


def test_truth_values_are_counted_as_zero_and_one() -> None:
    """Masks and labels of two values."""
    found = facts(np.array([True, False, True, True]))
    assert (found.minimum, found.maximum, found.mean, found.levels) == (0, 1, 0.75, 2)
    assert found.histogram[:3] == [1, 3, 0]
    assert found.share_at_largest is None
    assert found.warnings("mask") == []


def test_a_view_that_is_not_contiguous_is_counted() -> None:
    """Slabs are parts of larger arrays."""
    values = random("u2", 8000).reshape(20, 20, 20)
    part = values[2:9, ::2, 3:]
    found = Values(values.dtype)
    found.add(part)
    assert found.result() == facts(part.copy().ravel())


def grey(at_largest: int, dtype: str = "u1") -> np.ndarray:
    """Return 10,000 values, of which some are the largest of the type."""
    values = np.arange(10_000) % 200 + 20
    values[:at_largest] = np.iinfo(dtype).max
    return values.astype(dtype)


@pytest.mark.parametrize(
    ("own", "inputs", "warned"),
    [
        (5, None, False),
        (10, None, False),
        (11, None, True),
        (100, 0, True),
        (100, 49, True),
        (100, 50, False),
        (5, 0, False),
    ],
)
def test_saturation_is_told_above_a_thousandth_and_twice_the_input(
    own: int, inputs: int | None, warned: bool
) -> None:
    """The output's share counts, not the input's."""
    source = None if inputs is None else facts(grey(inputs))
    found = facts(grey(own)).warnings("prediction", source=source)
    assert bool(found) is warned
    if warned:
        assert "% of the voxels are 255, the largest value of uint8" in found[0]


def test_saturation_names_the_share_in_the_input() -> None:
    """At the dark end too, and in every integer type."""
    values = random("i2", 10_000) // 2
    values[:130] = -(2**15)
    source = facts(random("i2", 10_000) // 2)
    assert source.share_at_smallest == 0
    (found,) = facts(values).warnings("prediction", source=source)
    assert found == (
        "prediction: 1.3 % of the voxels are -32768, the smallest value of int16 (0 % in the "
        "input); what was darker cannot be told apart any more"
    )


def test_floats_have_no_end_to_saturate_at() -> None:
    """Even where many voxels share the largest value."""
    found = facts(grey(5000).astype(np.float32))
    assert found.share_at_largest is None
    assert found.warnings("prediction", source=facts(grey(0))) == []


def test_a_constant_volume_is_told_once() -> None:
    """Neither as saturated nor as too wide."""
    found = facts(np.zeros(100, np.uint16))
    assert found.warnings("prediction", truth=facts(grey(0))) == [
        "prediction: all voxels have the value 0; expected an image"
    ]


@pytest.mark.parametrize(
    ("dtype", "low", "high", "enough"),
    [
        ("u2", 0, 255, "uint8"),
        ("u2", 0, 256, None),
        ("i2", 0, 200, "uint8"),
        ("i2", -100, 100, "int8"),
        ("i2", -100, 200, None),
        ("u4", 0, 65535, "uint16"),
        ("i4", -5, 3000, "int16"),
        ("i8", 0, 2**32 - 1, "uint32"),
        ("u1", 0, 10, None),
        ("f4", 0, 200, None),
    ],
)
def test_a_type_that_is_wider_than_its_values_is_named(
    dtype: str, low: int, high: int, enough: str | None
) -> None:
    """With the type that would do; floats and 8 bits are left alone."""
    values = np.linspace(low, high, 7).astype(dtype)
    found = facts(np.tile(values, 2)).warnings("truth")
    if enough is None:
        assert not [text for text in found if "enough" in text]
    else:
        (text,) = (text for text in found if "enough" in text)
        assert f"for which {enough} is enough; {values.dtype.name} takes" in text


@pytest.mark.parametrize(
    ("prediction", "truth", "apart"),
    [
        ((0, 1), (0, 255), True),
        ((0, 255), (0, 255), False),
        ((0, 100), (0, 255), False),
        ((0, 255), (0, 65535), True),
        ((5000, 5100), (0, 100), True),
        ((30, 130), (0, 100), False),
    ],
)
def test_unlike_scales_are_told(
    prediction: tuple[int, int], truth: tuple[int, int], apart: bool
) -> None:
    """Plain scores would judge the scale."""
    own, its = (facts(np.linspace(*ends, 10_001)) for ends in (prediction, truth))
    found = own.warnings("prediction", truth=its)
    assert bool(found) is apart
    if apart:
        assert found == [
            f"prediction: its values lie in {prediction[0]} to {prediction[1]}, those of the truth "
            f"in {truth[0]} to {truth[1]}: plain scores judge that difference too; see the scaled "
            "ones"
        ]
        assert "those of the input in" in own.warnings("prediction", source=its)[0]


def test_one_bright_voxel_makes_no_other_scale() -> None:
    """Most values decide, not the largest."""
    values: Any = np.linspace(0, 255, 10_001)
    hot = values.copy()
    hot[3] = 1e6
    assert facts(hot).warnings("prediction", truth=facts(values)) == []
