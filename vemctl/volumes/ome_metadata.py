"""The metadata of OME-Zarr groups: written strictly by yaozarrs, read with patience."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vemctl.errors import InputError
from vemctl.volumes.units import nanometres, voxel_size
from vemctl.volumes.volume import AXES, Layout, Triple, VoxelSize

UNFINISHED = "vemctl:unfinished"
"""Attribute of a group that is still being filled; holds the layout."""


@dataclass(frozen=True)
class Multiscale:
    """What a reader needs of an image's metadata.

    Attributes
    ----------
    version : str
    axes : str
    paths : tuple of str
        Of the levels' arrays, finest first.
    voxel_sizes, translations : tuple of (z, y, x) or None
        Nanometres, per level; None without units.
    """

    version: str
    axes: str
    paths: tuple[str, ...]
    voxel_sizes: tuple[VoxelSize | None, ...]
    translations: tuple[VoxelSize | None, ...]


def read_multiscale(
    path: Path, attributes: Mapping[str, Any], asked: str | None = None
) -> Multiscale | None:
    """Read the first multiscale image of a group's attributes, OME-Zarr 0.1 to 0.5.

    Parameters
    ----------
    path : Path
        Of the group, for errors.
    attributes : mapping
    asked : str, optional
        Axes that the user names instead; a voxel size goes by them, each with the scale and the
        unit of the stored axis at its place.

    Returns
    -------
    Multiscale or None
        None if the group is no image.

    Raises
    ------
    InputError
        The metadata contradict themselves.
    """
    ome = attributes.get("ome", attributes)
    if not isinstance(ome, Mapping) or "multiscales" not in ome:
        return None
    try:
        image = ome["multiscales"][0]
        version = str(ome.get("version", image.get("version", "0.4")))
        axes, units = _read_axes(image.get("axes"))
        paths = tuple(str(dataset["path"]) for dataset in image["datasets"])
        named = (asked or axes).strip().lower()
        named = named if len(named) == len(axes) else axes  # refused once the array is there
        placed = [_place(named, units, [dataset, image]) for dataset in image["datasets"]]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: unusable OME-Zarr metadata ({type(error).__name__}: {error}); open one of "
            f"its arrays instead, for instance {path}/0 with --axes zyx"
        ) from error
    if not paths:
        raise InputError(f"{path}: OME-Zarr metadata without datasets; copy the folder again")
    sizes, translations = zip(*placed, strict=True)
    return Multiscale(version, axes, paths, sizes, translations)


def _read_axes(stored: Any) -> tuple[str, list[str | None]]:
    if stored is None:  # OME-Zarr 0.1 and 0.2 knew no others
        return AXES, [None] * len(AXES)
    names: str = ""
    units: list[str | None] = []
    for axis in stored:
        name = str(axis if isinstance(axis, str) else axis["name"]).lower()
        kind = None if isinstance(axis, str) else axis.get("type")
        letter = {"time": "t", "channel": "c"}.get(str(kind), name)
        if letter not in AXES or letter in names or len(letter) != 1:
            raise ValueError(f"axis {name!r}, expected letters out of {AXES}")
        names += letter
        units.append(None if isinstance(axis, str) else axis.get("unit"))
    if not {"y", "x"} <= set(names):
        raise ValueError(f"axes {names!r}, expected y and x among them")
    return names, units


def _place(
    axes: str, units: Sequence[str | None], holders: Sequence[Mapping[str, Any]]
) -> tuple[VoxelSize | None, VoxelSize | None]:
    """Return voxel size and translation in nanometres after all transformations, in order."""
    scale, shift = [1.0] * len(axes), [0.0] * len(axes)
    for holder in holders:
        for step in holder.get("coordinateTransformations") or []:
            if step["type"] == "scale":
                scale = [a * float(b) for a, b in zip(scale, step["scale"], strict=True)]
                shift = [a * float(b) for a, b in zip(shift, step["scale"], strict=True)]
            elif step["type"] == "translation":
                shift = [a + float(b) for a, b in zip(shift, step["translation"], strict=True)]
            elif step["type"] != "identity":
                raise ValueError(f"transformation {step['type']!r}, expected scale or translation")
    sizes: list[float | None] = [None, None, None]
    shifts = [0.0, 0.0, 0.0]
    for i, axis in enumerate("zyx"):
        place = axes.find(axis)
        factor = nanometres(units[place]) if place >= 0 else None
        if factor is not None:
            sizes[i], shifts[i] = scale[place] * factor, shift[place] * factor
    size = voxel_size(sizes, has_z="z" in axes)
    return size, (shifts[0], shifts[1], shifts[2]) if size else None


def write_multiscale(layout: Layout, factors: Sequence[Triple], name: str) -> dict[str, Any]:
    """Make the attributes of a group that holds an image, checked by yaozarrs.

    Parameters
    ----------
    layout : Layout
    factors : sequence of (z, y, x)
        Voxels of level 0 per voxel, for each level.
    name : str
        Of the image.

    Returns
    -------
    dict
    """
    from yaozarrs import v04, v05

    ome: Any = v05 if layout.ome_zarr == "0.5" else v04
    unit = "nanometer" if layout.voxel_size else None
    size = layout.voxel_size or (1.0, 1.0, 1.0)
    origin = layout.translation or (0.0, 0.0, 0.0)
    kinds = {
        "t": lambda: ome.TimeAxis(name="t"),
        "c": lambda: ome.ChannelAxis(name="c"),
    }
    axes = [
        kinds[axis]() if axis in kinds else ome.SpaceAxis(name=axis, unit=unit)
        for axis in layout.axes
    ]
    datasets = []
    for level, factor in enumerate(factors):
        scale = [s * f for s, f in zip(size, factor, strict=True)]
        # a block's mean lies half a block further than its first voxel
        shift = [o + s * (f - 1) / 2 for o, s, f in zip(origin, size, factor, strict=True)]
        steps: list[Any] = [ome.ScaleTransformation(scale=layout.along_axes(scale, 1.0, 1.0))]
        if any(not math.isclose(value, 0.0) for value in shift):
            translation = layout.along_axes(shift, 0.0, 0.0)
            steps.append(ome.TranslationTransformation(translation=translation))
        datasets.append(ome.Dataset(path=str(level), coordinateTransformations=steps))
    multiscale = ome.Multiscale(name=name, axes=axes, datasets=datasets)
    image = ome.Image(multiscales=[multiscale])
    content: dict[str, Any] = json.loads(image.model_dump_json(exclude_none=True))
    return {"ome": content} if layout.ome_zarr == "0.5" else content
