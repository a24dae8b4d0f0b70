"""Pairs of poor and good images to learn from: made on the fly, real, or prepared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vemctl.plugin import Patches, Sample, Triple, VolumeFacts, draw_place
from vemctl_pssr.architecture import SCALE
from vemctl_pssr.augmenting import apply, drawn
from vemctl_pssr.data import HR, LR
from vemctl_pssr.ranges import rule_for, scaled

Floats = npt.NDArray[np.float32]
MakePoor = Callable[[Floats, np.random.Generator], Floats]
"""A good image (y, x) in [0, 1] to a poor one of a quarter of its pixels along each axis."""
ChoosePlace = Callable[[Patches, str, int, Triple, Triple, np.random.Generator], Triple]
"""From patches, a role, the index of a volume, a corner and a size to a corner with something in
it."""
Augment = Literal["original", "flips", "none"]


@dataclass(frozen=True)
class Frames:
    """Which frames a sample has.

    Attributes
    ----------
    count : int
        Odd.
    in_time : bool
        Whether they are time points rather than slices.
    """

    count: int = 1
    in_time: bool = False

    @property
    def slices(self) -> int:
        """How many slices are read of a volume at once."""
        return 1 if self.in_time else self.count

    def read(
        self, patches: Patches, role: str, index: int, corner: Triple, size: tuple[int, int]
    ) -> npt.NDArray[Any]:
        """Return the frames whose first slice, or whose middle time point, is at a corner.

        Returns
        -------
        ndarray, (frames, y, x)
        """
        whole = (self.slices, *size)
        if not self.in_time:
            return patches.read(role, index, corner, whole)
        half = self.count // 2
        facts = patches.facts(role)
        indices = [in_time(facts, index, offset) for offset in range(-half, half + 1)]
        return np.concatenate([patches.read(role, each, corner, whole) for each in indices])


def in_time(facts: Sequence[VolumeFacts], index: int, offset: int) -> int:
    """Return which volume is so many time points later in the same file and channel.

    Beyond the ends it is the last one there.
    """
    step = 1 if offset > 0 else -1
    found, here = index, facts[index]
    for _ in range(abs(offset)):
        other = found + step
        while 0 <= other < len(facts) and facts[other].file_index == here.file_index:
            if facts[other].channel == here.channel:
                found = other
                break
            other += step
    return found


@dataclass(frozen=True)
class _Drawing:
    """What all samplers have in common.

    Attributes
    ----------
    edge : int
        Of poor images, in pixels.
    frames : Frames
    augment : {"original", "flips", "none"}
    max_zoom : float
    """

    edge: int
    frames: Frames
    augment: Augment
    max_zoom: float

    def _augmented(
        self, poor: Floats, good: Floats, rng: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Turn, flip and magnify both images alike, where that is wanted."""
        if self.augment != "original":
            return poor, good
        draw = drawn(rng, self.max_zoom)
        return apply(poor, draw, self.edge), apply(good, draw, SCALE * self.edge)


