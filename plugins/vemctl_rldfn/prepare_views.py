"""Deskewed stacks to two views of each: searched, measured, split, written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from vemctl.errors import InputError
from vemctl.plugin import PreparationRequest, Progress, Triple, Workplace, prepared_names
from vemctl_rldfn.mirror_search import MARGIN
from vemctl_rldfn.prepare_options import PrepareOptions
from vemctl_rldfn.prepare_ranges import Measured, Ranges
from vemctl_rldfn.prepare_search import Mirror, doubts, find
from vemctl_rldfn.prepare_stacks import Stack
from vemctl_rldfn.prepare_writing import (
    DTYPE,
    SUFFIXES,
    Scratch,
    turned_planes,
    write_view,
    writing_bytes,
)
from vemctl_rldfn.splitting import split_planes, stretch_table, to_counts

VIEWS = ("A", "B")
SCRATCH = "rotated.scratch"


class ViewPreparation:
    """Makes two views of every channel at every time point of deskewed stacks.

    Parameters
    ----------
    options : PrepareOptions
    request : PreparationRequest
    role : str
        Of the stacks.

    Raises
    ------
    OptionError, InputError
        The options do not fit the stacks.
    """

    def __init__(self, options: PrepareOptions, request: PreparationRequest, role: str) -> None:
        self._options, self._request = options, request
        facts = request.patches.facts(role)
        self._stacks = [Stack(options, request, role, index) for index in range(len(facts))]
        self._names = prepared_names(request.names[role], facts)
        self._channels = [
            [number for number, each in enumerate(facts) if each.channel == channel]
            for channel in sorted({each.channel for each in facts})
        ]
        if options.common_split:
            self._check_alike()
        if len(self._channels) > 1:
            request.warn(
                "there are several channels: the views of each are in a folder of its own, c0, c1 "
                "and so on, to be fused one after the other"
            )
        self._warn_of_margins()

    def plan(self) -> Mapping[str, Any]:
        """Return which views will be made of which stacks; the search tells how many planes."""
        planned, held, size = [], [], 0
        for number, stack in enumerate(self._stacks):
            shape = self._shape(stack, self._planes_at_most(stack))
            planned.append(
                {
                    **self._described(number),
                    "planes_at_most": shape[0],
                    "shape": list(shape),
                    "voxel_size": [stack.pixel] * 3,
                }
            )
            size += len(VIEWS) * 2 * math.prod(shape)
            held.append(max(stack.memory(), writing_bytes(shape, self._options.layout)))
        return {
            "volumes": planned,
            "dtype": DTYPE,
            "uncompressed_bytes": size,
            "memory_bytes": max(held),
        }

    def run(self, place: Workplace) -> Mapping[str, Any]:
        """Write the views."""
        progress = Progress(place.advance, "preparing", self._num_parts())
        records: dict[int, dict[str, Any]] = {}
        for numbers in self._channels:
            mirror: Mirror | None = None
            measured: dict[int, Measured] = {}
            common = Ranges()
            for number in numbers:
                measured[number] = found = self._measured(number, mirror, progress)
                if self._options.common_split and not found.extent.is_constant:
                    mirror = found.mirror
                if self._options.common_range:
                    common.add(found)
                else:
                    ranges = Ranges()
                    ranges.add(found)
                    records[number] = self._write(number, found, ranges, place, progress)
            if self._options.common_range:
                for number in numbers:
                    records[number] = self._write(number, measured[number], common, place, progress)
            self._warn_of_depths(measured)
        progress.finish()
        return {"volumes": [records[number] for number in sorted(records)]}

    def _measured(self, number: int, mirror: Mirror | None, progress: Progress) -> Measured:
        stack, told = self._stacks[number], []
        if mirror is None:
            mirror, extent = find(stack, self._options, progress)
            told = [] if extent.is_constant else doubts(mirror, self._options)
            if not extent.is_constant:
                self._request.tell(f"{self._label(number)}: {mirror.in_words(self._options)}")
            if told:
                self._request.warn(
                    f"{self._label(number)}: the mirror that was found is doubtful: "
                    f"{'; '.join(told)}"
                )
        else:
            rotation = stack.rotation(mirror.along_y.angle, mirror.along_x.angle)
            extent = stack.extent(rotation, progress)
        if extent.is_constant:
            self._request.warn(
                f"{self._label(number)}: all of it is one value; its views are 0 all over"
            )
        split = mirror.split(stack.shape[0], self._options)
        if not split.planes:
            raise InputError(
                f"{self._label(number)}: the mirror was found at its end (shift "
                f"{mirror.along_x.shift} of {stack.shape[0]} planes), and a view has no planes; "
                "expected a narrower --split-range"
            )
        return Measured(mirror, split, extent, told)

    def _write(
        self, number: int, measured: Measured, ranges: Ranges, place: Workplace, progress: Progress
    ) -> dict[str, Any]:
        stack, options = self._stacks[number], self._options
        mirror, split = measured.mirror, measured.split
        low, high = (0.0, 0.0) if measured.extent.is_constant else ranges.stack
        shape = self._shape(stack, split.planes)
        planes = split.span
        described = self._described(number)
        with Scratch(place.folder / SCRATCH, planes, stack.shape) as scratch:
            rotation = stack.rotation(mirror.along_y.angle, mirror.along_x.angle)
            for first, _, values in stack.slabs(rotation, progress):
                inside = values[planes.start : planes.stop]
                scratch.write(first, to_counts(inside, low, high))
            for view, chosen, limit in zip(
                VIEWS, (split.direct, split.reflected), ranges.views, strict=True
            ):
                ends = to_counts(np.array(limit if high > low else (0.0, 0.0)), low, high)
                table = stretch_table(int(ends[0]), int(ends[1]))
                turned = turned_planes(scratch, chosen, table, options.quarter_turns, progress)
                write_view(
                    place,
                    described["views"][view].removesuffix(SUFFIXES[options.layout]),
                    shape,
                    stack.pixel,
                    options.layout,
                    turned,
                )
        return {
            **described,
            "shape": list(shape),
            "voxel_size": [stack.pixel] * 3,
            **mirror.to_json(options),
            "margins": list(stack.margins),
            "low": low,
            "high": high,
            "doubts": measured.doubts,
        }

    def _described(self, number: int) -> dict[str, Any]:
        stack = self._stacks[number]
        folder, _, name = self._names[number].rpartition("/")
        suffix = SUFFIXES[self._options.layout]
        views = {v: f"{folder}/View{v}/{name}{suffix}".lstrip("/") for v in VIEWS}
        return {
            "name": self._names[number],
            "file": stack.name,
            "channel": stack.facts.channel,
            "timepoint": stack.facts.timepoint,
            "views": views,
        }

    def _shape(self, stack: Stack, planes: int) -> Triple:
        _, height, width = stack.shape
        return (planes, width, height) if self._options.quarter_turns % 2 else (
            planes, height, width
        )  # fmt: skip

    def _planes_at_most(self, stack: Stack) -> int:
        offset = int(self._options.fix_split_offset)
        nearest = min(range(*stack.shifts), key=lambda shift: abs(shift + offset))
        return split_planes(stack.shape[0], nearest + offset, self._options.cut_z).planes

    def _num_parts(self) -> int:
        parts = 0
        for numbers in self._channels:
            for rank, number in enumerate(numbers):
                stack = self._stacks[number]
                passes = 2 if self._options.common_split and rank else 3
                parts += passes * stack.num_slabs + len(VIEWS) * self._planes_at_most(stack)
        return parts

    def _label(self, number: int) -> str:
        """Return the path of a file, and which volume in it where there are several."""
        stack = self._stacks[number]
        several = sum(each.name == stack.name for each in self._stacks) > 1
        return f"{stack.name} ({self._names[number]})" if several else stack.name

    def _check_alike(self) -> None:
        for first, *others in self._channels:
            expected = self._stacks[first]
            for other in (self._stacks[number] for number in others):
                if other.shape != expected.shape:
                    shapes = (" x ".join(map(str, s.shape)) for s in (other, expected))
                    ours, theirs = shapes
                    raise InputError(
                        f"{other.name}: {ours} voxels (z, y, x), and {expected.name} {theirs}; "
                        "expected one shape for --common-split: leave it out"
                    )

    def _warn_of_depths(self, measured: Mapping[int, Measured]) -> None:
        depths = sorted({each.split.planes for each in measured.values()})
        if len(depths) > 1:
            self._request.warn(
                f"the views have from {depths[0]} to {depths[-1]} planes, each volume as its own "
                "mirror was found; --common-split makes a time series of one shape"
            )

    def _warn_of_margins(self) -> None:
        if self._options.margin is not None:
            return
        for stack in self._stacks:
            if min(stack.margins) < MARGIN:
                top, left = stack.margins
                _, height, width = stack.shape
                self._request.warn(
                    f"{stack.name}: of a field of {height} x {width} pixels (y, x) the search "
                    f"leaves out {top} and {left} at the borders instead of {MARGIN}, as "
                    "published, which would leave too few; --margin states others"
                )
                return
