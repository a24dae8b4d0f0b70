"""Open whatever is at a path as a volume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vemctl.errors import InputError, OptionError, nearest
from vemctl.remote_path import RemotePath, as_path
from vemctl.volumes.volume import Volume

TIFF = (".tif", ".tiff", ".btf", ".tf8", ".lsm", ".stk")
MRC = (".mrc", ".mrcs", ".map", ".rec", ".st", ".ali", ".dv")
STACKS = {
    "TIFF": TIFF,
    "MRC or DeltaVision": MRC,
    "NumPy": (".npy",),
    "CZI": (".czi",),
    "Zarr": (".zarr",),
}
"""What may be a time point of a folder of stacks, by kind."""
KNOWN = (".zarr", *TIFF, *MRC, ".npy", ".czi")
NOT_READ = {
    ".h5": "HDF5",
    ".hdf5": "HDF5",
    ".hdf": "HDF5",
    ".nd2": "Nikon ND2",
    ".lif": "Leica LIF",
    ".n5": "N5",
    ".zip": "a zip archive",
    ".ozx": "zipped OME-Zarr",
    ".dm3": "Digital Micrograph",
    ".dm4": "Digital Micrograph",
    ".nrrd": "NRRD",
    ".nii": "NIfTI",
}


def open_volume(path: str | Path, *, axes: str | None = None, level: int = 0) -> Volume:
    """Open a volume for reading; only metadata are read.

    Parameters
    ----------
    path : str or Path
        An OME-Zarr image, a Zarr array (the path may continue inside the store), a TIFF of any
        kind, an MRC or DeltaVision file, a .npy file, a Zeiss CZI file, a folder of TIFF planes,
        or a folder of stacks of one of these kinds, one per time point. Zarr is read from
        ``s3://``, ``gs://`` and ``https://`` too.
    axes : str, optional
        The stored axes in stored order, letters out of ``tczyx``; needed where the file does not
        say and it does not hold just three.
    level : int
        Of a resolution pyramid, 0 the finest.

    Returns
    -------
    Volume

    Raises
    ------
    InputError
        It is missing, unreadable, damaged, ambiguous or of the wrong kind.
    OptionError
        `axes` or `level` does not fit.
    MissingExtraError
        Its format or compression needs an optional package.
    """
    path = as_path(path)
    try:
        return _open(path, axes, level)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"{path}: cannot be read ({reason}{_where(error, path)}); "
            "check the path and its permissions"
        ) from error


def _where(error: OSError, path: Path) -> str:
    return f": {error.filename}" if error.filename and str(error.filename) != str(path) else ""


def _open(path: Path, axes: str | None, level: int) -> Volume:
    if isinstance(path, RemotePath):
        from vemctl.volumes.open_remote import open_remote

        return open_remote(path, axes, level)
    if path.is_dir():
        return _open_folder(path, axes, level)
    if not path.exists():
        raise InputError(_explain_missing(path))
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        start = file.read(8)
    if suffix in TIFF or start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        from vemctl.volumes.tiff_volume import open_tiff

        return open_tiff(path, axes, level)
    if level != 0:
        raise OptionError(f"--level {level}: {path} has one level, 0")
    if suffix == ".npy" or start[:6] == b"\x93NUMPY":
        from vemctl.volumes.npy_volume import open_npy

        return open_npy(path, axes)
    if suffix in MRC:
        from vemctl.volumes.mrc_volume import open_mrc

        return open_mrc(path, axes)
    if suffix == ".czi" or start == b"ZISRAWFI":
        from vemctl.volumes.czi_volume import open_czi

        return open_czi(path, axes)
    if path.name in ("zarr.json", ".zarray", ".zgroup", ".zattrs"):
        raise InputError(f"{path}: a file inside a Zarr store: give its folder, {path.parent}")
    if suffix in NOT_READ:
        raise InputError(
            f"{path}: {NOT_READ[suffix]} is not read: convert it to OME-Zarr or OME-TIFF first, "
            "for instance with bioformats2raw or Fiji"
        )
    raise InputError(
        f"{path}: unknown kind of file: expected one of {' '.join(KNOWN)}.{nearest(suffix, KNOWN)}"
    )


def _open_folder(path: Path, axes: str | None, level: int) -> Volume:
    from vemctl.volumes.zarr_volume import open_zarr, read_node

    node = read_node(path)
    if node is not None:
        return open_zarr(node, axes, level)
    visible = [p for p in path.iterdir() if p.name[0] != "."]
    planes = [p for p in visible if p.suffix.lower() in TIFF]
    if planes:
        from vemctl.volumes.tiff_folder import holds_plane, natural_key, open_tiff_folder

        if holds_plane(min(planes, key=natural_key)):
            if level != 0:
                raise OptionError(f"--level {level}: {path}, a folder of planes, has one level, 0")
            return open_tiff_folder(path, planes, axes)
    if stacks := _stacks_by_kind(visible):
        from vemctl.volumes.stack_folder import open_stack_folder

        def open_stack(stack: Path, axes_of_one: str | None) -> Volume:
            return open_volume(stack, axes=axes_of_one, level=level)

        return open_stack_folder(path, stacks, axes, open_stack)
    stores = sorted(p for p in path.iterdir() if p.is_dir() and read_node(p) is not None)
    if stores:
        raise InputError(
            f"{path}: a folder of {len(stores)} Zarr stores: give one, for instance {stores[0]}"
        )
    if any(part.endswith(".zarr") for part in path.parts):
        raise InputError(
            f"{path}: no Zarr metadata (zarr.json, .zarray or .zgroup) in it: copy the whole "
            "folder again, hidden files too"
        )
    raise InputError(
        f"{path}: a folder that is no volume: expected a Zarr store, TIFF planes, or stacks, "
        "one per time point, in it"
    )


def _stacks_by_kind(visible: Sequence[Path]) -> dict[str, list[Path]]:
    """Sort what is a volume by its name into kinds, as people call them."""
    found: dict[str, list[Path]] = {}
    for path in sorted(visible):
        suffix = path.suffix.lower()
        for kind, suffixes in STACKS.items():
            if suffix in suffixes and (suffix == ".zarr") == path.is_dir():
                found.setdefault(kind, []).append(path)
    return found


def _explain_missing(path: Path) -> str:
    from vemctl.volumes.zarr_volume import read_node

    parent = next(p for p in path.absolute().parents if p.exists())
    if parent.is_dir() and read_node(parent) is not None:
        inside = sorted(p.name for p in parent.iterdir() if p.is_dir())
        first = path.absolute().relative_to(parent).parts[0]
        listed = f"; it holds {', '.join(inside[:8])}" if inside else ""
        return f"{path}: {parent} has no {first!r}{listed}.{nearest(first, inside)}"
    if parent != path.absolute().parent:
        return f"{path}: no such file: the folder {path.parent} does not exist"
    near = nearest(path.name, [p.name for p in parent.iterdir()])
    return f"{path}: no such file or folder; check the path.{near}"
