"""Synthetic methods of the shapes that the contract must hold, each with a direct computation.

The direct computations hold whole volumes in memory and know nothing of grids, blocks or windows:
they are loops as the published programs have them. The arithmetic on one tile is shared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vemctl.plugin import (
    Footprint,
    Method,
    Output,
    Place,
    Request,
    Restorer,
    TimeWindow,
    by_slice,
)

ONE = Fraction(1)


class Synthetic(Method):
    """A method without weights whose restorer is given."""

    summary = "A shape of the contract."
    takes_weights = False
    has_original = False

    def __init__(self, name: str, restorer: type[Any], inputs: Sequence[str] = ("input",)) -> None:
        self.name = name
        self.inputs = inputs
        self._restorer = restorer

    def restorer(self, weights: Path | None, options: Any, request: Request) -> Restorer:
        assert weights is None
        made: Restorer = self._restorer(request)
        return made


class InTime(Synthetic):
    """The same with a time window and the brightest voxel of every slice."""

    def __init__(self, name: str, restorer: type[Any], window: TimeWindow, **facts: Any) -> None:
        super().__init__(name, restorer, **facts)
        self.window = window

    def statistics(self, options: Any, *, weights: Path | None, as_original: bool) -> Sequence[str]:
        return [by_slice("max"), "min"]

    def time_window(self, options: Any, **facts: Any) -> TimeWindow:
        return self.window


@dataclass
class Base:
    request: Request
    output = Output()
    footprint = Footprint(tile=(None, None, None))

    def memory(self, tile: tuple[int, int, int], batch: int) -> int:
        return 4 * batch * math.prod(tile)


# ------------------------------------------------ denoise: 3-D tiles, cropped, later block wins


def mix(tile: torch.Tensor) -> torch.Tensor:
    """Depend on the whole tile and wrap round in z, as the shift network does."""
    rolled = torch.roll(tile, 1, dims=-3)
    return 0.5 * tile + 0.25 * rolled + tile.mean(dim=(-2, -1), keepdim=True) / 4


class Cropped(Base):
    footprint = Footprint(tile=(5, 12, 16), overlap=(1, 2, 4), multiple_of=(1, 4, 4))

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        return mix(tiles[0])


def cropped_directly(volume: np.ndarray) -> np.ndarray:
    out = np.zeros(volume.shape, np.float32)
    tile, stride = (5, 12, 16), (4, 10, 12)
    starts = []
    for n, p, g in zip(volume.shape, tile, stride, strict=True):
        count = math.ceil((n - p + g) / g)
        starts.append([k * g if k < count - 1 else n - p for k in range(count)])
    for z in starts[0]:
        for y in starts[1]:
            for x in starts[2]:
                part = np.s_[z : z + 5, y : y + 12, x : x + 16]
                result = mix(torch.from_numpy(volume[part].astype(np.float32))).numpy()
                top = 1 if y > 0 else 0
                low = 11 if y < starts[1][-1] else 12
                left = 2 if x > 0 else 0
                right = 14 if x < starts[2][-1] else 16
                out[z : z + 5, y + top : y + low, x + left : x + right] = result[
                    :, top:low, left:right
                ]
    return out


# --------------------------------------------- exem: 3-D tiles, bump, result depends on the tile


def standardise(tile: torch.Tensor) -> torch.Tensor:
    """Depend on the tile's statistics, as group normalisation does."""
    mean = tile.mean(dim=(-3, -2, -1), keepdim=True)
    return (tile - mean) / (tile.std(dim=(-3, -2, -1), keepdim=True) + 1)


class Bumped(Base):
    footprint = Footprint(
        tile=(6, 16, 16), overlap=(3, 8, 8), window="bump", multiple_of=(1, 16, 16), fit=False
    )

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        return standardise(tiles[0])


