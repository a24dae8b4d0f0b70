"""Places with something in them, of volumes of any size (the specification, 7). Imports no torch.

The published program loads an image and compares its tiles with what the whole has; here a sketch
of the volume's distribution, measured once, stands for the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vemctl.plugin import Patches, Triple, VolumeFacts, percentile

DARKEST = 2.0
"""Percent of the voxels that count as empty."""
SKETCH = (2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0)
"""Percentiles from which follows how many are above the threshold where values are tied."""
SHARE = 0.3
"""Of what the whole has above the threshold, a tile must have more."""
PATIENCE, MOST_TRIES = 100, 200
"""Tries after which less is asked for, and the last one that may fail."""


def selection_statistics() -> tuple[str, ...]:
    """Return what must be measured of a volume."""
    return tuple(percentile(percent) for percent in SKETCH)


def share_above(facts: VolumeFacts) -> float:
    """Return which share of a volume is above its threshold, to a tenth or better."""
    threshold = facts.statistics[percentile(DARKEST)]
    tied = [p for p in SKETCH if facts.statistics[percentile(p)] <= threshold]
    return 1 - max(tied) / 100


@dataclass(frozen=True)
class Selection:
    """Moves a place of a slice to where there is something."""

    def draw(
        self,
        patches: Patches,
        role: str,
        index: int,
        z: int,
        size: tuple[int, int],
        rng: np.random.Generator,
    ) -> tuple[int, int]:
        """Return the corner (y, x) of a tile with enough above the threshold, if there is one.

        Parameters
        ----------
        patches : Patches
        role : str
        index : int
            Of the volume.
        z : int
            Of the slice.
        size : (y, x)
            Of the tile.
        rng : Generator
        """
        facts = patches.facts(role)[index]
        threshold = facts.statistics[percentile(DARKEST)]
        wanted = SHARE * share_above(facts)
        room = [n - s + 1 for n, s in zip(facts.shape[1:], size, strict=True)]
        y = x = 0
        for number in range(MOST_TRIES + 1):
            y, x = (int(rng.integers(n)) for n in room)
            if number == MOST_TRIES:
                break
            if number >= PATIENCE:
                wanted /= 2
            tile = patches.read(role, index, (z, y, x), (1, *size))
            if np.mean(tile > threshold) > wanted:
                break
        return y, x

    def __call__(
        self,
        patches: Patches,
        role: str,
        index: int,
        corner: Triple,
        size: Triple,
        rng: np.random.Generator,
    ) -> Triple:
        """Return a corner in the same slices, chosen by their middle one; see `draw`."""
        z = corner[0] + size[0] // 2
        y, x = self.draw(patches, role, index, z, (size[1], size[2]), rng)
        return corner[0], y, x
