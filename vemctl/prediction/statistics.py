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
from vemctl.plugin import Triple
from vemctl.prediction.accumulators import PERCENTILE, SERIES, Slices, Totals
from vemctl.prediction.percentiles import Percentiles
from vemctl.prediction.plan import Series, regions
from vemctl.tiles.grid import Region
from vemctl.volumes.volume import Volume

SLAB_VOXELS = 2**24
DEEP_BYTES = 2**29
"""Up to which a slab of whole planes is as deep as a chunk: thinner, and chunks are decoded anew
for every slab. A block's memory is planned apart: it is taken when this has been given back."""


def slabs(volume: Volume, *, whole_planes: bool = False) -> list[Region]:
    """Return regions that cover `volume`, each of whole chunks where that is small enough.

    Parameters
    ----------
    volume : Volume
    whole_planes : bool
        Planes are not cut, however large they are; slabs are as deep as chunks, up to 512 MiB.
    """
    shape, chunk = volume.header.shape, volume.header.chunk_shape
    step = [min(c, n) for c, n in zip(chunk, shape, strict=True)]
    if whole_planes:
        return list(_thick_slabs(shape, step[0], volume.header.dtype.itemsize))
    for axis in (2, 1, 0):
        room = SLAB_VOXELS // max(1, math.prod(step) // step[axis])
        step[axis] = min(shape[axis], max(step[axis], room // step[axis] * step[axis]))
    for axis in range(3):
        others = math.prod(step) // step[axis]
        step[axis] = max(1, min(step[axis], SLAB_VOXELS // max(1, others)))
    return list(regions(shape, (step[0], step[1], step[2])))


def _thick_slabs(shape: Triple, chunk_depth: int, itemsize: int) -> Iterator[Region]:
    """Yield slabs of whole planes, of several chunks' depth, of one, or of equal parts of one."""
    depth, height, width = shape
    plane = height * width
    several = SLAB_VOXELS // plane // chunk_depth * chunk_depth
    most = max(1, DEEP_BYTES // (plane * itemsize))
    step = several or math.ceil(chunk_depth / math.ceil(chunk_depth / most))
    whole = max(several, chunk_depth)
    for first in range(0, depth, whole):
        inside = slice(first, min(first + whole, depth)), slice(0, height), slice(0, width)
        yield from regions(shape, (step, height, width), inside)


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
        interpolation; exact for types of up to 32 bits, those of 64 bits to the precision of
        float32, whatever the range and its outliers);
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
    ranks = Percentiles(percentiles, len(series), volume.header.dtype)
    listen(StageStarted(stage, max(1, ranks.passes) * len(parts) * len(series), "slabs"))

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
        ranks.count(number, part)
    ranks.narrow()
    if ranks.passes > 1:
        for number, _, part in values():
            ranks.refine(number, part)
    known = totals.found() | limits | slices.found() | ranks.found(totals)
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
