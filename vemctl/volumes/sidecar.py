"""What vemctl writes beside a file that has no room for it: provenance, axes, voxel size."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vemctl.durable import write_json
from vemctl.errors import InputError
from vemctl.volumes.volume import Layout, VoxelSize

ENDS = 2**16
"""Bytes at each end of a file by which its sidecar knows it, along with its size."""
DIGEST = "blake2b"
"""Key of the checksum of the whole file."""
STEP = 2**24
"""Bytes of a file that are read at once for its checksum."""


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


def write_sidecar(path: Path, layout: Layout, provenance: Mapping[str, Any], digest: str) -> None:
    """Write the sidecar of `path`.

    Parameters
    ----------
    path : Path
    layout : Layout
    provenance : mapping
        JSON types.
    digest : str
        As `digest_file` returns it.
    """
    volume = {
        "axes": layout.axes,
        "shape": layout.stored_shape,
        "voxel_size_nm": layout.voxel_size,
        "translation_nm": layout.translation,
    }
    content = {
        "file": _identify(path),
        DIGEST: digest,
        "volume": volume,
        "provenance": dict(provenance),
    }
    write_json(sidecar_path(path), content)


def digest_file(path: Path, progress: Callable[[str, int, int], None]) -> str:
    """Read a whole file for its checksum.

    Parameters
    ----------
    path : Path
    progress : callable
        Called with ``"checksum"``, parts done, parts in all.

    Returns
    -------
    str
        BLAKE2b in hexadecimal.
    """
    digest = hashlib.blake2b(digest_size=16)
    parts = -(-path.stat().st_size // STEP)
    progress("checksum", 0, parts)
    with path.open("rb") as file:
        for done in range(1, parts + 1):
            digest.update(file.read(STEP))
            progress("checksum", done, parts)
    return digest.hexdigest()


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
    content = read_noted(path)
    if content is None or not path.is_file():
        return None
    return content if content.get("file") == _identify(path) else None


def read_noted(path: Path) -> dict[str, Any] | None:
    """Read the sidecar of a file, whatever has become of that; None if there is none.

    Raises
    ------
    InputError
        It is no JSON.
    OSError
        It cannot be read.
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
    return content if isinstance(content, dict) else None


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
