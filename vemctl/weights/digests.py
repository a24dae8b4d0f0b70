"""What pins the content of a file: digests, several of them in one pass over it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vemctl.errors import WeightsError

LENGTHS = {"sha256": 64, "sha512": 128, "sha1": 40, "md5": 32, "git-blob": 40}
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Digest:
    """A digest and its algorithm.

    Attributes
    ----------
    algorithm : {"sha256", "sha512", "sha1", "md5", "git-blob"}
        A git blob id is the SHA-1 of ``"blob "``, the size in decimal, a zero byte and the
        content.
    value : str
        Hexadecimal, lower case.
    """

    algorithm: str
    value: str

    @classmethod
    def parse(cls, text: str, where: str) -> Digest:
        """Return the digest that ``"algorithm:hex"`` stands for.

        Raises
        ------
        WeightsError
            It is no such text.
        """
        algorithm, _, value = text.partition(":")
        value = value.lower()
        if not re.fullmatch(rf"[0-9a-f]{{{LENGTHS.get(algorithm, 0)}}}", value) or not value:
            raise WeightsError(
                f"{where}: {text!r} is no digest; expected sha256:<64 hexadecimal digits>, or one "
                f"of {', '.join(LENGTHS)}"
            )
        return cls(algorithm, value)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"

    def contradiction(self, path: Path) -> Digest | None:
        """Return the digest that a file has instead of this one, or None where it is this one.

        A git blob id also fits a file whose Git LFS pointer has it, for that pointer is what the
        commit holds.
        """
        found = measure(path, [self.algorithm])
        if found[self.algorithm] == self.value:
            return None
        if self.algorithm == "git-blob":
            pointer = large_file_pointer(found["sha256"], path.stat().st_size)
            if _git_blob(len(pointer), pointer).hexdigest() == self.value:
                return None
        return Digest(self.algorithm, found[self.algorithm])


def measure(path: Path, algorithms: Iterable[str] = ()) -> dict[str, str]:
    """Return the hexadecimal digests of a file: SHA-256, and those that are asked for.

    Parameters
    ----------
    path : Path
    algorithms : iterable of str
        See `Digest`.
    """
    makers = {name: _start(name, path) for name in {"sha256", *algorithms}}
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            for maker in makers.values():
                maker.update(chunk)
    return {name: maker.hexdigest() for name, maker in makers.items()}


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    return measure(path)["sha256"]


def large_file_pointer(sha256: str, num_bytes: int) -> bytes:
    """Return what Git LFS puts into a commit in the place of a file (its specification, v1)."""
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {num_bytes}\n"
    return text.encode()


def _start(algorithm: str, path: Path) -> Any:
    if algorithm == "git-blob":
        return _git_blob(path.stat().st_size)
    return hashlib.new(algorithm, usedforsecurity=False)


def _git_blob(num_bytes: int, content: bytes = b"") -> Any:
    return hashlib.sha1(b"blob %d\0" % num_bytes + content, usedforsecurity=False)
