"""Background, range and rounding of prepared volumes."""

from __future__ import annotations

import numpy as np
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
    """To the nearest, halves up; what is outside of the range is clipped."""
    values = np.array([-1.0, 0.0, 0.25, 0.5, 1.0, 2.0])
    assert list(to_counts(values, 0, 1)) == [0, 0, 16384, 32768, 65535, 65535]


def test_one_grey_is_black() -> None:
    """Where the published programs divide by 0."""
    counts = to_counts(np.full((2, 3), 7.0), 7, 7)
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
