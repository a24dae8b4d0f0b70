"""Which parts of a volume are looked at."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vemctl.errors import OptionError
from vemctl.quality.slabs import SLABS, WHOLE, choose_slabs, number_of_slabs
from vemctl.volumes.volume import Header


def header(shape, chunk=(64, 64, 64)) -> Header:
    """Return what a volume of this shape says of itself."""
    return Header(Path("v"), "", "zyx", shape, None, None, np.dtype("u1"), None, chunk)


def counts(shape, sampling) -> np.ndarray:
    """Return how often each voxel of the first series is looked at."""
    seen = np.zeros(shape, int)
    for slab in sampling.slabs:
        seen[slab.region] += 1
    return seen


def test_a_small_volume_is_looked_at_as_a_whole():
    """Every voxel once, in whole planes."""
    sampling = choose_slabs(header((150, 80, 90)), [(0, 0)])
    assert sampling.whole
    assert sampling.text == "the whole volume"
    assert (counts((150, 80, 90), sampling) == 1).all()
    assert all(slab.region[1:] == (slice(0, 80), slice(0, 90)) for slab in sampling.slabs)


def test_a_large_volume_is_sampled_and_says_so():
    """Of a terabyte, eight slabs are looked at in eight parts of its depth."""
    shape = (2000, 20000, 25000)
    sampling = choose_slabs(header(shape), [(0, 0)])
    assert len(sampling.slabs) == SLABS
    assert 0 < sampling.share < 0.001
    assert "8 slabs" in sampling.text
    assert f"{100 * sampling.share:.3g} %" in sampling.text
    eighths = [slab.region[0].start * SLABS // 2000 for slab in sampling.slabs]
    assert eighths == list(range(SLABS))
    assert len({str(slab.region[1:]) for slab in sampling.slabs}) == SLABS


def test_everything_can_be_asked_for():
    """`--slabs all` takes every voxel, in slabs of bounded size."""
    shape = (300, 3000, 3000)
    assert math.prod(shape) > WHOLE
    assert choose_slabs(header(shape), [(0, 0)]).share < 1
    sampling = choose_slabs(header(shape), [(0, 0)], number_of_slabs("all"))
    assert sampling.whole
    assert sum(math.prod(s.stop - s.start for s in slab.region) for slab in sampling.slabs) == (
        math.prod(shape)
    )


def test_each_channel_has_its_slabs_over_all_time_points():
    """Three of each channel, at three of the time points."""
    series = [(t, c) for t in range(6) for c in range(2)]
    sampling = choose_slabs(header((90, 1500, 1500)), series, 3)
    for channel in range(2):
        timepoints = [slab.timepoint for slab in sampling.slabs if slab.channel == channel]
        assert len(set(timepoints)) == 3


@given(
    shape=st.tuples(st.integers(1, 400), st.integers(1, 5000), st.integers(1, 5000)),
    asked=st.integers(1, 30),
)
def test_slabs_lie_in_the_volume_and_share_no_voxel(shape, asked):
    """As many as were asked for, or all that there are."""
    sampling = choose_slabs(header(shape), [(0, 0)], asked)
    everything = choose_slabs(header(shape), [(0, 0)], 0)
    assert len(sampling.slabs) == min(asked, len(everything.slabs))
    assert set(map(str, sampling.slabs)) <= set(map(str, everything.slabs))
    assert len(set(map(str, sampling.slabs))) == len(sampling.slabs)
    assert 0 < sampling.share <= 1


def test_a_slab_is_grown_inside_the_volume_and_found_again():
    """Its context ends where the volume does."""
    slab = choose_slabs(header((150, 80, 90)), [(0, 0)]).slabs[1]
    region = slab.grown(5, (150, 80, 90))
    assert region == (slice(59, 133), slice(0, 80), slice(0, 90))
    assert slab.within(region) == (slice(5, 69), slice(0, 80), slice(0, 90))


@pytest.mark.parametrize("text", ["some", "0", "-1", "2.5", ""])
def test_other_numbers_of_slabs_are_refused(text):
    """In one line that says what would do."""
    with pytest.raises(OptionError, match="expected all, or how many"):
        number_of_slabs(text)
