"""What vemctl writes beside a file that has no room for it: provenance, axes, voxel size."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vemctl.durable import write_json
from vemctl.errors import InputError
from vemctl.volumes.volume import Layout, VoxelSize

ENDS = 2**16
"""Bytes at each end of a file by which its sidecar knows it, along with its size."""


@dataclass(frozen=True)
class Described:
    """What a sidecar says of a volume; None where it does not.

    Attributes
    ----------
    axes : str, optional
    voxel_size, translation : (z, y, x), optional
        Nanometres.
    """

    axes: str | None = None
    voxel_size: VoxelSize | None = None
    translation: VoxelSize | None = None


def sidecar_path(path: Path) -> Path:
    """Name the sidecar of a file: ``clean.tif.vemctl.json``."""
    return path.with_name(path.name + ".vemctl.json")


def write_sidecar(path: Path, layout: Layout, provenance: Mapping[str, Any]) -> None:
    """Write the sidecar of `path`."""
    volume = {
        "axes": layout.axes,
        "shape": layout.stored_shape,
        "voxel_size_nm": layout.voxel_size,
        "translation_nm": layout.translation,
    }
    content = {"file": _identify(path), "volume": volume, "provenance": dict(provenance)}
    write_json(sidecar_path(path), content)


def _identify(path: Path) -> dict[str, Any]:
    """Tell a file from others that have or get its name, without reading it whole."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        digest = hashlib.blake2b(file.read(ENDS), digest_size=16)
        file.seek(max(0, size - ENDS))
        digest.update(file.read(ENDS))
    return {"bytes": size, "blake2b_of_ends": digest.hexdigest()}


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """Read the sidecar of a file; None if there is none, or it was written for another file.

    Raises
    ------
    InputError
        It is no JSON.
    OSError
        It or the file cannot be read.
    """
    sidecar = sidecar_path(path)
    try:
        content = json.loads(sidecar.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return None  # so it cannot be there
        raise
    except ValueError as error:
        raise InputError(f"{sidecar}: no JSON ({error}); remove it") from error
    if not isinstance(content, dict) or not path.is_file():
        return None
    return content if content.get("file") == _identify(path) else None


def read_described(path: Path, shape: Sequence[int]) -> Described:
    """Read axes and voxel size from the sidecar, if it belongs to an array of this shape.

    Parameters
    ----------
    path : Path
        Of the file, not of the sidecar.
    shape : sequence of int
        As stored.
    """
    volume = (read_sidecar(path) or {}).get("volume")
    if not isinstance(volume, dict) or list(shape) != volume.get("shape"):
        return Described()
    size, translation = volume.get("voxel_size_nm"), volume.get("translation_nm")
    return Described(
        axes=volume.get("axes"),
        voxel_size=tuple(size) if size else None,
        translation=tuple(translation) if translation else None,
    )
