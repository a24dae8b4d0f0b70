"""Events of a run become log lines, or bars on a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from vemctl.cli.progress import Bars, Log, reporter
from vemctl.events import Finished, Noted, StageAdvanced, StageFinished, StageStarted, ignore
from vemctl.pages.words import duration_text


class Clock:
    """Stands still until told."""

    seconds = 0.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.seconds


def log_of(events, *, verbose=False, progress=True):
    """Return the lines of events, each with the second at which it happens."""
    stream, clock = io.StringIO(), Clock()
    log = Log(
        stream, verbose=verbose, progress=progress, clock=clock, time_of_day=lambda: "12:03:55"
    )
    for clock.seconds, event in events:
        log(event)
    return stream.getvalue().splitlines()


RUN = [
    (0, StageStarted("restoring", 64)),
    (1, StageAdvanced("restoring")),
    (15, StageAdvanced("restoring", 11)),
    (16, StageAdvanced("restoring")),
    (80, StageAdvanced("restoring", 51)),
    (80, StageFinished("restoring", 80)),
    (81, Finished(Path("out.zarr"), 81)),
]


def test_a_stage_is_told_at_start_now_and_then_and_at_its_end():
    """Between start and end a line is written every few seconds, with rate and time left."""
    assert log_of(RUN) == [
        "12:03:55 restoring: 0/64 blocks (0 %)",
        "12:03:55 restoring: 12/64 blocks (19 %), 0.8/s, 65 s left",
        "12:03:55 restoring: 64/64 blocks (100 %), 80 s",
        "12:03:55 wrote out.zarr in 81 s",
    ]


def test_what_was_done_before_does_not_count_for_the_rate():
    """A resumed run starts where it was, and estimates by what it does itself."""
    lines = log_of([(0, StageStarted("b", 100, done=90)), (10, StageAdvanced("b", 5))])
    assert lines[0].endswith("b: 90/100 blocks (90 %)")
    assert lines[1].endswith("b: 95/100 blocks (95 %), 0.5/s, 10 s left")


def test_a_stage_without_work_is_not_told():
    """Nothing to do is nothing to tell."""
    assert log_of([(0, StageStarted("b", 0)), (1, StageAdvanced("b"))]) == []


def test_verbose_tells_how_long_stages_took():
    """With -v a stage's end has a line of its own."""
    assert "12:03:55 restoring took 80 s" in log_of(RUN, verbose=True)


def test_without_progress_notes_remain():
    """With --no-progress there are notes and the end, but no stages."""
    lines = log_of([*RUN, (82, Noted("odd", "warning")), (83, Noted("even"))], progress=False)
    assert lines == [
        "12:03:55 wrote out.zarr in 81 s",
        "12:03:55 warning: odd",
        "12:03:55 even",
    ]


def test_events_of_an_unknown_stage_are_passed_over():
    """A listener must not raise."""
    assert log_of([(0, StageAdvanced("x")), (1, StageFinished("x", 1))]) == []


def test_a_terminal_gets_bars_with_notes_above():
    """On a terminal a stage is a bar that ends complete."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    with Progress(console=console) as progress:
        bars = Bars(progress, verbose=True)
        for _, event in [*RUN, (82, Noted("[odd]", "warning")), (0, StageAdvanced("x"))]:
            bars(event)
        (task,) = progress.tasks
    assert (task.completed, task.total, task.finished) == (64, 64, True)
    shown = stream.getvalue()
    for words in ("restoring took 80 s", "wrote out.zarr in 81 s", "warning: [odd]"):
        assert words in shown


def test_the_terminal_decides(monkeypatch):
    """Bars on a terminal, a log elsewhere, nothing when quiet."""
    monkeypatch.setattr("sys.stderr", Terminal())
    with reporter() as listen:
        assert isinstance(listen, Bars)
    with reporter(progress=False) as listen:
        assert isinstance(listen, Log)
    with reporter(quiet=True) as listen:
        assert listen is ignore
    monkeypatch.setattr("sys.stderr", io.StringIO())
    with reporter() as listen:
        assert isinstance(listen, Log)


class Terminal(io.StringIO):
    """Says that it is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (65, "65 s"), (119.2, "119 s"), (150, "2 min"), (7500, "2 h 05 min")],
)
def test_durations_are_for_people(seconds, text):
    """A duration has the unit that fits."""
    assert duration_text(seconds) == text
