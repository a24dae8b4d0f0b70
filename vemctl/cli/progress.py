"""Events of a run, rendered on standard error: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from vemctl.cli.training_lines import checkpoint_line, steps_line, validated_line
from vemctl.events import (
    CheckpointSaved,
    Event,
    Finished,
    Listener,
    Noted,
    StageAdvanced,
    StageFinished,
    StageStarted,
    StepsDone,
    Validated,
    ignore,
)
from vemctl.pages.words import duration_text, size_text

if TYPE_CHECKING:
    from rich.progress import Progress

SECONDS_BETWEEN_LINES = 5.0
STEPS = "training"
"""The bar of a training's steps."""
BYTES = "bytes"
"""The unit of stages that count bytes."""


@dataclass
class _Stage:
    name: str
    total: int
    unit: str
    first: int
    done: int
    began: float
    told: float


class Log:
    """Writes lines: a note each, and of a stage its start, its end and now and then between.

    Parameters
    ----------
    stream : text file
    verbose : bool
        Tell how long stages took.
    progress : bool
        Tell about stages at all.
    clock : callable
        Seconds, never going back.
    time_of_day : callable
        As it stands in front of a line.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        verbose: bool = False,
        progress: bool = True,
        clock: Callable[[], float] = time.monotonic,
        time_of_day: Callable[[], str] = lambda: time.strftime("%H:%M:%S"),
    ) -> None:
        self._stream = stream
        self._verbose = verbose
        self._progress = progress
        self._clock = clock
        self._time_of_day = time_of_day
        self._stages: dict[str, _Stage] = {}
        self._steps_told = -math.inf

    def __call__(self, event: Event) -> None:
        """Write what is to be told of `event`."""
        if isinstance(event, Noted):
            self._line(noted(event))
        elif isinstance(event, Finished):
            self._line(finished(event))
        elif isinstance(event, Validated):
            self._line(validated_line(event))
        elif isinstance(event, CheckpointSaved):
            if self._verbose:
                self._line(checkpoint_line(event))
        elif isinstance(event, StepsDone):
            self._tell_steps(event)
        elif self._progress:
            self._tell_stage(event)

    def _tell_steps(self, event: StepsDone) -> None:
        now = self._clock()
        if self._progress and (
            now - self._steps_told >= SECONDS_BETWEEN_LINES or event.step == event.total
        ):
            self._steps_told = now
            self._line(steps_line(event))

    def _tell_stage(self, event: Event) -> None:
        now = self._clock()
        if isinstance(event, StageStarted):
            stage = _Stage(event.name, event.total, event.unit, event.done, event.done, now, now)
            self._stages[event.name] = stage
            if stage.total:
                self._line(self._state(stage, now))
        elif isinstance(event, StageAdvanced) and event.name in self._stages:
            stage = self._stages[event.name]
            stage.done += event.amount
            if not stage.total:
                return
            if stage.done >= stage.total or now - stage.told >= SECONDS_BETWEEN_LINES:
                stage.told = now
                self._line(self._state(stage, now))
        elif isinstance(event, StageFinished):
            self._stages.pop(event.name, None)
            if self._verbose:
                self._line(took(event))

    @staticmethod
    def _state(stage: _Stage, now: float) -> str:
        share = 100 * stage.done / stage.total
        text = f"{stage.name}: {amount(stage.done, stage.total, stage.unit)} ({share:.0f} %)"
        seconds = now - stage.began
        rate = (stage.done - stage.first) / seconds if seconds > 0 else 0
        if rate and stage.done < stage.total:
            speed = f"{size_text(rate)}/s" if stage.unit == BYTES else f"{rate:.2g}/s"
            text += f", {speed}, {duration_text((stage.total - stage.done) / rate)} left"
        elif stage.done > stage.first:
            text += f", {duration_text(seconds)}"
        return text

    def _line(self, text: str) -> None:
        print(f"{self._time_of_day()} {text}", file=self._stream, flush=True)


class Bars:
    """Draws a bar per stage, with notes above.

    Parameters
    ----------
    progress : rich.progress.Progress
        That is running.
    verbose : bool
        Tell how long stages took.
    """

    def __init__(self, progress: Progress, *, verbose: bool = False) -> None:
        self._progress = progress
        self._verbose = verbose
        self._tasks: dict[str, Any] = {}

    def __call__(self, event: Event) -> None:
        """Draw what is to be told of `event`."""
        if isinstance(event, StageStarted) and event.total:
            self._tasks[event.name] = self._progress.add_task(
                event.name, total=event.total, completed=event.done, unit=event.unit
            )
        elif isinstance(event, StageAdvanced) and event.name in self._tasks:
            self._progress.advance(self._tasks[event.name], event.amount)
        elif isinstance(event, StageFinished):
            if event.name in self._tasks:
                self._progress.stop_task(self._tasks.pop(event.name))
            if self._verbose:
                self._line(took(event))
        elif isinstance(event, Noted):
            self._line(noted(event))
        elif isinstance(event, Finished):
            self._line(finished(event))
        elif isinstance(event, Validated):
            self._line(validated_line(event))
        elif isinstance(event, CheckpointSaved) and self._verbose:
            self._line(checkpoint_line(event))
        elif isinstance(event, StepsDone):
            self._draw_steps(event)

    def _draw_steps(self, event: StepsDone) -> None:
        name, value = next(iter(event.losses.items()))
        text = f"training, {name} {value:.4g}, smoothed {event.smoothed:.4g}"
        if STEPS not in self._tasks:
            total = event.total or None
            self._tasks[STEPS] = self._progress.add_task(text, total=total, unit="steps")
        self._progress.update(self._tasks[STEPS], completed=event.step, description=text)

    def _line(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


def amount(done: float, total: float, unit: str) -> str:
    """Return how much of a stage is done, for instance ``"3/8 blocks"``."""
    if unit == BYTES:
        return f"{size_text(done)} of {size_text(total)}"
    return f"{done:.0f}/{total:.0f} {unit}"


def noted(event: Noted) -> str:
    """Return the line of a note."""
    return f"warning: {event.text}" if event.level == "warning" else event.text


def took(event: StageFinished) -> str:
    """Return the line of a stage that is over."""
    return f"{event.name} took {duration_text(event.seconds)}"


def finished(event: Finished) -> str:
    """Return the line of a run that is over."""
    return f"wrote {event.path} in {duration_text(event.seconds)}"


@contextmanager
def reporter(
    *, quiet: bool = False, verbose: bool = False, progress: bool = True
) -> Iterator[Listener]:
    """Return the listener for this terminal, or for what stands in its place.

    Parameters
    ----------
    quiet : bool
        Tell nothing; errors are told elsewhere.
    verbose : bool
        Tell how long stages took.
    progress : bool
        Show bars or lines of progress; notes are shown in any case.
    """
    if quiet:
        yield ignore
    elif progress and sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            ProgressColumn,
            Task,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.table import Column
        from rich.text import Text

        class Amount(ProgressColumn):
            """How much is done, in the stage's unit."""

            def render(self, task: Task) -> Text:
                """Return the text of one stage."""
                return Text(amount(task.completed, task.total or 0, task.fields["unit"]))

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            Amount(table_column=Column(no_wrap=True)),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as bars:
            yield Bars(bars, verbose=verbose)
    else:
        yield Log(sys.stderr, verbose=verbose, progress=progress)
