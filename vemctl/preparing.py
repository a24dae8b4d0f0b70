"""The contract of a preparation: raw volumes become what a training reads.

A method says what will be made and makes it; opening the raw volumes, the folder, its format and
what happens when a run is stopped are not its business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vemctl.errors import OptionError
from vemctl.geometry import Triple
from vemctl.restoring import VolumeFacts, Warn, ignore_warning
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
        Tells the user one sentence: what is doubtful.
    tell : callable
        Tells the user one sentence: what was found.
    peek : callable
        Reads some of a volume that an option names.
    """

    patches: Patches
    names: Mapping[str, tuple[str, ...]]
    seed: int = 0
    warn: Warn = ignore_warning
    tell: Warn = ignore_warning
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


class Progress:
    """Counts the parts of a preparation; what is more than was expected shows no progress.

    Parameters
    ----------
    advance : callable
        Of the workplace.
    phase : str
    total : int
        Parts that are expected.
    """

    def __init__(self, advance: Callable[[str, int, int], None], phase: str, total: int) -> None:
        self._advance, self._phase, self._total = advance, phase, total
        self._done = 0

    def __call__(self, parts: int = 1) -> None:
        """Tell that the next part begins; does not return where the run is to stop."""
        self._advance(self._phase, min(self._done, self._total - 1), self._total)
        self._done += parts

    def pause(self) -> None:
        """Stop here where the run is to stop; nothing is counted."""
        self(0)

    def finish(self) -> None:
        """Tell that all is done."""
        self._advance(self._phase, self._total, self._total)


def prepared_names(files: Sequence[str], facts: Sequence[VolumeFacts]) -> list[str]:
    """Return what is made of volumes is called: as the file, with its time point.

    Of several channels each has a folder, so that every folder is a time series.

    Parameters
    ----------
    files : sequence of str
        Paths.
    facts : sequence of VolumeFacts
        Of the volumes in them.

    Raises
    ------
    OptionError
        Two are called alike.
    """
    stems = [_stem(Path(file)) for file in files]
    for stem, count in Counter(stems).items():
        if count > 1:
            first, second, *_ = (f for f, s in zip(files, stems, strict=True) if s == stem)
            raise OptionError(
                f"{first}, {second}: what is made of both would be called {stem}; rename one, or "
                "prepare them into folders of their own"
            )
    several = len({each.channel for each in facts}) > 1
    names = []
    for each in facts:
        times = {other.timepoint for other in facts if other.file_index == each.file_index}
        name = stems[each.file_index]
        if len(times) > 1:
            name += f"_t{each.timepoint:0{len(str(max(times)))}d}"
        names.append(f"c{each.channel}/{name}" if several else name)
    return names


def _stem(path: Path) -> str:
    if path.is_dir() and path.suffix.lower() != ".zarr":  # of TIFFs, whose name may have dots
        return path.name
    return path.stem[: -len(".ome")] if path.stem.lower().endswith(".ome") else path.stem