def bumped_directly(volume: np.ndarray) -> np.ndarray:
    tile, stride = (6, 16, 16), (3, 8, 8)
    axes = [np.linspace(-1, 1, p, dtype=np.float32) for p in tile]
    zz, yy, xx = np.meshgrid(*axes, indexing="ij")
    weight = np.exp(-(zz**2 + yy**2 + xx**2) / np.float32(2 * 0.5**2))
    result, total = np.zeros(volume.shape, np.float32), np.zeros(volume.shape, np.float32)
    starts = [
        [*range(0, n - p, g), n - p] for n, p, g in zip(volume.shape, tile, stride, strict=True)
    ]
    for z in starts[0]:
        for y in starts[1]:
            for x in starts[2]:
                part = np.s_[z : z + 6, y : y + 16, x : x + 16]
                tensor = torch.from_numpy(volume[part].astype(np.float32))
                result[part] += standardise(tensor).numpy() * weight
                total[part] += weight
    return result / total


# ------------------------------------ pssr: 2-D tiles, scale 4, five frames to one, lost frames


def enlarge(frames: torch.Tensor) -> torch.Tensor:
    """Turn (..., 5, y, x) into (..., 1, 4y, 4x)."""
    weights = torch.tensor([1.0, 2.0, 4.0, 2.0, 1.0])[:, None, None]
    one = (frames * weights).sum(dim=-3, keepdim=True) / 10
    return one.repeat_interleave(4, dim=-2).repeat_interleave(4, dim=-1)


class Enlarged(Base):
    footprint = Footprint(
        tile=(5, 16, 16),
        overlap=(0, 4, 4),
        halo=(2, 0, 0),
        lost=(2, 0, 0),
        scale=(ONE, Fraction(4), Fraction(4)),
        fit=False,
    )

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        return enlarge(tiles[0])


def enlarged_directly(volume: np.ndarray) -> np.ndarray:
    frames = torch.from_numpy(volume.astype(np.float32))
    return np.concatenate(
        [enlarge(frames[t - 2 : t + 3]).numpy() for t in range(2, len(frames) - 2)]
    )


# --------- vsisr: whole planes, z context, scale 3/2, lost planes, two passes for the whole range


