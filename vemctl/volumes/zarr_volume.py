"""OME-Zarr images (0.1 to 0.5) and plain Zarr arrays (v2 and v3)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vemctl.errors import InputError, OptionError
from vemctl.remote_path import RemotePath
from vemctl.volumes.array_volume import ArrayVolume, make_header
from vemctl.volumes.axes import resolve_axes
from vemctl.volumes.ome_metadata import UNFINISHED, Multiscale, read_multiscale
from vemctl.volumes.stored_array import zarr_store
from vemctl.volumes.volume import AXES


@dataclass(frozen=True)
class Node:
    """A group or an array on the disk, from its own metadata file.

    Attributes
    ----------
    path : Path
    is_array : bool
    zarr_format : {2, 3}
    attributes : mapping
    names : tuple of str, optional
        Of an array's dimensions.
    blosc : bool
        Whether an array's chunks are in Blosc's format.
    pickled : bool
        Whether decoding them would unpickle.
    """

    path: Path
    is_array: bool
    zarr_format: Literal[2, 3]
    attributes: Mapping[str, Any]
    names: tuple[str, ...] | None = None
    blosc: bool = False
    pickled: bool = False

    @property
    def is_unfinished(self) -> bool:
        """Whether it is an image in an object store that is still being filled."""
        found = self.attributes
        return UNFINISHED in found and "multiscales" not in found and "ome" not in found


def read_node(path: Path) -> Node | None:
    """Read what Zarr knows of a folder; None if it is no Zarr node.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputError
        Its metadata are damaged.
    """
    if not isinstance(path, RemotePath):
        return _read_node(path)
    refused: list[PermissionError] = []
    node = _read_node(path, refused)
    if node is None and refused:
        raise refused[0]
    return node


def _read_node(path: Path, refused: list[PermissionError] | None = None) -> Node | None:
    """Read what Zarr knows of a folder; a server may refuse to say that something is not there."""
    if (meta := _read_json(path / "zarr.json", refused)) is not None:
        kind = meta.get("node_type")
        if kind not in ("array", "group"):
            raise InputError(f"{path / 'zarr.json'}: no node_type; copy the Zarr folder again")
        attributes = meta.get("attributes") or {}
        names, blosc, pickled = _names(meta), _ends_in_blosc(meta), _unpickles(meta)
        return Node(path, kind == "array", 3, attributes, names, blosc, pickled)
    for name, is_array in ((".zarray", True), (".zgroup", False)):
        if (meta := _read_json(path / name, refused)) is not None:
            attributes = _read_json(path / ".zattrs", refused) or {}
            names = _names({"dimension_names": attributes.get("_ARRAY_DIMENSIONS")})
            blosc, pickled = _ends_in_blosc(meta), _unpickles(meta)
            return Node(path, is_array, 2, attributes, names, blosc, pickled)
    return None


def _ends_in_blosc(meta: Mapping[str, Any]) -> bool:
    """Tell whether what is on the disk is a Blosc buffer; a whole shard is not, but its chunks."""
    codecs = meta.get("codecs") or [{"name": (meta.get("compressor") or {}).get("id")}]
    return bool(codecs[-1].get("name") == "blosc")


def _unpickles(meta: Mapping[str, Any]) -> bool:
    """Tell whether a filter, compressor or codec, however deep, is numcodecs' pickle."""
    steps = [meta.get(key) for key in ("codecs", "filters", "compressor", "storage_transformers")]
    return "pickle" in json.dumps(steps).lower()


def _names(meta: Mapping[str, Any]) -> tuple[str, ...] | None:
    names = meta.get("dimension_names")
    return tuple(str(name).lower() for name in names) if isinstance(names, list) else None


def _read_json(path: Path, refused: list[PermissionError] | None) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        if refused is None:
            raise
        refused.append(error)
        return None
    except ValueError as error:
        raise InputError(f"{path}: damaged metadata ({error}); copy it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: damaged metadata, expected an object; copy it again")
    return content


def open_zarr(node: Node, axes: str | None, level: int) -> ArrayVolume:
    """Open an image or an array.

    Parameters
    ----------
    node : Node
    axes : str, optional
        As stored.
    level : int
        Of the resolution pyramid, 0 the finest.

    Raises
    ------
    InputError
        It is a group of another kind; names what to open instead.
    OptionError
        There is no such level.
    """
    if node.is_array:
        return _open_array_node(node, axes, level)
    _check_finished(node)
    image = read_multiscale(node.path, node.attributes, axes)
    if image is None:
        raise InputError(_explain_group(node))
    _check_level(node.path, level, len(image.paths))
    child = read_node(node.path / image.paths[level])
    if child is None or not child.is_array:
        raise InputError(
            f"{node.path}: its metadata name the array {image.paths[level]!r}, which is not there; "
            "copy the folder again"
        )
    return _open_array(child, node.path, axes, image, level)