@dataclass(frozen=True)
class MadeSampler(_Drawing):
    """Draws good images, and makes poor ones of them.

    Attributes
    ----------
    range : str, optional
        What becomes 0 and 1; see `vemctl_pssr.ranges.rule_for`.
    make_poor : callable
    choose : callable, optional
        Moves a place to where there is something.
    """

    range: str | None
    make_poor: MakePoor
    choose: ChoosePlace | None

    @property
    def patch(self) -> Triple:
        """What is read of good images."""
        return self.frames.slices, SCALE * self.edge, SCALE * self.edge

    @property
    def validation_patch(self) -> Triple:
        """The same."""
        return self.patch

    def draw(self, patches: Patches, rng: np.random.Generator, number: int) -> Sample:  # noqa: ARG002
        """Return an augmented sample: ``lr`` (frames, y, x) and ``hr`` (1, 4 y, 4 x)."""
        good = self._good(patches, rng)
        if self.augment == "flips":
            good = np.ascontiguousarray(oriented(good, int(rng.integers(8))))
        return _sample(*self._augmented(*self._pair(good, rng), rng))

    def draw_validation(self, patches: Patches, rng: np.random.Generator, number: int) -> Sample:  # noqa: ARG002
        """Return a sample as it is."""
        return _sample(*self._pair(self._good(patches, rng), rng))

    def _good(self, patches: Patches, rng: np.random.Generator) -> Floats:
        index, corner = draw_place(patches.facts(HR), self.patch, rng)
        if self.choose is not None:
            corner = self.choose(patches, HR, index, corner, self.patch, rng)
        values = self.frames.read(patches, HR, index, corner, self.patch[1:])
        return _in_range(values, patches.facts(HR)[index], self.range)

    def _pair(self, good: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        poor = np.stack([self.make_poor(frame, rng) for frame in good])
        middle = len(good) // 2
        return poor, good[middle : middle + 1]


@dataclass(frozen=True)
class PairSampler(_Drawing):
    """Draws poor images and the good ones of the same places.

    Attributes
    ----------
    ranges : mapping of str to str, optional
        What becomes 0 and 1, by role; see `vemctl_pssr.ranges.rule_for`.
    prepared : bool
        Whether every slice of the good ones is a sample with frames of its own.
    """

    ranges: Mapping[str, str | None]
    prepared: bool = False

    @property
    def patch(self) -> Triple:
        """What is read of poor images."""
        return (1 if self.prepared else self.frames.slices), self.edge, self.edge

    @property
    def validation_patch(self) -> Triple:
        """The same."""
        return self.patch

    def draw(self, patches: Patches, rng: np.random.Generator, number: int) -> Sample:  # noqa: ARG002
        """Return an augmented sample: ``lr`` (frames, y, x) and ``hr`` (1, 4 y, 4 x)."""
        poor, good = self._pair(patches, rng)
        if self.augment == "flips":
            orientation = int(rng.integers(8))
            poor, good = oriented(poor, orientation), oriented(good, orientation)
        return _sample(*self._augmented(poor, good, rng))

    def draw_validation(self, patches: Patches, rng: np.random.Generator, number: int) -> Sample:  # noqa: ARG002
        """Return a sample as it is."""
        return _sample(*self._pair(patches, rng))

    def _pair(self, patches: Patches, rng: np.random.Generator) -> tuple[Floats, Floats]:
        if self.prepared:
            index, (z, y, x) = self._place_of_prepared(patches, rng)
            count, middle = self.frames.count, z
            poor = patches.read(LR, index, (z * count, y, x), (count, self.edge, self.edge))
        else:
            index, (z, y, x) = draw_place(patches.facts(LR), self.patch, rng)
            middle = z + self.frames.slices // 2
            poor = self.frames.read(patches, LR, index, (z, y, x), (self.edge, self.edge))
        size = (1, SCALE * self.edge, SCALE * self.edge)
        good = patches.read(HR, index, (middle, SCALE * y, SCALE * x), size)
        return (
            _in_range(poor, patches.facts(LR)[index], self.ranges[LR]),
            _in_range(good, patches.facts(HR)[index], self.ranges[HR]),
        )

    def _place_of_prepared(self, patches: Patches, rng: np.random.Generator) -> tuple[int, Triple]:
        facts = patches.facts(HR)
        index, (z, _, _) = draw_place(facts, (1, SCALE * self.edge, SCALE * self.edge), rng)
        y, x = (int(rng.integers(n // SCALE - self.edge + 1)) for n in facts[index].shape[1:])
        return index, (z, y, x)


def oriented(images: Floats, number: int) -> Floats:
    """Return images (c, y, x) in one of eight orientations, 0 to 7; a view of them."""
    turned = np.rot90(images, number % 4, axes=(1, 2))
    return turned[:, ::-1] if number >= 4 else turned


def _in_range(values: npt.NDArray[Any], facts: VolumeFacts, text: str | None) -> Floats:
    # Whether values fit the rule was checked before the training, by the name of the file.
    ranges = rule_for(text, "", facts.dtype).ranges_of(facts, f"file {facts.file_index + 1}")
    inside: Floats = scaled(values.astype(np.float32), ranges.of(0, 0)).clip(0, 1)
    return inside


def _sample(poor: Floats, good: Floats) -> Sample:
    return {
        LR: np.ascontiguousarray(poor, np.float32),
        HR: np.ascontiguousarray(good, np.float32),
    }
