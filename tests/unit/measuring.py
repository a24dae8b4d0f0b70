"""Volumes in memory, and what is measured of them slab by slab."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from vemctl.events import ignore
from vemctl.plugin import Triple
from vemctl.prediction import statistics as module
from vemctl.prediction.plan import Series
from vemctl.prediction.statistics import measure
from vemctl.volumes.volume import Header, Region

ONE = [Series(0, 0, 0, 0)]


class ArrayInMemory:
    """A volume of axes tczyx that notes what is read."""

    def __init__(self, data: np.ndarray, chunk: Triple | None = None) -> None:
        self.data = data.reshape((1,) * (5 - data.ndim) + data.shape)
        times, channels, z, y, x = self.data.shape
        self.header = Header(
            Path("folder/in.zarr"), "memory", "tczyx", (z, y, x), channels, times,
            data.dtype, None, chunk or (1, y, x),
        )  # fmt: skip
        self.reads: list[tuple[int, int, Region]] = []

    def read(self, region: Region, *, channel: int = 0, timepoint: int = 0) -> np.ndarray:
        self.reads.append((timepoint, channel, region))
        return self.data[timepoint, channel][region]

    def close(self) -> None:
        """Nothing is open."""


def measured(
    volume: ArrayInMemory, names: list[str], most: int = 64, **changes: Any
) -> dict[str, Any]:
    """Measure a volume in slabs of at most so many voxels."""
    facts: dict[str, Any] = {
        "series": ONE,
        "listen": ignore,
        "stop": threading.Event(),
        "check_finite": True,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SLAB_VOXELS", most)
        return measure(volume, names=names, **facts | changes)


@st.composite
def volumes(draw: st.DrawFn, kinds: list[str]) -> np.ndarray:
    """Draw a small volume that uses a part of its type's range."""
    dtype = np.dtype(draw(st.sampled_from(kinds)))
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(1, 7)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    if dtype.kind == "f":
        scale = 10.0 ** draw(st.integers(-4, 4))
        return (scale * (rng.normal(size=shape) + draw(st.integers(-3, 3)))).astype(dtype)
    limits = np.iinfo(dtype)
    low = draw(st.integers(int(limits.min), int(limits.max)))
    high = draw(st.integers(low, int(limits.max)))
    return rng.integers(low, high, shape, dtype, endpoint=True)
