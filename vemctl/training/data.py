"""The volumes of a training: opened once, checked and described."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vemctl.errors import InputError, OptionError
from vemctl.geometry import ONE, Triple
from vemctl.restoring import VolumeFacts
from vemctl.sampling import TrainingData
from vemctl.training.chunk_cache import SLAB_BYTES, boxes
from vemctl.training.volume_patches import VolumeSource, part_facts
from vemctl.volumes.fingerprint import fingerprint
from vemctl.volumes.open import open_volume
from vemctl.volumes.volume import Header, Region, Volume

PROBE_EDGE = 32
PROBES = 5
CONSTANT_SEARCH_BYTES = 2**30
"""How much is read to find a second value in a volume whose probes have only one."""


@dataclass(frozen=True)
class Part:
    """Volumes by role: every channel and time point is one of its own.

    Attributes
    ----------
    sources : mapping of str to tuple of VolumeSource
        Whole volumes.
    facts : mapping of str to tuple of VolumeFacts
        Of each of them.
    """

    sources: Mapping[str, tuple[VolumeSource, ...]]
    facts: Mapping[str, tuple[VolumeFacts, ...]]


@dataclass(frozen=True)
class DataDescription:
    """What a training reads.

    Attributes
    ----------
    training : Part
    validation : Part, optional
        Volumes of their own to validate on.
    record : mapping
        Of every file by role: path, shape, dtype, axes and a digest of samples (JSON types).
    wanted : TrainingData
        What was asked for.
    """

    training: Part
    validation: Part | None
    record: Mapping[str, Any]
    wanted: TrainingData

    @property
    def facts(self) -> Mapping[str, tuple[VolumeFacts, ...]]:
        """What is known of the whole volumes to train on, by role."""
        return self.training.facts

    def to_json(self) -> dict[str, Any]:
        """Return what a run records of its data."""
        return dict(self.record)


def open_data(
    data: TrainingData,
    *,
    axes: str | None = None,
    level: int = 0,
    channel: str = "all",
    timepoint: str = "all",
) -> DataDescription:
    """Open every volume once, and check that it can be trained on.

    Parameters
    ----------
    data : TrainingData
    axes : str, optional
        As stored, where files do not say.
    level : int
        Of resolution pyramids.
    channel, timepoint : str
        ``"all"``, each on its own, or one, counted from 0.

    Raises
    ------
    InputError
        A volume is missing, unusable or constant, or paired ones do not fit together.
    OptionError
        There is no such level, channel or time point.
    """
    if not any(data.volumes.values()):
        raise InputError("no volumes to train on: give at least one")
    missing = [
        role for role, paths in data.volumes.items() if paths and not data.validation.get(role)
    ]
    if any(data.validation.values()) and missing:
        raise InputError(
            f"validation volumes are given, but none for {' and '.join(missing)}: give some for "
            "each, or none at all"
        )
    choice = {"axes": axes, "level": level, "channel": channel, "timepoint": timepoint}
    training, record = _open_part(data.volumes, data, choice)
    if not missing:
        validation, validated = _open_part(data.validation, data, choice)
        return DataDescription(
            training, validation, {"volumes": record, "validation_volumes": validated}, data
        )
    return DataDescription(training, None, {"volumes": record}, data)


def _open_part(
    volumes: Mapping[str, tuple[Path, ...]],
    data: TrainingData,
    choice: Mapping[str, Any],
) -> tuple[Part, dict[str, list[dict[str, Any]]]]:
    partner: dict[str, str] = {}
    for first, *others in data.paired:
        for role in others:
            there, expected = len(volumes.get(role, ())), len(volumes.get(first, ()))
            if there != expected:
                raise InputError(
                    f"{first} has {expected} volumes and {role} has {there}: expected as many of "
                    "each, in the same order"
                )
            partner[role] = first
    headers: dict[str, list[Header]] = {}
    sources: dict[str, tuple[VolumeSource, ...]] = {}
    facts: dict[str, tuple[VolumeFacts, ...]] = {}
    record: dict[str, list[dict[str, Any]]] = {}
    for role in sorted(volumes, key=lambda role: role in partner):
        headers[role], record[role] = [], []
        found: list[tuple[VolumeSource, VolumeFacts]] = []
        for number, path in enumerate(volumes[role]):
            volume = open_volume(path, axes=choice["axes"], level=choice["level"])
            try:
                header = volume.header
                if role in partner:
                    _check_pair(role, header, partner[role], headers[partner[role]][number], data)
                headers[role].append(header)
                series = _series(header, choice)
                if not data.may_be_constant:
                    _check_varied(volume, series)
                record[role].append({"path": str(path), **fingerprint(volume)})
            finally:
                volume.close()
            for c, t in series:
                stop = header.shape[0]
                source = VolumeSource(path, choice["axes"], choice["level"], c, t, 0, stop)
                facts_of_it = replace(
                    part_facts(header, 0, stop), file_index=number, channel=c, timepoint=t
                )
                found.append((source, facts_of_it))
        sources[role] = tuple(source for source, _ in found)
        facts[role] = tuple(each for _, each in found)
    in_order = Part({r: sources[r] for r in volumes}, {r: facts[r] for r in volumes})
    return in_order, {role: record[role] for role in volumes}


def _series(header: Header, choice: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return the channels and time points that are asked for, as pairs."""
    chosen = []
    for name, count in (("timepoint", header.num_timepoints), ("channel", header.num_channels)):
        asked, there = str(choice[name]), 1 if count is None else count
        if min(*header.shape, there) < 1:
            raise InputError(f"{header.path}: holds no voxels; export it again")
        if asked != "all" and not (asked.isdecimal() and int(asked) < there):
            raise OptionError(
                f"--{name} {asked}: {header.path} has {there} {name}s; "
                f"expected all, or 0 to {there - 1}"
            )
        chosen.append(range(there) if asked == "all" else (int(asked),))
    return [(channel, timepoint) for timepoint, channel in itertools.product(*chosen)]


