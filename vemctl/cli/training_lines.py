"""What happens in a training, as lines for people and as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import typer

from vemctl.events import CheckpointSaved, Event, Finished, Listener, StepsDone, Validated
from vemctl.pages.words import duration_text

NAMES = {StepsDone: "steps", Validated: "validation", CheckpointSaved: "checkpoint"}


def steps_line(event: StepsDone) -> str:
    """Return how far a training is, for instance ``"step 40/540 (7 %), loss 0.213"``."""
    name, value = next(iter(event.losses.items()))
    part = f"/{event.total} ({100 * event.step / event.total:.0f} %)" if event.total else ""
    text = f"step {event.step}{part}, {name} {value:.4g}, smoothed {event.smoothed:.4g}"
    rate = event.steps / event.seconds if event.seconds > 0 else 0
    if rate:
        text += f", {rate:.3g} steps/s"
        if event.total > event.step:
            text += f", {duration_text((event.total - event.step) / rate)} left"
    return text


def validated_line(event: Validated) -> str:
    """Return what a validation found."""
    found = ", ".join(f"{name} {value:.4g}" for name, value in event.metrics.items())
    return f"validation at step {event.step}: {found}{' (best so far)' if event.is_best else ''}"


def checkpoint_line(event: CheckpointSaved) -> str:
    """Return where a checkpoint was saved."""
    return f"saved {event.path}"


def print_gain(facts: Mapping[str, Any]) -> None:
    """Print what a training has gained, if it was judged before its first step too."""
    gained = facts["gained"]
    if not gained:
        return
    step = facts["best"]["step"] if facts["best"] else facts["step"]
    rows = [("", "before", f"after step {step}")]
    rows += [(name, f"{a:.4g}", f"{b:.4g}") for name, (a, b) in gained.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *values in rows:
        cells = (value.rjust(width) for value, width in zip(values, widths[1:], strict=True))
        typer.echo("  ".join([name.ljust(widths[0]), *cells]).rstrip())


class JsonLines:
    """Prints events of a training on standard output, one JSON object a line.

    Parameters
    ----------
    listen : Listener
        Is told of all events too.
    """

    def __init__(self, listen: Listener) -> None:
        self._listen = listen

    def __call__(self, event: Event) -> None:
        """Print `event` if it is one of a training's."""
        self._listen(event)
        name = NAMES.get(type(event)) or ("finished" if isinstance(event, Finished) else "")
        if name:
            typer.echo(json.dumps({"event": name, **_plain(dataclasses.asdict(event))}))


def _plain(facts: Any) -> Any:
    """Return `facts` of JSON types; JSON knows neither infinities nor NaN."""
    if isinstance(facts, dict):
        return {key: _plain(value) for key, value in facts.items()}
    if isinstance(facts, tuple):
        return [_plain(value) for value in facts]
    if isinstance(facts, float) and not math.isfinite(facts):
        return None
    return facts if isinstance(facts, int | float | str | bool | None) else str(facts)
