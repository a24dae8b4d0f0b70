"""Moments of pairs of values against scikit-image and scipy, in whatever parts."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio

from vemctl.quality import agreement
from vemctl.quality.agreement import Mean, Moments

CASES = [
    ("uint8", 128, 20, 255),
    ("uint16", 40000, 50, 65535),
    ("int16", -200, 100, 65535),
    ("uint32", 3e9, 1e6, 2.0**32),
    ("float16", 0, 1, 4),
    ("float32", 0.5, 0.1, 1),
    ("float64", 1e9, 1, 10),
]


def pair(
    dtype: str, offset: float = 0.0, spread: float = 1.0, shape: tuple[int, ...] = (9, 20, 31)
) -> tuple[np.ndarray, np.ndarray]:
    """Return noise around an offset, and a noisier copy."""
    rng = np.random.default_rng(0)
    truth = offset + spread * rng.standard_normal(shape)
    prediction = truth + 0.5 * spread * rng.standard_normal(shape)
    return truth.astype(dtype), prediction.astype(dtype)


@pytest.mark.parametrize(("dtype", "offset", "spread", "data_range"), CASES)
def test_measures_are_those_of_other_libraries(dtype, offset, spread, data_range) -> None:
    """Whatever type and offset."""
    truth, prediction = pair(dtype, offset, spread)
    found = Moments.of(truth, prediction)
    truth, prediction = truth.astype(np.float64), prediction.astype(np.float64)
    expected = peak_signal_noise_ratio(truth, prediction, data_range=data_range)
    assert found.psnr(data_range) == pytest.approx(expected, abs=1e-9)
    assert found.nrmse == pytest.approx(normalized_root_mse(truth, prediction), abs=1e-9)
    correlation = pearsonr(truth.ravel(), prediction.ravel()).statistic
    assert found.pearson == pytest.approx(correlation, abs=1e-9)
    assert found.mse == pytest.approx(np.mean((truth - prediction) ** 2))
    assert found.count == truth.size
    assert (found.lowest_truth, found.highest_truth) == (truth.min(), truth.max())
    ends = found.lowest_prediction, found.highest_prediction
    assert ends == (prediction.min(), prediction.max())


def assert_equal(one: Moments, other: Moments, scale: float = 1.0) -> None:
    """Compare all fields, to rounding."""
    for field in dataclasses.fields(Moments):
        expected = getattr(other, field.name)
        assert getattr(one, field.name) == pytest.approx(expected, rel=1e-12, abs=1e-12 * scale)


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 5580), max_size=8), offset=st.sampled_from([0, 7, 40000]))
def test_parts_add_up_to_the_whole(cuts: list[int], offset: int) -> None:
    """However it is cut, with empty parts too."""
    truth, prediction = (values.ravel() for values in pair("float64", offset, 3))
    whole = Moments.of(truth, prediction)
    ends = [0, *sorted(cuts), truth.size]
    parts = (
        Moments.of(truth[start:stop], prediction[start:stop])
        for start, stop in itertools.pairwise(ends)
    )
    added = sum(parts, Moments())
    for name in ("mse", "nrmse", "pearson"):
        assert getattr(added, name) == pytest.approx(getattr(whole, name), abs=1e-12)
    assert added.psnr(10) == pytest.approx(whole.psnr(10), abs=1e-12)
    assert_equal(added, whole, scale=truth.size)


def test_large_arrays_are_halved(monkeypatch) -> None:
    """Along whatever axis is longer than 1."""
    truth, prediction = pair("float64", 5, shape=(1, 40, 1, 30))
    whole = Moments.of(truth, prediction)
    monkeypatch.setattr(agreement, "CHUNK", 7)
    assert_equal(Moments.of(truth, prediction), whole, scale=truth.size)
    mask = truth > 5
    masked = Moments.of(truth, prediction, mask)
    assert_equal(masked, Moments.of(truth[mask], prediction[mask]), scale=truth.size)


def test_a_mask_says_what_is_counted() -> None:
    """What is no number outside of it does not matter."""
    truth, prediction = pair("float32", 5)
    mask = np.random.default_rng(1).random(truth.shape) < 0.3
    expected = Moments.of(truth[mask], prediction[mask])
    truth[~mask] = math.nan
    prediction[~mask] = math.inf
    assert Moments.of(truth, prediction, mask) == expected


def test_inputs_stay_as_they_are() -> None:
    """Also those of the type that is computed in."""
    truth, prediction = pair("float64", 5)
    copies = truth.copy(), prediction.copy()
    Moments.of(truth, prediction)
    np.testing.assert_array_equal(truth, copies[0])
    np.testing.assert_array_equal(prediction, copies[1])


def test_nothing_has_no_measures() -> None:
    """Neither an empty array nor an empty mask."""
    for nothing in (
        Moments(),
        Moments.of(np.zeros((0, 4)), np.zeros((0, 4))),
        Moments.of(np.ones(4), np.ones(4), np.zeros(4, bool)),
    ):
        assert nothing == Moments()
        measures = nothing.mse, nothing.nrmse, nothing.pearson
        assert all(math.isnan(value) for value in (*measures, nothing.psnr(255)))


@pytest.mark.parametrize("value", [0.1, 1e9 + 0.1, -7.3])
def test_constants_have_no_correlation(value: float) -> None:
    """Though their mean may be rounded; the error is what it is."""
    constant, noise = np.full(1001, value), pair("float64", shape=(1001,))[0]
    for truth, prediction in ((constant, noise), (noise, constant), (constant, constant)):
        found = Moments.of(truth[:300], prediction[:300]) + Moments.of(
            truth[300:], prediction[300:]
        )
        assert math.isnan(found.pearson)
        assert found.truth_is_constant == (truth is constant)
        assert found.prediction_is_constant == (prediction is constant)
        assert found.mse == pytest.approx(np.mean((truth - prediction) ** 2))


def test_equal_values_have_no_error() -> None:
    """And an infinite ratio of signal to it."""
    truth = pair("uint16", 40000, 50)[0]
    found = Moments.of(truth, truth)
    assert found.psnr(65535) == math.inf
    assert found.nrmse == found.mse == 0
    assert found.pearson == 1
    assert Moments.of(truth, 65535 - truth).pearson == pytest.approx(-1, abs=1e-12)


def test_what_is_divided_by_nothing_is_undefined() -> None:
    """A truth of 0, and ranges that are none."""
    found = Moments.of(np.zeros(5), np.arange(5))
    assert math.isnan(found.nrmse)
    assert found.psnr(1) == pytest.approx(-10 * math.log10(6))
    for data_range in (0, -1, math.nan):
        assert math.isnan(found.psnr(data_range))


def test_unsigned_differences_do_not_wrap() -> None:
    """Nor do large integers overflow."""
    one, none = np.ones(4, np.uint8), np.zeros(4, np.uint8)
    assert Moments.of(one, none).mse == 1
    large = np.full(4, 2**63, np.uint64)
    assert Moments.of(large, large - 2**20).mse == 2.0**40
    assert Moments.of(large, large // 2).mse == 2.0**124


def test_means_gather_what_is_a_number() -> None:
    """And are none of nothing."""
    mean = sum((Mean.of(value) for value in (1.0, math.nan, 4.0)), Mean())
    assert mean == Mean(5.0, 2)
    assert mean.value == 2.5
    assert math.isnan(Mean.of(math.nan).value)
