"""Inputs of a prediction: opened, cut to the region of interest, channels chosen."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vemctl.errors import InputError, OptionError
from vemctl.plugin import TimeWindow
from vemctl.prediction.plan import Series
from vemctl.volumes.fingerprint import fingerprint  # noqa: F401 - known here too
from vemctl.volumes.open import open_volume
from vemctl.volumes.stack_folder import StackFolder
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
        A file is missing or unusable, one is given twice, or the inputs differ in shape or in the
        numbers of their stacks.
    OptionError
        The region of interest, channel or time point is not in the volume.
    """
    with contextlib.ExitStack() as stack:
        volumes: list[Volume] = []
        stacks: dict[str, Sequence[Path]] = {}
        for name, path in zip(names, paths, strict=True):
            volume = open_volume(path, axes=options.axes, level=options.level)
            stack.callback(volume.close)
            if isinstance(volume, StackFolder):
                stacks[name] = volume.stacks
            if options.roi is not None:
                volume = crop(volume, parse_roi(options.roi, volume.header))
            if options.nan_to_num:
                volume = replace_nonfinite(volume)
            volumes.append(volume)
        _check_distinct(paths, names)
        _check_in_step(stacks)
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
        timepoints = chosen("timepoint", options.timepoint, first.num_timepoints, first)
        channels = chosen("channel", options.channel, first.num_channels, first)
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


def _check_distinct(paths: Sequence[Path], names: Sequence[str]) -> None:
    """Refuse one volume as two inputs, which a slip of the hand makes it."""
    for (path, name), (other, other_name) in itertools.combinations(
        zip(paths, names, strict=True), 2
    ):
        if path.exists() and other.exists() and path.samefile(other):
            raise InputError(
                f"{other} is given as {name} and as {other_name}; expected two volumes"
            )


def _check_in_step(stacks: Mapping[str, Sequence[Path]]) -> None:
    """Refuse folders of stacks of which one lacks a time point or has one more.

    Stacks are paired by their order, and belong together if one of the numbers that vary in their
    names, such as a counter beside a time stamp, is the same in all pairs.
    """
    for (name, paths), (other, others) in itertools.combinations(stacks.items(), 2):
        counters, expected = _counters(paths), _counters(others)
        if not counters or not expected:
            continue
        in_step = any(
            _starts_alike(one, partner) and len(set(one)) == len(one)
            for one in counters
            for partner in expected
        )
        pairs = list(zip(zip(*counters, strict=True), zip(*expected, strict=True), strict=False))
        odd = next((n for n, (one, partner) in enumerate(pairs) if one != partner), None)
        if in_step or odd is None:
            continue
        raise InputError(
            f"{paths[odd]} of {name} and {others[odd]} of {other} would be taken for one time "
            "point: expected the same numbers in their names; rename or remove the odd one"
        )


def _starts_alike(one: Sequence[int], other: Sequence[int]) -> bool:
    shared = min(len(one), len(other))
    return one[:shared] == other[:shared]


def _counters(stacks: Sequence[Path]) -> list[tuple[int, ...]]:
    """Return the numbers that vary in the names of stacks: for each, what all stacks have."""
    numbers = [[int(number) for number in re.findall(r"\d+", path.stem)] for path in stacks]
    return [each for each in zip(*numbers, strict=True) if len(set(each)) > 1]


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


def chosen(name: str, asked: str, count: int | None, header: Header) -> list[int]:
    """Return the channels or time points that an option chooses.

    Parameters
    ----------
    name : {"channel", "timepoint"}
    asked : str
        A number, or "all".
    count : int, optional
        How many there are; None where the volume has no such axis.
    header : Header

    Raises
    ------
    OptionError
        There is no such one.
    """
    there = count or 1
    if asked == "all":
        return list(range(there))
    if not asked.isdecimal() or int(asked) >= there:
        raise OptionError(
            f"--{name} {asked}: {header.path} has {there} {name}s; "
            f"expected all, or 0 to {there - 1}"
        )
    return [int(asked)]
