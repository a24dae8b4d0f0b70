"""Curves of any length drawn with few points, no peak of which is lost."""

from __future__ import annotations

import math
from collections.abc import Sequence

MOST_POINTS = 2000


def thinned(
    xs: Sequence[float], ys: Sequence[float], most: int = MOST_POINTS
) -> list[tuple[float, float]]:
    """Return at most so many points of a curve: of each stretch the lowest and the highest.

    Parameters
    ----------
    xs, ys : sequence of float
        Of one length, along the curve.
    most : int
        At least 4.

    Returns
    -------
    list of (x, y)
        In their order; the first and the last are always among them. Points that are not finite
        are gaps: one stays where at least one was in a stretch.
    """
    points = list(zip(xs, ys, strict=True))
    if len(points) <= most:
        return points
    inner = points[1:-1]
    # Of each stretch: the lowest, the highest, and a gap if there is one.
    gaps = any(not math.isfinite(y) for _, y in inner)
    count = (most - 2) // (3 if gaps else 2)
    kept = [points[0]]
    for number in range(count):
        start, stop = (len(inner) * n // count for n in (number, number + 1))
        kept += _extremes(inner[start:stop])
    return [*kept, points[-1]]


def _extremes(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    finite = [n for n, (_, y) in enumerate(points) if math.isfinite(y)]
    chosen = set()
    if finite:
        chosen = {min(finite, key=lambda n: points[n][1]), max(finite, key=lambda n: points[n][1])}
    gap = next((n for n, (_, y) in enumerate(points) if not math.isfinite(y)), None)
    if gap is not None:
        chosen.add(gap)
    return [points[n] for n in sorted(chosen)]
