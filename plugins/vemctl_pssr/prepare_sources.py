"""Which good images a preparation draws from, and which slices of them. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vemctl.errors import InputError, OptionError
from vemctl.plugin import PreparationRequest, TrainingData, Triple, VolumeFacts
from vemctl_pssr.architecture import SCALE
from vemctl_pssr.constants import crappifier_of
from vemctl_pssr.data import HELD_OUT, PARTS, expanded, split_by_files
from vemctl_pssr.prepare_options import PrepareOptions
from vemctl_pssr.samples import Frames


@dataclass(frozen=True)
class Source:
    """A channel at a time point of a file, or some of its slices, from which samples are drawn.

    Attributes
    ----------
    role : str
    index : int
        Of the volume in its role.
    first, end : int
        Slices that the middle frame may be.
    """

    role: str
    index: int
    first: int
    end: int


def preparation_data(options: PrepareOptions, inputs: Sequence[Path]) -> TrainingData:
    """Return the good images to train and to validate on.

    Raises
    ------
    OptionError
        There are none, or options contradict each other.
    """
    if options.frames % 2 == 0:
        raise OptionError(f"--frames {options.frames}: expected an odd number, with a middle")
    if options.size % SCALE:
        raise OptionError(f"--size {options.size}: expected a multiple of {SCALE}")
    crappifier_of(options)
    train: list[Path] = []
    valid = list(expanded(options.validation, options.frames))
    named: list[Path] = []
    for path in inputs:
        folders = _named_parts(path)
        if folders is None:
            train.extend(expanded([path], options.frames))
        else:
            train.extend(expanded(folders[0], options.frames))
            named.extend(expanded(folders[1], options.frames))
    if named and valid:
        raise OptionError("--validation: there are folders called valid too; leave one of them out")
    kept = {path.absolute() for path in valid}
    train = [path for path in train if path.absolute() not in kept]
    if not train:
        raise OptionError(
            "--validation: no images are left to train on; expected others than those to validate "
            "on"
        )
    valid = valid or named
    if not valid and options.num_valid and len(train) > 1:
        parts = split_by_files(len(train))
        train, valid = ([train[i] for i in numbers] for numbers in parts)
    return TrainingData({PARTS[0]: tuple(train), **({PARTS[1]: tuple(valid)} if valid else {})})


def _named_parts(folder: Path) -> tuple[list[Path], list[Path]] | None:
    """Return the folders called train and valid in a folder or in its categories, if any."""
    if not folder.is_dir():
        return None
    found = tuple(
        sorted(each for each in (*folder.glob(part), *folder.glob(f"*/{part}")) if each.is_dir())
        for part in PARTS
    )
    return (found[0], found[1]) if found[0] else None


class SourceFinder:
    """Finds what samples may be drawn from.

    Parameters
    ----------
    options : PrepareOptions
    request : PreparationRequest

    Attributes
    ----------
    frames : Frames
        Of a sample.
    """

    def __init__(self, options: PrepareOptions, request: PreparationRequest) -> None:
        self._options = options
        self._request = request
        facts = request.patches.facts(PARTS[0])
        several = any(each.timepoint for each in facts)
        axis = options.frames_axis or ("t" if several else "z")
        self.frames = Frames(options.frames, in_time=options.frames > 1 and axis == "t")

    def find(self) -> dict[str, list[Source]]:
        """Return the sources by part; of a single file, the last slices are to validate on.

        Raises
        ------
        InputError
            An image is too small, or has too few slices or time points.
        """
        patches, names = self._request.patches, self._request.names
        half = self.frames.slices // 2
        sources: dict[str, list[Source]] = {part: [] for part in PARTS}
        for part in (part for part in PARTS if part in names):
            for index, facts in enumerate(patches.facts(part)):
                self._check_shape(part, facts)
                if self.frames.in_time and self._ends(part, facts):
                    continue
                sources[part].append(Source(part, index, half, facts.shape[0] - half))
        if PARTS[1] not in names and self._options.num_valid:
            sources[PARTS[1]] = [self._last_slices(each) for each in sources[PARTS[0]]]
            sources[PARTS[0]] = [self._first_slices(each) for each in sources[PARTS[0]]]
        return sources

    def name(self, role: str, facts: VolumeFacts) -> str:
        """Return the path of a file."""
        return self._request.names[role][facts.file_index]

    def category(self, role: str, facts: VolumeFacts) -> str:
        """Return the name of the folder that says of which kind an image is."""
        folder = Path(self.name(role, facts)).parent
        return folder.parent.name if folder.name in PARTS else folder.name

    def voxel_size(self) -> tuple[float, float, float] | None:
        """Return the voxel size (z, y, x) of all files in nanometres, if they have one."""
        sizes = {
            facts.voxel_size
            for part in self._request.names
            for facts in self._request.patches.facts(part)
        }
        if len(sizes) > 1:
            self._request.warn(
                "the files have different voxel sizes, or some have none: a network that learns "
                "from them is for none in particular"
            )
        return sizes.pop() if len(sizes) == 1 else None

    def _kept(self, source: Source) -> int:
        count = source.end - source.first
        kept = math.ceil(count / HELD_OUT)
        if kept + self.frames.slices > count:
            facts = self._request.patches.facts(source.role)[source.index]
            raise InputError(
                f"{self.name(source.role, facts)}: too few slices to keep some for validation; "
                f"expected several files, --validation, or --num-valid 0"
            )
        return kept

    def _last_slices(self, source: Source) -> Source:
        return Source(source.role, source.index, source.end - self._kept(source), source.end)

    def _first_slices(self, source: Source) -> Source:
        # No frame of a sample to train on is one of a sample to validate on.
        end = source.end - self._kept(source) - (self.frames.slices - 1)
        return Source(source.role, source.index, source.first, end)

    def _check_shape(self, part: str, facts: VolumeFacts) -> None:
        size = (self.frames.slices, self._options.size, self._options.size)
        if any(n < s for n, s in zip(facts.shape, size, strict=True)):
            raise InputError(
                f"{self.name(part, facts)}: its shape {_text(facts.shape)} is smaller than a "
                f"sample of {_text(size)} (z, y, x): expected a smaller --size, or larger images"
            )

    def _ends(self, part: str, facts: VolumeFacts) -> bool:
        """Tell whether a time point lacks neighbours."""
        half = self._options.frames // 2
        points = {
            each.timepoint
            for each in self._request.patches.facts(part)
            if each.file_index == facts.file_index
        }
        if len(points) < self._options.frames:
            raise InputError(
                f"{self.name(part, facts)}: has {len(points)} time points, a sample "
                f"{self._options.frames}: expected at least as many, or --frames-axis z"
            )
        return not min(points) + half <= facts.timepoint <= max(points) - half


def _text(triple: Triple) -> str:
    return " x ".join(map(str, triple))
