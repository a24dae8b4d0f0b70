"""The contract of training data: which volumes, and what draws samples from them.

Samples depend on the seed, the step and their number in the batch alone, so that they are the same
for any number of workers and devices, and after any interruption.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vemctl.geometry import ONE, Triple
from vemctl.restoring import VolumeFacts

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Sample = Mapping[str, "npt.NDArray[Any]"]
Scale = tuple[Fraction, Fraction, Fraction]


@dataclass(frozen=True)
class TrainingData:
    """Which volumes a training reads.

    Attributes
    ----------
    volumes : mapping of str to tuple of Path
        By role, such as ``"fast"`` and ``"slow"``.
    paired : tuple of tuple of str
        Roles whose volumes belong together, first to first, second to second; they are of one
        shape, but for `scale`.
    validation : mapping of str to tuple of Path
        Volumes to validate on, by the same roles; where there are none, the last slices of each
        volume are kept from training.
    scale : mapping of str to (z, y, x) of Fraction
        Voxels of a role per voxel in which patches are measured; 1 for roles without.
    may_be_constant : bool
        Whether volumes of a single value are taken, from which nothing can be learned.
    """

    volumes: Mapping[str, tuple[Path, ...]]
    paired: tuple[tuple[str, ...], ...] = ()
    validation: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    scale: Mapping[str, Scale] = field(default_factory=dict)
    may_be_constant: bool = False

    def scaled(self, size: Triple, role: str) -> tuple[Fraction, Fraction, Fraction]:
        """Return a size (z, y, x), measured as patches are, in voxels of a role."""
        z, y, x = (n * s for n, s in zip(size, self.scale.get(role, ONE), strict=True))
        return z, y, x


Peek = Callable[[Path], "npt.NDArray[Any]"]
"""From the path of a volume that is no part of the data to some of it, (z, y, x) of its type: the
middle of its first channel, at most 8 slices of 2048 x 2048."""


def peek_at_nothing(path: Path) -> npt.NDArray[Any]:
    """Refuse to read: for requests that are made without a workflow."""
    raise RuntimeError(f"{path} cannot be read here")


class Patches(Protocol):
    """Volumes from which patches are read; every channel and time point is one of its own."""

    def facts(self, role: str) -> Sequence[VolumeFacts]:
        """Return what is known of the volumes of a role.

        Their shapes are those of the part that may be drawn from.
        """

    def read(self, role: str, index: int, corner: Triple, size: Triple) -> npt.NDArray[Any]:
        """Read a patch.

        Parameters
        ----------
        role : str
        index : int
            Of the volume in its role.
        corner, size : (z, y, x)
            Voxels, inside the shape that `facts` tells.

        Returns
        -------
        ndarray, (z, y, x)
            Of the stored type.
        """


class Sampler(Protocol):
    """Draws samples; it is copied into worker processes, and nothing in it changes.

    Attributes
    ----------
    patch : (z, y, x)
        What it reads of a volume for a training sample, in voxels of scale 1; no volume may be
        smaller.
    validation_patch : (z, y, x)
        The same for a sample to validate on.
    """

    @property
    def patch(self) -> Triple:
        """What is read for a training sample."""

    @property
    def validation_patch(self) -> Triple:
        """What is read for a sample to validate on."""

    def draw(self, patches: Patches, rng: np.random.Generator, number: int) -> Sample:
        """Return one training sample: arrays by name, of one shape per name for all samples.

        Parameters
        ----------
        patches : Patches
        rng : Generator
            Fresh for this sample.
        number : int
            Of the sample, counted from the first of the training; for those who go through their
            data in an order.
        """

    def draw_validation(self, patches: Patches, rng: np.random.Generator, number: int) -> Sample:
        """Return one sample to validate on: without augmentation; `number` counts them."""


@dataclass(frozen=True)
class Orientation:
    """Flips and quarter turns of a patch, all equally likely.

    Attributes
    ----------
    flips : tuple of int
        Axes.
    turns : int
        By a quarter, in the plane, after the flips.
    """

    flips: tuple[int, ...]
    turns: int

    @classmethod
    def drawn(cls, rng: np.random.Generator, *, square: bool) -> Orientation:
        """Draw one; a plane that is not square takes half turns only, which keep its shape."""
        flips = tuple(axis for axis in range(3) if rng.random() < 0.5)
        return cls(flips, int(rng.integers(4)) if square else 2 * int(rng.integers(2)))

    def of(self, patch: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a patch, (z, y, x), so oriented; a view of it."""
        import numpy as np

        return np.rot90(np.flip(patch, self.flips), self.turns, axes=(1, 2))


def draw_place(
    facts: Sequence[VolumeFacts], size: Triple, rng: np.random.Generator
) -> tuple[int, Triple]:
    """Draw a patch of `size` (z, y, x) such that all positions in all volumes are equally likely.

    Returns
    -------
    index : int
        Of the volume.
    corner : (z, y, x)
        The last possible position included.
    """
    counts = [
        [length - part + 1 for length, part in zip(each.shape, size, strict=True)] for each in facts
    ]
    positions = [z * y * x for z, y, x in counts]
    number = int(rng.integers(sum(positions)))
    index = 0
    while number >= positions[index]:
        number -= positions[index]
        index += 1
    _, num_y, num_x = counts[index]
    z, rest = divmod(number, num_y * num_x)
    y, x = divmod(rest, num_x)
    return index, (z, y, x)
