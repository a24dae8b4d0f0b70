"""Percentiles whatever the range of the values: those of NumPy, outliers or not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from unit.measuring import ArrayInMemory, measured

from vemctl.plugin import by_series, percentile
from vemctl.prediction import accumulators
from vemctl.prediction.percentiles import Order
from vemctl.prediction.plan import Series

PERCENTS = (0.0, 0.5, 12.5, 50.0, 99.5, 99.999, 100.0)
NAMES = [percentile(percent) for percent in PERCENTS]
TYPES = ["u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4"]
RNG = np.random.default_rng(0)
UNIFORM = RNG.random((4, 25, 25), np.float32)
DENORMAL = np.float32(1e-45)

HARD = {
    "an outlier": np.where(UNIFORM.max() == UNIFORM, np.float32(1e5), UNIFORM),
    "outliers at both ends": np.where(
        UNIFORM > 0.999, np.float32(3e38), np.where(UNIFORM < 0.001, np.float32(-3e38), UNIFORM)
    ),
    "negative values": UNIFORM - 5,
    "both signs": np.float32(1e-3) * (UNIFORM - 0.5),
    "denormals": (DENORMAL * RNG.integers(-9, 10, (4, 25, 25))).astype(np.float32),
    "zeros of both signs": np.where(UNIFORM > 0.5, np.float32(0.0), np.float32(-0.0)),
    "a constant": np.full((4, 25, 25), -0.3, np.float32),
    "decades": np.float32(10.0) ** RNG.integers(-37, 38, (4, 25, 25)).astype(np.float32),
    "big-endian floats": (UNIFORM - 0.5).astype(">f4"),
    "wide integers with an outlier": np.where(UNIFORM.max() == UNIFORM, 2**31 - 1,
                                              RNG.integers(-9, 9, UNIFORM.shape)).astype("i4"),
}  # fmt: skip


def expected(values: np.ndarray) -> list[float]:
    """Return what NumPy finds, computed in float64."""
    found: list[float] = np.percentile(values.astype(np.float64), PERCENTS).tolist()
    return found


@pytest.mark.parametrize("what", HARD)
def test_percentiles_are_those_of_numpy(what: str) -> None:
    """However the values lie, of all voxels and of a series alike."""
    values = HARD[what]
    made = measured(ArrayInMemory(values), [*NAMES, *map(by_series, NAMES)], 1000)
    assert [made[name] for name in NAMES] == pytest.approx(expected(values), rel=1e-12, abs=0)
    assert [made[by_series(name)] for name in NAMES] == [[made[name]] for name in NAMES]
    assert not any(np.signbit(made[name]) and made[name] == 0 for name in NAMES)


def test_values_of_64_bits_are_rounded_to_float32() -> None:
    """And stay within the range, also beyond that of float32."""
    values = RNG.normal(size=(4, 25, 25))
    made = measured(ArrayInMemory(values), NAMES)
    assert list(made.values()) == pytest.approx(expected(values), rel=1e-7)
    assert made[NAMES[0]] >= values.min()
    assert made[NAMES[-1]] <= values.max()
    values[0, 0, :2] = 1e100, -1e100
    far = measured(ArrayInMemory(values), NAMES)
    assert far[percentile(50.0)] == pytest.approx(np.median(values), rel=1e-7)
    assert np.isfinite(list(far.values())).all()
    constant = np.full((2, 3, 4), 0.1)
    assert set(measured(ArrayInMemory(constant), NAMES).values()) == {0.1}


@given(st.data(), st.sampled_from(TYPES))
def test_keys_are_ordered_as_values_and_lead_back_to_them(data: st.DataObject, name: str) -> None:
    """Of all types of up to 32 bits; -0.0 and 0.0 are one."""
    dtype = np.dtype(name)
    elements = (
        {"allow_nan": False, "allow_infinity": False, "allow_subnormal": True}
        if dtype.kind == "f"
        else {}
    )
    values = data.draw(arrays.arrays(dtype, (2, 8), elements=elements or None))
    order = Order(dtype)
    keys = order.keys(values).ravel()
    assert order.bits == max(16, 8 * dtype.itemsize)
    assert [order.value(int(key)) for key in keys] == values.ravel().astype(float).tolist()
    pairs = itertools.product(zip(keys.tolist(), values.ravel().tolist(), strict=True), repeat=2)
    assert all((a < b) == (x < y) for (a, x), (b, y) in pairs)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_series_and_blocks_may_be_of_any_number(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every series has its own percentiles, all voxels theirs, however few are seen at once."""
    monkeypatch.setattr(accumulators, "BLOCK_VOXELS", 7)
    data = (200 * RNG.random((5, 1, 3, 4, 6))).astype(dtype)
    names = [by_series(percentile(30)), percentile(30), by_series(percentile(99))]
    series = [Series(t, 0, t, 0) for t in range(5)]
    made = measured(ArrayInMemory(data), names, 24, series=series)
    assert list(made) == names
    each = data.reshape(5, -1).astype(np.float64)
    assert made[names[0]] == pytest.approx(np.percentile(each, 30, axis=1).tolist(), rel=1e-12)
    assert made[names[1]] == pytest.approx(np.percentile(each, 30), rel=1e-12)
    assert made[names[2]] == pytest.approx(np.percentile(each, 99, axis=1).tolist(), rel=1e-12)
