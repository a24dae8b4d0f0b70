"""Whole-volume statistics, streamed once before a prediction."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.errors import InputError, Interrupted
from vemctl.events import Listener, StageAdvanced, StageFinished, StageStarted
from vemctl.prediction.accumulators import PERCENTILE, SERIES, Histograms, Slices, Totals
from vemctl.prediction.plan import Series, regions
from vemctl.tiles.grid import Region
from vemctl.volumes.volume import Volume

SLAB_VOXELS = 2**24


def slabs(volume: Volume, *, whole_planes: bool = False) -> list[Region]:
    """Return regions that cover `volume`, each of whole chunks where that is small enough.

    Parameters
    ----------
    volume : Volume
    whole_planes : bool
        Planes are not cut, however large they are.
    """
    shape, chunk = volume.header.shape, volume.header.chunk_shape
    step = [min(c, n) for c, n in zip(chunk, shape, strict=True)]
    fixed = (1, 2) if whole_planes else ()
    for axis in fixed:
        step[axis] = shape[axis]
    free = [axis for axis in (2, 1, 0) if axis not in fixed]
    for axis in free:
        room = SLAB_VOXELS // max(1, math.prod(step) // step[axis])
        step[axis] = min(shape[axis], max(step[axis], room // step[axis] * step[axis]))
    for axis in reversed(free):
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
        interpolation; exact for integers of up to 16 bits, else to 1/65536 of the range);
        ``bound:min`` and ``bound:max``, which are the type's limits and need no reading where it
        is an integer, but for the least of signed ones; ``slices:min``, ``slices:max`` and
        ``slices:mean-above:P``, those of each slice; ``series:min``, ``series:max`` and
        ``series:percentile:P``, those of each series.
    listen : Listener
    stop : threading.Event
        Set from outside to end the run.
    check_finite : bool
        Refuse NaN and infinities.

    Returns
    -------
    dict of str to float, or to list of float
        In the volume's units; of slices and series a list, those of the first series first.

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
    slices = Slices(names, len(series), volume.header.shape[0])
    parts = slabs(volume, whole_planes=slices.need_planes)
    percentiles = [n for n in names if n.removeprefix(SERIES).startswith(PERCENTILE)]
    stage = f"measuring {volume.header.path.name}"
    began = time.monotonic()
    passes = 2 if percentiles else 1
    listen(StageStarted(stage, passes * len(parts) * len(series), "slabs"))

    def values() -> Iterator[tuple[int, int, npt.NDArray[Any]]]:
        for number, one in enumerate(series):
            for region in parts:
                if stop.is_set():
                    raise Interrupted(f"stopped while {stage}; nothing is written")
                read = volume.read(region, channel=one.channel, timepoint=one.timepoint)
                if check_finite and floating and not np.isfinite(read).all():
                    _refuse(volume, region, read)
                yield number, region[0].start, read
                listen(StageAdvanced(stage))

    totals = Totals(len(series), squares="std" in names)
    for number, first, part in values():
        totals.add(number, part)
        slices.add(number, first, part)
    known = totals.found() | limits | slices.found()
    if percentiles:
        histograms = Histograms(percentiles, totals, exact=not floating)
        for number, _, part in values():
            histograms.add(number, part)
        known |= histograms.found()
    listen(StageFinished(stage, time.monotonic() - began))
    return {name: known[name] for name in names}


def facts_of(
    measured: Mapping[str, Any], num_slices: int, numbers: Sequence[int]
) -> dict[str, Any]:
    """Return what was measured as the fields of `VolumeFacts`, for some of the series.

    Parameters
    ----------
    measured : mapping
        What `measure` returned.
    num_slices : int
        Of a series.
    numbers : sequence of int
        Of the series that are wanted, in their order.
    """
    facts: dict[str, Any] = {"statistics": {}, "slices": {}, "each_series": {}}
    for name, value in measured.items():
        if not isinstance(value, list):
            facts["statistics"][name] = value
        elif name.startswith(SERIES):
            facts["each_series"][name] = [value[number] for number in numbers]
        else:
            starts = [number * num_slices for number in numbers]
            facts["slices"][name] = [v for s in starts for v in value[s : s + num_slices]]
    return facts


def _limits(dtype: np.dtype[Any]) -> dict[str, float]:
    """Return what is known without reading; the least of signed integers says too little."""
    known = {"bound:max": float(np.iinfo(dtype).max)}
    return known | {"bound:min": 0.0} if dtype.kind == "u" else known


def _refuse(volume: Volume, region: Region, values: npt.NDArray[Any]) -> None:
    bad = ~np.isfinite(values)
    first = tuple(int(i) + part.start for i, part in zip(np.argwhere(bad)[0], region, strict=True))
    raise InputError(
        f"{volume.header.path}: {int(bad.sum())} values that are not finite, the first "
        f"({values[bad][0]}) at z, y, x = {', '.join(map(str, first))}: expected numbers only; "
        f"clean the volume, or pass --nan-to-num"
    )
