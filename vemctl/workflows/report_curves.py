"""Curves and tables of what a training run has measured."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vemctl.pages.chart import Mark, line_chart
from vemctl.pages.page import paragraph
from vemctl.pages.style import NUM_CURVES
from vemctl.pages.tables import table
from vemctl.training.metrics import RATE
from vemctl.workflows.report_run import Run

MOST_ROWS = 60
"""Of a table; of more, some are shown."""
MOST_CHARTS = 18
SMALL_POINTS = 600
"""Of each curve in the small charts."""


def curves_parts(run: Run) -> list[str]:
    """Return losses and learning rates over steps as HTML."""
    steps = run.table
    if not steps.steps:
        return [paragraph("No step is recorded yet.")]
    losses = {name: steps.points(name) for name in steps.losses if steps.points(name)[0]}
    charts = []
    for start in range(0, len(losses), NUM_CURVES):
        names = list(losses)[start : start + NUM_CURVES]
        shown = {name: losses[name] for name in names}
        title = "Losses, each a mean over the steps since the row before"
        charts.append(_chart(shown, title, "loss", run.best_step if start == 0 else None))
    rates = {name.removeprefix(RATE): steps.points(name) for name in steps.rates}
    rates = {name: points for name, points in rates.items() if points[0]}
    for start in range(0, len(rates), NUM_CURVES):
        shown = {name: rates[name] for name in list(rates)[start : start + NUM_CURVES]}
        title = f"Learning rate of {', '.join(shown)}" if len(shown) == 1 else "Learning rates"
        charts.append(_chart(shown, title, "learning rate", None))
    return [_figures(charts), paragraph(_logarithmic(losses), quiet=True)]


def _logarithmic(series: dict[str, tuple[list[float], list[float]]]) -> str:
    if all(_positive(ys) for _, ys in series.values()):
        return "The axes of the losses are logarithmic. All values are in metrics.csv."
    return "The axes are linear where a value is not above 0. All values are in metrics.csv."


def validation_parts(run: Run) -> list[str]:
    """Return what validations found, and what was gained, as HTML."""
    steps = run.table
    names = [name for name in steps.validations if steps.points(name)[0]]
    if not names:
        return [paragraph("The run was not validated, or has not been yet.")]
    judged = sorted({int(step) for name in names for step in steps.points(name)[0]})
    charts = [
        _chart({name: steps.points(name)}, name, "", run.best_step, points=SMALL_POINTS)
        for name in names[:MOST_CHARTS]
    ]
    shown = spread(judged, MOST_ROWS, run.best_step)
    rows: list[list[object]] = [
        [step, *(steps.at(step).get(name) for name in names)] for step in shown
    ]
    remarks = [_remark(step, run) for step in shown]
    header = ["Step", *names]
    if any(remarks):
        header.append("Remark")
        rows = [[*row, remark] for row, remark in zip(rows, remarks, strict=True)]
    caption = "What validations found"
    if len(shown) < len(judged):
        caption += f": {len(shown)} of {len(judged)}, spread evenly"
    marked = [shown.index(run.best_step)] if run.best_step in shown else []
    gain = _gain(run, names)
    return [
        *([_gain_table(gain, run)] if gain else []),
        _figures(charts),
        table(rows, header, caption=caption, marked=marked),
    ]


def _remark(step: int, run: Run) -> str:
    if step == run.best_step:
        return "best weights"
    return "before the first step" if step == 0 else ""


def _gain(run: Run, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    before = run.table.at(0)
    after = run.table.at(_kept(run))
    return {name: (before[name], after[name]) for name in names if {name} <= before.keys() & after}


def _kept(run: Run) -> int:
    """Return the step whose weights the run is judged by."""
    if run.best_step is not None:
        return run.best_step
    judged = [s for name in run.table.validations for s in run.table.points(name)[0]]
    return int(max(judged, default=0))


def _gain_table(gain: dict[str, tuple[float, float]], run: Run) -> str:
    rows = [(name, a, b, f"{b - a:+.4g}") for name, (a, b) in gain.items()]
    header = ("Metric", "Before the first step", f"After step {_kept(run)}", "Difference")
    return table(rows, header, caption="What the training has gained")


def _chart(
    series: dict[str, tuple[list[float], list[float]]],
    title: str,
    y_label: str,
    best: int | None,
    points: int = 2000,
) -> str:
    xs = [x for each, _ in series.values() for x in each]
    marks = [Mark("x", best, f"best: {best}")] if best is not None and best <= max(xs) else []
    return line_chart(
        series,
        title=title,
        x_label="step",
        y_label=y_label,
        log_y=all(_positive(ys) for _, ys in series.values()),
        marks=marks,
        points=points,
    )


def _positive(values: Sequence[float]) -> bool:
    return all(value > 0 for value in values if math.isfinite(value))


def _figures(charts: Sequence[str]) -> str:
    return '<div class="figures">\n' + "\n".join(charts) + "\n</div>"


def spread(steps: Sequence[int], most: int, wanted: int | None) -> list[int]:
    """Return at most so many steps, evenly, with the first, the last and the one that is wanted."""
    if len(steps) <= most:
        return list(steps)
    extra = {wanted} & set(steps) if wanted is not None else set()
    count = most - len(extra)
    return sorted({steps[n * (len(steps) - 1) // (count - 1)] for n in range(count)} | extra)
