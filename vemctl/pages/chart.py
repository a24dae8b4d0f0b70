"""Charts as inline SVG: curves and histograms, told apart by dashes as well as by colour."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from vemctl.pages.page import escaped
from vemctl.pages.scale import Scale, scale_for, tick_texts
from vemctl.pages.style import NUM_CURVES
from vemctl.pages.thinning import MOST_POINTS, thinned
from vemctl.pages.words import number_text

WIDTH, HEIGHT = 480, 290
TOP, BOTTOM, RIGHT = 30, 46, 14
LITTLE = 10
"""At the top, if nothing is written there."""
LETTER = 7.5
"""Width of a letter at an axis, about."""
FEW_POINTS = 40
"""Up to which each is drawn as a dot too."""

Points = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class Mark:
    """A value that is marked on an axis.

    Attributes
    ----------
    axis : {"x", "y"}
    value : float
    text : str
        Plain text, short.
    """

    axis: Literal["x", "y"]
    value: float
    text: str


def line_chart(
    series: Mapping[str, Points],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log_y: bool = False,
    marks: Sequence[Mark] = (),
    y_range: tuple[float, float] | None = None,
    points: int = MOST_POINTS,
) -> str:
    """Return curves, thinned so that no peak is lost.

    Parameters
    ----------
    series : mapping of str to (xs, ys)
        One to six, by name; values that are not finite are gaps.
    title, x_label, y_label : str
        Plain text.
    log_y : bool
        Values that are not above 0 are gaps then.
    marks : sequence of Mark
    y_range : (float, float), optional
        By default what the values span.
    points : int
        Of each curve, at most.
    """
    _check(series)
    curves = {
        name: [(x, y if y > 0 or not log_y else math.nan) for x, y in thinned(xs, ys, points)]
        for name, (xs, ys) in series.items()
    }
    finite = [p for curve in curves.values() for p in curve if math.isfinite(p[1])]
    seen = [y for _, y in finite] + [mark.value for mark in marks if mark.axis == "y"]
    top = TOP if y_label else LITTLE
    y = scale_for(y_range or seen, HEIGHT - BOTTOM, top, log=log_y, pad=0 if y_range else 0.05)
    x = scale_for([x for x, _ in finite], _left(y), WIDTH - RIGHT)
    drawn = [*_frame(x, y, x_label, y_label), *(_mark(each, x, y) for each in marks)]
    for number, curve in enumerate(curves.values(), 1):
        for piece in _pieces(curve):
            places = " ".join(f"{x.place(a):.1f},{y.place(b):.1f}" for a, b in piece)
            drawn.append(f'<polyline class="curve curve-{number}" points="{places}"/>')
        if len(curve) <= FEW_POINTS:
            drawn += [
                f'<circle class="dot-{number}" r="2.6" cx="{x.place(a):.1f}" '
                f'cy="{y.place(b):.1f}"/>'
                for a, b in curve
                if math.isfinite(b)
            ]
    told = [_told(name, *points) for name, points in series.items()]
    told += [f"Marked: {mark.text} at {number_text(mark.value)}." for mark in marks]
    return _chart(title, told, drawn, list(series), x_label, y_label)


def histogram(
    series: Mapping[str, Points], *, title: str, x_label: str, y_label: str, log_y: bool = False
) -> str:
    """Return histograms over each other.

    Parameters
    ----------
    series : mapping of str to (edges, heights)
        One to six, by name; one edge more than heights, rising.
    title, x_label, y_label : str
        Plain text.
    log_y : bool
        Bars of no height are not drawn then.
    """
    _check(series)
    heights = [h for _, each in series.values() for h in each if h > 0]
    floor = min(heights, default=0.1) / 2 if log_y else 0.0
    top = max(heights, default=1.0)
    y = scale_for((floor, top * 1.05), HEIGHT - BOTTOM, TOP, log=log_y)
    edges = [edge for each, _ in series.values() for edge in (each[0], each[-1])]
    x = scale_for(edges, _left(y), WIDTH - RIGHT)
    drawn = list(_frame(x, y, x_label, y_label))
    for number, (bounds, each) in enumerate(series.values(), 1):
        steps = [f"M{x.place(bounds[0]):.1f},{y.start:.1f}"]
        for left, right, height in zip(bounds, bounds[1:], each, strict=False):
            level = y.place(max(height, floor)) if height > 0 else y.start
            steps.append(f"L{x.place(left):.1f},{level:.1f}H{x.place(right):.1f}")
        drawn.append(f'<path class="bar bar-{number}" d="{"".join(steps)}V{y.start:.1f}Z"/>')
    told = [
        f"{name}: from {number_text(bounds[0])} to {number_text(bounds[-1])}, most frequent around "
        f"{number_text(_mode(bounds, each))}."
        for name, (bounds, each) in series.items()
    ]
    return _chart(title, told, drawn, list(series), x_label, y_label)


def _check(series: Mapping[str, Points]) -> None:
    if not 1 <= len(series) <= NUM_CURVES:
        raise ValueError(f"{len(series)} curves; expected 1 to {NUM_CURVES} in one chart")


def _chart(
    title: str,
    told: Sequence[str],
    drawn: Sequence[str],
    names: Sequence[str],
    x_label: str,
    y_label: str,
) -> str:
    described = escaped(f"{y_label or title} over {x_label}. " + " ".join(told))
    legend = ""
    if len(names) > 1:
        items = "".join(
            f'<li><svg viewBox="0 0 36 10" aria-hidden="true"><path class="curve curve-{number}" '
            f'd="M0,5H36"/></svg>{escaped(name)}</li>'
            for number, name in enumerate(names, 1)
        )
        legend = f'<ul class="legend">{items}</ul>'
    return (
        f'<figure class="chart"><figcaption>{escaped(title)}</figcaption>'
        f'<svg role="img" viewBox="0 0 {WIDTH} {HEIGHT}"><title>{escaped(title)}</title>'
        f"<desc>{described}</desc>" + "".join(drawn) + f"</svg>{legend}</figure>"
    )


def _left(y: Scale) -> float:
    """Return the room that what stands at the axis needs."""
    return 14 + LETTER * max(map(len, tick_texts(y.ticks(6))), default=1)


def _frame(x: Scale, y: Scale, x_label: str, y_label: str) -> Iterator[str]:
    ticks = y.ticks(6)
    for value, text in zip(ticks, tick_texts(ticks), strict=True):
        place = y.place(value)
        yield f'<path class="grid" d="M{x.start:.1f},{place:.1f}H{x.stop:.1f}"/>'
        yield (
            f'<text class="tick" x="{x.start - 6:.1f}" y="{place + 4:.1f}" text-anchor="end">'
            f"{escaped(text)}</text>"
        )
    ticks = x.ticks(6)
    if max(map(len, tick_texts(ticks)), default=0) > 5:
        ticks = x.ticks(4)
    for value, text in zip(ticks, tick_texts(ticks), strict=True):
        place = x.place(value)
        yield f'<path class="axis" d="M{place:.1f},{y.start:.1f}v4"/>'
        # At the right end it would leave the picture.
        end = place > x.stop + RIGHT - LETTER * len(text) / 2
        anchor = "end" if end else "middle"
        yield (
            f'<text class="tick" x="{x.stop + RIGHT - 2 if end else place:.1f}" '
            f'y="{y.start + 18:.1f}" text-anchor="{anchor}">{escaped(text)}</text>'
        )
    yield f'<path class="axis" d="M{x.start:.1f},{y.stop:.1f}V{y.start:.1f}H{x.stop:.1f}"/>'
    middle = (x.start + x.stop) / 2
    yield f'<text x="{middle:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{escaped(x_label)}</text>'
    if y_label:
        yield f'<text x="4" y="16">{escaped(y_label)}</text>'


def _mark(mark: Mark, x: Scale, y: Scale) -> str:
    if mark.axis == "y":
        place = y.place(mark.value)
        path, at, anchor = (
            f"M{x.start:.1f},{place:.1f}H{x.stop:.1f}",
            (x.stop - 4, place - 5),
            "end",
        )
    else:
        place = x.place(mark.value)
        right = place > (x.start + x.stop) / 2
        path = f"M{place:.1f},{y.stop:.1f}V{y.start:.1f}"
        at, anchor = (place - 5 if right else place + 5, y.stop + 11), "end" if right else "start"
    return (
        f'<path class="mark" d="{path}"/><text class="tick" x="{at[0]:.1f}" y="{at[1]:.1f}" '
        f'text-anchor="{anchor}">{escaped(mark.text)}</text>'
    )


def _pieces(curve: Sequence[tuple[float, float]]) -> Iterator[list[tuple[float, float]]]:
    """Yield the stretches of a curve between its gaps."""
    piece: list[tuple[float, float]] = []
    for x, y in curve:
        if math.isfinite(y):
            piece.append((x, y))
            continue
        if piece:
            yield piece
        piece = []
    if piece:
        yield piece


def _told(name: str, xs: Sequence[float], ys: Sequence[float]) -> str:
    there = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
    if not there:
        return f"{name}: no values."
    (first_x, first), (last_x, last) = there[0], there[-1]
    low_x, low = min(there, key=lambda point: point[1])
    high_x, high = max(there, key=lambda point: point[1])
    return (
        f"{name}: {number_text(first)} at {number_text(first_x)}, {number_text(last)} at "
        f"{number_text(last_x)}; lowest {number_text(low)} at {number_text(low_x)}, highest "
        f"{number_text(high)} at {number_text(high_x)}."
    )


def _mode(bounds: Sequence[float], heights: Sequence[float]) -> float:
    number = max(range(len(heights)), key=heights.__getitem__)
    return (bounds[number] + bounds[number + 1]) / 2
