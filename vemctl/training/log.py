"""log.txt: what was told during a run, for those who were not there."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from vemctl.events import (
    CheckpointSaved,
    Event,
    Finished,
    Noted,
    StageAdvanced,
    StageFinished,
    StageStarted,
    StepsDone,
    Validated,
)


class Log:
    """A listener that appends every event to a file.

    A file that cannot be written is no reason to stop.

    Parameters
    ----------
    path : Path
    now : callable
        Date and time as they stand in front of a line.
    """

    def __init__(
        self, path: Path, now: Callable[[], str] = lambda: time.strftime("%Y-%m-%d %H:%M:%S%z")
    ) -> None:
        self._path = path
        self._now = now
        self._is_open = True

    def __call__(self, event: Event) -> None:
        """Append a line about `event`, if there is something to tell."""
        text = " ".join(line_of(event).split())
        if text and self._is_open:
            with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8") as file:
                file.write(f"{self._now()} {text}\n")

    def close(self) -> None:
        """Write no more: from now on, the file may be another run's."""
        self._is_open = False


def line_of(event: Event) -> str:
    """Return what is to be told of an event; nothing where its stage is told anyway."""
    match event:
        case Noted(text, level):
            return f"warning: {text}" if level == "warning" else text
        case StageStarted(name, total, unit, done):
            return f"{name}: {done}/{total} {unit}"
        case StageAdvanced():
            return ""
        case StageFinished(name, seconds):
            return f"{name} took {seconds:.1f} s"
        case StepsDone(step, total, losses, _, seconds, steps):
            of = f"/{total}" if total else ""
            rate = f", {steps / seconds:.3g} steps/s" if seconds > 0 else ""
            return f"step {step}{of}: {_numbers(losses)}{rate}"
        case Validated(step, metrics, is_best):
            return f"validation at step {step}: {_numbers(metrics)}{', the best' * is_best}"
        case CheckpointSaved(step, path):
            return f"checkpoint of step {step}: {path}"
        case Finished(path, seconds):
            return f"wrote {path} in {seconds:.1f} s"
    fields = (f"{each.name} {getattr(event, each.name)}" for each in dataclasses.fields(event))
    return f"{type(event).__name__}: {', '.join(fields)}"


def _numbers(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in values.items())
