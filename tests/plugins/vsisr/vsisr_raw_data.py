"""Raw files on disk, and what a preparation makes of them, through the core that opens and writes.

Shared by the tests of `vemctl prepare vsisr`.
"""

from __future__ import annotations

import contextlib
import csv
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vemctl_vsisr.prepare import preparation, preparation_data
from vemctl_vsisr.prepare_options import PrepareOptions

from vemctl.errors import VemctlError
from vemctl.plugin import Preparation, PreparationRequest, Workplace
from vemctl.training.patches import VolumePatches, open_data
from vemctl.volumes.open import open_volume
from vemctl.workflows.new_volumes import VolumeMaker

SPACING = (250.0, 90.5, 90.0)
"""Nanometres of raw voxels, (z, y, x)."""


def write_raw(
    path: Path,
    volume: np.ndarray,
    spacing: tuple[float, float, float] | None = SPACING,
    *,
    stamp: bool = True,
    waves: int = 1,
    times: int = 1,
) -> Path:
    """Write a file as the authors' microscope does: (z, y, x), or more planes."""
    head = bytearray(1024)
    modes = {"int16": 1, "float32": 2, "uint16": 6}
    struct.pack_into("<4i", head, 0, *volume.shape[::-1], modes[volume.dtype.name])
    struct.pack_into("<3i", head, 28, 1, 1, 1)
    struct.pack_into("<3i", head, 64, 1, 2, 3)
    if spacing is not None:
        struct.pack_into("<3f", head, 40, *(length / 1000 for length in reversed(spacing)))
    struct.pack_into("<h", head, 96, -16224 if stamp else 0)
    struct.pack_into("<h", head, 180, times)
    struct.pack_into("<h", head, 196, waves)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(head) + volume.astype(volume.dtype.newbyteorder("<")).tobytes())
    return path


@dataclass
class Prepared:
    """What a preparation made in a folder."""

    folder: Path
    plan: dict[str, Any]
    record: dict[str, Any]
    warnings: list[str]
    advanced: list[tuple[str, int, int]] = field(default_factory=list)

    def volume(self, name: str) -> np.ndarray:
        """Read a volume that was made."""
        with contextlib.closing(open_volume(self.folder / f"{name}.zarr")) as volume:
            return volume.read(tuple(slice(0, n) for n in volume.header.shape))

    def voxel_size(self, name: str) -> tuple[float, float, float] | None:
        """Return the voxel size of a volume that was made."""
        with contextlib.closing(open_volume(self.folder / f"{name}.zarr")) as volume:
            return volume.header.voxel_size

    def rows(self) -> list[dict[str, str]]:
        """Return the table of pairs."""
        with (self.folder / "pairs.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


def opened(
    options: PrepareOptions,
    inputs: Sequence[Path],
    seed: int = 0,
    warn: Callable[[str], None] = lambda _: None,
) -> Preparation:
    """Return a preparation of files."""
    wanted = preparation_data(options, inputs)
    part = open_data(wanted).training
    names = {role: tuple(map(str, paths)) for role, paths in wanted.volumes.items()}
    patches = VolumePatches(part.sources, facts=part.facts)
    return preparation(options, PreparationRequest(patches, names, seed, warn))


def prepared(folder: Path, options: PrepareOptions, *inputs: Path, seed: int = 0) -> Prepared:
    """Plan and run a preparation into a new folder."""
    told: list[str] = []
    advanced: list[tuple[str, int, int]] = []
    made = opened(options, inputs, seed, told.append)
    plan = dict(made.plan())
    folder.mkdir()
    maker = VolumeMaker(folder)
    record = dict(made.run(Workplace(folder, maker, lambda *args: advanced.append(args))))
    maker.check_closed()
    return Prepared(folder, plan, record, told, advanced)


def refusal(options: PrepareOptions, *inputs: Path) -> str:
    """Return the one line of the error with which a preparation is refused before it is run."""
    with pytest.raises(VemctlError) as error:
        opened(options, inputs)
    assert "\n" not in str(error.value)
    return str(error.value)
