"""Statistics of each slice and of each channel at each time point: those of NumPy on each."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.measuring import ArrayInMemory, measured, volumes

from vemctl.events import Event, StageAdvanced, StageStarted
from vemctl.plugin import Triple, by_series, by_slice, mean_above, percentile
from vemctl.prediction import statistics as module
from vemctl.prediction.plan import Series
from vemctl.prediction.statistics import facts_of, slabs

KINDS = ["uint8", "int16", "uint16", "uint32", "float32", "float64"]
PERCENTS = (0.0, 0.1, 50.0, 99.0, 100.0)
BRIGHTEST = by_slice(mean_above(99))
chunks = st.tuples(*[st.integers(1, 8)] * 3)


def mean_of_those_above(plane: np.ndarray, percent: float) -> float:
    """Compute it as its definition says, of one slice."""
    above = plane[plane > np.percentile(plane, percent)]
    return float(above.mean(dtype=np.float64)) if len(above) else float(plane.max())


def every_series(data: np.ndarray) -> list[Series]:
    """Return all channels at all time points, as they are restored."""
    times, channels = data.shape[:2]
    return [Series(t, c, t, c) for t in range(times) for c in range(channels)]


# ------------------------------------------------------------------------------------- slices


@given(st.tuples(*[st.integers(1, 20)] * 3), chunks, st.integers(1, 400), st.integers(1, 800))
def test_planes_that_must_be_whole_are_never_cut(
    shape: Triple, chunk: Triple, most: int, deepest: int
) -> None:
    """A slab is of whole chunks that fit, or lies in one depth of chunks, cut only if it must."""
    volume = ArrayInMemory(np.zeros(shape, np.uint16), chunk)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SLAB_VOXELS", most)
        patch.setattr(module, "DEEP_BYTES", deepest)
        parts = slabs(volume, whole_planes=True)
    counts = np.zeros(shape, int)
    depth, plane = min(chunk[0], shape[0]), shape[1] * shape[2]
    for part in parts:
        counts[part] += 1
        assert part[1:] == (slice(0, shape[1]), slice(0, shape[2]))
        first, end = part[0].start, part[0].stop
        assert (end - first) * plane <= max(most, deepest // 2, plane)
        assert first // depth == (end - 1) // depth or first % depth == 0
    assert (counts == 1).all()
    if depth * plane * 2 <= deepest:
        assert all(part[0].start % depth == 0 for part in parts)


@pytest.mark.parametrize(
    ("dtype", "depth", "thicknesses"),
    [
        ("uint16", 64, [64, 64, 2]),
        ("float32", 64, [32, 32, 32, 32, 2]),
        ("float64", 50, [13, 13, 13, 11] * 2 + [13, 13, 4]),
        ("uint16", 3, [3] * 43 + [1]),
        ("uint8", 1, [4] * 32 + [2]),
    ],
)
def test_deep_chunks_are_decoded_as_seldom_as_memory_allows(
    dtype: str, depth: int, thicknesses: list[int]
) -> None:
    """Slabs of 2048 x 2048 pixels are one chunk deep up to 512 MiB, and else equal parts of it."""
    volume = ArrayInMemory(np.zeros((1, 1, 1), dtype))
    volume.header = replace(volume.header, shape=(130, 2048, 2048), chunk_shape=(depth, 64, 64))
    parts = slabs(volume, whole_planes=True)
    assert [part[0].stop - part[0].start for part in parts] == thicknesses


@settings(max_examples=100)
@given(volumes(KINDS), chunks, st.integers(1, 200), st.sampled_from(PERCENTS))
def test_the_mean_of_the_brightest_is_that_of_every_slice(
    values: np.ndarray, chunk: Triple, most: int, percent: float
) -> None:
    """However the volume is chunked, and though a plane is larger than a slab may be."""
    name = by_slice(mean_above(percent))
    volume = ArrayInMemory(values, chunk)
    made = measured(volume, [name, by_slice("max"), "mean"], most)
    assert made[name] == [mean_of_those_above(plane, percent) for plane in values]
    assert made[by_slice("max")] == values.max(axis=(1, 2)).tolist()
    assert made["mean"] == pytest.approx(values.mean(dtype=np.float64), rel=1e-9, abs=1e-9)
    assert all(type(value) is float for value in made[name])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_where_nothing_is_brighter_than_the_percentile_it_is_the_largest_value(dtype: str) -> None:
    """Of constant slices their value, of those saturated beyond the percentile the saturation."""
    values = np.zeros((4, 10, 10), dtype)
    values[1] = 7
    values[2] = 3
    values[2, :2] = 200  # a fifth is saturated: the 99th percentile is the saturation itself
    values[3, 0, 0] = 250  # a hundredth, which is above it
    made = measured(ArrayInMemory(values), [BRIGHTEST])
    assert made[BRIGHTEST] == [0.0, 7.0, 200.0, 250.0]


def test_slices_of_several_series_follow_one_another() -> None:
    """Those that are restored, in their order, whole planes though chunks are not."""
    data = np.random.default_rng(6).integers(0, 60000, (2, 2, 3, 9, 11)).astype(np.uint16)
    series = [Series(1, 0, 0, 0), Series(0, 1, 1, 0)]
    volume = ArrayInMemory(data, (2, 4, 4))
    made = measured(volume, [BRIGHTEST], series=series)
    expected = [mean_of_those_above(p, 99) for t, c in ((1, 0), (0, 1)) for p in data[t, c]]
    assert made[BRIGHTEST] == expected
    assert all(region[1:] == (slice(0, 9), slice(0, 11)) for *_, region in volume.reads)


def test_a_statistic_that_slices_do_not_have_is_not_taken_for_another() -> None:
    """A percentile by slice would otherwise be that of all voxels."""
    volume = ArrayInMemory(np.arange(64, dtype=np.uint8).reshape(4, 4, 4))
    with pytest.raises(KeyError, match="slices:percentile:50"):
        measured(volume, [by_slice(percentile(50)), percentile(50)])


# ------------------------------------------------------------------------------------- series


@st.composite
def several(draw: st.DrawFn) -> np.ndarray:
    """Draw two time points of three channels, whose ranges differ by orders of magnitude."""
    dtype = np.dtype(draw(st.sampled_from(KINDS)))
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scales = 10.0 ** np.array(draw(st.lists(st.integers(-4, 4), min_size=6, max_size=6)))
    if dtype.kind == "f":
        return (rng.normal(size=(2, 3, *shape)) * scales.reshape(2, 3, 1, 1, 1)).astype(dtype)
    tops = np.minimum(np.ceil(30 * scales), np.iinfo(dtype).max).astype(int)
    made = [rng.integers(0, top, shape, dtype, endpoint=True) for top in tops]
    return np.stack(made).reshape(2, 3, *shape)


@settings(max_examples=25)
@given(several(), chunks, st.integers(1, 200))
def test_every_series_has_statistics_of_its_own(data: np.ndarray, chunk: Triple, most: int) -> None:
    """Percentiles are exact, of 64 bits to the precision of float32."""
    names = [by_series("min"), by_series("max"), *(by_series(percentile(p)) for p in PERCENTS)]
    volume = ArrayInMemory(data, chunk)
    made = measured(volume, [*names, percentile(50), "max"], most, series=every_series(data))
    each = data.astype(np.float64).reshape(6, -1)
    assert made[by_series("min")] == each.min(axis=1).tolist()
    assert made[by_series("max")] == each.max(axis=1).tolist()
    rounding = 1e-7 if data.dtype.itemsize > 4 else 1e-12
    allowed = rounding * np.abs(each).max(axis=1)
    for percent in PERCENTS:
        expected = np.percentile(each, percent, axis=1)
        found = np.array(made[by_series(percentile(percent))])
        assert (np.abs(found - expected) <= allowed).all()
    assert made["max"] == each.max()
    assert made[percentile(50)] == pytest.approx(np.percentile(each, 50), abs=allowed.max())


def test_series_are_those_that_are_restored_in_their_order() -> None:
    """And no other is read."""
    data = np.random.default_rng(7).integers(0, 60000, (3, 2, 4, 5, 6)).astype(np.uint16)
    series = [Series(2, 1, 0, 0), Series(0, 1, 1, 0)]
    volume = ArrayInMemory(data)
    names = [by_series("max"), by_series(percentile(12.5)), by_series("min")]
    made = measured(volume, names, series=series)
    chosen = [data[2, 1], data[0, 1]]
    assert list(made) == names
    assert made == {
        names[0]: [float(each.max()) for each in chosen],
        names[1]: pytest.approx([np.percentile(each, 12.5) for each in chosen], rel=1e-12),
        names[2]: [float(each.min()) for each in chosen],
    }
    assert {(t, c) for t, c, _ in volume.reads} == {(2, 1), (0, 1)}


def test_percentiles_of_constant_series_are_their_constants() -> None:
    """Where all voxels together have a range, too."""
    data = np.zeros((1, 3, 2, 4, 4), np.float32)
    data[0, :] = np.array([-0.25, 5.0, 1e6]).reshape(3, 1, 1, 1)
    made = measured(ArrayInMemory(data), [by_series(percentile(3))], series=every_series(data))
    assert made == {by_series(percentile(3)): [-0.25, 5.0, 1e6]}


@pytest.mark.parametrize(
    ("names", "dtype", "passes"),
    [
        ([by_series("max")], "float32", 1),
        ([by_series(percentile(9))], "uint8", 1),
        ([by_series(percentile(9))], "float32", 2),
    ],
)
def test_series_are_streamed_as_often_as_all_voxels_would_be(
    names: list[str], dtype: str, passes: int
) -> None:
    """Percentiles of wide types take a second pass; progress ends where it said it would."""
    data = np.zeros((2, 1, 4, 8, 8), dtype)
    volume = ArrayInMemory(data)
    events: list[Event] = []
    measured(volume, names, series=every_series(data), listen=events.append)
    assert len(volume.reads) == 2 * 4 * passes
    (started,) = (event for event in events if isinstance(event, StageStarted))
    assert started.total == sum(e.amount for e in events if isinstance(e, StageAdvanced))


def test_many_series_take_no_more_memory_than_one() -> None:
    """A histogram of every time point of a long recording would not fit."""
    data = np.random.default_rng(8).normal(size=(100, 1, 1, 2, 2)).astype(np.float32)
    tracemalloc.start()
    try:
        measured(ArrayInMemory(data), [by_series(percentile(9))], series=every_series(data))
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


# -------------------------------------------------------------------------------------- facts


def test_what_was_measured_becomes_the_facts_of_the_series_that_are_wanted() -> None:
    """Numbers stay, lists are cut to those series, in their order."""
    measured_before = {
        "max": 9.0,
        percentile(50): 4.5,
        by_series("max"): [7.0, 8.0, 9.0],
        BRIGHTEST: [70.0, 71.0, 80.0, 81.0, 90.0, 91.0],
    }
    assert facts_of(measured_before, 2, [2, 0]) == {
        "statistics": {"max": 9.0, percentile(50): 4.5},
        "slices": {BRIGHTEST: [90.0, 91.0, 70.0, 71.0]},
        "each_series": {by_series("max"): [9.0, 7.0]},
    }
    assert facts_of({}, 2, [0]) == {"statistics": {}, "slices": {}, "each_series": {}}


def test_names_of_the_parts_statistics_are_all_different() -> None:
    """And keep every digit of a percent."""
    percents = (99, 99.9, 99.99991)
    names = [name(of(p)) for p in percents for name, of in (
        (by_slice, mean_above), (by_series, percentile),
    )]  # fmt: skip
    assert len({*names, by_series("min"), by_slice("min"), *map(percentile, percents)}) == 11
    values = np.arange(1000, dtype=np.uint16).reshape(1, 20, 50)
    made = measured(ArrayInMemory(values), [by_slice(mean_above(p)) for p in percents])
    assert [value for (value,) in made.values()] == [
        mean_of_those_above(values[0], percent) for percent in percents
    ]
    assert not any(math.isnan(value) for (value,) in made.values())
