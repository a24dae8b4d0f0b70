"""A task of a crew on its way through its tries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

Task = TypeVar("Task")


@dataclass(frozen=True)
class Failure(Generic[Task]):
    """A task that was given up.

    Attributes
    ----------
    task : object
    reason : str
        Of its last try, in one line.
    tries : int
    """

    task: Task
    reason: str
    tries: int


@dataclass
class Case(Generic[Task]):
    """A task on its way through its tries."""

    task: Task
    tries: int = 0
    suspect: bool = False
    avoid: str = ""


@dataclass
class Try(Generic[Task]):
    """A case that a worker is at."""

    case: Case[Task]
    worker: str
    since: float
    begun: bool = False
