"""What becomes 0 and 1, and how bright slices of a result are to one another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from vemctl_vsisr.intensities import (
    Limits,
    limit_names,
    limits_of,
    moving_mean,
    profiles_of,
    statistics,
)
from vemctl_vsisr.predict_options import PredictOptions

from vemctl.errors import OptionError
from vemctl.plugin import VolumeFacts

PLAIN = PredictOptions()
BRIGHTNESS = "slices:mean-above:99.0"


def facts_of(tops: np.ndarray, limits: Limits, num_channels: int = 1) -> VolumeFacts:
    """Return the facts of series (series, z) whose slices are so bright."""
    return VolumeFacts(
        (tops.shape[1], 20, 20),
        "uint16",
        slices={BRIGHTNESS: tops.ravel().tolist()},
        each_series={"series:min": limits.low.tolist(), "series:max": limits.high.tolist()},
        num_channels=num_channels,
    )


def test_the_statistics_that_are_measured():
    """Two limits, and the brightness unless it is left alone."""
    assert statistics(PLAIN) == ("series:min", "series:max", BRIGHTNESS)
    options = PredictOptions(limits="0.5,99.9", intensity_percentile=95.0)
    assert statistics(options) == (
        "series:percentile:0.5",
        "series:percentile:99.9",
        "slices:mean-above:95.0",
    )
    assert statistics(PredictOptions(limits="1,100", adjust_intensity=False)) == (
        "series:percentile:1.0",
        "series:max",
    )


@pytest.mark.parametrize(
    "text", ["", "5", "a,b", "1,2,3", "9,9", "99,1", "-1,99", "0,101", "nan,1"]
)
def test_limits_are_two_percentiles(text: str):
    """Anything else is refused in one line."""
    with pytest.raises(OptionError, match="expected two percentiles") as error:
        limit_names(PredictOptions(limits=text))
    assert "\n" not in str(error.value)


def test_values_are_scaled_and_cut():
    """By the limits of their series; its largest value stays below 1, as published."""
    limits = Limits(np.array([0.0, 100.0]), np.array([50.0, 300.0]))
    made = limits.scaled(np.array([0.0, 100.0, 200.0, 300.0, 900.0]), 1)
    np.testing.assert_allclose(made, [0, 0, 0.5, 1, 1], rtol=0, atol=2e-7)
    assert 1 - 2e-7 < made[3] < 1
    flat = Limits(np.array([7.0]), np.array([7.0]))
    assert flat.scaled(np.array([7.0]), 0) == 0


@pytest.mark.parametrize("span", [1e-9, 1e-3, 1.0, 1e5])
def test_small_values_keep_their_contrast(span: float):
    """What keeps blank series finite is a share of the span; as published, it is added to it."""
    limits = np.array([2 * span]), np.array([3 * span])
    values = np.array([2.0, 2.5, 3.0]) * span
    np.testing.assert_allclose(Limits(*limits).scaled(values, 0), [0, 0.5, 1], atol=1e-6)
    published = Limits(*limits, is_absolute=True)
    expected = (values - values[0]) / (span + 1e-7)
    np.testing.assert_allclose(published.scaled(values, 0), expected, rtol=1e-9)
    assert published.common(1).is_absolute
    facts = facts_of(np.ones((1, 9)), Limits(*limits))
    assert limits_of(facts, PLAIN, as_original=True).is_absolute
    assert not limits_of(facts, PLAIN).is_absolute


def test_tensors_are_scaled_alike():
    """They stay tensors, of their precision."""
    limits = Limits(np.array([100.0]), np.array([300.0]))
    made = limits.scaled(torch.tensor([50.0, 200.0, 400.0]), 0)
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, torch.tensor([0.0, 0.5, 1.0]), rtol=0, atol=1e-6)


def test_channels_have_common_limits_over_time():
    """Series go through the channels within each time point."""
    low, high = np.array([5.0, 50.0, 3.0, 60.0]), np.array([10.0, 99.0, 8.0, 100.0])
    made = Limits(low, high).common(2)
    np.testing.assert_array_equal(made.low, [3, 50, 3, 50])
    np.testing.assert_array_equal(made.high, [10, 100, 10, 100])
    alone = Limits(low, high).common(4)
    np.testing.assert_array_equal(alone.low, low)


def test_limits_are_those_that_were_measured():
    """By the names of the statistics."""
    facts = VolumeFacts(
        (9, 9, 9),
        "uint8",
        each_series={"series:percentile:2.0": [1.0, 2.0], "series:max": [8.0, 9.0]},
    )
    made = limits_of(facts, PredictOptions(limits="2,100"))
    np.testing.assert_array_equal(made.low, [1, 2])
    np.testing.assert_array_equal(made.high, [8, 9])


@pytest.mark.parametrize("count", [1, 2, 5, 11, 12, 30])
def test_brightness_is_smoothed_symmetrically(count: int):
    """The window shrinks towards the ends: a straight line is left as it is, as are the ends."""
    line = 3.0 * np.arange(count) + 1
    np.testing.assert_allclose(moving_mean(line), line, rtol=1e-12)
    values = np.random.default_rng(count).random(count)
    made = moving_mean(values)
    assert (made[0], made[-1]) == pytest.approx((values[0], values[-1]))
    if count > 11:
        assert made[6] == pytest.approx(values[1:12].mean())
    if count > 4:
        assert made[1] == pytest.approx(values[:3].mean())


def test_a_profile_is_that_of_the_slices_with_a_result():
    """Three at each end do not count; the brightest of the others is 1."""
    tops = np.array([[900.0, 900, 900, 110, 120, 130, 900, 900, 900]])
    limits = Limits(np.array([100.0]), np.array([900.0]))
    made = profiles_of(facts_of(tops, limits), PLAIN, limits, 3, common=False)
    np.testing.assert_allclose(made, [[1 / 3, 2 / 3, 1]], rtol=1e-9)
    whole = profiles_of(facts_of(tops, limits), PLAIN, limits, 0, common=False)
    assert whole.shape == (1, 9)
    assert whole.max() == 1


@pytest.mark.parametrize("common", [True, False])
def test_time_points_share_a_brightest_slice_or_have_their_own(common: bool):
    """Of each channel by itself."""
    limits = Limits(np.zeros(4), np.array([100.0, 10.0, 50.0, 20.0]))
    tops = np.array([[100.0] * 3, [10.0] * 3, [50.0] * 3, [20.0] * 3])
    made = profiles_of(facts_of(tops, limits, 2), PLAIN, limits, 0, common=common)
    expected = [1, 0.5, 0.5, 1] if common else [1, 1, 1, 1]
    np.testing.assert_allclose(made[:, 0], expected, rtol=1e-9)


def test_a_brightness_that_is_left_alone_has_no_profile():
    """It is not even measured."""
    limits = Limits(np.zeros(1), np.ones(1))
    options = PredictOptions(adjust_intensity=False)
    facts = VolumeFacts((9, 9, 9), "uint8")
    assert profiles_of(facts, options, limits, 3, common=True) is None


def test_blank_series_have_a_profile_of_zeros():
    """Whether the others have the same range or their own."""
    limits = Limits(np.array([5.0, 5.0]), np.array([5.0, 10.0]))
    tops = np.array([[5.0] * 4, [10.0] * 4])
    for common in (True, False):
        made = profiles_of(facts_of(tops, limits), PLAIN, limits, 0, common=common)
        np.testing.assert_allclose(made, [[0] * 4, [1] * 4])
