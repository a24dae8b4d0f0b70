"""Means of the sections of a slice."""

from __future__ import annotations

import numpy as np
from parity import load_fixture
from vemctl_vsisr.phases import phase_means


def test_slices_are_the_published_ones() -> None:
    """Bit for bit, in single precision."""
    _, arrays, _ = load_fixture("vsisr_mrc")
    sections = arrays["data"].transpose(2, 1, 0)
    found = phase_means(lambda first, count: sections[first : first + count], 0, 3, 3)
    expected = arrays["phase_mean"].transpose(2, 1, 0)
    np.testing.assert_array_equal(found.astype(np.float32), expected)


def test_only_what_is_wanted_is_read() -> None:
    """The sections of one slice after the other."""
    sections = np.arange(17 * 2 * 3, dtype=np.uint16).reshape(17, 2, 3)
    calls = []

    def read(first: int, count: int) -> np.ndarray:
        calls.append((first, count))
        return sections[first : first + count]

    found = phase_means(read, 1, 2, 5)
    np.testing.assert_array_equal(found, sections[5:15].reshape(2, 5, 2, 3).mean(1))
    assert calls == [(5, 5), (10, 5)]


def test_without_phases_sections_are_slices() -> None:
    """They keep their type, on which the subtraction of the background depends."""
    sections = np.arange(24, dtype=np.uint16).reshape(4, 2, 3)
    found = phase_means(lambda first, count: sections[first : first + count], 1, 2, 1)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, sections[1:3])


def test_great_counts_do_not_overflow() -> None:
    """The sum of the sections is more than 16 bits hold."""
    sections = np.full((3, 1, 1), 65535, np.uint16)
    assert phase_means(lambda first, count: sections[first:][:count], 0, 1, 3) == 65535
