"""Whole-volume statistics, streamed slab by slab: those of NumPy on the whole."""

from __future__ import annotations

import itertools
import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.measuring import ArrayInMemory, measured, volumes

from vemctl.errors import InputError, Interrupted
from vemctl.events import Event, StageAdvanced, StageFinished, StageStarted
from vemctl.plugin import Triple, bound, by_slice, percentile
from vemctl.prediction import statistics as module
from vemctl.prediction.plan import Series
from vemctl.prediction.statistics import slabs

PERCENTS = (0.0, 0.1, 12.5, 50.0, 99.9, 100.0)
PERCENTILES = [percentile(p) for p in PERCENTS]
ALL = ["min", "max", "mean", "std", *PERCENTILES]


@given(
    st.tuples(*[st.integers(1, 20)] * 3), st.tuples(*[st.integers(1, 25)] * 3), st.integers(1, 400)
)
def test_slabs_cover_every_voxel_once(shape: Triple, chunk: Triple, most: int) -> None:
    """No slab is larger than allowed; small chunks are never read in parts."""
    volume = ArrayInMemory(np.zeros(shape, np.uint8), chunk)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SLAB_VOXELS", most)
        parts = slabs(volume)
    counts = np.zeros(shape, int)
    for part in parts:
        counts[part] += 1
        assert math.prod(side.stop - side.start for side in part) <= most
    assert (counts == 1).all()
    inside = [min(c, n) for c, n in zip(chunk, shape, strict=True)]
    if math.prod(inside) <= most:
        sides = itertools.chain.from_iterable(zip(part, inside, strict=True) for part in parts)
        assert all(side.start % c == 0 for side, c in sides)


@settings(max_examples=100)
@given(volumes(["uint8", "int8", "uint16", "int16"]))
def test_statistics_of_short_integers_are_exact(values: np.ndarray) -> None:
    """Every one is NumPy's own, percentiles with their interpolation included."""
    made = measured(ArrayInMemory(values), ALL)
    assert list(made) == ALL
    assert made["min"] == values.min()
    assert made["max"] == values.max()
    assert made["mean"] == pytest.approx(values.mean(), rel=1e-12)
    assert made["std"] == pytest.approx(values.std(), rel=1e-6, abs=1e-3)
    for name, percent in zip(PERCENTILES, PERCENTS, strict=True):
        assert made[name] == pytest.approx(np.percentile(values, percent), rel=1e-12, abs=1e-9)


@settings(max_examples=100)
@given(volumes(["float32", "float64", "float16", "uint32", "int32", "int64"]))
def test_statistics_of_wide_types_are_close(values: np.ndarray) -> None:
    """All within rounding; percentiles of 64 bits within that of float32."""
    made = measured(ArrayInMemory(values), ALL)
    wide = values.astype(np.float64)
    low, high = wide.min(), wide.max()
    assert (made["min"], made["max"]) == (low, high)
    assert made["mean"] == pytest.approx(wide.mean(), rel=1e-9, abs=1e-9 * abs(wide).max())
    assert made["std"] == pytest.approx(wide.std(), rel=1e-3, abs=1e-6 * abs(wide).max())
    allowed = abs(wide).max() * (1e-7 if values.dtype.itemsize > 4 else 1e-12)
    for name, percent in zip(PERCENTILES, PERCENTS, strict=True):
        assert made[name] == pytest.approx(np.percentile(wide, percent), rel=1e-12, abs=allowed)


@pytest.mark.parametrize("value", [0.0, 5.0, -0.25])
def test_percentiles_of_a_constant_are_the_constant(value: float) -> None:
    """A range of nothing allows no error."""
    made = measured(ArrayInMemory(np.full((3, 4, 5), value, np.float32)), PERCENTILES)
    assert dict.fromkeys(PERCENTILES, value) == made


def test_the_deviation_survives_a_large_offset() -> None:
    """Values far from 0 that differ little, as in 32-bit sums, have a deviation too."""
    values = (2_000_000_000 + np.random.default_rng(0).integers(-3, 4, (4, 8, 8))).astype(np.int32)
    made = measured(ArrayInMemory(values), ["std"])
    assert made["std"] == pytest.approx(values.std(dtype=np.float64), rel=1e-3)


def test_all_series_that_are_restored_count_and_no_other() -> None:
    """Channels and time points are measured together."""
    data = np.random.default_rng(3).integers(0, 1000, (2, 3, 4, 5, 6)).astype(np.uint16)
    series = [Series(t, c, t, i) for t in (0, 1) for i, c in enumerate((0, 2))]
    volume = ArrayInMemory(data)
    made = measured(volume, ["mean", "max", percentile(30)], series=series)
    chosen = data[:, [0, 2]]
    assert made["mean"] == pytest.approx(chosen.mean())
    assert made["max"] == chosen.max()
    assert made[percentile(30)] == pytest.approx(np.percentile(chosen, 30))
    assert {(t, c) for t, c, _ in volume.reads} == {(0, 0), (0, 2), (1, 0), (1, 2)}


@settings(max_examples=100)
@given(volumes(["uint8", "int16", "uint32", "float16", "float32", "float64"]), st.integers(1, 3))
def test_every_slice_has_statistics_of_its_own(values: np.ndarray, width: int) -> None:
    """However slabs cut it: thick ones of several slices, or several to a slice."""
    chunk = (values.shape[0], 1, width)
    made = measured(ArrayInMemory(values, chunk), [by_slice("max"), by_slice("min"), "mean"])
    assert made[by_slice("max")] == values.max(axis=(1, 2)).tolist()
    assert made[by_slice("min")] == values.min(axis=(1, 2)).tolist()
    assert all(type(value) is float for value in made[by_slice("min")])


