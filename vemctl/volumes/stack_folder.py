"""A folder of stacks, one per time point, as one volume."""

from __future__ import annotations

import math
import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from vemctl.errors import InputError, OptionError
from vemctl.volumes.tiff_folder import natural_key
from vemctl.volumes.volume import Array, Header, Region, Volume, VoxelSize

MOST_OPEN = 8
"""Stacks that stay open: opening one costs milliseconds, and thousands would exceed the limit."""
SAME_SIZE = 1e-3
"""Relative difference up to which two voxel sizes are one that was rounded twice."""

CHANNELS = ("ch", "c", "channel", "illum", "wavelength", "w", "lambda", "laser")
"""What stands before a number that counts channels, with or without ``_`` or ``-`` between."""

OpenStack = Callable[[Path, str | None], Volume]
"""Opens a stack, given its path and the axes that the user names, if any."""


class StackFolder:
    """A volume whose time points are stacks of their own, opened when they are read.

    Parameters
    ----------
    header : Header
        Of the whole.
    stacks : sequence of Path
        In the order of time.
    open_stack : callable
        Opens one of them, and raises an InputError unless it is what the header promises.
    most_open : int
        Stacks that stay open between two readings, the last ones.
    """

    def __init__(
        self,
        header: Header,
        stacks: Sequence[Path],
        open_stack: Callable[[Path], Volume],
        *,
        most_open: int = MOST_OPEN,
    ) -> None:
        self.header = header
        self.stacks = tuple(stacks)
        self._open_stack = open_stack
        self._most_open = most_open
        self._open: OrderedDict[int, Volume] = OrderedDict()
        self._readers: Counter[int] = Counter()
        self._lock = threading.Lock()

    def read(self, region: Region, *, channel: int = 0, timepoint: int = 0) -> Array:
        """Read a region of one channel at one time point: see `Volume.read`."""
        if not 0 <= timepoint < len(self.stacks):
            raise ValueError(f"time point {timepoint}: not in {self.header.path}")
        with self._using(timepoint) as stack:
            return stack.read(region, channel=channel)

    def close(self) -> None:
        """Release the files; those that another thread reads just now, when it has done so."""
        with self._lock:
            self._most_open = 0
            self._close_idle()

    @contextmanager
    def _using(self, timepoint: int) -> Iterator[Volume]:
        """Give an open stack, which stays open at least until it is given back."""
        with self._lock:
            if timepoint not in self._open:
                self._close_idle(room=1)
                self._open[timepoint] = self._open_stack(self.stacks[timepoint])
            self._open.move_to_end(timepoint)
            self._readers[timepoint] += 1
            stack = self._open[timepoint]
        try:
            yield stack
        finally:
            with self._lock:
                self._readers[timepoint] -= 1
                self._close_idle()

    def _close_idle(self, room: int = 0) -> None:
        """Close what nobody reads, the longest unused first, until few enough are open."""
        idle = [timepoint for timepoint in self._open if not self._readers[timepoint]]
        for timepoint in idle[: max(0, len(self._open) + room - self._most_open)]:
            self._open.pop(timepoint).close()


def open_stack_folder(
    folder: Path, stacks: Mapping[str, Sequence[Path]], axes: str | None, open_stack: OpenStack
) -> Volume:
    """Open a folder of stacks as a time series; the header of each is read.

    Parameters
    ----------
    folder : Path
    stacks : mapping of str to sequence of Path
        Those in the folder by their kind, for people; in any order, they are sorted by the numbers
        in their names.
    axes : str, optional
        Those of the whole, which begin with t, or those of each stack.
    open_stack : callable
        Given a path and the axes of a stack.

    Returns
    -------
    Volume
        With an axis t before those of the first stack, whose voxel size and translation it has.
        A stack that is alone is returned as it is.

    Raises
    ------
    InputError
        The stacks are of several kinds, their names differ in more than numbers or in numbers of
        channels, one has time points of its own, is a single plane, differs from the first, or is
        damaged.
    OptionError, MissingExtraError
        As those of one stack.

    Notes
    -----
    Voxel sizes may differ by a thousandth, as rounding does; translations are not compared, since
    a stage or a registration may follow the sample.
    """
    if len(stacks) > 1:
        counts = " and ".join(f"{len(paths)} {kind}" for kind, paths in stacks.items())
        raise InputError(
            f"{folder}: a folder of {counts}: expected stacks of one kind, one per time point: "
            "give one of them, or move the others elsewhere"
        )
    (found,) = stacks.values()
    ordered = sorted(found, key=lambda path: (natural_key(path), path.name))
    if len(ordered) == 1:
        return open_stack(ordered[0], axes)
    _check_names(ordered)
    axes_of_one, first = _open_first(ordered[0], axes, open_stack)
    if first.shape[0] == 1 and not _names_time(axes):
        raise InputError(
            f"{first.path}: a single plane: expected a stack, one per time point of the folder: "
            f"planes as time points need --axes t{first.axes.replace('t', '')}, planes of one "
            "stack should be TIFF files"
        )

    def open_checked(path: Path) -> Volume:
        stack = open_stack(path, axes_of_one)
        try:
            _check_like(stack.header, first)
        except BaseException:
            stack.close()
            raise
        return stack

    num_levels = first.num_levels
    for path in ordered[1:]:
        stack = open_checked(path)
        num_levels = min(num_levels, stack.header.num_levels)
        stack.close()
    header = replace(
        first,
        path=folder,
        format=f"folder of stacks ({first.format})",
        axes="t" + first.axes.replace("t", ""),
        num_timepoints=len(ordered),
        num_levels=num_levels,
    )
    return StackFolder(header, ordered, open_checked)


