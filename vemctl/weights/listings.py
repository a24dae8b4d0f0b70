"""What data repositories list of a record's files, each in its own form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_LENGTHS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}


@dataclass(frozen=True)
class Listed:
    """A file as a repository lists it; `closed` says why it cannot be had, or nothing."""

    name: str
    digest: str | None
    size: int | None
    folder: str = ""
    closed: str = ""


def files_of(answer: Any) -> list[Listed]:
    """Return the files of a record from what a repository's interface says, decoded from JSON.

    Raises
    ------
    LookupError, TypeError, ValueError, AttributeError
        It is of none of the known forms.
    """
    if isinstance(answer, list):
        return [_of_figshare(entry) for entry in answer]
    if "data" in answer:
        return [_of_dataverse(entry) for entry in answer["data"]["latestVersion"]["files"]]
    return [_of_zenodo(entry) for entry in answer.get("files") or []]


def _of_zenodo(entry: dict[str, Any]) -> Listed:
    """Read an entry of the interface before October 2023 ("key") or after ("filename")."""
    name = entry["key"] if "key" in entry else entry["filename"]
    kind, _, value = f"md5:{entry.get('checksum')}".rpartition(":")
    kind = kind.rpartition(":")[2]
    return Listed(name, _digest(kind, value), _size(entry.get("size", entry.get("filesize"))))


def _of_figshare(entry: dict[str, Any]) -> Listed:
    digest = _digest("md5", entry.get("computed_md5") or entry.get("supplied_md5"))
    return Listed(entry["name"], digest, _size(entry.get("size")))


def _of_dataverse(entry: dict[str, Any]) -> Listed:
    file = entry["dataFile"]
    stated = file.get("checksum") or {"type": "MD5", "value": file.get("md5")}
    until = (file.get("embargo") or {}).get("dateAvailable", "")
    closed = "restricted" if entry.get("restricted") or file.get("restricted") else ""
    if not closed and until > f"{datetime.now(UTC):%Y-%m-%d}":
        closed = f"embargoed until {plain(until)}"
    folder = plain(entry.get("directoryLabel") or "")
    digest = _digest(stated["type"], stated["value"])
    return Listed(file["filename"], digest, _size(file.get("filesize")), folder, closed)


def _digest(algorithm: Any, value: Any) -> str | None:
    kind, text = str(algorithm).lower().replace("-", ""), str(value).lower()
    fits = kind in _LENGTHS and re.fullmatch(rf"[0-9a-f]{{{_LENGTHS[kind]}}}", text)
    return f"{kind}:{text}" if fits else None


def _size(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def plain(text: str) -> str:
    """Return what a server says so that it is short and on one line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:100])
