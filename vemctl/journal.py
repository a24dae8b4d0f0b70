"""An append-only file of lines that outlives crashes, on a disk or in an object store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from vemctl.durable import make_folder, replacing, sync_folder
from vemctl.remote_journal import RemoteLines
from vemctl.remote_path import RemotePath

_BACKWARDS = 1 << 16


class Journal:
    """Lines of text; one process at a time may write them, any number may read.

    On a disk it is one file of lines, in an object store a few objects below its path.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = RemoteLines(path) if isinstance(path, RemotePath) else LocalLines(path)

    def exists(self) -> bool:
        """Tell whether anything was written."""
        return self._lines.exists()

    def append(self, lines: Sequence[str]) -> None:
        """Add lines; when this returns they are safe.

        Parameters
        ----------
        lines : sequence of str
            Without line ends.

        Raises
        ------
        OSError
            Some of the lines may be there.
        """
        if lines:
            self._lines.append(b"".join(_line(line) for line in lines))

    def lines(self) -> Iterator[str]:
        """Read the whole lines, one after the other; what a crash has cut short is none.

        In an object store lines that were appended may come twice, after a crash or while another
        process appends; those of `rewrite` come first and once.

        Raises
        ------
        FileNotFoundError
            Nothing was ever written.
        """
        for line in self._lines.read():
            yield line.decode(errors="replace")

    def rewrite(self, lines: Iterable[str]) -> None:
        """Replace all lines; whatever happens, there are the old ones or the new ones.

        Parameters
        ----------
        lines : iterable of str
            Without line ends; may come from `lines` of this journal.
        """
        self._lines.rewrite(_line(line) for line in lines)


class LocalLines:
    """Lines in a file of this machine; see `Journal`.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        """Tell whether the file is there."""
        return self.path.exists()

    def append(self, text: bytes) -> None:
        """Add whole lines; when this returns they are on the disk."""
        is_new = not self.path.exists()
        if is_new:
            make_folder(self.path.parent)
        with self.path.open("ab+") as file:
            # what a crash has cut short would make one line with the first of ours
            end = file.seek(0, os.SEEK_END)
            whole = end
            while whole > 0:
                start = max(0, whole - _BACKWARDS)
                file.seek(start)
                found = file.read(whole - start).rfind(b"\n")
                whole = start + found + 1 if found >= 0 else start
                if found >= 0:
                    break
            if whole < end:
                file.truncate(whole)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_folder(self.path.parent)

    def read(self) -> Iterator[bytes]:
        """Read the whole lines, without their ends."""
        with self.path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line[:-1]

    def rewrite(self, lines: Iterable[bytes]) -> None:
        """Replace all lines at once."""
        with replacing(self.path) as temporary, temporary.open("wb") as file:
            file.writelines(lines)


def journals(folder: Path, pattern: str) -> list[Path]:
    """List the journals in a folder, by name.

    Parameters
    ----------
    folder : Path
        Need not exist.
    pattern : str
        Of the names, as for `fnmatch`.
    """
    try:
        return sorted(path for path in folder.iterdir() if fnmatchcase(path.name, pattern))
    except FileNotFoundError:
        return []


def _line(line: str) -> bytes:
    if "\n" in line:
        raise ValueError(f"{line!r}: expected a line without an end")
    return line.encode() + b"\n"
