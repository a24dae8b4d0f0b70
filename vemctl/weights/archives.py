"""Files out of archives: by exact name, plain files only, no more bytes than announced."""

from __future__ import annotations

import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from vemctl.errors import WeightsError
from vemctl.weights.digests import CHUNK_BYTES

MOST_BYTES = 16 * 2**30
"""Of all files taken out of an archive."""
_JUNK = "__MACOSX"
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    NotImplementedError,
)


@dataclass(frozen=True)
class Entry:
    """A plain file in an archive.

    Attributes
    ----------
    path : str
        In the archive, with forward slashes.
    num_bytes : int
        As the archive announces it.
    open : callable
        Returns a binary file.
    """

    path: str
    num_bytes: int
    open: Callable[[], IO[bytes]]


def unpack_members(
    archive: Path, folder: Path, members: Sequence[str], extra_members: Sequence[str] = ()
) -> list[str]:
    """Write files of an archive into `folder`, and return their names.

    Parameters
    ----------
    archive : Path
        Zip or tar.
    folder : Path
        That exists.
    members : sequence of str
        Names that must be there, all in one folder of the archive, wherever that is.
    extra_members : sequence of str
        Names beside them that are taken if they are there.

    Raises
    ------
    WeightsError
        The archive is damaged or too large, names a place outside it, lacks a member, or holds
        several folders with all of them.
    """
    with entries(archive) as found:
        by_path = {entry.path: entry for entry in found}
        if len(by_path) != len(found):
            raise WeightsError(f"{archive.name}: names a file twice; expected a sane archive")
        home = _folder_of(members, list(by_path), archive.name)
        wanted = [name for name in (*members, *extra_members) if str(home / name) in by_path]
        chosen = {name: by_path[str(home / name)] for name in wanted}
        check_size(sum(entry.num_bytes for entry in chosen.values()), archive.name)
        for name, entry in chosen.items():
            write_entry(entry, folder / name, archive.name)
    return wanted


def _folder_of(members: Sequence[str], paths: Sequence[str], archive: str) -> PurePosixPath:
    first = [PurePosixPath(path).parent for path in paths if PurePosixPath(path).name == members[0]]
    homes = [home for home in first if all(str(home / name) in paths for name in members)]
    wanted = ", ".join(members)
    if not homes:
        names = ", ".join(sorted(paths)[:8]) or "nothing"
        raise WeightsError(f"{archive}: no folder in it holds {wanted}; it holds {names}")
    if len(homes) > 1:
        raise WeightsError(
            f"{archive}: {wanted} lie in several folders: {', '.join(sorted(map(str, homes)))}; "
            f"unpack it, and name the one that you want: vemctl weights add NAME FOLDER"
        )
    return homes[0]


@contextmanager
def entries(archive: Path) -> Iterator[list[Entry]]:
    """List the plain files of a zip or tar archive, which stays open meanwhile.

    Raises
    ------
    WeightsError
        It is neither, is damaged, or names a link or a place outside it.
    """
    try:
        # tar first: one that ends with a zip archive, as torch's files are, looks like zip too.
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tarred:
                yield _tar_entries(tarred, archive.name)
        elif zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                yield _zip_entries(zipped, archive.name)
        else:
            raise WeightsError(f"{archive.name}: expected a zip or tar archive")
    except DAMAGE as error:
        raise WeightsError(f"{archive.name}: a damaged archive ({error}); get it again") from error


def _zip_entries(zipped: zipfile.ZipFile, archive: str) -> list[Entry]:
    found = []
    for info in zipped.infolist():
        _refuse_outside(info.filename, archive)
        if info.is_dir() or PurePosixPath(info.filename).parts[0] == _JUNK:
            continue
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise WeightsError(f"{archive}: {info.filename} is a link; expected plain files only")
        if info.flag_bits & 1:
            raise WeightsError(f"{archive}: {info.filename} is encrypted; expected plain files")
        found.append(Entry(info.filename, info.file_size, partial(zipped.open, info)))
    return found


def _tar_entries(tarred: tarfile.TarFile, archive: str) -> list[Entry]:
    found = []
    for info in tarred:
        _refuse_outside(info.name, archive)
        if info.isdir():
            continue
        if not info.isreg():
            raise WeightsError(f"{archive}: {info.name} is a link; expected plain files only")
        found.append(Entry(info.name, info.size, partial(_open_member, tarred, info)))
    return found


def _open_member(tarred: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = tarred.extractfile(info)
    assert file is not None, "it is a plain file"
    return file


def _refuse_outside(path: str, archive: str) -> None:
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or path.startswith("/") or "\\" in path or ":" in parts[0]:
        raise WeightsError(
            f"{archive}: names {path!r}, a place outside the archive; do not trust it"
        )


def check_size(num_bytes: int, archive: str) -> None:
    """Refuse an archive whose files are improbably large."""
    if num_bytes > MOST_BYTES:
        raise WeightsError(
            f"{archive}: announces {num_bytes} bytes, expected at most {MOST_BYTES}; do not trust "
            f"it"
        )


def write_entry(entry: Entry, target: Path, archive: str) -> None:
    """Write one file of an archive; no byte more than it announces.

    Raises
    ------
    WeightsError
        It holds another number of bytes.
    """
    left = entry.num_bytes
    with entry.open() as source, target.open("xb") as file:
        while chunk := source.read(CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                break
            file.write(chunk)
    if left:
        raise WeightsError(
            f"{archive}: {entry.path} does not hold the {entry.num_bytes} bytes that it announces"
        )
