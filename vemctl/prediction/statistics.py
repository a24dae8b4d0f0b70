"""Whole-volume statistics, streamed once before a prediction."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.errors import InputError, Interrupted
from vemctl.events import Listener, StageAdvanced, StageFinished, StageStarted
from vemctl.prediction.plan import Series, regions
from vemctl.tiles.grid import Region
from vemctl.volumes.volume import Volume

SLAB_VOXELS = 2**24
HISTOGRAM_BINS = 2**16


def slabs(volume: Volume) -> list[Region]:
    """Return regions that cover `volume`, each of whole chunks where that is small enough."""
    shape, chunk = volume.header.shape, volume.header.chunk_shape
    step = [min(c, n) for c, n in zip(chunk, shape, strict=True)]
    for axis in (2, 1, 0):
        room = SLAB_VOXELS // max(1, math.prod(step) // step[axis])
        step[axis] = min(shape[axis], max(step[axis], room // step[axis] * step[axis]))
    for axis in (0, 1, 2):
        others = math.prod(step) // step[axis]
        step[axis] = max(1, min(step[axis], SLAB_VOXELS // max(1, others)))
    return list(regions(shape, (step[0], step[1], step[2])))


def measure(
    volume: Volume,
    series: Sequence[Series],
    names: Sequence[str],
    listen: Listener,
    stop: threading.Event,
    *,
    check_finite: bool,
) -> dict[str, Any]:
    """Return statistics over all channels and time points that are restored.

    Parameters
    ----------
    volume : Volume
    series : sequence of Series
    names : sequence of str
        Out of ``min``, ``max``, ``mean``, ``std`` and ``percentile:P`` (0 to 100, linear
        interpolation; exact for integers of up to 16 bits, else to 1/65536 of the range),
        ``slices:min`` and ``slices:max``, those of each slice, and ``bound:min`` and
        ``bound:max``, which are the type's limits and need no reading where it is an integer, but
        for the least of signed ones.
    listen : Listener
    stop : threading.Event
        Set from outside to end the run.
    check_finite : bool
        Refuse NaN and infinities.

    Returns
    -------
    dict of str to float, or to list of float
        In the volume's units; of slices a list, all of the first series first.

    Raises
    ------
    InputError
        A value is not finite.
    Interrupted
        `stop` was set.
    """
    floating = volume.header.dtype.kind == "f"
    limits = {} if floating else _limits(volume.header.dtype)
    if not set(names) - set(limits) and not (check_finite and floating):
        return {name: limits[name] for name in names}
    parts = slabs(volume)
    wants_percentile = any(name.startswith("percentile:") for name in names)
    passes = 2 if wants_percentile else 1
    stage = f"measuring {volume.header.path.name}"
    began = time.monotonic()
    listen(StageStarted(stage, passes * len(parts) * len(series), "slabs"))

    num_slices = volume.header.shape[0]
    slices: dict[str, Any] = {
        "slices:min": np.full(len(series) * num_slices, math.inf),
        "slices:max": np.full(len(series) * num_slices, -math.inf),
    }

    def note_slices(number: int, region: Region, read: npt.NDArray[Any]) -> None:
        first = number * num_slices
        where = slice(first + region[0].start, first + region[0].stop)
        lows, highs = slices["slices:min"], slices["slices:max"]
        lows[where] = np.minimum(lows[where], read.min(axis=(1, 2)))
        highs[where] = np.maximum(highs[where], read.max(axis=(1, 2)))

    wants_slices = any(name in slices for name in names)

    def values() -> Iterator[npt.NDArray[Any]]:
        for number, one in enumerate(series):
            for region in parts:
                if stop.is_set():
                    raise Interrupted(f"stopped while {stage}; nothing is written")
                read = volume.read(region, channel=one.channel, timepoint=one.timepoint)
                if check_finite and floating and not np.isfinite(read).all():
                    _refuse(volume, region, read)
                if wants_slices:
                    note_slices(number, region, read)
                yield read
                listen(StageAdvanced(stage))

    low, high, count, total, squares = math.inf, -math.inf, 0, 0.0, 0.0
    origin: float | None = None  # sums about a value of the volume do not cancel
    for part in values():
        low, high = min(low, float(part.min())), max(high, float(part.max()))
        origin = float(part.flat[0]) if origin is None else origin
        centred = part.astype(np.float64) - origin
        count += part.size
        total += float(centred.sum())
        if "std" in names:
            squares += float(np.square(centred, out=centred).sum())
    mean = total / count
    known: dict[str, Any] = {"min": low, "max": high, "mean": mean + (origin or 0.0)}
    known |= {"bound:min": low, "bound:max": high} | limits
    known |= {name: [float(v) for v in found] for name, found in slices.items()}
    known["std"] = math.sqrt(max(0.0, squares / count - mean**2))
    if wants_percentile:
        edges = _edges(low, high, exact=not floating)
        counts = np.zeros(len(edges) - 1, np.int64)
        for part in values():
            counts += np.histogram(part, edges)[0]
        for name in names:
            if name.startswith("percentile:"):
                value = _percentile(float(name.partition(":")[2]), counts, edges)
                known[name] = min(max(value, low), high)
    listen(StageFinished(stage, time.monotonic() - began))
    return {name: known[name] for name in names}


def _limits(dtype: np.dtype[Any]) -> dict[str, float]:
    """Return what is known without reading; the least of signed integers says too little."""
    known = {"bound:max": float(np.iinfo(dtype).max)}
    return known | {"bound:min": 0.0} if dtype.kind == "u" else known


def _edges(low: float, high: float, *, exact: bool) -> npt.NDArray[np.float64]:
    if exact and high - low < HISTOGRAM_BINS:
        return np.arange(low, high + 2) - 0.5
    top = high if high > low else low + 1.0
    return np.linspace(low, top, HISTOGRAM_BINS + 1)


def _percentile(
    percent: float, counts: npt.NDArray[np.int64], edges: npt.NDArray[np.float64]
) -> float:
    """Return a percentile from a histogram, interpolating linearly between ranks."""
    middles = (edges[:-1] + edges[1:]) / 2
    rank = percent / 100 * (counts.sum() - 1)
    ends = np.cumsum(counts)
    below = middles[np.searchsorted(ends, math.floor(rank), side="right")]
    above = middles[np.searchsorted(ends, math.ceil(rank), side="right")]
    return float(below + (above - below) * (rank - math.floor(rank)))


def _refuse(volume: Volume, region: Region, values: npt.NDArray[Any]) -> None:
    bad = ~np.isfinite(values)
    first = tuple(int(i) + part.start for i, part in zip(np.argwhere(bad)[0], region, strict=True))
    raise InputError(
        f"{volume.header.path}: {int(bad.sum())} values that are not finite, the first "
        f"({values[bad][0]}) at z, y, x = {', '.join(map(str, first))}: expected numbers only; "
        f"clean the volume, or pass --nan-to-num"
    )
