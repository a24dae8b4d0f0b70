"""The volumes of an evaluation: opened, cut alike, and what does not fit explained."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vemctl.errors import InputError, OptionError, VemctlError
from vemctl.volumes.open import open_volume
from vemctl.volumes.provenance import read_provenance
from vemctl.volumes.view import crop, one_series
from vemctl.volumes.volume import Array, Header, Region, Triple, Volume
from vemctl.workflows.evaluate_checks import check_mask, check_same, odd_places, shown
from vemctl.workflows.evaluate_options import EvaluateRequest
from vemctl.workflows.recorded_input import input_options, input_paths, open_recorded
from vemctl.workflows.sources import chosen, parse_roi


@dataclass(frozen=True)
class Companion:
    """A volume that is read where the prediction is.

    Attributes
    ----------
    volume : Volume
        Of the prediction's shape, or one plane for all.
    channels, timepoints : mapping of int to int
        Which of its own belongs to which of the prediction.
    """

    volume: Volume
    channels: Mapping[int, int]
    timepoints: Mapping[int, int]

    def at(self, region: Region, channel: int, timepoint: int) -> Array:
        """Read what lies at a region of the prediction, (z, y, x)."""
        volume, (planes, *window) = self.volume, region
        one_for_all = volume.header.shape[0] == 1
        if one_for_all:
            planes = slice(0, 1)
        found = volume.read(
            (planes, window[0], window[1]),
            channel=self.channels[channel],
            timepoint=self.timepoints[timepoint],
        )
        depth = region[0].stop - region[0].start
        return np.broadcast_to(found, (depth, *found.shape[1:])) if one_for_all else found


@dataclass(frozen=True)
class Judged:
    """The volumes of an evaluation.

    Attributes
    ----------
    prediction : Volume
        After the region of interest was taken.
    origin : (z, y, x)
        Where that begins in the whole prediction.
    whole_shape : (z, y, x)
        Of the whole prediction.
    series : tuple of (timepoint, channel)
    truth, source, mask : Companion, optional
    provenance : dict
        Of the prediction; empty if vemctl did not make it.
    notes : tuple of str
        Why something is not judged, and what is odd.
    """

    prediction: Volume
    origin: Triple
    whole_shape: Triple
    series: tuple[tuple[int, int], ...]
    truth: Companion | None
    source: Companion | None
    mask: Companion | None
    provenance: dict[str, Any]
    notes: tuple[str, ...]


@contextlib.contextmanager
def open_judged(request: EvaluateRequest) -> Iterator[Judged]:
    """Open the volumes of an evaluation; close them afterwards.

    Raises
    ------
    InputError
        A file is missing or unusable, or shows another part or another size of the specimen.
    OptionError
        A region, channel or time point is not in the volume.
    """
    with contextlib.ExitStack() as stack:

        def opened(path: Path, **facts: Any) -> Volume:
            volume = open_volume(path, **facts)
            stack.callback(volume.close)
            return volume

        whole = opened(request.prediction, axes=request.axes, level=request.level)
        header = whole.header
        region = _whole(header) if request.roi is None else parse_roi(request.roi, header)
        timepoints = chosen("timepoint", request.timepoint, header.num_timepoints, header)
        channels = chosen("channel", request.channel, header.num_channels, header)
        provenance = read_provenance(request.prediction) or {}
        notes: list[str] = []

        def beside(volume: Volume, name: str) -> Companion:
            return Companion(
                crop(volume, _flat(region, volume.header)),
                _paired(channels, volume.header.num_channels, header, volume.header, name),
                _paired(timepoints, volume.header.num_timepoints, header, volume.header, name),
            )

        truth = mask = None
        if request.truth is not None:
            volume = opened(request.truth, level=request.truth_level)
            if request.truth_roi is not None:
                volume = crop(volume, _truth_region(request.truth_roi, volume.header))
            check_same(header, volume.header, provenance, given=request.truth_roi is not None)
            notes += odd_places(header, volume.header)
            truth = beside(volume, "the truth")
        elif request.truth_roi is not None:
            raise OptionError(f"--truth-roi {request.truth_roi}: there is no TRUTH; leave it out")
        if request.mask is not None:
            volume = opened(request.mask)
            check_mask(header, volume.header)
            mask = beside(volume, "the mask")
        source = None
        restored = _source(request, provenance, header, stack)
        if isinstance(restored, str):
            notes.append(f"{restored}: what was removed is not judged")
        elif restored is not None:
            try:
                source = beside(restored, "the input")
            except InputError:
                if request.source is not None:
                    raise
                notes.append("its input has other time points: what was removed is not judged")
        yield Judged(
            crop(whole, region),
            (region[0].start, region[1].start, region[2].start),
            header.shape,
            tuple((t, c) for t in timepoints for c in channels),
            truth,
            source,
            mask,
            provenance,
            tuple(notes),
        )


def _whole(header: Header) -> Region:
    z, y, x = (slice(0, n) for n in header.shape)
    return z, y, x


def _flat(region: Region, header: Header) -> Region:
    """Return the region in a volume that may have one plane for all."""
    return (slice(0, 1), *region[1:]) if header.shape[0] == 1 else region


def _truth_region(text: str, header: Header) -> Region:
    try:
        return parse_roi(text, header)
    except OptionError as error:
        raise OptionError(str(error).replace("--roi", "--truth-roi")) from None


def _paired(
    asked: list[int], there: int | None, header: Header, other: Header, name: str
) -> dict[int, int]:
    """Return which channel or time point of another volume belongs to which of the prediction."""
    count = there or 1
    if count == 1 and (len(asked) == 1 or name == "the mask"):
        return dict.fromkeys(asked, 0)
    if asked[-1] < count:
        return {number: number for number in asked}
    raise InputError(
        f"{other.path}: {name} has {other.num_channels or 1} channels and "
        f"{other.num_timepoints or 1} time points, {header.path} has {header.num_channels or 1} "
        f"and {header.num_timepoints or 1}; expected as many: choose one with --channel or "
        "--timepoint"
    )


def _source(
    request: EvaluateRequest,
    provenance: Mapping[str, Any],
    header: Header,
    stack: contextlib.ExitStack,
) -> Volume | str | None:
    """Return what was restored, why it cannot be compared, or None if nobody knows it."""
    if request.source is not None:
        volume = open_volume(request.source)
        stack.callback(volume.close)
        if volume.header.shape != header.shape:
            raise InputError(
                f"{request.source}: the input has {shown(volume.header.shape)} voxels, "
                f"{header.path} has {shown(header.shape)}; expected as many: leave --input out, "
                "or give that part"
            )
        return volume
    paths, options = input_paths(provenance), input_options(provenance)
    if not paths:
        return None
    if len(paths) > 1:
        return "it was made of several inputs"
    try:
        volume = open_recorded(provenance)
    except VemctlError as error:  # the prediction is judged; what is wrong here does not end that
        return f"{error} (--input names another place)"
    stack.callback(volume.close)
    if volume.header.shape != header.shape:
        return "it has other voxels than its input"
    one = {
        name: None if options.get(name, "all") == "all" else int(options[name])
        for name in ("channel", "timepoint")
    }
    return one_series(volume, **one)