def test_slices_of_series_come_one_series_after_the_other() -> None:
    """Those that are restored, in their order; all of a series stand together."""
    data = np.random.default_rng(4).integers(0, 60000, (3, 2, 4, 9, 11)).astype(np.uint16)
    series = [Series(t, 1, i, 0) for i, t in enumerate((2, 0))]
    made = measured(ArrayInMemory(data, (2, 4, 4)), [by_slice("max"), "max"], series=series)
    slices = data.max(axis=(3, 4))
    assert made[by_slice("max")] == [*slices[2, 1].tolist(), *slices[0, 1].tolist()]
    assert made["max"] == slices[[2, 0], 1].max()


def test_slices_are_measured_in_the_pass_that_is_made_anyway() -> None:
    """A second pass for percentiles changes none of them, and none is read twice for them."""
    values = np.random.default_rng(5).normal(size=(4, 8, 8)).astype(np.float32)
    volume = ArrayInMemory(values)
    made = measured(volume, [by_slice("min"), percentile(50), bound("max")])
    assert made[by_slice("min")] == values.min(axis=(1, 2)).tolist()
    assert made[bound("max")] == values.max()
    assert len(volume.reads) == 8


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint64"])
def test_bounds_of_integers_are_the_types_and_need_no_reading(dtype: str) -> None:
    """Nothing is read, and nothing told, until something else is asked for too."""
    volume = ArrayInMemory(np.full((4, 8, 8), 5, dtype))
    events: list[Event] = []
    both = [bound("max"), bound("min")]
    limits = np.iinfo(dtype)
    expected = {both[0]: float(limits.max), both[1]: float(limits.min)}
    made = measured(volume, both, listen=events.append)
    assert made == expected
    assert list(made) == both
    assert (volume.reads, events) == ([], [])
    assert measured(volume, [*both, "max"]) == expected | {"max": 5.0}
    assert len(volume.reads) == 4


def test_the_least_of_signed_integers_is_measured() -> None:
    """For the limit of their type would be below 0 even where no value is."""
    volume = ArrayInMemory(np.arange(5, 37, dtype=np.int16).reshape(2, 4, 4))
    assert measured(volume, [bound("max")]) == {bound("max"): 32767.0}
    assert volume.reads == []
    assert measured(volume, [bound("min")]) == {bound("min"): 5.0}


@pytest.mark.parametrize("check", [True, False])
def test_bounds_of_floating_values_are_measured(check: bool) -> None:
    """Their types have no limits that mean anything."""
    values = np.linspace(-0.5, 0.75, 256, dtype=np.float32).reshape(4, 8, 8)
    made = measured(ArrayInMemory(values), [bound("min"), bound("max")], check_finite=check)
    assert made == {bound("min"): -0.5, bound("max"): 0.75}


def test_names_of_percentiles_keep_every_digit() -> None:
    """Two percentiles that differ little are two statistics."""
    names = [percentile(99.9999), percentile(99.99991)]
    assert len(set(names)) == 2
    values = np.arange(1000, dtype=np.uint16).reshape(10, 10, 10)
    made = measured(ArrayInMemory(values), names)
    expected = np.percentile(values, [99.9999, 99.99991]).tolist()
    assert expected == pytest.approx(list(made.values()), rel=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("names", [[], ["min"], PERCENTILES])
def test_a_value_that_is_not_finite_is_refused_with_its_place(bad: float, names: list[str]) -> None:
    """The line gives the file, the first place in z, y, x and the cure."""
    values = np.zeros((5, 8, 8), np.float32)
    values[3, 4, 5] = bad
    with pytest.raises(InputError, match=r"z, y, x = 3, 4, 5: .*--nan-to-num") as raised:
        measured(ArrayInMemory(values), names)
    assert "folder/in.zarr: 1 values" in str(raised.value)
    assert f"({bad})" in str(raised.value)


def test_nothing_is_read_where_nothing_is_asked() -> None:
    """Integers are always finite; floats need no check where they are replaced."""
    events: list[Event] = []
    for dtype, check in (("uint8", True), ("float32", False)):
        volume = ArrayInMemory(np.zeros((4, 8, 8), dtype))
        assert measured(volume, [], check_finite=check, listen=events.append) == {}
        assert volume.reads == []
    assert events == []


@pytest.mark.parametrize(
    ("names", "dtype", "passes"),
    [
        (["max"], "float32", 1),
        ([*PERCENTILES, "mean"], "uint16", 1),
        ([*PERCENTILES, "mean"], "float16", 1),
        (PERCENTILES, "int32", 2),
        (PERCENTILES, "float32", 2),
        (["min", *PERCENTILES], "float64", 2),
    ],
)
def test_a_volume_is_streamed_as_often_as_needed(names: list[str], dtype: str, passes: int) -> None:
    """Percentiles of wide types take a second pass; progress ends where it said it would."""
    volume = ArrayInMemory(np.zeros((4, 8, 8), dtype))
    events: list[Event] = []
    measured(volume, names, listen=events.append)
    assert passes * 4 == len(volume.reads)
    (started,) = (event for event in events if isinstance(event, StageStarted))
    assert started.total == sum(e.amount for e in events if isinstance(e, StageAdvanced))
    assert started.name == "measuring in.zarr"
    assert isinstance(events[-1], StageFinished)


def test_measuring_stops_before_the_next_slab() -> None:
    """Whoever stops a run does not wait for a volume to be read to its end."""
    stop = threading.Event()
    volume = ArrayInMemory(np.zeros((4, 8, 8), np.uint8))

    def listen(event: Event) -> None:
        if isinstance(event, StageAdvanced):
            stop.set()

    with pytest.raises(Interrupted, match=r"measuring in.zarr"):
        measured(volume, ["max"], listen=listen, stop=stop)
    assert len(volume.reads) == 1
