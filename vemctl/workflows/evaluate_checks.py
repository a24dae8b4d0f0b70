"""Whether volumes can be compared voxel by voxel; if not, which part or size of them could."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from vemctl.errors import InputError, OptionError, VemctlError
from vemctl.volumes.open import open_volume
from vemctl.volumes.volume import Header, Region, Triple, show_region
from vemctl.workflows.sources import parse_roi

NEAR = 0.02
"""Of a voxel, or of its size: differences below are rounding in a file."""


def check_mask(header: Header, mask: Header) -> None:
    """Refuse a mask that is neither of the prediction's shape nor one plane for all.

    Raises
    ------
    InputError
        Says which shapes would do.
    """
    expected = ((header.shape), (1, *header.shape[1:]))
    if mask.shape not in expected:
        raise InputError(
            f"{mask.path}: the mask has {shown(mask.shape)} voxels, {header.path} has "
            f"{shown(header.shape)}; expected as many, or one plane of {shown(header.shape[1:])}"
        )


def check_same(
    header: Header, truth: Header, provenance: Mapping[str, Any], *, given: bool
) -> None:
    """Refuse a truth of another shape, and say which part or size would fit.

    Parameters
    ----------
    header, truth : Header
        Of the whole prediction, and of the truth.
    provenance : mapping
        Of the prediction.
    given : bool
        Whether the user has cut a part out of the truth already.

    Raises
    ------
    InputError
        They differ in shape.
    """
    if header.shape == truth.shape:
        return
    start = (
        f"{header.path} has {shown(header.shape)} voxels, the truth {truth.path} "
        f"{shown(truth.shape)}{' after --truth-roi' if given else ''}: "
    )
    raise InputError(start + _explanation(header, truth, provenance, given=given))


def _explanation(
    header: Header, truth: Header, provenance: Mapping[str, Any], *, given: bool
) -> str:
    if (level := _level_of(truth, header.shape)) is not None:
        return f"its level {level} has as many; compare with --truth-level {level}"
    if not given and (part := _part(header, truth, provenance)) is not None:
        values = ",".join(f"{side.start}:{side.stop}" for side in part)
        return f"it may be the part {show_region(part)} of it; compare with --truth-roi {values}"
    factors = [a / b for a, b in zip(header.shape, truth.shape, strict=True)]
    if _only_finer(factors) and _extent_alike(header, truth):
        return (
            f"it shows the same at {shown([float(f'{f:.3g}') for f in factors])} times the voxels "
            "along (z, y, x); expected the same voxels: compare with a truth of that resolution, "
            "or resample one"
        )
    return (
        "expected the same part of the specimen with the same voxels: cut one out with "
        "--truth-roi, or register and resample them"
    )


def _only_finer(factors: list[float]) -> bool:
    """Whether one of two volumes may be the other at a multiple of its voxels."""
    larger = [max(f, 1 / f) for f in factors]
    halves = all(abs(2 * f - round(2 * f)) < NEAR * f for f in larger)
    return halves and (min(factors) >= 1 - NEAR or max(factors) <= 1 + NEAR)


def _level_of(truth: Header, shape: Triple) -> int | None:
    """Return which level of the truth's pyramid has a shape; None if none has."""
    for level in range(truth.num_levels):
        try:
            volume = open_volume(truth.path, level=level)
        except VemctlError:  # the path is that of one level
            return None
        volume.close()
        if volume.header.shape == shape:
            return level
    return None


def _part(header: Header, truth: Header, provenance: Mapping[str, Any]) -> Region | None:
    """Return which part of the truth the prediction may show; None if nothing tells."""
    size = header.voxel_size
    if size is not None and truth.voxel_size is not None:
        if not np.allclose(size, truth.voxel_size, rtol=NEAR, atol=0):
            return None
        own, its = header.translation or (0, 0, 0), truth.translation or (0, 0, 0)
        starts = [(a - b) / s for a, b, s in zip(own, its, size, strict=True)]
        if any(abs(start - round(start)) > NEAR for start in starts):
            return None
        return _inside([round(start) for start in starts], header.shape, truth.shape)
    roi = provenance.get("request", {}).get("input", {}).get("roi")
    if not isinstance(roi, str):
        return None
    try:
        region = parse_roi(roi, truth)
    except OptionError:
        return None
    same = all(s.stop - s.start == n for s, n in zip(region, header.shape, strict=True))
    return region if same else None


def _inside(starts: list[int], shape: Triple, whole: Triple) -> Region | None:
    z, y, x = (slice(start, start + n) for start, n in zip(starts, shape, strict=True))
    fits = all(s.start >= 0 and s.stop <= n for s, n in zip((z, y, x), whole, strict=True))
    return (z, y, x) if fits else None


def _extent_alike(header: Header, truth: Header) -> bool:
    """Whether two volumes may be as large, as far as their voxel sizes tell."""
    if header.voxel_size is None or truth.voxel_size is None:
        return True
    own, its = (
        [n * s for n, s in zip(each.shape, each.voxel_size or (), strict=True)]
        for each in (header, truth)
    )
    return bool(np.allclose(own, its, rtol=NEAR, atol=0))


def odd_places(header: Header, truth: Header) -> Iterator[str]:
    """Tell of volumes of one shape which, by their files, show different places.

    Parameters
    ----------
    header, truth : Header
    """
    if header.voxel_size is None or truth.voxel_size is None:
        return
    if not np.allclose(header.voxel_size, truth.voxel_size, rtol=NEAR, atol=0):
        yield (
            f"{header.path} has voxels of {shown(header.voxel_size)} nm, the truth of "
            f"{shown(truth.voxel_size)} nm: they are compared voxel by voxel, and lengths are "
            "those of the prediction"
        )
        return
    own, its = header.translation or (0, 0, 0), truth.translation or (0, 0, 0)
    shift = [(a - b) / s for a, b, s in zip(own, its, header.voxel_size, strict=True)]
    if max(map(abs, shift)) > NEAR:
        yield (
            f"by their files, {header.path} lies {shown([round(s, 2) for s in shift])} voxels (z, "
            "y, x) beside the truth: they are compared voxel by voxel"
        )


def shown(values: Any) -> str:
    """Write numbers for people: ``9 x 256 x 256``."""
    return " x ".join(f"{value:g}" for value in values)


def counted(count: int, axis: str) -> str:
    """Write how many channels or time points there are: ``1 channel``, ``3 time points``."""
    word = axis.replace("timepoint", "time point")
    return f"{count} {word}{'s' * (count != 1)}"
