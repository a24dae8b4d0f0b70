"""Everything that is found out about a volume, channel by channel, slab by slab."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.quality.against_truth import AgainstTruth
from vemctl.quality.checkerboard import SelfCorrelation
from vemctl.quality.fourier import RingCorrelation
from vemctl.quality.residual import Residuals
from vemctl.quality.rings import cube_of, tile_shape, tiles_of_plane
from vemctl.quality.seams import Seams
from vemctl.quality.similarity import HALO
from vemctl.quality.slabs import Slab
from vemctl.quality.value_checks import ValueFacts, Values
from vemctl.volumes.volume import Array, Header, Region, Triple

PLANES = 4
"""Of a slab, whose Fourier transforms are taken."""
MARGIN = max(HALO, Seams.margin)
"""Voxels around a slab that are read for context."""

Read = Callable[[Region, int, int], Array]
"""Reads a region of a channel at a time point: (region, channel, timepoint) -> (z, y, x)."""


@dataclass(frozen=True)
class Readers:
    """How the volumes of an evaluation are read, all in the voxels of the prediction.

    Attributes
    ----------
    prediction : callable
    truth, source, mask : callable, optional
    """

    prediction: Read
    truth: Read | None = None
    source: Read | None = None
    mask: Read | None = None


@dataclass(frozen=True)
class Tiled:
    """Where the tiles of a result meet.

    Attributes
    ----------
    borders : three sequences of int
        Along z, y and x.
    period : (z, y, x)
        After how many voxels a pattern repeats that scaling has made.
    """

    borders: Sequence[Sequence[int]]
    period: Triple = (1, 1, 1)


@dataclass
class Channel:
    """What is found out about one channel."""

    values: dict[str, Values]
    seams: Seams | None
    curves: dict[str, Any]
    residual: Residuals | None
    cubes: list[tuple[int, Region]] = field(default_factory=list)


class Evaluation:
    """Judges a prediction from slabs of it, and of what there is to compare it with.

    Parameters
    ----------
    header : Header
        Of the prediction.
    types : mapping of str to numpy.dtype
        Of ``"prediction"`` and, where they are there, ``"truth"`` and ``"input"``.
    readers : Readers
    tiled : Tiled, optional
        Where tiles meet, if that is known.
    data_range : float
        From the smallest possible value to the largest.
    largest : (z, y, x)
        Size of the largest slab.
    """

    def __init__(
        self,
        header: Header,
        types: Mapping[str, np.dtype[Any]],
        readers: Readers,
        tiled: Tiled | None,
        data_range: float,
        largest: Triple,
    ) -> None:
        self._header = header
        self._tile = tile_shape(largest[1:])
        self._types = types
        self._read = readers
        self._tiled = tiled
        self._channels: dict[int, Channel] = {}
        self._truth = AgainstTruth(data_range) if readers.truth else None

    def look(self, slab: Slab) -> None:
        """Read a slab and take note of what is in it."""
        read, where = self._read, (slab.channel, slab.timepoint)
        channel = self._channels.get(slab.channel)
        if channel is None:
            channel = self._channels[slab.channel] = self._begin(slab)
        region = slab.grown(MARGIN, self._header.shape)
        inner = slab.within(region)
        prediction = read.prediction(region, *where)
        own = prediction[inner]
        channel.values["prediction"].add(own)
        if channel.seams is not None:
            channel.seams.add(region, prediction, slab.region)
        truth = None
        if read.truth is not None and self._truth is not None:
            truth = read.truth(region, *where)
            mask = None if read.mask is None else is_in(read.mask(region, *where))
            self._truth.add(slab, truth, prediction, inner, mask)
            truth = truth[inner]
            channel.values["truth"].add(truth)
            self._compare_cube(channel, slab)
        if read.source is not None and channel.residual is not None:
            source = read.source(slab.region, *where)
            channel.values["input"].add(source)
            channel.residual.add(source, own)
        self._compare_planes(channel, own, truth)

    def _begin(self, slab: Slab) -> Channel:
        """Return what takes note of a channel, of which this is the first slab."""
        header, compared = self._header, self._read.truth is not None
        size = header.voxel_size
        curves: dict[str, Any] = {}
        if (tile := self._tile) is not None:
            lateral = None if size is None else size[1:]
            if compared:
                curves["frc"] = RingCorrelation(tile, lateral)
            curves["single_image_frc"] = SelfCorrelation(tile, lateral)
        cube = cube_of(slab.region, header.shape)
        if cube is not None and compared:
            shape = [side.stop - side.start for side in cube]
            curves["fsc"] = RingCorrelation(shape, size)
        tiled = self._tiled
        return Channel(
            values={name: Values(dtype) for name, dtype in self._types.items()},
            seams=Seams(tiled.borders, header.shape, tiled.period) if tiled else None,
            curves=curves,
            residual=None if self._read.source is None else Residuals(),
        )

    def _compare_planes(self, channel: Channel, prediction: Array, truth: Array | None) -> None:
        """Correlate a few planes of a slab with the truth, and with themselves."""
        if self._tile is None:
            return
        depth, height, width = prediction.shape
        for plane in sorted({depth * (2 * n + 1) // (2 * PLANES) for n in range(PLANES)}):
            for tile in tiles_of_plane((height, width), tile=self._tile):
                channel.curves["single_image_frc"].add(prediction[plane][tile])
                if truth is not None:
                    channel.curves["frc"].add(truth[plane][tile], prediction[plane][tile])

    def _compare_cube(self, channel: Channel, slab: Slab) -> None:
        """Correlate a cube around a slab with the truth, unless an earlier one has part of it."""
        cube = cube_of(slab.region, self._header.shape)
        if cube is None or "fsc" not in channel.curves or self._read.truth is None:
            return
        taken = (before for timepoint, before in channel.cubes if timepoint == slab.timepoint)
        if any(_overlap(cube, before) for before in taken):
            return
        channel.cubes.append((slab.timepoint, cube))
        where = (slab.channel, slab.timepoint)
        channel.curves["fsc"].add(
            self._read.truth(cube, *where), self._read.prediction(cube, *where)
        )

    def to_json(self) -> dict[str, Any]:
        """Return what was found as JSON types; see docs/quality.md."""
        warnings: list[str] = []
        several = len(self._channels) > 1
        scores = {} if self._truth is None else self._truth.channels()
        channels = []
        for number, channel in sorted(self._channels.items()):
            curves = {name: _curve(each) for name, each in channel.curves.items()}
            found = channel.seams.result() if channel.seams else None
            removed = channel.residual.result() if channel.residual else None
            values = {name: each.result() for name, each in channel.values.items()}
            prefix = f"channel {number}: " if several else ""
            warnings += [prefix + text for text in _value_warnings(values)]
            for name, each in channel.curves.items():
                if each.skipped:
                    text = (
                        f"{name}: {each.skipped} of {each.skipped + each.added} parts are left out"
                    )
                    warnings.append(f"{prefix}{text}, for they have NaN or infinite voxels")
            channels.append(
                {
                    "channel": number,
                    "scores": plain(scores[number]) if number in scores else None,
                    "curves": plain(curves),
                    "residual": removed and plain(removed.to_json()),
                    "seams": found and plain(found.to_json()),
                    "values": {name: plain(each.to_json()) for name, each in values.items()},
                }
            )
        if self._truth is not None:
            warnings += self._truth.notes
            if math.isinf(self._truth.overall()["psnr"]):
                warnings.append("psnr: infinite, for the volumes are equal where they count")
        borders = self._tiled and dict(zip("zyx", map(len, self._tiled.borders), strict=True))
        return {
            "tile_borders": borders,
            "overall": None if self._truth is None else plain(self._truth.overall()),
            "channels": channels,
            "slices": []
            if self._truth is None
            else [plain(asdict(each)) for each in self._truth.slices()],
            "warnings": warnings,
        }


def is_in(mask: Array) -> npt.NDArray[np.bool_]:
    """Return which voxels count by a mask: those that are not 0, and not NaN either."""
    counted: npt.NDArray[np.bool_] = mask != 0
    if mask.dtype.kind == "f":
        counted &= ~np.isnan(mask)
    return counted


def _overlap(one: Region, other: Region) -> bool:
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True))


def _curve(correlation: RingCorrelation | SelfCorrelation) -> dict[str, Any]:
    """Return a curve as JSON types; its verdict says if nothing could be compared."""
    found = correlation.curve().to_json()
    if correlation.skipped and not correlation.added:
        found["verdict"] = "not judged: there are NaN or infinite voxels everywhere"
    return found


def _value_warnings(values: Mapping[str, ValueFacts]) -> list[str]:
    """Return what is odd about the values of the volumes, of the prediction beside the others."""
    texts = values["prediction"].warnings(
        "prediction", source=values.get("input"), truth=values.get("truth")
    )
    for name in ("input", "truth"):
        texts += values[name].warnings(name) if name in values else []
    return texts


def plain(value: Any) -> Any:
    """Return JSON types for JSON types and tuples; what is not finite becomes None."""
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