def triple(window: torch.Tensor) -> torch.Tensor:
    """Turn seven planes into the three in their middle, scaled to [0, 1] together."""
    middle = (window[1:4] + window[2:5] + window[3:6]) / 3
    middle = middle[:, : window.shape[-2], :]
    middle = torch.nn.functional.interpolate(
        middle[None], size=[n * 3 // 2 for n in middle.shape[-2:]], mode="bilinear"
    )[0]
    low, high = middle.min(), middle.max()
    return (middle - low) / (high - low + 1e-7)


class Planes(Base):
    footprint = Footprint(
        tile=(9, None, None),
        halo=(4, 0, 0),
        lost=(3, 0, 0),
        scale=(ONE, Fraction(3, 2), Fraction(3, 2)),
        padding="clip",
    )
    output = Output("truncate", stretch="whole")

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        planes = []
        for volume, place in zip(tiles[0][:, 0], places, strict=True):
            centre = place.halo_low[0]
            starts = range(max(0, centre - 4), min(centre - 2, len(volume) - 7) + 1)
            parts = [triple(volume[s : s + 7])[centre - s - 2] for s in starts]
            planes.append(torch.stack(parts).mean(dim=0))
        return torch.stack(planes)[:, None, None]


def planes_directly(volume: np.ndarray) -> np.ndarray:
    planes = torch.from_numpy(volume.astype(np.float32))
    count = len(planes) - 6
    triples = [triple(planes[i : i + 7]) for i in range(count)]
    result = []
    for j in range(count):
        parts = [triples[i][j - i + 1] for i in (j - 1, j, j + 1) if 0 <= i < count]
        result.append(torch.stack(parts).mean(dim=0).numpy())
    stack = np.stack(result)
    low, high = float(stack.min()), float(stack.max())
    return ((stack.astype(np.float64) - low) * (65535.0 / (high - low))).astype(np.uint16)


# ---------------------------------------------- rldfn: two inputs, an FFT over each tile, a halo


def fuse(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Blur one view by a circular Gaussian over the tile and multiply by the other."""
    response = torch.ones(())
    for axis, n in enumerate(first.shape[-3:]):
        frequency = torch.fft.fftfreq(n)
        shape = [1, 1, 1]
        shape[axis] = n
        response = response * torch.exp(-20 * frequency**2).reshape(shape)
    blurred = torch.fft.ifftn(torch.fft.fftn(first, dim=(-3, -2, -1)) * response, dim=(-3, -2, -1))
    return blurred.real * second


class Fused(Base):
    footprint = Footprint(
        tile=(None, 32, 32), halo=(0, 8, 8), padding="zero", fit=False, multiple_of=(4, 4, 4)
    )

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        depth = places[0].core[0]
        return fuse(*tiles)[..., :depth, 8:-8, 8:-8]


def fused_directly(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    depth, height, width = first.shape
    pad = ((0, -depth % 4), (8, 8), (8, 8))
    a, b = (torch.from_numpy(np.pad(v.astype(np.float32), pad)) for v in (first, second))
    out = np.zeros(first.shape, np.float32)
    for y in [*range(0, height - 16, 16), height - 16]:
        for x in [*range(0, width - 16, 16), width - 16]:
            part = np.s_[:, y : y + 32, x : x + 32]
            out[:, y : y + 16, x : x + 16] = fuse(a[part], b[part])[:depth, 8:-8, 8:-8].numpy()
    return out


# ----------------------------- a network that pools, whose tiles must pool the same voxels together


def pool(tile: torch.Tensor) -> torch.Tensor:
    """Average two by two, blur what is left without padding, and enlarge it again."""
    small = torch.nn.functional.avg_pool3d(tile, (1, 2, 2))
    blurred = torch.nn.functional.avg_pool3d(small, (1, 3, 3), stride=1)
    return blurred.repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)


class Pooled(Base):
    footprint = Footprint(
        tile=(3, 20, 24),
        halo=(0, 2, 2),
        multiple_of=(1, 2, 2),
        aligned=(1, 2, 2),
        padding="edge",
    )

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        return pool(tiles[0])


class PooledAndBlended(Pooled):
    footprint = replace(Pooled.footprint, overlap=(1, 4, 6), window="linear")


class PooledAnyhow(Pooled):
    footprint = replace(Pooled.footprint, aligned=(1, 1, 1))


def pooled_directly(volume: np.ndarray) -> np.ndarray:
    depth, height, width = volume.shape
    padded = np.pad(
        volume.astype(np.float32), [(0, 0), *((2, 2 + n % 2) for n in (height, width))], mode="edge"
    )
    return pool(torch.from_numpy(padded)[None, None])[0, 0, :depth, :height, :width].numpy()


# ------------------------- pssr over time: three time points to one, each slice by its own maximum


def merge(frames: Sequence[torch.Tensor]) -> torch.Tensor:
    """Weight the time points, so that one in another's place is seen."""
    before, now, after = frames
    return before / 4 + now / 2 + after / 8


class Merged(Base):
    footprint = Footprint(
        tile=(3, 12, 16), overlap=(0, 2, 4), halo=(1, 0, 0), padding="edge", fit=False
    )

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        (facts,) = self.request.inputs
        assert len(tiles) == len(self.request.time_window.offsets) == 3
        tops = torch.tensor(facts.slices[by_slice("max")]).reshape(-1, facts.shape[0])
        means = [tile.mean(dim=2, keepdim=True) for tile in tiles]
        own = torch.stack([tops[place.series, place.start[0]] for place in places])
        return merge(means) - own[:, None, None, None, None]


def merged_directly(volume: np.ndarray, window: TimeWindow) -> np.ndarray:
    """Return (t, c, z, y, x) of as many axes."""
    frames = torch.from_numpy(volume.astype(np.float32))
    last = len(frames) - 1
    depth = volume.shape[2]
    around = [(torch.arange(depth) + step).clamp(0, depth - 1) for step in (-1, 0, 1)]
    means = torch.stack([frames[:, :, rows] for rows in around]).mean(dim=0)
    first, end = (window.before, last + 1 - window.after) if window.lost else (0, last + 1)
    return np.stack(
        [
            (
                merge([means[min(max(t + step, 0), last)] for step in (-1, 0, 1)])
                - frames[t].amax(dim=(-2, -1), keepdim=True)
            ).numpy()
            for t in range(first, end)
        ]
    )
