"""Samples to learn a translation from: a patch of each kind, which have nothing in common.

Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.errors import OptionError
from vemctl.plugin import Orientation, Patches, Triple, VolumeFacts, draw_place
from vemctl_exem.data import ROLES
from vemctl_exem.ranges import Rule

Floats = npt.NDArray[np.float32]
Rules = Mapping[str, tuple[Rule, ...]]
Place = tuple[int, Triple]


def starts_along(length: int, patch: int, overlap: int) -> list[int]:
    """Return where the published grid has patches along an axis; the last ends at its end."""
    return [*range(0, length - patch, patch - overlap), length - patch]


@dataclass(frozen=True)
class PatchGrid:
    """The published grid of patches over volumes of one kind.

    Attributes
    ----------
    shapes : tuple of (z, y, x)
    patch, overlap : (z, y, x)
    """

    shapes: tuple[Triple, ...]
    patch: Triple
    overlap: Triple

    @property
    def num_patches(self) -> int:
        """Patches of all volumes."""
        return sum(math.prod(self._counts(shape)) for shape in self.shapes)

    def place(self, index: int) -> Place:
        """Return the volume and corner that the published data set gives for an index.

        Volumes take turns, so that small ones repeat and large ones are not seen whole.
        """
        volume, number = index % len(self.shapes), index // len(self.shapes)
        shape = self.shapes[volume]
        nz, ny, nx = self._counts(shape)
        z, rest = divmod(number % (nz * ny * nx), ny * nx)
        y, x = divmod(rest, nx)
        corner = tuple(
            min(k * (p - o), n - p)
            for k, n, p, o in zip((z, y, x), shape, self.patch, self.overlap, strict=True)
        )
        return volume, (corner[0], corner[1], corner[2])

    def _counts(self, shape: Triple) -> Triple:
        z, y, x = (
            len(starts_along(n, p, o))
            for n, p, o in zip(shape, self.patch, self.overlap, strict=True)
        )
        return z, y, x


def epoch_length(grids: Mapping[str, PatchGrid]) -> int:
    """Return how many samples the published data set has: as many as the larger kind's patches."""
    return max(grid.num_patches for grid in grids.values())


def grids_of(
    facts: Mapping[str, tuple[VolumeFacts, ...]], patch: Triple, overlap: Triple
) -> dict[str, PatchGrid]:
    """Return the published grid over each kind's volumes.

    Raises
    ------
    OptionError
        The overlap is as large as the patch.
    """
    if any(shared >= length for shared, length in zip(overlap, patch, strict=True)):
        texts = [",".join(map(str, triple)) for triple in (overlap, patch)]
        raise OptionError(
            f"--patch-overlap {texts[0]}: expected less than the patch {texts[1]} along each axis"
        )
    return {
        role: PatchGrid(tuple(each.shape for each in facts[role]), patch, overlap) for role in ROLES
    }


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, length: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(length)


@dataclass(frozen=True)
class UniformSampler:
    """Draws a patch of each kind: every volume equally often, every place in it.

    Attributes
    ----------
    patch : (z, y, x)
    rules : mapping of str to tuple of Rule
        By kind, of each file to train on.
    validation_rules : mapping of str to tuple of Rule
        The same of those to validate on.
    """

    patch: Triple
    rules: Rules
    validation_rules: Rules

    @property
    def validation_patch(self) -> Triple:
        """The same."""
        return self.patch

    def draw(self, patches: Patches, rng: np.random.Generator, number: int) -> dict[str, Floats]:
        """Return ``lm`` and ``em``, each (1, z, y, x) in [0, 1], flipped and turned by chance."""
        sample = {}
        for role, place in self._places(patches, rng, number).items():
            orientation = Orientation.drawn(rng, square=self.patch[1] == self.patch[2])
            sample[role] = self._read(patches, role, place, self.rules, orientation)
        return sample

    def draw_validation(
        self,
        patches: Patches,
        rng: np.random.Generator,
        number: int,  # noqa: ARG002
    ) -> dict[str, Floats]:
        """Return the same as they are stored."""
        return {
            role: self._read(
                patches,
                role,
                _drawn(patches, role, self.patch, rng),
                self.validation_rules,
                Orientation((), 0),
            )
            for role in ROLES
        }

    def _places(
        self,
        patches: Patches,
        rng: np.random.Generator,
        number: int,  # noqa: ARG002
    ) -> dict[str, Place]:
        return {role: _drawn(patches, role, self.patch, rng) for role in ROLES}

    def _read(
        self, patches: Patches, role: str, place: Place, rules: Rules, orientation: Orientation
    ) -> Floats:
        index, corner = place
        facts = patches.facts(role)[index]
        values: npt.NDArray[Any] = patches.read(role, index, corner, self.patch)
        scaled = (
            rules[role][facts.file_index]
            .range_of(facts)
            .to_network(orientation.of(values).astype(np.float32))
        )
        return np.ascontiguousarray(scaled[None], np.float32)


@dataclass(frozen=True)
class OriginalSampler(UniformSampler):
    """Goes through the published pairs of patches, shuffled anew for each epoch.

    Attributes
    ----------
    overlap : (z, y, x)
        Of neighbours on the grid.
    seed : int
        Of the order.
    """

    overlap: Triple = (0, 0, 0)
    seed: int = 0

    def _places(
        self,
        patches: Patches,
        rng: np.random.Generator,  # noqa: ARG002
        number: int,
    ) -> dict[str, Place]:
        facts = {role: tuple(patches.facts(role)) for role in ROLES}
        grids = grids_of(facts, self.patch, self.overlap)
        length = epoch_length(grids)
        epoch, within = divmod(number, length)
        index = int(_order(self.seed, epoch, length)[within])
        return {role: grid.place(index) for role, grid in grids.items()}


def _drawn(patches: Patches, role: str, patch: Triple, rng: np.random.Generator) -> Place:
    facts = patches.facts(role)
    index = int(rng.integers(len(facts)))
    return index, draw_place([facts[index]], patch, rng)[1]
