"""Deskewed stacks with a mirror in them, and what a preparation makes of files, through the core.

Shared by the tests of `vemctl prepare rldfn`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vemctl_rldfn.prepare import preparation, preparation_data
from vemctl_rldfn.prepare_options import PrepareOptions

from vemctl.errors import VemctlError
from vemctl.plugin import Preparation, PreparationRequest, Workplace
from vemctl.training.patches import VolumePatches, open_data
from vemctl.volumes.open import open_volume
from vemctl.workflows.new_volumes import VolumeMaker

FLAT = PrepareOptions(voxel_size="60,60,60", tilt=0.0, angles="0", quarter_turns=0)
"""For stacks in the frame of the coverslip: they are split only."""


def write(path: Path, volume: np.ndarray) -> Path:
    """Write an array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, volume)
    return path


def spotted(shape: tuple[int, int, int], spots: Iterable[Sequence[float]], background: float):
    """Return counts, (z, y, x), of spots: places along y, x and z, and an amplitude."""
    height, width, depth = shape
    volume = np.full((depth, height, width), float(background))
    for y, x, z, amplitude in spots:
        near = [
            np.arange(max(round(c) - 6, 0), min(round(c) + 7, n))
            for c, n in zip((z, y, x), volume.shape, strict=True)
        ]
        if all(map(len, near)):
            at_z, at_y, at_x = np.ix_(*near)
            lateral = ((at_y - y) ** 2 + (at_x - x) ** 2) / (2 * 1.2**2)
            spot = amplitude * np.exp(-lateral - (at_z - z) ** 2 / (2 * 1.6**2))
            volume[tuple(slice(each[0], each[-1] + 1) for each in near)] += spot
    return np.round(volume).astype(np.uint16)


def askew(
    shape: tuple[int, int, int], *, tilt: float, angle: float, mirror: float, count: int, seed=0
) -> np.ndarray:
    """Return a stack (z, y, x) of planes 1.5 pixels apart, with spots and their mirror images.

    `mirror` is the plane of the rotated stack of the same shape, counted from 0.
    """
    depth, height, width = shape
    rng = np.random.default_rng(seed)
    cos_tilt, sin_tilt = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    spots = []
    for _ in range(count):
        y1 = rng.uniform(-0.5, 0.5) * height
        x2 = rng.uniform(-0.5, 0.5) * width
        distance, amplitude = rng.uniform(3, 0.4 * depth), rng.uniform(300, 2000)
        for side in (-1, 1):
            z2 = mirror - (depth - 1) / 2 + side * distance
            z1, x = z2 * cos - x2 * sin, x2 * cos + z2 * sin
            y = y1 * cos_tilt + z1 * sin_tilt + (height - 1) / 2
            z = (z1 * cos_tilt - y1 * sin_tilt) / 1.5 + (depth - 1) / 2
            spots.append((y, x + (width - 1) / 2, z, amplitude))
    return spotted((height, width, depth), spots, 20)


def reflected(depth: int, mirror: float, height=70, width=80, seed=0) -> np.ndarray:
    """Return counts in the frame of the coverslip that are alike on both sides of a mirror."""
    from scipy import ndimage

    noise = np.random.default_rng(seed).gamma(0.5, 1, (2 * depth, height, width))
    smooth = ndimage.gaussian_filter(noise, 1.5)
    distances = np.abs(np.arange(depth) - mirror)
    return np.round(3000 * smooth[np.round(distances * 2).astype(int) % (2 * depth)]).astype(
        np.uint16
    )


@dataclass
class Prepared:
    """What a preparation made in a folder."""

    folder: Path
    plan: dict[str, Any]
    record: dict[str, Any]
    warnings: list[str]
    advanced: list[tuple[str, int, int]]

    def view(self, number: int, view: str) -> np.ndarray:
        """Read a view of the volume with a number, in the order of the record."""
        with contextlib.closing(open_volume(self.path(number, view))) as volume:
            return volume.read(tuple(slice(0, n) for n in volume.header.shape))

    def voxel_size(self, number: int, view: str) -> tuple[float, float, float] | None:
        """Return the voxel size of a view."""
        with contextlib.closing(open_volume(self.path(number, view))) as volume:
            return volume.header.voxel_size

    def path(self, number: int, view: str) -> Path:
        """Return where a view is."""
        return self.folder / self.record["volumes"][number]["views"][view]


def opened(
    options: PrepareOptions,
    inputs: Sequence[Path],
    warn: Callable[[str], None] = lambda _: None,
) -> Preparation:
    """Return a preparation of files."""
    wanted = preparation_data(options, inputs)
    part = open_data(wanted).training
    names = {role: tuple(map(str, paths)) for role, paths in wanted.volumes.items()}
    patches = VolumePatches(part.sources, facts=part.facts)
    return preparation(options, PreparationRequest(patches, names, 0, warn))


def prepared(folder: Path, options: PrepareOptions, *inputs: Path) -> Prepared:
    """Plan and run a preparation into a new folder."""
    told: list[str] = []
    advanced: list[tuple[str, int, int]] = []
    made = opened(options, inputs, told.append)
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
