"""Planes of views, and their values."""

from __future__ import annotations

import numpy as np
import pytest
from vemctl_rldfn.splitting import limits, split_planes, stretch_table, to_counts


@pytest.mark.parametrize("shift", [-7, -6, -1, 0, 1, 5, 12])
@pytest.mark.parametrize("depth", [40, 41])
def test_views_are_cut_as_published(depth: int, shift: int) -> None:
    """The last planes of the first ones of a stack, and of a flipped stack, but for one."""
    for cut in (101, 8):
        stack = np.arange(depth)

        def rounded(value: float) -> int:
            return int(np.floor(value + 0.5))

        direct = stack[: rounded((depth + shift) / 2)]
        flipped = stack[::-1][: rounded((depth - shift) / 2)]
        kept = min(cut + 1, len(direct), len(flipped))
        split = split_planes(depth, shift, cut)
        assert list(split.direct) == list(direct[-kept:][:-1])
        assert list(split.reflected) == list(flipped[-kept:][:-1])
        assert split.planes == len(split.reflected) == kept - 1
        both = [*split.direct, *split.reflected]
        assert split.span == range(min(both), max(both) + 1)


@pytest.mark.parametrize("shift", [-5, -4, 0, 3, 6])
def test_views_mirror_each_other_where_the_label_is_mended(shift: int) -> None:
    """Plane by plane about the place of the label; as published they are off by one."""
    mirror = (50 + shift) / 2
    mended = split_planes(50, shift + 1)
    assert [a + b for a, b in zip(mended.direct, mended.reflected, strict=True)] == [
        2 * mirror
    ] * mended.planes
    published = split_planes(50, shift)
    assert {a + b for a, b in zip(published.direct, published.reflected, strict=True)} == {
        2 * mirror - 1
    }


@pytest.mark.parametrize("shift", [-20, 19, -60, 60])
def test_a_mirror_at_the_end_leaves_no_planes(shift: int) -> None:
    """And is no error."""
    assert split_planes(20, shift).planes == 0 or abs(shift) < 20
    assert split_planes(20, shift).planes >= 0


def test_ranges_are_stretched() -> None:
    """Halves are rounded up; nothing leaves 16 bit, and an empty range is black."""
    values = np.array([10.0, 20, 20.004, 30, 5, 90])
    assert to_counts(values.copy(), 10, 30).tolist() == [0, 32768, 32781, 65535, 0, 65535]
    assert to_counts(values.copy(), 10, 10).tolist() == [0] * 6


def test_views_are_stretched_by_a_table() -> None:
    """Which is what is done with every count."""
    counts = np.array([100, 101, 3000, 40000], np.uint16)
    table = stretch_table(100, 40000)
    expected = np.floor(65535 * (counts - 100.0) / 39900 + 0.5)
    np.testing.assert_array_equal(table[counts], expected)
    assert table.dtype == np.uint16
    assert not stretch_table(7, 7).any()


def test_limits_are_of_some_planes() -> None:
    """In any order."""
    lows, highs = np.array([1.0, 0, 3]), np.array([5.0, 9, 4])
    assert limits(lows, highs, range(2, 1, -1)) == (3, 4)
    assert limits(lows, highs, range(3)) == (0, 9)