def _check_pair(
    role: str, header: Header, first_role: str, first: Header, data: TrainingData
) -> None:
    scales = (data.scale.get(each, ONE) for each in (role, first_role))
    factors = [ours / theirs for ours, theirs in zip(*scales, strict=True)]
    expected = [n * factor for n, factor in zip(first.shape, factors, strict=True)]
    if any(factor != 1 for factor in factors) and list(header.shape) != expected:
        raise InputError(
            f"{header.path}: {role} has {show_triple(header.shape)} voxels (z, y, x), and "
            f"{first.path} of {first_role} {show_triple(first.shape)}: expected "
            f"{' x '.join(map(str, expected))}, for a scale of {' x '.join(map(str, factors))}; "
            "crop or resample one of them"
        )
    for what, ours, theirs in (
        ("shape", list(header.shape), expected),
        ("channels", header.num_channels or 1, first.num_channels or 1),
        ("time points", header.num_timepoints or 1, first.num_timepoints or 1),
    ):
        if ours != theirs:
            shown = [
                show_triple(e.shape) if what == "shape" else n
                for e, n in ((first, theirs), (header, ours))
            ]
            raise InputError(
                f"{first_role} and {role} of different {what}: {first.path} has {shown[0]}, "
                f"{header.path} has {shown[1]}: register or crop them"
            )


def show_triple(triple: Triple) -> str:
    """Write (z, y, x) for people: ``8 x 64 x 64``."""
    return " x ".join(map(str, triple))


def _check_varied(volume: Volume, series: Sequence[tuple[int, int]]) -> None:
    """Refuse volumes of one value, from which nothing can be learned."""
    header = volume.header
    for channel, timepoint in series:
        values: set[Any] = set()
        for region in itertools.chain(_probes(header), _search(header)):
            block = volume.read(region, channel=channel, timepoint=timepoint)
            values |= {block.min().item(), block.max().item()}
            if len(values) > 1:
                break
        else:
            if math.prod(header.shape) * header.dtype.itemsize > CONSTANT_SEARCH_BYTES:
                continue  # the benefit of the doubt: most of it was not looked at
            several = len(series) > 1 or channel or timepoint
            where = f" in channel {channel} at time point {timepoint}" if several else ""
            raise InputError(
                f"{header.path}: every voxel is {values.pop()}{where}: nothing can be learned from "
                "it; leave it out"
                + (", or choose others with --channel and --timepoint" if where else "")
            )


def _probes(header: Header) -> Iterator[Region]:
    """Return a few small regions along the diagonal of a volume."""
    for i in range(PROBES):
        starts = [i * max(0, n - PROBE_EDGE) // (PROBES - 1) for n in header.shape]
        z, y, x = (
            slice(start, min(start + PROBE_EDGE, n))
            for start, n in zip(starts, header.shape, strict=True)
        )
        yield z, y, x


def _search(header: Header) -> Iterator[Region]:
    """Return regions that cover a volume or, if it is large, are spread over it."""
    size = math.prod(header.shape) * header.dtype.itemsize
    every = max(1, -(-size // CONSTANT_SEARCH_BYTES))
    return itertools.islice(boxes(header, SLAB_BYTES, 0, header.shape[0]), 0, None, every)
