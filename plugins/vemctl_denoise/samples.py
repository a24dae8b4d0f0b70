"""Samples to learn denoising from: pairs of scans, or pixels of one scan. Imports no torch.

The preparation is that of the published programs: the plane is sub-sampled by two, and the target
is made of pixels that the source does not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.errors import OptionError
from vemctl.plugin import Orientation, Patches, Triple, draw_place
from vemctl_denoise.scaling import scaling_of

Floats = npt.NDArray[np.float32]
MULTIPLE_OF = 4  # what the network demands of y and x
VALIDATION_DEPTH = 32


def emulate_fast_slow(fast: Floats, slow: Floats) -> tuple[Floats, Floats]:
    """Return source and target as an acquisition with slow first and last slices would give them.

    Parameters
    ----------
    fast, slow : ndarray, (z, 2 y, 2 x)
        Registered scans.

    Returns
    -------
    source : ndarray, (z, y, x)
        Every other pixel of the fast scan, and of the slow one in the first and last slice.
    target : ndarray, (z, y, x)
        The mean of the three other pixels of the slow scan.
    """
    source = fast[:, 0::2, 0::2].copy()
    source[0], source[-1] = slow[0, 0::2, 0::2], slow[-1, 0::2, 0::2]
    return source, mean_of_others(slow)


def split_diagonally(noisy: Floats, *, main: bool) -> tuple[Floats, Floats]:
    """Return two diagonal neighbours of every 2 x 2 pixels, (z, 2 y, 2 x) -> twice (z, y, x)."""
    if main:
        return noisy[:, 0::2, 0::2], noisy[:, 1::2, 1::2]
    return noisy[:, 0::2, 1::2], noisy[:, 1::2, 0::2]


def mean_of_others(volume: Floats) -> Floats:
    """Return the mean of all but the first of every 2 x 2 pixels, (z, 2 y, 2 x) -> (z, y, x)."""
    others = volume[:, 0::2, 1::2] + volume[:, 1::2, 0::2] + volume[:, 1::2, 1::2]
    mean: Floats = others / np.float32(3)
    return mean


@dataclass(frozen=True)
class _Reading:
    """What both samplers have in common.

    Attributes
    ----------
    seen : (z, y, x)
        What the network sees of a training sample.
    low, high : float, optional
        See `scaling_of`.
    """

    seen: Triple
    low: float | None = None
    high: float | None = None

    def _place(
        self, patches: Patches, role: str, size: Triple, rng: np.random.Generator
    ) -> tuple[int, Triple]:
        return draw_place(patches.facts(role), size, rng)

    def _read(self, patches: Patches, role: str, place: tuple[int, Triple], size: Triple) -> Floats:
        """Return a patch scaled to [0, 1]."""
        index, corner = place
        scaling = scaling_of(self.low, self.high, patches.facts(role)[index].dtype)
        values = patches.read(role, index, corner, size).astype(np.float32)
        scaled: Floats = scaling.to_network(values)
        return scaled


@dataclass(frozen=True)
class PairSampler(_Reading):
    """Draws samples from registered fast and slow scans.

    Attributes
    ----------
    emulate : bool
        Prepare them with `emulate_fast_slow`; otherwise they are source and target as they are.
    """

    emulate: bool = True

    @property
    def patch(self) -> Triple:
        """What is read of each scan."""
        return _doubled(self.seen) if self.emulate else self.seen

    @property
    def validation_patch(self) -> Triple:
        """The same."""
        return self.patch

    def draw(
        self,
        patches: Patches,
        rng: np.random.Generator,
        number: int,  # noqa: ARG002
    ) -> dict[str, Floats]:
        """Return an augmented sample, ``source`` and ``target``, each (1, z, y, x)."""
        source, target = self._pair(patches, rng)
        orientation = Orientation.drawn(rng, square=self.seen[1] == self.seen[2])
        return _sample(orientation.of(source), orientation.of(target))

    def draw_validation(
        self,
        patches: Patches,
        rng: np.random.Generator,
        number: int,  # noqa: ARG002
    ) -> dict[str, Floats]:
        """Return a sample as it is."""
        return _sample(*self._pair(patches, rng))

    def _pair(self, patches: Patches, rng: np.random.Generator) -> tuple[Floats, Floats]:
        place = self._place(patches, "fast", self.patch, rng)
        fast, slow = (self._read(patches, role, place, self.patch) for role in ("fast", "slow"))
        return emulate_fast_slow(fast, slow) if self.emulate else (fast, slow)


@dataclass(frozen=True)
class NoisySampler(_Reading):
    """Draws samples from one scan, of which neighbouring pixels are source and target.

    Attributes
    ----------
    validation_depth : int
        Slices of a sample to validate on.
    """

    validation_depth: int = VALIDATION_DEPTH

    @property
    def patch(self) -> Triple:
        """What is read for a training sample."""
        return _doubled(self.seen)

    @property
    def validation_patch(self) -> Triple:
        """The same plane, more slices."""
        return _doubled((self.validation_depth, *self.seen[1:]))

    def draw(
        self,
        patches: Patches,
        rng: np.random.Generator,
        number: int,  # noqa: ARG002
    ) -> dict[str, Floats]:
        """Return an augmented sample: ``source`` and ``target``, each (1, z, y, x)."""
        place = self._place(patches, "noisy", self.patch, rng)
        noisy = self._read(patches, "noisy", place, self.patch)
        orientation = Orientation.drawn(rng, square=self.seen[1] == self.seen[2])
        return _sample(*split_diagonally(orientation.of(noisy), main=bool(rng.random() < 0.5)))

    def draw_validation(
        self,
        patches: Patches,
        rng: np.random.Generator,
        number: int,  # noqa: ARG002
    ) -> dict[str, Floats]:
        """Return one pixel in four, and the mean of the three others."""
        place = self._place(patches, "noisy", self.validation_patch, rng)
        noisy = self._read(patches, "noisy", place, self.validation_patch)
        return _sample(noisy[:, 0::2, 0::2], mean_of_others(noisy))


def check_patch(patch: Triple) -> Triple:
    """Return what the network is to see, which must fit it.

    Raises
    ------
    OptionError
        y or x is no multiple of four.
    """
    if any(length % MULTIPLE_OF for length in patch[1:]):
        text = ",".join(map(str, patch))
        raise OptionError(f"--patch {text}: expected multiples of {MULTIPLE_OF} along y and x")
    return patch


def validation_depth(num_slices: int, patch_depth: int) -> int:
    """Return how deep a sample to validate on is: the published 32 where a tenth is as deep.

    A tenth of the slices is what is kept from training, and no sample may be deeper.
    """
    return max(patch_depth, min(VALIDATION_DEPTH, num_slices // 10))


def _doubled(seen: Triple) -> Triple:
    return seen[0], 2 * seen[1], 2 * seen[2]


def _sample(source: npt.NDArray[Any], target: npt.NDArray[Any]) -> dict[str, Floats]:
    pair = {"source": source, "target": target}
    return {name: np.ascontiguousarray(each[None], np.float32) for name, each in pair.items()}
