"""What an untrusted pickle is read into: plain values, and records of everything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SHOWN = 80


class DamagedError(Exception):
    """The file is not as torch writes it; the text says where."""


class RefusedError(Exception):
    """The file is as its maker wanted it, and will not be read; the text says why."""


@dataclass(eq=False, repr=False, slots=True)
class Inert:
    """A record of something that the file names, which was neither looked up nor called.

    Two are equal only if they are the same, so that they can be keys of a dictionary.

    Attributes
    ----------
    name : str
        Dotted name of the class or function; with ``()`` behind it where the result of a call
        was called.
    arguments : tuple, optional
        What it was to be called with; None for the class or function itself.
    state : Any
        What the object was to be restored from, for most objects a dict of its attributes.
    items : list of (key, value), optional
        What was to be stored under keys.
    appended : list, optional
        What was to be appended, or added.
    """

    name: str
    arguments: Any = None
    state: Any = None
    items: list[tuple[Any, Any]] | None = None
    appended: list[Any] | None = None

    def __repr__(self) -> str:
        return f"<inert {shown(self.name)}>"


@dataclass(eq=False, slots=True)
class StorageReference:
    """Where the numbers of tensors are.

    Attributes
    ----------
    key : str
        Its name in the file.
    kind : str
        Name of torch's dtype.
    width : int
        Bytes per element.
    count : int
        Number of elements that the pickle states.
    """

    key: str
    kind: str
    width: int
    count: int


@dataclass(eq=False, slots=True)
class TensorReference:
    """A tensor that has not been read; it lies inside its storage.

    Attributes
    ----------
    storage : StorageReference
    kind : str
        Name of torch's dtype.
    width : int
        Bytes per element.
    offset : int
        Elements of the storage in front of it.
    size, stride : tuple of int
        In elements.
    count : int
        Number of elements.
    """

    storage: StorageReference
    kind: str
    width: int
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    count: int


def shown(text: object) -> str:
    """Return a text from a file as one short line for an error."""
    line = str(text)[: SHOWN + 1].encode("unicode_escape").decode("ascii")
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}..."
