"""Inputs of a prediction: opened, cut to the region of interest, channels chosen."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vemctl.errors import InputError, OptionError
from vemctl.plugin import TimeWindow
from vemctl.prediction.plan import Series
from vemctl.volumes.fingerprint import fingerprint  # noqa: F401 - known here too
from vemctl.volumes.open import open_volume
from vemctl.volumes.view import crop, in_time, replace_nonfinite
from vemctl.volumes.volume import Header, Region, Volume
from vemctl.workflows.options import InputOptions


@dataclass(frozen=True)
class Sources:
    """The inputs of a prediction.

    Attributes
    ----------
    volumes : tuple of Volume
        One per input of the method, of one shape.
    series : tuple of Series
        What is restored, each as a volume of its own.
    axes : str
        Of the output: the input's, less those of which one position was chosen.
    seen : tuple of Volume
        What a network call reads of: the volumes, each once per time point that is seen at once.
    """

    volumes: tuple[Volume, ...]
    series: tuple[Series, ...]
    axes: str
    seen: tuple[Volume, ...]

    @property
    def header(self) -> Header:
        """The first input's header, after the region of interest was taken."""
        return self.volumes[0].header


@contextlib.contextmanager
def open_sources(
    paths: Sequence[Path], names: Sequence[str], options: InputOptions
) -> Iterator[Sources]:
    """Open the inputs `paths`, called `names` by the method; close them afterwards.

    Raises
    ------
    InputError
        A file is missing or unusable, or the inputs differ in shape.
    OptionError
        The region of interest, channel or time point is not in the volume.
    """
    with contextlib.ExitStack() as stack:
        volumes: list[Volume] = []
        for path in paths:
            volume = open_volume(path, axes=options.axes, level=options.level)
            stack.callback(volume.close)
            if options.roi is not None:
                volume = crop(volume, parse_roi(options.roi, volume.header))
            if options.nan_to_num:
                volume = replace_nonfinite(volume)
            volumes.append(volume)
        first = volumes[0].header
        for name, volume in zip(names[1:], volumes[1:], strict=True):
            header = volume.header
            for what in ("shape", "num_channels", "num_timepoints"):
                if getattr(header, what) != getattr(first, what):
                    raise InputError(
                        f"{header.path}: {name} has {what.replace('num_', '')} "
                        f"{getattr(header, what)}, {names[0]} has {getattr(first, what)}; "
                        f"expected the same: register or crop them, or use --roi"
                    )
        timepoints = _chosen("timepoint", options.timepoint, first.num_timepoints, first)
        channels = _chosen("channel", options.channel, first.num_channels, first)
        series = tuple(
            Series(t, c, i, j) for i, t in enumerate(timepoints) for j, c in enumerate(channels)
        )
        dropped = {
            axis
            for axis, asked in (("t", options.timepoint), ("c", options.channel))
            if asked != "all"
        }
        axes = "".join(axis for axis in "tczyx" if axis in first.axes and axis not in dropped)
        yield Sources(tuple(volumes), series, axes, tuple(volumes))


def seen_through(sources: Sources, window: TimeWindow) -> Sources:
    """Return the inputs as a method sees them that takes several time points at once.

    Parameters
    ----------
    sources : Sources
    window : TimeWindow
        Its neighbours are those among the time points of the input, chosen or not.

    Raises
    ------
    InputError
        Every time point lacks a neighbour.
    """
    if window == TimeWindow():
        return sources
    count = sources.header.num_timepoints or 1
    series = sources.series
    if window.lost:
        whole = [one for one in series if window.before <= one.timepoint < count - window.after]
        if not whole:
            cure = "give a longer one"
            if count > window.before + window.after:
                cure = f"choose --timepoint {window.before} to {count - window.after - 1}, or all"
            raise InputError(
                f"{sources.header.path}: has {count} time points, the method loses {window.before} "
                f"at the beginning and {window.after} at the end, and nothing is left; {cure}"
            )
        first = min(one.output_timepoint for one in whole)
        series = tuple(replace(one, output_timepoint=one.output_timepoint - first) for one in whole)
    seen = tuple(in_time(volume, offset) for volume in sources.volumes for offset in window.offsets)
    return replace(sources, series=series, seen=seen)


def parse_roi(text: str, header: Header) -> Region:
    """Return the region that ``"Z0:Z1,Y0:Y1,X0:X1"`` means in a volume.

    Raises
    ------
    OptionError
        It is not of this form, or not inside the volume.
    """
    form = f"--roi {text}: expected Z0:Z1,Y0:Y1,X0:X1 in voxels, such as 0:64,0:512,0:512"
    matches = [re.fullmatch(r"\s*(\d*):(\d*)\s*", part) for part in text.split(",")]
    if len(matches) != 3:
        raise OptionError(form)
    parts = []
    for match, axis, size in zip(matches, "zyx", header.shape, strict=True):
        if match is None:
            raise OptionError(form)
        start, stop = int(match[1] or 0), int(match[2] or size)
        if not 0 <= start < stop <= size:
            raise OptionError(
                f"--roi {text}: {start}:{stop} is not inside axis {axis} of {header.path}, "
                f"which has {size} voxels; expected 0 <= start < end <= {size}"
            )
        parts.append(slice(start, stop))
    return parts[0], parts[1], parts[2]


def _chosen(name: str, asked: str, count: int | None, header: Header) -> list[int]:
    there = count or 1
    if asked == "all":
        return list(range(there))
    if not asked.isdecimal() or int(asked) >= there:
        raise OptionError(
            f"--{name} {asked}: {header.path} has {there} {name}s; "
            f"expected all, or 0 to {there - 1}"
        )
    return [int(asked)]
