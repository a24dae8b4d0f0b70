"""What happens during a run, as frozen values; the command line renders them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Event:
    """Something that happened."""


@dataclass(frozen=True)
class Noted(Event):
    """A fact worth telling, in one sentence. `level` is "info" or "warning"."""

    text: str
    level: str = "info"


@dataclass(frozen=True)
class StageStarted(Event):
    """A stage of known length began; `unit` is what `total` counts."""

    name: str
    total: int
    unit: str = "blocks"
    done: int = 0


@dataclass(frozen=True)
class StageAdvanced(Event):
    """`amount` units more of the stage `name` are done."""

    name: str
    amount: int = 1


@dataclass(frozen=True)
class StageFinished(Event):
    """The stage `name` is over."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Finished(Event):
    """The output is complete and in its place."""

    path: Path
    seconds: float


class Listener(Protocol):
    """Receives events in the order in which they happen, from one thread."""

    def __call__(self, event: Event) -> None:
        """Take note of `event`; must not raise."""


def ignore(event: Event) -> None:
    """Take no note: the listener of those who want none."""
