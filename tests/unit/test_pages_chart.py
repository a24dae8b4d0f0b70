"""Charts keep what matters of a curve, whatever its length and range."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from vemctl.pages.chart import Mark, histogram, line_chart
from vemctl.pages.scale import Scale, scale_for, tick_texts
from vemctl.pages.thinning import thinned

NAN = float("nan")


def drawn(chart: str) -> list[list[tuple[float, float]]]:
    """Return the points of all curves of a chart."""
    return [
        [tuple(map(float, point.split(","))) for point in points.split()]
        for points in re.findall(r'<polyline class="curve[^"]*" points="([^"]*)"', chart)
    ]


def chart_of(ys, **options) -> str:
    """Return a chart of one curve."""
    return line_chart(
        {"a": (list(range(len(ys))), ys)}, title="t", x_label="x", y_label="y", **options
    )


def test_long_curves_are_thinned_and_keep_their_peaks():
    """Of a million points few are drawn, a lone spike among them."""
    ys = [math.sin(n / 1e4) for n in range(10**5)]
    ys[31_234] = 9.0
    points = thinned(range(len(ys)), ys)

    assert len(points) <= 2000
    assert (31_234, 9.0) in points
    assert points[0] == (0, ys[0])
    assert points[-1] == (len(ys) - 1, ys[-1])
    assert len(chart_of(ys)) < 40_000


@given(
    some.lists(some.floats(allow_infinity=True, allow_nan=True), min_size=1, max_size=300),
    some.integers(5, 60),
)
def test_thinning_keeps_extremes_and_order(ys, most):
    """Any curve keeps its lowest and its highest point, and gets no point that it had not."""
    points = thinned(range(len(ys)), ys, most)
    finite = [y for y in ys if math.isfinite(y)]
    kept = [y for _, y in points if math.isfinite(y)]

    assert len(points) <= max(most, 4)
    assert [x for x, _ in points] == sorted({x for x, _ in points})
    assert all(y is ys[x] or y == ys[x] for x, y in points)
    if finite:
        assert (min(kept), max(kept)) == (min(finite), max(finite))


def test_gaps_stay_gaps():
    """A curve is not drawn over steps where it is no number."""
    assert [len(piece) for piece in drawn(chart_of([1.0, 2.0, NAN, 3.0, math.inf, 1.0, 1.0]))] == [
        2,
        1,
        2,
    ]
    assert drawn(chart_of([1.0, 0.0, 1.0, 2.0], log_y=True))[1][0][0] > 0


def test_logarithms_are_drawn_evenly():
    """Equal factors are equal lengths."""
    (points,) = drawn(chart_of([1.0, 10.0, 100.0], log_y=True))
    first, second = (b[1] - a[1] for a, b in pairwise(points))

    assert first == pytest.approx(second, abs=0.2)
    assert first < 0


@given(some.floats(-1e12, 1e12), some.floats(1e-9, 1e12), some.integers(2, 8))
def test_ticks_lie_on_the_axis(low, length, most):
    """Round values between the ends, at least one and not more than wanted but for rounding."""
    scale = scale_for([low, low + length], 0, 100)
    ticks = scale.ticks(most)

    assert 1 <= len(ticks) <= most + 1
    margin = 1e-6 * (scale.high - scale.low)
    assert all(scale.low - margin <= tick <= scale.high + margin for tick in ticks)
    assert all(0 <= scale.place(tick) <= 100 for tick in ticks)


@given(some.floats(1e-12, 1e12), some.floats(1.001, 1e20), some.integers(3, 8))
def test_ticks_of_logarithms_lie_on_the_axis(low, factor, most):
    """The same, over any number of decades."""
    scale = scale_for([low, low * factor], 0, 100, log=True)

    assert 1 <= len(scale.ticks(most)) <= most + 1
    assert all(scale.low * 0.999 <= t <= scale.high * 1.001 for t in scale.ticks(most))


def test_axes_without_range():
    """Constant curves, single points and none at all have an axis too."""
    assert scale_for([5.0], 0, 1) == Scale(4.5, 5.5, 0, 1)
    assert scale_for([0.0], 0, 1) == Scale(-1, 1, 0, 1)
    assert scale_for([2.0], 0, 1, log=True) == Scale(1, 4, 0, 1, log=True)
    assert scale_for([NAN], 0, 1).low < scale_for([], 0, 1).high
    assert len(drawn(chart_of([3.0]))) == 1
    assert drawn(chart_of([NAN, NAN])) == []


def test_ticks_are_written_alike():
    """All plain or all with an exponent."""
    assert tick_texts([0.1, 0.2, 0.3]) == ["0.1", "0.2", "0.3"]
    assert tick_texts([0, 0.00015, 0.0003]) == ["0", "1.5e-4", "3e-4"]
    assert tick_texts([500_000, 1_000_000]) == ["5e5", "1e6"]
    assert tick_texts([]) == []


def test_few_points_are_dots_too():
    """A validation that was made once is seen."""
    assert chart_of([1.0, 2.0]).count("<circle") == 2
    assert chart_of([1.0] * 100).count("<circle") == 0


def test_marks_are_drawn_with_their_words():
    """A line across, and what it means."""
    chart = chart_of([0.0, 1.0], marks=[Mark("y", 0.5, "half"), Mark("x", 1, "best")])

    assert chart.count('class="mark"') == 2
    assert ">half</text>" in chart
    assert "Marked: best at 1." in chart


def test_too_many_curves_are_refused():
    """Six can be told apart."""
    series = {str(n): ([1], [1.0]) for n in range(7)}
    with pytest.raises(ValueError, match="7 curves; expected 1 to 6"):
        line_chart(series, title="t", x_label="x", y_label="y")


def test_several_curves_have_a_legend_with_dashes():
    """Each name beside a piece of its line."""
    chart = line_chart(
        {"a": ([1, 2], [1.0, 2.0]), "b": ([1, 2], [2.0, 1.0])}, title="t", x_label="x", y_label="y"
    )

    assert re.findall(r'curve-(\d)" d="M0,5H36"/></svg>(\w)', chart) == [("1", "a"), ("2", "b")]
    assert "legend" not in chart_of([1.0, 2.0])


def test_histograms_draw_bars_of_their_widths():
    """Wider bins are wider bars; no bar where nothing is."""
    chart = histogram(
        {"a": ([0, 1, 3], [4.0, 0.0])}, title="t", x_label="x", y_label="share", log_y=False
    )
    path = re.search(r'class="bar bar-1" d="([^"]*)"', chart)[1]
    start, first, second = map(float, re.findall(r"[MH]([\d.]+)", path))

    assert (second - first) / (first - start) == pytest.approx(2, abs=0.02)
    assert "most frequent around 0.5" in chart
