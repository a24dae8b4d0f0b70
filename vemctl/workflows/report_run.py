"""What the folder of a training run tells, read for its report; nothing in it is changed."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vemctl.errors import InputError, ResumeError
from vemctl.nn.own_weights import METADATA
from vemctl.training.metrics import RATE, STEP
from vemctl.training.run_folder import LOG, METRICS, PREVIEWS, read_run
from vemctl.weights.runs import CHECKPOINTS, DESCRIPTION, SUFFIX
from vemctl.workflows.report_checks import DESCRIPTION_CHECKS, refuse_wrong

VALIDATION = "val_"
"""Before the name of what a validation found."""
ENDED = "ended after step "
WARNING = "warning: "


@dataclass(frozen=True)
class Table:
    """metrics.csv by column; what is empty is None, which NaN is not.

    Attributes
    ----------
    steps : tuple of int
    columns : mapping of str to tuple of float or None
        As long as `steps`.
    """

    steps: tuple[int, ...]
    columns: Mapping[str, tuple[float | None, ...]]

    def points(self, name: str) -> tuple[list[float], list[float]]:
        """Return steps and values of a column where it has some."""
        pairs = zip(self.steps, self.columns[name], strict=True)
        there = [(float(step), value) for step, value in pairs if value is not None]
        return [step for step, _ in there], [value for _, value in there]

    def at(self, step: int) -> dict[str, float]:
        """Return what the row of a step has."""
        if step not in self.steps:
            return {}
        row = self.steps.index(step)
        values = {name: column[row] for name, column in self.columns.items()}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def rates(self) -> list[str]:
        """Columns of learning rates."""
        return [name for name in self.columns if name.startswith(RATE)]

    @property
    def validations(self) -> list[str]:
        """Columns of what validations found."""
        return [name for name in self.columns if name.startswith(VALIDATION)]

    @property
    def losses(self) -> list[str]:
        """All other columns; the first is the one to watch."""
        others = {*self.rates, *self.validations}
        return [name for name in self.columns if name not in others]


@dataclass(frozen=True)
class Run:
    """A training run.

    Attributes
    ----------
    folder : Path
    described : dict
        What run.json says.
    table : Table
    reached : int
        The last step that is known of.
    total : int, optional
        Of steps, where the log tells.
    ending : str, optional
        How it ended, if it did and has not gone on since.
    best_step : int, optional
        Of the weights that are kept as the best.
    began, told : str, optional
        Date and time of the first and the last line of the log.
    warnings : tuple of str
    previews : mapping of int to Path
        By step, rising.
    """

    folder: Path
    described: dict[str, Any]
    table: Table
    reached: int
    total: int | None
    ending: str | None
    best_step: int | None
    began: str | None
    told: str | None
    warnings: tuple[str, ...]
    previews: Mapping[int, Path]


def read(folder: Path) -> Run:
    """Read a run, which may be going on.

    Raises
    ------
    InputError
        It is damaged, cannot be read, or is of a newer vemctl.
    """
    try:
        described = read_run(folder)
        table = read_table(folder / METRICS)
        lines = _lines(folder / LOG)
        previews = {
            int(path.stem.removeprefix("step-")): path
            for path in sorted((folder / PREVIEWS).glob("step-*.png"))
            if path.stem.removeprefix("step-").isdecimal()
        }
    except ResumeError as error:
        raise InputError(str(error)) from error
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be read ({error.strerror or error}); check its permissions"
        ) from error
    refuse_wrong(described, DESCRIPTION_CHECKS, folder / DESCRIPTION, "a training run")
    texts = [text for _, text in lines]
    steps = [re.match(r"step (\d+)(?:/(\d+))?:", text) for text in texts]
    told_steps = [int(match[1]) for match in steps if match]
    totals = [int(match[2]) for match in steps if match and match[2]]
    return Run(
        folder,
        described,
        table,
        max([*table.steps, *told_steps[-1:]], default=0),
        totals[-1] if totals else None,
        _ending(texts),
        _best_step(folder / CHECKPOINTS / f"best{SUFFIX}"),
        lines[0][0] if lines else None,
        lines[-1][0] if lines else None,
        tuple(dict.fromkeys(t.removeprefix(WARNING) for t in texts if t.startswith(WARNING))),
        dict(sorted(previews.items())),
    )


def read_table(path: Path) -> Table:
    """Read metrics.csv, less what a kill has torn or what is not there yet.

    Raises
    ------
    InputError
        It is no such table.
    """
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        return Table((), {})
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: damaged (not text); put a copy back, or remove it") from error
    whole = text[: text.rfind("\n") + 1]
    header, *rows = list(csv.reader(io.StringIO(whole, newline=""))) or [[STEP]]
    if header[:1] != [STEP]:
        raise InputError(
            f"{path}: its first column is not {STEP!r}, expected the table of a training run; put "
            "a copy back, or remove it"
        )
    rows = [row for row in rows if len(row) == len(header) and row[0].isdecimal()]
    columns = {
        name: tuple(_number(row[place]) for row in rows)
        for place, name in enumerate(header)
        if place
    }
    return Table(tuple(int(row[0]) for row in rows), columns)


def _number(text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return math.nan


def _lines(path: Path) -> list[tuple[str, str]]:
    """Return date and time, and text, of the lines of a log."""
    try:
        text = path.read_text("utf-8", "replace")
    except FileNotFoundError:
        return []
    matches = (
        re.match(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S*) (.*)", line) for line in text.split("\n")
    )
    return [(match[1], match[2]) for match in matches if match]


def _ending(texts: list[str]) -> str | None:
    """Return how the run ended, unless it has made steps since."""
    for text in reversed(texts):
        if text.startswith(ENDED):
            return text
        if text.startswith("step "):
            return None
    return None


def _best_step(path: Path) -> int | None:
    """Return of which step the best weights are; None if there are none that tell."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            step = json.loads((file.metadata() or {})[METADATA])["step"]
    except (SafetensorError, OSError, ValueError, LookupError, TypeError):
        return None
    return step if isinstance(step, int) else None
