"""Samples to learn a fusion from: the same place in both views. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vemctl.plugin import Patches, Sample, Triple, draw_place
from vemctl_rldfn.data import ROLES, VIEW_A, maximum_of

FOREGROUND = 0.15
"""Of the volume's maximum: above it is something."""
ENOUGH = 0.01
"""Of a patch's voxels, for something to be in it."""
TRIES = 10
"""Places that are looked at for a patch, at most."""

Floats = npt.NDArray[np.float32]
Drawn = tuple[int, Triple]
"""A volume and a corner in it."""


@dataclass(frozen=True)
class FusionSampler:
    """Draws the same place of both views; every volume equally often, every place in it.

    Attributes
    ----------
    crop : (z, y, x)
        Voxels of a sample.
    patch, validation_patch : (z, y, x)
        What is read of the thinnest volume for one, to learn from or to validate on.
    end_padding : int
        Empty planes after the last; of a patch they are at most half.
    foreground : bool
        Whether to look for places where something is.
    """

    crop: Triple
    patch: Triple
    validation_patch: Triple
    end_padding: int = 0
    foreground: bool = False

    @property
    def padding(self) -> int:
        """Empty planes after the last that are used."""
        return usable_padding(self.end_padding, self.crop[0])

    def draw(self, patches: Patches, rng: np.random.Generator, number: int) -> Sample:
        """Return ``view_a``, ``view_b`` and ``seed``.

        Views are float32, (1, z, y, x), in parts of their volume's maximum; the seed, (), decides
        what is drawn for the sample while it is learned from.
        """
        return self._drawn(patches, rng, number, tries=TRIES if self.foreground else 1)

    def draw_validation(self, patches: Patches, rng: np.random.Generator, number: int) -> Sample:
        """Return the same of a place where something is, if a few tries find one."""
        return self._drawn(patches, rng, number, tries=TRIES)

    def _drawn(
        self, patches: Patches, rng: np.random.Generator, number: int, *, tries: int
    ) -> Sample:
        index = number % len(patches.facts(VIEW_A))
        best: Mapping[str, Floats] = {}
        most = -1.0
        for _ in range(tries):
            views = self._read(patches, self._place(patches, index, rng))
            share = float(np.mean([np.mean(view > FOREGROUND) for view in views.values()]))
            if share > most:
                best, most = views, share
            if share >= ENOUGH:
                break
        return {**best, "seed": np.array(rng.integers(2**63), np.int64)}

    def _place(self, patches: Patches, index: int, rng: np.random.Generator) -> Drawn:
        facts = patches.facts(VIEW_A)[index]
        z, y, x = facts.shape
        _, corner = draw_place([replace(facts, shape=(z + self.padding, y, x))], self.crop, rng)
        return index, corner

    def _read(self, patches: Patches, place: Drawn) -> dict[str, Floats]:
        index, corner = place
        views = {}
        for role in ROLES:
            facts = patches.facts(role)[index]
            planes = min(self.crop[0], facts.shape[0] - corner[0])
            values = patches.read(role, index, corner, (planes, *self.crop[1:]))
            view = np.zeros((1, *self.crop), np.float32)
            # Negative values, which no light has, would make the ratios of the views explode.
            view[0, :planes] = np.maximum(values, 0) / np.float32(maximum_of(facts))
            views[role] = view
        return views


def usable_padding(end_padding: int, planes: int) -> int:
    """Return how many empty planes patches of so many planes may reach into, at most half."""
    return min(end_padding, planes // 2)


def fitting_patch(shape: Triple, patch: Triple, end_padding: int, multiple: int) -> Triple:
    """Return the largest patch, no larger than `patch`, that a volume has room for.

    Parameters
    ----------
    shape, patch : (z, y, x)
    end_padding : int
        Empty planes after the volume's last.
    multiple : int
        Of which each of its edges is one; may come out as 0.
    """
    z, y, x = (min(n, p) // multiple * multiple for n, p in zip(shape, patch, strict=True))
    for planes in range(patch[0] // multiple * multiple, z, -multiple):
        if planes <= shape[0] + usable_padding(end_padding, planes):
            return planes, y, x
    return z, y, x
