"""Background, range and rounding of prepared volumes."""

from __future__ import annotations

import numpy as np
import pytest
from vemctl_vsisr.counts import (
    Extremes,
    crop_rows,
    round_half_up,
    to_counts,
    without_background,
)


def test_halves_are_rounded_away_from_zero() -> None:
    """As MATLAB does, not to even numbers."""
    values = [0.5, 1.5, 2.4, -0.5, -2.5, -2.4]
    assert [round_half_up(value) for value in values] == [1, 2, 2, -1, -3, -2]


def test_nothing_falls_below_the_background() -> None:
    """Neither integers nor floats, which keep their precision."""
    counts = np.array([0, 99, 100, 250], np.uint16)
    np.testing.assert_array_equal(without_background(counts), [0, 0, 0, 150])
    assert without_background(counts).dtype == np.float64
    assert without_background(counts.astype(np.float32), 90.5).dtype == np.float32


def test_counts_are_rounded_as_published() -> None:
    """MATLAB's are the nearest; Python's are cut off, and the greatest is 65534."""
    values = np.array([-1.0, 0.0, 0.25, 0.5, 1.0, 2.0])
    assert list(to_counts(values, 0, 1, "nearest")) == [0, 0, 16384, 32768, 65535, 65535]
    assert list(to_counts(values, 0, 1, "truncate")) == [0, 0, 16383, 32767, 65534, 65535]


def test_python_computes_in_the_type_of_the_values() -> None:
    """In float32 a range of hundreds does not feel the 1e-7; in float64 it does."""
    values = np.array([100, 400], np.float32)
    assert list(to_counts(values, 100, 400, "truncate")) == [0, 65535]
    assert list(to_counts(values.astype(np.float64), 100, 400, "truncate")) == [0, 65534]


@pytest.mark.parametrize("rounding", ["nearest", "truncate"])
def test_one_grey_is_black(rounding) -> None:
    """Where the published programs divide by 0."""
    counts = to_counts(np.full((2, 3), 7.0), 7, 7, rounding)
    assert counts.dtype == np.uint16
    assert not counts.any()


def test_extremes_come_in_parts() -> None:
    """Those of all parts, an empty one among them."""
    extremes = Extremes()
    for part in ([3, 4], [], [[-2.5], [1]]):
        extremes.add(np.array(part))
    assert (extremes.low, extremes.high) == (-2.5, 4)


def test_the_middle_is_kept_of_the_longer_axis() -> None:
    """As long as the other one, whether what is cut off is odd or even."""
    assert crop_rows(93, 40) == slice(26, 66)
    for length, width in [(41, 40), (42, 40), (43, 41), (100, 1)]:
        rows = crop_rows(length, width)
        assert rows.stop - rows.start == width
        assert rows.start >= 0
        assert rows.stop <= length


def test_a_shorter_axis_is_kept_whole() -> None:
    """Where the published program fails."""
    assert crop_rows(40, 40) == slice(0, 40)
    assert crop_rows(30, 40) == slice(0, 30)
