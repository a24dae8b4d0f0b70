"""What happens during a run, as frozen values; the command line renders them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
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
class StepsDone(Event):
    """A training has come to a step.

    Attributes
    ----------
    step, total : int
        Of updates; `total` is 0 where only time limits them.
    losses : mapping of str to float
        Means since the last such event; the first is the one to watch.
    smoothed : float
        Moving average of that one.
    seconds : float
        Since the last such event, less what validations and checkpoints took.
    steps : int
        Since the last such event.
    """

    step: int
    total: int
    losses: Mapping[str, float]
    smoothed: float
    seconds: float
    steps: int


@dataclass(frozen=True)
class Validated(Event):
    """The networks were judged; `is_best` where they never were better."""

    step: int
    metrics: Mapping[str, float]
    is_best: bool


@dataclass(frozen=True)
class CheckpointSaved(Event):
    """The state of a training after `step` is safely on disk."""

    step: int
    path: Path


@dataclass(frozen=True)
class Finished(Event):
    """The output is complete and in its place.

    Attributes
    ----------
    gained : mapping of str to (before, after)
        Of a training that was judged before its first step: each metric then, and at the step
        whose weights are kept.
    """

    path: Path
    seconds: float
    gained: Mapping[str, tuple[float, float]] = field(default_factory=dict)


class Listener(Protocol):
    """Receives events in the order in which they happen, one at a time."""

    def __call__(self, event: Event) -> None:
        """Take note of `event`; must not raise."""


def ignore(event: Event) -> None:
    """Take no note: the listener of those who want none."""


def one_at_a_time(listen: Listener) -> Listener:
    """Return a listener that several threads may call."""
    turn = threading.Lock()

    def wait(event: Event) -> None:
        with turn:
            listen(event)

    return wait
