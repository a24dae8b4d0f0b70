"""The volumes of an evaluation: opened, cut alike, and what does not fit explained."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vemctl.errors import InputError, OptionError, VemctlError
from vemctl.volumes.open import open_volume
from vemctl.volumes.provenance import read_provenance
from vemctl.volumes.view import crop
from vemctl.volumes.volume import Array, Header, Region, Triple, Volume
from vemctl.workflows.evaluate_checks import check_mask, check_same, counted, odd_places, shown
from vemctl.workflows.evaluate_options import EvaluateRequest
from vemctl.workflows.recorded_input import input_options, input_paths, open_recorded
from vemctl.workflows.sources import chosen, parse_roi

UNJUDGED = "what was removed is not judged"


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
    _check_needs_truth(request)
    with contextlib.ExitStack() as stack:

        def opened(path: Path, **facts: Any) -> Volume:
            volume = _open_like(path, request.axes, **facts)
            stack.callback(volume.close)
            return volume

        whole = opened(request.prediction, level=request.level)
        header = whole.header
        region = _whole(header) if request.roi is None else parse_roi(request.roi, header)
        timepoints = chosen("timepoint", request.timepoint, header.num_timepoints, header)
        channels = chosen("channel", request.channel, header.num_channels, header)
        provenance = read_provenance(request.prediction) or {}
        notes: list[str] = []

        asked = {"channel": channels, "timepoint": timepoints}

        recorded = _recorded_series(provenance)

        def beside(volume: Volume, name: str, given: Mapping[str, int | None]) -> Companion:
            headers = header, volume.header
            pairs = {
                axis: _paired(axis, numbers, *headers, name, given.get(axis), recorded[axis])
                for axis, numbers in asked.items()
            }
            part = crop(volume, _flat(region, volume.header))
            return Companion(part, pairs["channel"], pairs["timepoint"])

        truth = mask = None
        if request.truth is not None:
            volume = opened(request.truth, level=request.truth_level)
            if request.truth_roi is not None:
                volume = crop(volume, _truth_region(request.truth_roi, volume.header))
            check_same(header, volume.header, provenance, given=request.truth_roi is not None)
            notes += odd_places(header, volume.header)
            wanted = {"channel": request.truth_channel, "timepoint": request.truth_timepoint}
            truth = beside(volume, "truth", wanted)
        if request.mask is not None:
            volume = opened(request.mask)
            check_mask(header, volume.header)
            mask = beside(volume, "mask", {})
        source = None
        restored = _source(request, provenance, header, stack)
        if isinstance(restored, str):
            notes.append(f"{UNJUDGED}: {restored}")
        elif restored is not None:
            try:
                source = beside(restored, "input", {})
            except InputError:
                if request.source is not None:
                    raise
                notes.append(f"{UNJUDGED}: its input has other channels or time points")
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


def _check_needs_truth(request: EvaluateRequest) -> None:
    """Refuse options of the truth where there is none."""
    usual = EvaluateRequest(request.prediction)
    for name in ("truth_roi", "truth_level", "truth_channel", "truth_timepoint", "mask"):
        if request.truth is None and getattr(request, name) != getattr(usual, name):
            flag = name.replace("_", "-")
            raise OptionError(
                f"--{flag} {getattr(request, name)}: there is no TRUTH to compare with; leave it "
                "out"
            )


def _open_like(path: Path, axes: str | None, **facts: Any) -> Volume:
    """Open a volume, with the axes that the user names where its file does not say."""
    try:
        return open_volume(path, **facts)
    except InputError:
        if axes is None:
            raise
        return open_volume(path, axes=axes, **facts)


def _recorded_series(provenance: Mapping[str, Any]) -> dict[str, int | None]:
    """Return which one channel and time point were restored, if the output is of one."""
    options = input_options(provenance)
    return {
        name: int(options[name]) if str(options.get(name, "all")).isdecimal() else None
        for name in ("channel", "timepoint")
    }


def _paired(
    axis: str,
    asked: Sequence[int],
    header: Header,
    other: Header,
    name: str,
    given: int | None,
    recorded: int | None,
) -> dict[int, int]:
    """Return which channel or time point of another volume belongs to which of the prediction.

    As many are paired by their numbers, a single one with a single one; of several for a single
    one the user or the provenance must say which.
    """
    own, there = (getattr(each, f"num_{axis}s") or 1 for each in (header, other))
    if given is not None:
        if given >= there or len(asked) != 1:
            raise OptionError(
                f"--truth-{axis} {given}: {other.path} has {counted(there, axis)}, and one is "
                f"compared with {counted(len(asked), axis)} of {header.path}; expected 0 to "
                f"{there - 1}, and one with --{axis}"
            )
        return dict.fromkeys(asked, given)
    if own == there:
        return {number: number for number in asked}
    if there == 1 and (len(asked) == 1 or name == "mask"):
        return dict.fromkeys(asked, 0)
    if own == 1 and recorded is not None and recorded < there:
        return dict.fromkeys(asked, recorded)
    cure = f"choose one with --{axis}" if there == 1 else "give that one alone"
    if name == "truth" and there > 1:
        cure = f"choose one of the truth with --truth-{axis}, 0 to {there - 1}"
        if len(asked) > 1:
            cure += f", and one of the prediction with --{axis}"
    raise InputError(
        f"{other.path}: the {name} has {counted(there, axis)}, {header.path} has "
        f"{counted(own, axis)}; expected as many: {cure}"
    )


def _source(
    request: EvaluateRequest,
    provenance: Mapping[str, Any],
    header: Header,
    stack: contextlib.ExitStack,
) -> Volume | str | None:
    """Return what was restored, why it cannot be compared, or None if nobody knows it."""
    if request.source is not None:
        with contextlib.suppress(VemctlError):  # what was restored, at another place
            volume = open_recorded(provenance, request.source)
            stack.callback(volume.close)
            return _voxels_alike(volume, header)
        volume = _open_like(request.source, request.axes)
        stack.callback(volume.close)
        if volume.header.shape != header.shape:
            raise InputError(
                f"{request.source}: the input has {shown(volume.header.shape)} voxels, "
                f"{header.path} has {shown(header.shape)}; expected as many, or the very volume "
                "that was restored: leave --input out, or give that part"
            )
        return volume
    paths = input_paths(provenance)
    if not paths:
        return None
    if len(paths) > 1:
        return "the output was made of several inputs"
    try:
        volume = open_recorded(provenance)
    except VemctlError as error:  # the prediction is judged; what is wrong here does not end that
        return f"{error} (--input names another place)"
    stack.callback(volume.close)
    return _voxels_alike(volume, header)


def _voxels_alike(volume: Volume, header: Header) -> Volume | str:
    alike = volume.header.shape == header.shape
    return volume if alike else "the output has other voxels than its input"