def _check_names(ordered: Sequence[Path]) -> None:
    """Refuse volumes that are no time points: a noisy and a clean one, or several channels."""
    first = ordered[0]
    expected = _without_numbers(first)
    for path in ordered[1:]:
        if _without_numbers(path) != expected:
            raise InputError(
                f"{path}: its name differs from that of {first.name}, the first in its folder, in "
                "more than numbers: expected one stack per time point, such as t0001.tif and "
                "t0002.tif: give one of them, or rename them"
            )
    words = _words_before_numbers(first)
    numbers = _numbers(first)
    for path in ordered[1:]:
        for word, number, other in zip(words, numbers, _numbers(path), strict=True):
            if number != other and word.lower() in CHANNELS:
                raise InputError(
                    f"{path}: its name differs from that of {first.name} in the number behind "
                    f'"{word}", which counts channels and not time points: put the stacks of each '
                    "channel into a folder of their own, or all channels into one file, for "
                    "--channel"
                )


def _words_before_numbers(path: Path) -> list[str]:
    """Return the letters before every number of a name; ``rawCh1`` has Ch, ``batch1`` no ch."""
    befores = re.split(r"\d+", path.name)[:-1]
    found = [re.search(r"([A-Z]+|[A-Z]?[a-z]+)[_-]?$", before) for before in befores]
    return [match[1] if match else "" for match in found]


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.name)]


def _without_numbers(path: Path) -> str:
    return re.sub(r"\d+", "0", path.name.lower())


def _open_first(path: Path, asked: str | None, open_stack: OpenStack) -> tuple[str | None, Header]:
    """Find the axes of a stack, from which the user's t may or may not have to be taken away."""
    if asked is not None and _names_time(asked):
        rest = asked.strip()[1:]
        try:
            return rest, _header(path, rest, open_stack)
        except OptionError:
            pass  # to be told of what the user wrote
    return asked, _header(path, asked, open_stack)


def _names_time(asked: str | None) -> bool:
    return asked is not None and asked.strip().lower().startswith("t")


def _header(path: Path, axes: str | None, open_stack: OpenStack) -> Header:
    stack = open_stack(path, axes)
    stack.close()
    header = stack.header
    _check_like(header, header)
    return header


def _check_like(header: Header, first: Header) -> None:
    if (header.num_timepoints or 1) > 1:
        raise InputError(
            f"{header.path}: {header.num_timepoints} time points in one file, in a folder of one "
            "stack per time point: give that file itself, or move it elsewhere"
        )
    if (what := _difference(header, first)) is not None:
        raise InputError(
            f"{header.path}: {what} of {first.path.name}, the first in its folder: expected equal "
            "stacks, one per time point: move it elsewhere or export it again"
        )


def _difference(header: Header, first: Header) -> str | None:
    """Tell in what two stacks differ, in words that end before ``of`` the first."""
    if header.shape != first.shape:
        return f"a stack of shape {header.shape}, not {first.shape} as that"
    if (header.num_channels or 1) != (first.num_channels or 1):
        return f"{header.num_channels or 1} channels, not {first.num_channels or 1} as those"
    if header.dtype != first.dtype:
        return f"values of type {header.dtype}, not {first.dtype} as those"
    if not _is_same_size(header.voxel_size, first.voxel_size):
        return f"voxels of {header.voxel_size} nm, not {first.voxel_size} nm as those"
    return None


def _is_same_size(size: VoxelSize | None, first: VoxelSize | None) -> bool:
    """Tell whether two voxel sizes agree; one that is not told agrees with all."""
    if size is None or first is None:
        return True
    return all(math.isclose(a, b, rel_tol=SAME_SIZE) for a, b in zip(size, first, strict=True))