def _open_array_node(node: Node, axes: str | None, level: int) -> ArrayVolume:
    """Open an array by its own path; if an image owns it, with that image's metadata."""
    _check_level(node.path, level, 1)
    for parent in list(node.path.parents)[:3]:
        owner = read_node(parent)
        if owner is None:
            break
        _check_finished(owner)
        image = read_multiscale(parent, owner.attributes, axes)
        name = node.path.relative_to(parent).as_posix()
        if image is not None and name in image.paths:
            return _open_array(node, node.path, axes, image, image.paths.index(name))
    return _open_array(node, node.path, axes, None, 0)


def _check_finished(node: Node) -> None:
    if node.is_unfinished:
        raise InputError(
            f"{node.path}: unfinished: continue its run with --resume, or vemctl finish {node.path}"
        )


def _check_level(path: Path, level: int, num_levels: int) -> None:
    if not 0 <= level < num_levels:
        there = f"levels 0 to {num_levels - 1}" if num_levels > 1 else "one level, 0"
        raise OptionError(f"--level {level}: {path} has {there}")


def _open_array(
    node: Node, path: Path, axes: str | None, image: Multiscale | None, level: int
) -> ArrayVolume:
    import zarr

    if node.pickled:
        raise InputError(
            f"{node.path}: its chunks are pickled Python objects, which may run code and are never "
            "loaded; save the image itself as an array of numbers"
        )
    store = zarr_store(node.path, read_only=True, blosc=node.blosc)
    try:
        array: Any = zarr.open_array(store, mode="r", zarr_format=node.zarr_format)
        array.dtype  # noqa: B018 - raises for types that zarr does not know
    except OSError:
        raise
    except Exception as error:  # zarr and its codecs raise many kinds
        raise InputError(
            f"{node.path}: Zarr array cannot be opened ({' '.join(str(error).split())}); convert "
            "it with the program that made it, or install the codec it names"
        ) from error
    stored = image.axes if image else _axes_of_names(node.names)
    if image and len(image.axes) != array.ndim:
        raise InputError(
            f"{path}: its metadata name {len(image.axes)} axes ({image.axes}), its array "
            f"{node.path.name} has {array.ndim}; open {node.path} with --axes"
        )
    names = resolve_axes(path, array.shape, stored, axes)
    kind = f"OME-Zarr {image.version}" if image else f"Zarr v{node.zarr_format}"
    header = make_header(
        path,
        kind,
        names,
        array,
        chunks=array.chunks,
        voxel_size=image.voxel_sizes[level] if image else None,
        translation=image.translations[level] if image else None,
        level=level,
        num_levels=len(image.paths) if image else 1,
    )
    return ArrayVolume(header, array)


def _axes_of_names(names: tuple[str, ...] | None) -> str | None:
    """Take dimension names as axes if each is one of ours."""
    if names is None or any(len(name) != 1 or name not in AXES for name in names):
        return None
    joined = "".join(names)
    return joined if len(set(joined)) == len(joined) and {"y", "x"} <= set(joined) else None


def _explain_group(node: Node) -> str:
    """Say what a group is and what in it can be opened."""
    path, found = node.path, node.attributes
    ome = found.get("ome") if isinstance(found.get("ome"), Mapping) else found
    assert isinstance(ome, Mapping)
    if "plate" in ome:
        wells = [well.get("path") for well in ome["plate"].get("wells", [])]
        first = f"{path / str(wells[0])}/0" if wells else f"{path}/A/1/0"
        return f"{path}: a plate of {len(wells)} wells: give one field of it, for instance {first}"
    if "well" in ome:
        fields = [image.get("path") for image in ome["well"].get("images", [])]
        first = fields[0] if fields else "0"
        return f"{path}: a well of {len(fields)} fields: give one, for instance {path / str(first)}"
    if "bioformats2raw.layout" in ome:
        series = sorted(
            child.name for child in _listed(path) if child.name.isdecimal() and child.is_dir()
        )
        known = ", ".join(series) or "0 ..."
        return (
            f"{path}: a bioformats2raw collection of series {known}: give one, for "
            f"instance {path / (series[0] if series else '0')}"
        )
    inside = [entry for _, entry in zip(range(8), _walk(path, depth=3), strict=False)]
    if not inside:
        return f"{path}: a Zarr group without an image or an array; give the folder of an image"
    listed = ", ".join(entry.relative_to(path).as_posix() for entry in inside)
    return (
        f"{path}: a Zarr group, but no OME-Zarr image; it holds {listed}: give one, for instance "
        f"{inside[0]}"
    )


def _walk(path: Path, depth: int) -> Iterator[Path]:
    """Find images and arrays below a group, without descending into arrays."""
    for child in _listed(path):
        node = read_node(child) if child.is_dir() else None
        if node is None:
            continue
        if node.is_array or "multiscales" in node.attributes or "ome" in node.attributes:
            yield child
        elif depth > 1:
            yield from _walk(child, depth - 1)


def _listed(path: Path) -> list[Path]:
    """List a folder; web servers tell nothing."""
    if isinstance(path, RemotePath) and not path.can_list:
        return []
    return sorted(path.iterdir())
