"""Raw volumes as deskewed slices, read one by one or in part; nothing is kept.

A slice is the mean of its phases, without the shear and without the background. In it y is the axis
along which the file was sheared, and x the other one, along which the network resolves more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vemctl.errors import InputError
from vemctl.plugin import Patches, PreparationRequest, Triple
from vemctl_vsisr.counts import Extremes, to_counts, without_background
from vemctl_vsisr.deskewing import Shear, header_word
from vemctl_vsisr.phases import phase_means
from vemctl_vsisr.prepare_options import PrepareOptions, num_phases
from vemctl_vsisr.prepare_spacing import VoxelSize, missing, spacing_of

Section = npt.NDArray[Any]
Counts = npt.NDArray[np.uint16]
Floats = npt.NDArray[np.floating[Any]]


class _Displaced(Protocol):
    """What `Shear` does."""

    length: int

    def apply(self, plane: Section, index: int) -> Floats: ...

    def source_range(self, index: int, first: int, end: int) -> tuple[int, int]: ...

    def apply_part(self, plane_part: Section, index: int, first: int, end: int) -> Floats: ...


class _Straight:
    """Stands for a shear where there is none."""

    def __init__(self, length: int) -> None:
        self.length = length

    def apply(self, plane: Section, index: int) -> Floats:  # noqa: ARG002
        return plane.astype(np.float32)

    def source_range(self, index: int, first: int, end: int) -> tuple[int, int]:  # noqa: ARG002
        return first, end

    def apply_part(self, plane_part: Section, index: int, first: int, end: int) -> Floats:  # noqa: ARG002
        return plane_part.astype(np.float32)


class DeskewedVolume:
    """One channel at one time point of a raw file, or a reconstruction.

    Parameters
    ----------
    options : PrepareOptions
    request : PreparationRequest
    role : str
    index : int
        Of the volume in its role.
    is_truth : bool
        A reconstruction: without phases and background, of pixels that are smaller by a half.

    Attributes
    ----------
    name : str
        Path of the file.
    shape : (z, y, x)
        After deskewing.
    voxel_size : (z, y, x), optional
        Nanometres, after deskewing.
    correct : callable, optional
        Changes a slice before it is deskewed, (x, y) as `sections` gives them, and its number.

    Raises
    ------
    InputError
        There are too few sections, or the voxel size is missing.
    """

    def __init__(
        self,
        options: PrepareOptions,
        request: PreparationRequest,
        role: str,
        index: int,
        *,
        is_truth: bool = False,
    ) -> None:
        self._patches: Patches = request.patches
        self._role, self._index = role, index
        facts = request.patches.facts(role)[index]
        self.facts = facts
        self.name = request.names[role][facts.file_index]
        self._along_x = options.deskew_axis == "x"
        self._phases = 1 if is_truth else num_phases(options)
        self._background = 0.0 if is_truth else options.background
        num_slices, surplus = divmod(facts.shape[0], self._phases)
        if not num_slices:
            raise InputError(
                f"{self.name}: {facts.shape[0]} sections are fewer than the {self._phases} phases "
                "of a slice; expected more sections, another --phases, or another order of axes"
            )
        if surplus:
            request.warn(
                f"{self.name}: {facts.shape[0]} sections are no multiple of {self._phases} phases; "
                f"the last {surplus} are left out"
            )
        _, rows, length = self._turned(facts.shape)
        dy, dz, other = spacing_of(options, facts, self.name, request.warn, is_truth=is_truth)
        self._shear: _Displaced = _Straight(length)
        depth = dz
        if options.deskew:
            if dy is None or dz is None:
                raise InputError(
                    f"{self.name}: its voxel size is not known; expected {missing(options)} in "
                    "nanometres, or --no-deskew"
                )
            self._shear = Shear(
                num_slices,
                length,
                angle_degrees=options.angle,
                dy=header_word(dy),
                dz=header_word(dz),
                interpolation=options.interpolation,
                single=True,  # as the published programs do that made the training data
            )
            depth = dz * math.sin(math.radians(options.angle)) or None
        self.shape: Triple = (num_slices, self._shear.length, rows)
        self.voxel_size: VoxelSize | None = None
        if dy is not None and depth is not None and other is not None:
            self.voxel_size = (depth, dy, other)
        self.correct: Callable[[Section, int], Section] | None = None

    @property
    def source_shape(self) -> Triple:
        """Slices before deskewing, (z, rows, length) as `sections` gives them."""
        _, rows, length = self._turned(self.facts.shape)
        return self.shape[0], rows, length

    def sections(self, first: int, count: int) -> Section:
        """Return slices before deskewing, (z, x, y): the sheared axis is the last one."""
        _, rows, length = self.source_shape
        return self._read(first, count, (0, rows), (0, length))

    def plane(self, index: int) -> Section:
        """Return a slice, (y, x) float, without the background and at least 0."""
        return self._made_of(self.sections(index, 1)[0], index)

    def part(self, index: int, corner: tuple[int, int], size: tuple[int, int]) -> Section:
        """Return what `plane` has at a corner (y, x); only what it is made of is read."""
        (y, x), (height, width) = corner, size
        first, end = self._shear.source_range(index, y, y + height)
        if first >= end:
            return np.zeros(size, np.float32)
        section = self._read(index, 1, (x, x + width), (first, end))[0]
        return self._finished(self._shear.apply_part(section, index, y, y + height))

    def measured(self, advance: Callable[[], None]) -> Extremes:
        """Return the least and the greatest value, twice the least where the file is one grey.

        Goes through the volume once.
        """
        given, found = Extremes(), Extremes()
        for index in range(self.shape[0]):
            advance()
            section = self.sections(index, 1)[0]
            given.add(section)
            found.add(self._made_of(section, index))
        if not given.high > given.low:  # else what a shear leaves empty would be its image
            found.high = found.low
        return found

    def memory(self) -> int:
        """Return about how many bytes the work on a slice takes."""
        _, rows, length = self.source_shape
        raw = rows * length * (self._phases * np.dtype(self.facts.dtype).itemsize + 24)
        return raw + 24 * self.shape[1] * self.shape[2]

    def _made_of(self, section: Section, index: int) -> Section:
        if self.correct is not None:
            section = self.correct(section, index)
        return self._finished(self._shear.apply(section, index))

    def _finished(self, section: Section) -> Section:
        plane = without_background(section, self._background)
        return np.ascontiguousarray(plane.T)

    def _turned(self, shape: Triple) -> Triple:
        return shape if self._along_x else (shape[0], shape[2], shape[1])

    def _read(
        self, first: int, count: int, rows: tuple[int, int], length: tuple[int, int]
    ) -> Section:
        spans = (rows, length) if self._along_x else (length, rows)
        (y, y_end), (x, x_end) = spans

        def read(section: int, sections: int) -> Section:
            found = self._patches.read(
                self._role, self._index, (section, y, x), (sections, y_end - y, x_end - x)
            )
            return found if self._along_x else found.transpose(0, 2, 1)

        return phase_means(read, first, count, self._phases)


class CountedVolume:
    """A deskewed volume in 16-bit counts, its own range stretched to all of them.

    Parameters
    ----------
    volume : DeskewedVolume
    extremes : Extremes
        Of the volume.
    """

    def __init__(self, volume: DeskewedVolume, extremes: Extremes) -> None:
        self._volume = volume
        self._limits = extremes.low, extremes.high

    def plane(self, index: int) -> Counts:
        """Return a slice, (y, x)."""
        return to_counts(self._volume.plane(index), *self._limits)

    def part(self, slices: Iterable[int], corner: tuple[int, int], size: tuple[int, int]) -> Counts:
        """Return a part of some slices, (z, y, x)."""
        parts = [self._volume.part(index, corner, size) for index in slices]
        return to_counts(np.stack(parts), *self._limits)
