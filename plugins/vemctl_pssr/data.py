"""Which images a training reads: from flags, folders, or a prepared set. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

from vemctl.errors import InputError, OptionError
from vemctl.plugin import TrainingData, volumes_at, volumes_by_suffix
from vemctl_pssr.architecture import SCALE
from vemctl_pssr.constants import crappifier_of
from vemctl_pssr.ranges import rule_of_training, statistics_of_training
from vemctl_pssr.selecting import selection_statistics
from vemctl_pssr.train_options import PoorOptions, TrainOptions

HR, LR = "hr", "lr"
PARTS = ("train", "valid")
HELD_OUT = 10
"""One file in so many is kept to validate on."""
RECORD = "prepare.json"
SMALLEST_EDGE = 8
"""Of a patch."""
LARGER = (Fraction(1), Fraction(SCALE), Fraction(SCALE))


@dataclass(frozen=True)
class PreparedSet:
    """What `vemctl prepare pssr` wrote about a set that it made.

    Attributes
    ----------
    folder : Path
    frames : int
        Poor ones for each good one.
    counts : (int, int)
        Of samples to train and to validate on.
    voxel_size : (z, y, x), optional
        Of good images, in nanometres.
    crappifier : str
    range : str
        What became 0 and 1 of the images that it was made of.
    """

    folder: Path
    frames: int
    counts: tuple[int, int]
    voxel_size: tuple[float, float, float] | None
    crappifier: str
    range: str

    def paths(self, part: str) -> dict[str, tuple[Path, ...]]:
        """Return the volumes of a part by role."""
        return {role: (self.folder / part / f"{role}.zarr",) for role in (LR, HR)}


def prepared_set(volumes: Sequence[Path]) -> PreparedSet | None:
    """Return what is in a folder that `vemctl prepare pssr` made; None for other volumes.

    Raises
    ------
    InputError
        The folder's record is damaged.
    """
    if len(volumes) != 1 or not (volumes[0] / RECORD).is_file():
        return None
    path = volumes[0] / RECORD
    try:
        made = _from_record(volumes[0], json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{path}: not what vemctl prepare pssr writes ({type(error).__name__}: {error}); "
            f"prepare the set again"
        ) from error
    return made


def _from_record(folder: Path, record: Any) -> PreparedSet:
    size, frames = record["voxel_size"], int(record["frames"])
    train, valid = (int(record["counts"][part]) for part in PARTS)
    if frames % 2 == 0 or min(frames, train) < 1 or valid < 0:
        raise ValueError(f"{frames} frames, {train} and {valid} samples")
    return PreparedSet(
        folder,
        frames,
        (train, valid),
        None if size is None else (float(size[0]), float(size[1]), float(size[2])),
        str(record["crappifier"]),
        rule_of_training(str(record["range"]), "the record's range").text,
    )


def training_data(options: TrainOptions, volumes: Sequence[Path]) -> TrainingData:
    """Return good images alone, in pairs with poor ones, or a prepared set.

    Raises
    ------
    OptionError
        They do not make up a training.
    """
    check_options(options)
    found = prepared_set(volumes)
    if found is not None:
        return _of_prepared(options, found)
    weights = () if options.feature_weights is None else (options.feature_weights,)
    for path in (*options.emulate_noise, *weights):
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; check the path")
    if volumes and (options.hr or options.lr):
        flag = "--hr" if options.hr else "--lr"
        raise OptionError(
            f"{volumes[0]}: {flag} is given too; expected good images either without a flag or "
            f"with --hr, which goes with --lr"
        )
    good = expanded(volumes or options.hr, options.frames)
    if not good:
        raise OptionError(
            "no images to learn from: name good ones, a folder of some, or what vemctl prepare "
            "pssr has made"
        )
    held = {
        HR: expanded(options.validation_hr, options.frames),
        LR: expanded(options.validation_lr, options.frames),
    }
    if not options.lr:
        if options.lr_range is not None:
            raise OptionError("--lr-range without --lr: poor images are made; leave it out")
        if held[LR]:
            raise OptionError("--validation-lr without --lr: poor images are made; leave it out")
        kept = {HR: held[HR]} if held[HR] else {}
        return _split(options, {HR: good}, kept, TrainingData({}))
    _refuse_poor_options(options, "--lr", "the poor images are real")
    poor = expanded(options.lr, options.frames)
    for flags, pair in (
        ("--lr and --hr", (poor, good)),
        ("--validation-lr and --validation-hr", (held[LR], held[HR])),
    ):
        if len(pair[0]) != len(pair[1]):
            raise OptionError(
                f"{flags}: {len(pair[0])} poor and {len(pair[1])} good images; expected as many, "
                f"in one order"
            )
    layout = TrainingData({}, ((LR, HR),), scale={HR: LARGER})
    return _split(options, {LR: poor, HR: good}, held if held[HR] else {}, layout)


def check_options(options: TrainOptions) -> None:
    """Refuse what no image could mend, before any is read.

    Raises
    ------
    OptionError
        An option means nothing, or contradicts another.
    """
    from vemctl_pssr.losses import parse_loss

    if options.frames % 2 == 0:
        raise OptionError(f"--frames {options.frames}: expected an odd number, with a middle")
    parse_loss(options.loss)
    crappifier_of(options)
    text = ",".join(map(str, options.patch))
    if options.patch[0] != 1 or options.patch[1] != options.patch[2]:
        raise OptionError(
            f"--patch {text}: expected 1 along z, and as many pixels along y as along x"
        )
    if options.patch[1] < SMALLEST_EDGE:
        raise OptionError(f"--patch {text}: expected at least {SMALLEST_EDGE} pixels")


def training_statistics(options: TrainOptions, role: str) -> tuple[str, ...]:
    """Return what must be measured of volumes of a role."""
    wanted = statistics_of_training(*range_option(options, role))
    made = role == HR and not options.lr
    return (*wanted, *selection_statistics()) if made and options.select else wanted


def range_option(options: TrainOptions, role: str) -> tuple[str | None, str]:
    """Return the range of a role as it was typed, if it was, and the flag that it comes from."""
    if role == LR and options.lr_range is not None:
        return options.lr_range, "--lr-range"
    return options.hr_range, "--hr-range"


def split_by_files(count: int) -> tuple[list[int], list[int]]:
    """Return which of so many files are trained on, and which are kept, evenly among them."""
    kept = max(1, round(count / HELD_OUT))
    last = [(i + 1) * count // kept - 1 for i in range(kept)]
    return [i for i in range(count) if i not in last], last


def expanded(paths: Sequence[Path], frames: int = 1) -> tuple[Path, ...]:
    """Return the volumes that paths stand for; folders are what is in them.

    Images are files of their own, also where their names differ in numbers alone; only where
    several frames are wanted, such files are the planes of one volume.
    """
    return tuple(each for path in paths for each in _at(path, frames))


def _at(path: Path, frames: int) -> Sequence[Path]:
    found = volumes_at(path)
    if frames == 1 and found == (path,) and path.is_dir():
        return volumes_by_suffix(path) or found
    return found


def _split(
    options: TrainOptions,
    volumes: dict[str, tuple[Path, ...]],
    held: dict[str, tuple[Path, ...]],
    layout: TrainingData,
) -> TrainingData:
    count = len(volumes[HR])
    if held and options.held_out is not None:
        raise OptionError("--held-out with --validation-hr: expected one of them; leave one out")
    if options.held_out == "files" and count == 1:
        raise OptionError("--held-out files: there is one file only; expected several, or slices")
    if not held and count > 1 and options.held_out != "slices":
        train, kept = split_by_files(count)
        held = {role: tuple(paths[i] for i in kept) for role, paths in volumes.items()}
        volumes = {role: tuple(paths[i] for i in train) for role, paths in volumes.items()}
    return TrainingData(volumes, layout.paired, held, layout.scale)


def _of_prepared(options: TrainOptions, found: PreparedSet) -> TrainingData:
    why = "a prepared set has its images already"
    _refuse_poor_options(options, str(found.folder), why)
    own = (HR, LR, "validation_hr", "validation_lr", "held_out", "hr_range", "lr_range",
           "frames_axis")  # fmt: skip
    _refuse(options, own, str(found.folder), why)
    if options.frames not in {1, found.frames}:
        raise OptionError(
            f"--frames {options.frames}: the set {found.folder} was prepared with {found.frames}; "
            f"leave it out, or prepare another"
        )
    frames = Fraction(found.frames)
    scale = {LR: (frames, Fraction(1), Fraction(1)), HR: LARGER}
    train, valid = (found.paths(part) for part in PARTS)
    return TrainingData(train, ((LR, HR),), valid if found.counts[1] else {}, scale)


def _refuse_poor_options(options: TrainOptions, what: str, why: str) -> None:
    """Refuse options of how poor images are made, where none are."""
    _refuse(options, [field.name for field in fields(PoorOptions)], what, why)


def _refuse(options: TrainOptions, names: Sequence[str], what: str, why: str) -> None:
    usual = type(options)()
    given = [
        f"--{name.replace('_', '-')}"
        for name in names
        if getattr(options, name) != getattr(usual, name)
    ]
    if given:
        raise OptionError(f"{what} with {', '.join(given)}: {why}; leave one of them out")
