"""How much a file of weights may make a reader do, whatever it claims."""

from __future__ import annotations

from typing import Any, BinaryIO

from vemctl.nn.inert.values import DamagedError, Inert, StorageReference, TensorReference

MOST_OPCODES = 5_000_000
MOST_BYTES = 128 * 2**20
MOST_OBJECTS = 1_000_000
"""Of dicts, sets, lists and records, so that a small file cannot fill the memory."""

LONGEST_LINE = 2**16
LONGEST_KEY = 32
LARGEST_INT = 2**8192
"""Of any integer: hashing it again and again takes its length again and again."""

SPREAD_INT = 2**60
MOST_ODD_KEYS = 10_000
"""Keys whose hashes a file can make collide, so that a dict of n of them takes n * n steps."""

PLAIN_KEYS = (str, bytes, bool, type(None), Inert, TensorReference, StorageReference)
ODD_KEYS = (int, float, complex)


class Stream:
    """A file from where it stands, in which a claim of 2 GB reads no more than is left.

    Parameters
    ----------
    file : binary file
    length : int
        Bytes to its end.
    """

    def __init__(self, file: BinaryIO, length: int) -> None:
        self.file = file
        self.left = min(length, MOST_BYTES)

    def read(self, count: int) -> bytes:
        """Return at most `count` bytes."""
        data = self.file.read(count if 0 <= count <= self.left else self.left)
        self.left -= len(data)
        return data

    def readline(self) -> bytes:
        """Return the rest of a line; long ones are cut, and so refused."""
        data = self.file.readline(min(LONGEST_LINE, self.left))
        self.left -= len(data)
        return data


class Bounds:
    """Counts what a file makes the machine do."""

    def __init__(self) -> None:
        self.opcodes = self.objects = self.odd_keys = 0

    def step(self) -> None:
        """Count an opcode.

        Raises
        ------
        DamagedError
            They are too many, as are those of the other methods.
        """
        self.opcodes += 1
        if self.opcodes > MOST_OPCODES:
            raise DamagedError(f"more than {MOST_OPCODES} steps")

    def spend(self, objects: int) -> None:
        """Count objects that are made."""
        self.objects += objects
        if self.objects > MOST_OBJECTS:
            raise DamagedError(f"more than {MOST_OBJECTS} objects")

    def check_key(self, key: Any) -> Any:
        """Return `key`, unless hashing it may take for ever.

        The time to hash nested tuples that share their parts grows exponentially with depth, and
        hashing deep ones overflows the stack.

        Raises
        ------
        DamagedError
            It is no plain value or short flat tuple of such, or there are too many odd ones.
        """
        if isinstance(key, PLAIN_KEYS) or (type(key) is int and -SPREAD_INT < key < SPREAD_INT):
            return key
        parts = key if type(key) is tuple and len(key) <= LONGEST_KEY else (key,)
        if not all(isinstance(part, (*PLAIN_KEYS, *ODD_KEYS)) for part in parts):
            raise DamagedError("a key of a dictionary that is no plain value")
        self.odd_keys += 1
        if self.odd_keys > MOST_ODD_KEYS:
            raise DamagedError(f"more than {MOST_ODD_KEYS} keys that are no names")
        return key
