"""Which volumes a training reads: from flags, or from the names in a folder. Imports no torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from vemctl.errors import OptionError
from vemctl.plugin import TrainingData, volumes_at, volumes_by_suffix
from vemctl_denoise.train_options import TrainOptions

PAIR = ("fast", "slow")


def training_data(options: TrainOptions, volumes: Sequence[Path]) -> TrainingData:
    """Return fast and slow volumes in pairs, or noisy ones.

    Parameters
    ----------
    options : TrainOptions
    volumes : sequence of Path
        What the user named without a flag.

    Raises
    ------
    OptionError
        Neither or both of the two ways to learn, or not the volumes that it takes.
    """
    if options.supervised == options.self_supervised:
        raise OptionError(
            "denoise learns in one of two ways: give --supervised (fast and slow scans) or "
            "--self-supervised (fast scans alone), not both"
        )
    return _pairs(options, volumes) if options.supervised else _noisy(options, volumes)


def _pairs(options: TrainOptions, volumes: Sequence[Path]) -> TrainingData:
    _refuse(options, "--supervised", "validation_noisy")
    if (options.fast or options.slow) and volumes:
        raise OptionError(
            f"{volumes[0]}: --fast and --slow are given too; leave out one or the other"
        )
    if volumes:
        if len(volumes) > 1 or not volumes[0].is_dir():
            raise OptionError(
                f"{volumes[-1]}: --supervised takes one folder in which names with 'fast' and "
                f"'slow' make pairs; or name the volumes with --fast and --slow"
            )
        fast, slow = paired_by_name(volumes[0])
    else:
        fast, slow = options.fast, options.slow
    if not fast and not slow:
        raise OptionError(
            "--supervised without volumes: name them with --fast and --slow, or give a folder of "
            "both"
        )
    _check_counts("--fast", fast, "--slow", slow)
    _check_counts(
        "--validation-fast", options.validation_fast, "--validation-slow", options.validation_slow
    )
    validation = {}
    if options.validation_fast:
        validation = {"fast": options.validation_fast, "slow": options.validation_slow}
    return TrainingData({"fast": fast, "slow": slow}, (PAIR,), validation)


def _noisy(options: TrainOptions, volumes: Sequence[Path]) -> TrainingData:
    _refuse(options, "--self-supervised", *PAIR, "validation_fast", "validation_slow")
    if not volumes:
        raise OptionError(
            "--self-supervised without volumes: name noisy volumes, or a folder of them"
        )
    noisy = tuple(each for path in volumes for each in volumes_at(path))
    held_out = tuple(each for path in options.validation_noisy for each in volumes_at(path))
    return TrainingData({"noisy": noisy}, validation={"noisy": held_out} if held_out else {})


def paired_by_name(folder: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the fast and the slow volumes of a folder, in pairs.

    Names with "fast" and with "slow" are a pair where the rest is the same, suffix aside.

    Raises
    ------
    OptionError
        There are none, or a name has no partner or more than one.
    """
    found: dict[str, dict[str, list[Path]]] = defaultdict(lambda: {"fast": [], "slow": []})
    for path in volumes_by_suffix(folder):
        name = path.stem.lower()
        kinds = [kind for kind in PAIR if kind in name]
        if len(kinds) > 1:
            raise OptionError(
                f"{path}: both 'fast' and 'slow' in its name; rename it, or use --fast and --slow"
            )
        if kinds:
            found[name.replace(kinds[0], "")][kinds[0]].append(path)
    if not found:
        raise OptionError(
            f"{folder}: no volumes with 'fast' and 'slow' in their names; rename them, or use "
            f"--fast and --slow"
        )
    for group in found.values():
        for kind, other in (PAIR, PAIR[::-1]):
            if len(group[kind]) > 1:
                raise OptionError(
                    f"{group[kind][0]} and {group[kind][1].name}: two volumes of one name; move "
                    f"one elsewhere, or use --fast and --slow"
                )
            if not group[kind]:
                raise OptionError(
                    f"{group[other][0]}: no volume of this name with '{kind}' for '{other}'; "
                    f"rename the one it belongs to, or use --fast and --slow"
                )
    groups = [found[rest] for rest in sorted(found)]
    return tuple(group["fast"][0] for group in groups), tuple(group["slow"][0] for group in groups)


def _check_counts(
    first: str, some: tuple[Path, ...], second: str, others: tuple[Path, ...]
) -> None:
    if len(some) != len(others):
        raise OptionError(
            f"{len(some)} times {first} and {len(others)} times {second}: expected as many, the "
            f"first of one belonging to the first of the other"
        )
    twice = set(some) & set(others)
    if twice:
        raise OptionError(
            f"{min(twice)}: given for {first} and for {second}; expected two scans of one volume"
        )


def _refuse(options: TrainOptions, mode: str, *names: str) -> None:
    for name in names:
        if getattr(options, name):
            raise OptionError(
                f"{mode} with --{name.replace('_', '-')}: it belongs to the other way to learn; "
                f"leave out one of them"
            )
