"""What a store knows of weights that it holds, or held: whence, and with which digests."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from vemctl.errors import WeightsError
from vemctl.weights.digests import measure

Kind = Literal["published", "address", "local"]
KINDS: tuple[Kind, ...] = ("published", "address", "local")
_SHA256 = re.compile("[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*/[A-Za-z0-9][\w.+-]*", re.ASCII)
_FILE = re.compile(r"[\w.+-][\w .+()-]*", re.ASCII)


@dataclass(frozen=True)
class StoredFile:
    """A file of a store."""

    name: str
    sha256: str
    num_bytes: int


@dataclass(frozen=True)
class Record:
    """Weights of a store; it outlives their files, so that what was fetched once stays pinned.

    Attributes
    ----------
    name : str
        ``"<method>/<what>"``.
    kind : {"published", "address", "local"}
        Out of the catalogue, from an address that the user gave, or registered by the user.
    files : tuple of StoredFile
    source : str
        Where they are from.
    licence : str
        Empty where unknown.
    added : str
        When, in UTC, ISO 8601.
    """

    name: str
    kind: Kind
    files: tuple[StoredFile, ...]
    source: str
    licence: str = ""
    added: str = ""

    @property
    def sha256(self) -> str:
        """Of the only file, or of the list of files and their digests."""
        return combined(self.files)

    @property
    def num_bytes(self) -> int:
        """Of all files."""
        return sum(file.num_bytes for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON types."""
        return asdict(self) | {"files": [asdict(file) for file in self.files]}

    @classmethod
    def from_json(cls, form: Any, where: str) -> Record:
        """Return the record that `to_json` wrote.

        Raises
        ------
        WeightsError
            `form` is no such record.
        """
        try:
            files = tuple(
                StoredFile(check_file_name(file["name"]), file["sha256"], int(file["num_bytes"]))
                for file in form["files"]
            )
            name, kind = check_name(form["name"]), form["kind"]
            texts = [str(form[key]) for key in ("source", "licence", "added")]
        except (KeyError, TypeError, ValueError, WeightsError) as error:
            raise WeightsError(f"{where}: a damaged record of weights; remove it") from error
        digests = [str(file.sha256) for file in files]
        if kind not in KINDS or not files or not all(map(_SHA256.fullmatch, digests)):
            raise WeightsError(f"{where}: a damaged record of weights; remove it")
        return cls(name, kind, files, *texts)


def combined(files: Sequence[StoredFile]) -> str:
    """Return one SHA-256 for files: that of a single one is its own."""
    if len(files) == 1:
        return files[0].sha256
    lines = "".join(f"{file.sha256}  {file.name}\n" for file in sorted(files, key=_by_name))
    return hashlib.sha256(lines.encode()).hexdigest()


def _by_name(file: StoredFile) -> str:
    return file.name


def read_record(path: Path) -> Record | None:
    """Read a record; None where there is none.

    Raises
    ------
    WeightsError
        The file is no record.
    """
    try:
        form = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path}: a damaged record of weights; remove it") from error
    return Record.from_json(form, str(path))


def now() -> str:
    """Return the time, in UTC, as records state it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def stored_files(folder: Path) -> tuple[StoredFile, ...]:
    """Measure all files of a folder, by name; not what is in folders in it."""
    return tuple(measured(path) for path in sorted(folder.iterdir()) if path.is_file())


def measured(path: Path) -> StoredFile:
    """Measure a file."""
    return StoredFile(path.name, measure(path)["sha256"], path.stat().st_size)


def check_name(name: Any) -> str:
    """Return `name` if it may name weights.

    Raises
    ------
    WeightsError
        It is not of the form ``<method>/<what>``.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise WeightsError(
            f"{name}: not a name for weights; expected METHOD/NAME of letters, digits and . _ + -, "
            f"such as denoise/liver"
        )
    return name


def check_file_name(name: str) -> str:
    """Return `name` if a store may keep a file under it.

    Raises
    ------
    WeightsError
        It names another folder, or has odd characters.
    """
    if not _FILE.fullmatch(name) or name in (".", ".."):
        raise WeightsError(
            f"{name!r}: not a name for a file of weights; expected letters, digits, spaces and "
            f". _ + - ( ); rename it"
        )
    return name


def differences(record: Record, folder: Path) -> list[str]:
    """Return what is wrong with the files of a record, in words; nothing where all is well."""
    wrong = []
    for file in record.files:
        path = folder / file.name
        if not path.is_file():
            wrong.append(f"{path} is missing")
        elif (found := measure(path)["sha256"]) != file.sha256:
            wrong.append(f"{path} has SHA-256 {found}, expected {file.sha256}")
    return wrong
