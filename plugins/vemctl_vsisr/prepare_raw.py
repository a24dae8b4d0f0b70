"""Raw files to volumes that a network is run on: phases, reflecting plane, shear, range.

Slices are read, made and written one by one: for the reflecting plane, for the range, and to be
written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vemctl.errors import InputError
from vemctl.plugin import (
    PreparationRequest,
    Progress,
    Triple,
    Workplace,
    prepared_names,
)
from vemctl_vsisr.counts import Extremes, crop_rows, to_counts
from vemctl_vsisr.deskewed_volume import Counts, DeskewedVolume, Section
from vemctl_vsisr.midplane import MidplaneRemoval
from vemctl_vsisr.prepare_memory import waiting_bytes
from vemctl_vsisr.prepare_options import RAW_NAMES, PrepareOptions, preset_of
from vemctl_vsisr.prepare_spacing import warn_of_oblong
from vemctl_vsisr.proportions import COUNTS

RAW = "raw"
LEVEL = re.compile(RAW_NAMES)
LIGHT = re.compile(r"Illum(\d+)|_Ch(\d+)")
"""What names of the authors' microscope tell of the light."""
DTYPE = "uint16"
MIDPLANE_BYTES = 150
"""Per pixel of a section, for masks that are shifted and turned."""


class RawPreparation:
    """Makes a volume of every channel at every time point of raw files.

    Parameters
    ----------
    options : PrepareOptions
    request : PreparationRequest

    Raises
    ------
    OptionError, InputError
        The options do not fit the files.
    """

    def __init__(self, options: PrepareOptions, request: PreparationRequest) -> None:
        self._options = options
        facts = request.patches.facts(RAW)
        self._names = prepared_names(request.names[RAW], facts)
        self._volumes = [
            DeskewedVolume(options, request, RAW, index) for index in range(len(facts))
        ]
        self._rows = [self._kept_rows(volume) for volume in self._volumes]
        self._preset = preset_of(options)
        if len({each.channel for each in facts}) > 1:
            request.warn(
                "there are several channels: those of each are in a folder of its own, c0, c1 and "
                "so on, to be restored one after the other"
            )
        if options.raw_pattern is None:
            _warn_of_no_series(request)
        warn_of_oblong(((v.name, v.voxel_size) for v in self._volumes), request.warn)
        self._request = request

    def plan(self) -> Mapping[str, Any]:
        """Return which volumes will be made of which files."""
        shapes = [self._shape(number) for number in range(len(self._volumes))]
        held = [
            volume.memory() + waiting_bytes(shape) + self._midplane_memory(volume)
            for volume, shape in zip(self._volumes, shapes, strict=True)
        ]
        return {
            "volumes": [
                {
                    "name": f"{name}.zarr",
                    "file": volume.name,
                    "channel": volume.facts.channel,
                    "timepoint": volume.facts.timepoint,
                    "shape": list(shape),
                    "voxel_size": _listed(volume.voxel_size),
                }
                for name, volume, shape in zip(self._names, self._volumes, shapes, strict=True)
            ],
            "dtype": DTYPE,
            "uncompressed_bytes": sum(2 * z * y * x for z, y, x in shapes),
            "memory_bytes": max(held),
        }

    def run(self, place: Workplace) -> Mapping[str, Any]:
        """Write the volumes."""
        options = self._options
        progress = Progress(place.advance, "preparing", self._num_parts())
        common: Extremes | None = None
        if options.common_range:
            common = Extremes()
            for volume in self._volumes:
                found = self._measured(volume, progress)[0]
                common.add(np.array([found.low, found.high]))
        records = []
        for number, volume in enumerate(self._volumes):
            extremes = common
            if common is None and options.normalise:
                extremes, record = self._measured(volume, progress)
            else:
                record = self._remove_midplane(volume, progress)
            record |= {} if extremes is None else {"low": extremes.low, "high": extremes.high}
            self._write(number, extremes, place, progress)
            records.append({"name": f"{self._names[number]}.zarr", "file": volume.name, **record})
        progress.finish()
        return {"volumes": records}

    def _measured(
        self, volume: DeskewedVolume, progress: Progress
    ) -> tuple[Extremes, dict[str, Any]]:
        record = self._remove_midplane(volume, progress)
        extremes = volume.measured(progress)
        if not extremes.high > extremes.low:
            self._request.warn(
                f"{volume.name}: nothing in it is above the background of "
                f"{self._options.background:g} counts, or all of it is one value"
                + ("" if self._options.common_range else "; its result is 0 all over")
            )
        if self._options.common_range:
            volume.correct = None  # masks of every time point would fill the memory
        return extremes, record

    def _remove_midplane(self, volume: DeskewedVolume, progress: Progress) -> dict[str, Any]:
        """Find the reflecting plane, and have it removed from all slices to come."""
        if self._preset is None:
            return {}

        def read(first: int, count: int) -> Section:
            progress()
            return volume.sections(first, count)

        found = MidplaneRemoval.fit(
            read,
            volume.source_shape,
            self._preset,
            background=self._options.background,
            drift_tracking=self._options.midplane_drift or "original",
        )
        volume.correct = found.apply
        return {
            "midplane": {
                "shift": int(found.shift),
                "tilt": float(found.tilt),
                "ratio": float(found.ratio),
                "drift": [int(found.drift.min()), int(found.drift.max())],
            }
        }

    def _write(
        self, number: int, extremes: Extremes | None, place: Workplace, progress: Progress
    ) -> None:
        volume, rows = self._volumes[number], self._rows[number]
        made = place.make_volume(self._names[number], self._shape(number), DTYPE, volume.voxel_size)
        for index in range(volume.shape[0]):
            progress()
            plane = volume.plane(index)[rows]
            if extremes is None:
                counts = _rounded(plane)
            else:
                counts = to_counts(plane, extremes.low, extremes.high)
            made.append(counts[None])
        made.close()
        volume.correct = None

    def _num_parts(self) -> int:
        slices = sum(volume.shape[0] for volume in self._volumes)
        passes = 1.0 + self._options.normalise
        if self._preset is not None:
            passes += 2.5 * (1 + self._options.common_range)
        return round(passes * slices)

    def _shape(self, number: int) -> Triple:
        depth, _, width = self._volumes[number].shape
        rows = self._rows[number]
        return depth, rows.stop - rows.start, width

    def _kept_rows(self, volume: DeskewedVolume) -> slice:
        _, length, width = volume.shape
        if not self._options.crop:
            return slice(0, length)
        if length <= width:
            raise InputError(
                f"{volume.name}: its slices have {length} rows along the deskewed axis, and "
                f"{width} columns: expected more rows for --crop; leave it out"
            )
        return crop_rows(length, width)

    def _midplane_memory(self, volume: DeskewedVolume) -> int:
        if self._preset is None:
            return 0
        _, rows, length = volume.source_shape
        return MIDPLANE_BYTES * rows * length


def _warn_of_no_series(request: PreparationRequest) -> None:
    """Tell of files whose names differ in more than time, though they would be a series."""
    names = [Path(file).name for file in request.names[RAW]]
    levels = {match[1] for name in names if (match := LEVEL.search(name))}
    if len(levels) > 1:
        request.warn(
            f"the files are of the signal-to-noise levels {', '.join(sorted(levels))}, and no "
            rf"time series: choose one, such as with --raw-pattern _St{min(levels)}\.mrc$"
        )
    lights = {tuple(match[0] for match in LIGHT.finditer(name)) for name in names}
    if len(lights) > 1:
        told = sorted("".join(words) or "none" for words in lights)
        one = ".*".join(max(lights)) + (r".*_St\d+\.mrc$" if levels else "")
        request.warn(
            f"the files are of several channels by their names, {', '.join(told)}, and no time "
            f"series: choose one, such as with --raw-pattern {one}"
        )


def _rounded(plane: Section) -> Counts:
    """Round halves up, and clip to 16 bit."""
    counts: Counts = np.floor(plane + 0.5).clip(0, COUNTS).astype(np.uint16)
    return counts


def _listed(size: tuple[float, float, float] | None) -> list[float] | None:
    return None if size is None else list(size)
