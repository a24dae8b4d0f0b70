"""Means of the sections of a slice."""

from __future__ import annotations

import numpy as np
import pytest
from parity import load_fixture
from vemctl_vsisr.phases import PhaseMean

from vemctl.errors import InputError, OptionError


def test_slices_are_the_published_ones() -> None:
    """Bit for bit, in single precision."""
    _, arrays, _ = load_fixture("vsisr_mrc")
    sections = arrays["data"].transpose(2, 1, 0)
    phases = PhaseMean(lambda first, count: sections[first : first + count], len(sections))
    assert (phases.num_slices, phases.num_surplus) == (3, 0)
    found = phases.read(0, 3).astype(np.float32)
    np.testing.assert_array_equal(found, arrays["phase_mean"].transpose(2, 1, 0))


def test_only_what_is_wanted_is_read() -> None:
    """Surplus sections at the end are told, and never read."""
    sections = np.arange(17 * 2 * 3, dtype=np.uint16).reshape(17, 2, 3)
    calls = []

    def read(first: int, count: int) -> np.ndarray:
        calls.append((first, count))
        return sections[first : first + count]

    phases = PhaseMean(read, 17, 5)
    assert (phases.num_slices, phases.num_surplus) == (3, 2)
    np.testing.assert_array_equal(phases.read(1, 2), sections[5:15].reshape(2, 5, 2, 3).mean(1))
    assert calls == [(5, 5), (10, 5)]


def test_without_phases_sections_are_slices() -> None:
    """They keep their type, on which the subtraction of the background depends."""
    sections = np.arange(24, dtype=np.uint16).reshape(4, 2, 3)
    phases = PhaseMean(lambda first, count: sections[first : first + count], 4, 1)
    assert (phases.num_slices, phases.num_surplus) == (4, 0)
    found = phases.read(1, 2)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, sections[1:3])


def test_great_counts_do_not_overflow() -> None:
    """The sum of the sections is more than 16 bits hold."""
    sections = np.full((3, 1, 1), 65535, np.uint16)
    assert PhaseMean(lambda first, count: sections[first:][:count], 3).read(0, 1) == 65535


def test_too_few_sections_are_told() -> None:
    """None would be left of the volume."""
    with pytest.raises(InputError, match="2 sections for slices of 3 phases"):
        PhaseMean(lambda first, count: np.zeros((count, 1, 1)), 2)
    with pytest.raises(OptionError, match="0 phases"):
        PhaseMean(lambda first, count: np.zeros((count, 1, 1)), 2, 0)
