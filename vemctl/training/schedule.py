"""What a training is told and what it has come to, as plain values; and what it gives away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from vemctl.learning import Trainer, Validation


@dataclass(frozen=True)
class Schedule:
    """When what happens, in steps or seconds.

    Attributes
    ----------
    steps : int, optional
        After which the training is over; None where only time limits it.
    seconds : float, optional
        After which this process stops.
    validate_every : int
    log_every : int
        Steps to a row of metrics.
    checkpoint_steps : int, optional
    checkpoint_seconds : float, optional
    patience : int, optional
        Validations without a better score after which the training is over.
    seed : int
    """

    steps: int | None
    seconds: float | None
    validate_every: int
    log_every: int
    checkpoint_steps: int | None
    checkpoint_seconds: float | None
    patience: int | None
    seed: int


class Keeper(Protocol):
    """Keeps what a training leaves behind."""

    def row(self, step: int, values: Mapping[str, float]) -> None:
        """Keep a row of metrics."""

    def checkpoint(self, step: int, state: Mapping[str, Any], trainer: Trainer) -> None:
        """Keep the state after `step`, and the weights."""

    def best(self, step: int, trainer: Trainer) -> None:
        """Keep the weights as the best so far."""

    def preview(self, step: int, validation: Validation) -> None:
        """Keep what a validation shows."""


@dataclass
class Progress:
    """What a training has come to; with the trainer's it is the whole state.

    Attributes
    ----------
    step : int
        Updates made.
    best : mapping, optional
        Metric, score and step of the best validation so far.
    waited : int
        Validations since then.
    smoothed : float, optional
        Moving average of the loss to watch.
    sums : dict of str to float
        Of losses since the last row.
    summed : int
        Steps in them.
    """

    step: int = 0
    best: dict[str, Any] | None = None
    waited: int = 0
    smoothed: float | None = None
    sums: dict[str, float] = field(default_factory=dict)
    summed: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes
    ----------
    step : int
    best : mapping, optional
        Metric, score and step of the best validation.
    reason : {"steps", "time", "patience", "stopped"}
    """

    step: int
    best: dict[str, Any] | None
    reason: str
