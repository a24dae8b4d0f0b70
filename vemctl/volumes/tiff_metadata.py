"""Axes and voxel sizes as TIFF dialects write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vemctl.errors import InputError
from vemctl.volumes.units import nanometres, voxel_size
from vemctl.volumes.volume import AXES, VoxelSize


def tiff_kind(tif: Any) -> str:
    """Name the dialect for people."""
    big = "Big" if tif.is_bigtiff else ""
    if tif.is_ome:
        return f"OME-{big}TIFF"
    return "ImageJ TIFF" if tif.is_imagej else f"{big}TIFF"


def tiff_axes(path: Path, tif: Any, series: Any, asked: str | None) -> str | None:
    """Tell the axes that a series' metadata name.

    Parameters
    ----------
    path : Path
    tif : tifffile.TiffFile
    series : tifffile.TiffPageSeries
    asked : str, optional
        What the user says.

    Returns
    -------
    str or None
        None where it does not say.

    Raises
    ------
    InputError
        It is a colour image and the user does not say how to take the colours.
    """
    letters = series.axes.lower()
    unknown = [letter for letter in letters if letter not in AXES + "s"]
    if len(unknown) == 1 and "z" not in letters and len(letters.replace("s", "")) == 3:
        letters = letters.replace(unknown[0], "z")  # a plain stack of pages
        unknown = []
    if "s" in letters:
        if asked is not None:
            return None
        guess = letters.replace("s", "c") if not unknown and "c" not in letters else "yxc"
        raise InputError(
            f"{path}: a colour image, {tuple(series.shape)}: convert it to grey values, or take "
            f"the colours as channels: pass --axes {guess}"
        )
    if unknown or (letters == "yx" and not (tif.is_ome or tif.is_imagej)):
        return None
    return str(letters)


def tiff_voxel_size(tif: Any, series: Any, *, has_z: bool) -> VoxelSize | None:
    """Read the voxel size of the first image.

    Parameters
    ----------
    tif : tifffile.TiffFile
    series : tifffile.TiffPageSeries
    has_z : bool

    Returns
    -------
    (z, y, x) or None
        Nanometres; None where the file does not say along every axis.
    """
    if tif.is_ome:
        return _ome_voxel_size(tif.ome_metadata, has_z=has_z)
    if tif.is_imagej:
        return _imagej_voxel_size(tif.imagej_metadata or {}, series.keyframe.tags, has_z=has_z)
    return None


def _ome_voxel_size(xml: str, *, has_z: bool) -> VoxelSize | None:
    import tifffile

    images = tifffile.xml2dict(xml).get("OME", {}).get("Image", {})
    image = images[0] if isinstance(images, list) else images
    pixels = image.get("Pixels", {})
    sizes: list[float | None] = []
    for axis in "ZYX":
        unit = nanometres(str(pixels.get(f"PhysicalSize{axis}Unit", "µm")))
        size = pixels.get(f"PhysicalSize{axis}")
        known = unit is not None and isinstance(size, int | float)
        sizes.append(_tidy(size * unit) if known else None)
    return voxel_size(sizes, has_z=has_z)


def _imagej_voxel_size(meta: dict[str, Any], tags: Any, *, has_z: bool) -> VoxelSize | None:
    unit = nanometres(str(meta.get("unit", "")))
    if unit is None:
        return None
    spacing = meta.get("spacing")
    depth = abs(spacing) * unit if isinstance(spacing, int | float) else None
    sizes: list[float | None] = [depth]
    for name in ("YResolution", "XResolution"):
        tag = tags.get(name)
        per_unit, parts = tag.value if tag is not None else (0, 1)
        sizes.append(unit * parts / per_unit if per_unit else None)
    return voxel_size([_tidy(size) for size in sizes], has_z=has_z)


def _tidy(size: float | None) -> float | None:
    """Undo what conversion between units and ratios of integers added."""
    return None if size is None else float(f"{size:.7g}")
