"""The contract of a preparation: raw volumes become what a training reads.

A method says what will be made and makes it; opening the raw volumes, the folder, its format and
what happens when a run is stopped are not its business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vemctl.geometry import Triple
from vemctl.restoring import Warn, ignore_warning
from vemctl.sampling import Patches, Peek, peek_at_nothing

if TYPE_CHECKING:
    import numpy.typing as npt


class NewVolume(Protocol):
    """A volume that is written from its first slice to its last."""

    def append(self, slices: npt.NDArray[Any]) -> None:
        """Add slices, (z, y, x) of the volume's type."""

    def close(self) -> None:
        """Finish the volume, which must have all of its slices."""


class MakeVolume(Protocol):
    """Begins volumes in the folder of a preparation."""

    def __call__(
        self,
        name: str,
        shape: Triple,
        dtype: str,
        voxel_size: tuple[float, float, float] | None = None,
    ) -> NewVolume:
        """Begin a volume.

        Parameters
        ----------
        name : str
            Its path in the folder, without a suffix, such as ``"train/hr"``.
        shape : (z, y, x)
        dtype : str
        voxel_size : (z, y, x), optional
            Nanometres.
        """


@dataclass(frozen=True)
class PreparationRequest:
    """What a preparation is made for.

    Attributes
    ----------
    patches : Patches
        The raw volumes, by the roles that the method gave them.
    names : mapping of str to sequence of str
        Of the files, by role; `VolumeFacts.file_index` counts in them.
    seed : int
        Of everything random.
    warn : callable
        Tells the user one sentence.
    peek : callable
        Reads some of a volume that an option names.
    """

    patches: Patches
    names: Mapping[str, tuple[str, ...]]
    seed: int = 0
    warn: Warn = ignore_warning
    peek: Peek = peek_at_nothing


@dataclass(frozen=True)
class Workplace:
    """Where a preparation works.

    Attributes
    ----------
    folder : Path
        All that is written in it becomes the output, at once and at the end.
    make_volume : MakeVolume
    advance : callable
        Told a phase, how many parts of it are done, and how many there are; it does not return
        where the user stops the run.
    """

    folder: Path
    make_volume: MakeVolume
    advance: Callable[[str, int, int], None]


class Preparation(Protocol):
    """Makes what a training reads of raw volumes."""

    def plan(self) -> Mapping[str, Any]:
        """Return what will be made, as JSON types; quick, and nothing is written."""

    def run(self, place: Workplace) -> Mapping[str, Any]:
        """Make it, and return what is to be recorded, as JSON types."""
