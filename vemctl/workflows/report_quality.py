"""What an evaluation found, as a part of a report: scores, curves, histograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vemctl.pages.chart import Mark, Points, histogram, line_chart
from vemctl.pages.page import heading, paragraph
from vemctl.pages.tables import facts, table
from vemctl.pages.words import number_text

VOLUMES = {"input": "Input", "prediction": "Output", "truth": "Truth"}
CURVES = {
    "single_image_frc": "Single-image FRC",
    "frc": "Fourier ring correlation with the truth",
    "fsc": "Fourier shell correlation with the truth",
}
EXPLAINED = {
    "single_image_frc": "Each plane is split into interleaved pixels, and the parts are compared "
    "at every fineness of structure. It presumes noise that is independent from pixel to pixel; "
    "what a network has smoothed or invented correlates too, so of a restored volume read it as "
    "contrast, not as truth.",
    "residual": "What was removed, input less output, should be noise: without structure, and zero "
    "on average. A method that turns one kind of image into another adds and removes structure by "
    "design; its residual says nothing.",
    "seams": "What is measured where two tiles of the network meet, over what is usual near by: 1 "
    "is no seam. Jumps are differences of single voxels, steps those of whole faces of tiles, "
    "lines faces that are brighter or darker than their surroundings.",
    "values": "Values at the smallest or the largest that the type can hold may be cut off.",
}
VALUES = {
    "minimum": "Smallest",
    "percentile_01": "0.1 % are below",
    "percentile_50": "Median",
    "mean": "Mean",
    "percentile_999": "99.9 % are below",
    "maximum": "Largest",
    "std": "Standard deviation",
}
PEAKED = 25.0
"""Times the mean height of bars, from which on a histogram is drawn logarithmically."""
OUTLYING = 4.0
"""Times what most values span; a wider histogram is cut to about that."""
SHARES = {
    "share_at_smallest": "At the smallest of the type",
    "share_at_largest": "At the largest of the type",
}
RESIDUAL = {
    "mean": "Mean, in grey values",
    "std": "Standard deviation",
    "highest": "Highest correlation",
    "strongest": "Strongest correlation",
    "expected": "Noise hardly exceeds",
    "correlation_with_output": "Correlation with the output",
}
UNJUDGED = "not judged"
"""What the verdict on a curve begins with that nothing can be read from."""
MEASURES = {"jump": "Jumps", "step": "Steps", "line": "Lines"}
UNIT = {"1/nm": "nm", "1/voxel": "voxels"}


def quality_parts(evaluation: Mapping[str, Any]) -> list[str]:
    """Return what an evaluation of one channel found as HTML.

    Parameters
    ----------
    evaluation : mapping
        See `vemctl.workflows.evaluate.evaluate`.
    """
    channel = evaluation["channels"][0]
    return [
        paragraph(f"Looked at: {evaluation['looked_at']['text']}."),
        _overview(channel),
        '<div class="columns">',
        *(
            "\n".join(["<div>", *block, "</div>"])
            for block in (
                *_curves(channel.get("curves") or {}),
                _histograms(channel.get("values") or {}),
                _residual(channel.get("residual")),
                _seams(channel.get("seams")),
            )
            if block
        ),
        "</div>",
    ]


def _overview(channel: Mapping[str, Any]) -> str:
    rows: list[tuple[object, ...]] = []
    for name, curve in (channel.get("curves") or {}).items():
        if curve:
            rows.append((CURVES.get(name, name), curve["verdict"]))
    for name in ("residual", "seams"):
        found = channel.get(name)
        missing = {
            "residual": "not judged: there is no input to compare with, voxel by voxel",
            "seams": "not judged: no borders of tiles are known where it was looked at",
        }
        rows.append((name.capitalize(), found["verdict"] if found else missing[name]))
    return table(rows, ("Score", "What was found"), caption="Scores without a truth")


def _curves(curves: Mapping[str, Any]) -> list[list[str]]:
    blocks = []
    for name, curve in curves.items():
        if not curve or len(curve["frequency"]) < 2 or _is_unjudged(curve):
            continue
        marks = [Mark("y", curve["threshold"], "1/7")]
        resolution, unit = curve.get("resolution"), UNIT.get(curve["unit"], curve["unit"])
        if resolution:
            marks.append(Mark("x", 1 / resolution, f"{number_text(resolution, 3)} {unit}"))
        title = CURVES.get(name, name)
        block = [
            heading(title),
            line_chart(
                {title: (curve["frequency"], _gaps(curve["correlation"]))},
                title=f"{title}: {curve['verdict']}",
                x_label=f"spatial frequency in {curve['unit']}",
                y_label="correlation",
                marks=marks,
                y_range=(min(0.0, *_known(curve["correlation"])), 1.0),
            ),
            paragraph(EXPLAINED.get(name, ""), quiet=True),
        ]
        blocks.append(block)
    return blocks


def _is_unjudged(curve: Mapping[str, Any]) -> bool:
    """Tell whether a curve says nothing; the overview has its verdict, and why."""
    return not curve.get("resolution") and str(curve["verdict"]).startswith(UNJUDGED)


def _histograms(values: Mapping[str, Any]) -> list[str]:
    shown = {name: values[name] for name in VOLUMES if values.get(name)}
    if not shown:
        return []
    known = [key for key in VALUES if any(each.get(key) is not None for each in shown.values())]
    rows = [[VALUES[key], *(each.get(key) for each in shown.values())] for key in known]
    for key, words in SHARES.items():
        if any(each.get(key) is not None for each in shown.values()):
            rows.append([words, *(_percent(each.get(key)) for each in shown.values())])
    if any(each["nonfinite"] for each in shown.values()):
        rows.append(["NaN or infinite", *(each["nonfinite"] for each in shown.values())])
    header = ("Of the values", *(VOLUMES[name] for name in shown))
    return [
        heading("Values"),
        *_histogram({VOLUMES[name]: each for name, each in shown.items()}),
        table(rows, header, caption="Values where they were looked at"),
        paragraph(EXPLAINED["values"], quiet=True),
    ]


def _histogram(volumes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    series = {name: points for name, each in volumes.items() if (points := _density(each))}
    if not series:
        return []
    heights = [height for _, each in series.values() for height in each if height > 0]
    # Background at one value would else press all others down to the axis.
    log = max(heights) > PEAKED * sum(heights) / len(heights)
    cut = any(len(each) < len(volumes[name]["histogram"]) for name, (_, each) in series.items())
    return [
        histogram(
            series,
            title="How often grey values are" + ", without the rarest at the ends" * cut,
            x_label="grey value",
            y_label="share of voxels per grey value" + ", logarithmic" * log,
            log_y=log,
        )
    ]


def _density(values: Mapping[str, Any]) -> Points | None:
    """Return a histogram as shares per grey value, so that bins of any width can be compared.

    Single outliers, which would press all else into a few bins, are left out.
    """
    counts, limits = values.get("histogram"), values.get("histogram_range")
    if not counts or not limits or not limits[1] > limits[0]:
        return None
    width = (limits[1] - limits[0]) / len(counts)
    low, high = values["percentile_01"], values["percentile_999"]
    first, last = 0, len(counts)
    if limits[1] - limits[0] > OUTLYING * max(high - low, width):
        first = max(0, int((low - (high - low) - limits[0]) / width))
        last = min(len(counts), int((high + (high - low) - limits[0]) / width) + 1)
    total = values["voxels"] - values["nonfinite"]
    edges = [limits[0] + number * width for number in range(first, last + 1)]
    return edges, [count / total / width for count in counts[first:last]]


def _residual(residual: Mapping[str, Any] | None) -> list[str]:
    if not residual:
        return []
    shown: dict[str, object] = {}
    for name, words in RESIDUAL.items():
        lag = residual.get(f"{name}_lag")
        # Mostly the strongest correlation is the highest one; only a negative one is another.
        is_told = name == "strongest" and lag == residual.get("highest_lag")
        if residual.get(name) is None or is_told:
            continue
        at = f", between voxels {', '.join(map(str, lag))} apart (z, y, x)" if lag else ""
        shown[words] = number_text(residual[name]) + at
    parts = [heading("Residual"), paragraph(f"{_sentence(residual['verdict'])}.")]
    if profiles := _profiles(residual.get("autocorrelation")):
        parts.append(
            line_chart(
                profiles,
                title="How much what was removed resembles itself, some voxels further",
                x_label="shift in voxels",
                y_label="correlation",
                marks=[Mark("y", 0, "pure noise")],
            )
        )
    return [*parts, facts(shown), paragraph(EXPLAINED["residual"], quiet=True)]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _profiles(table: Sequence[Any] | None) -> dict[str, Points]:
    """Return the autocorrelation along each axis, from the middle of a table (z, y, x) on."""
    if not table:
        return {}
    z, y, x = len(table) // 2, len(table[0]) // 2, len(table[0][0]) // 2
    along = {
        "along x": table[z][y][x:],
        "along y": [row[x] for row in table[z][y:]],
        "along z": [plane[y][x] for plane in table[z:]],
    }
    return {
        name: ([float(n) for n in range(len(values))], _gaps(values))
        for name, values in along.items()
        if len(_known(values)) > 1
    }


def _seams(seams: Mapping[str, Any] | None) -> list[str]:
    if not seams:
        return []
    rows = [
        (
            axis,
            seams[axis].get("borders"),
            MEASURES[name],
            measure.get("ratio"),
            measure.get("significance"),
            measure.get("size"),
            measure.get("worst"),
        )
        for axis in "zyx"
        if seams.get(axis)
        for name in MEASURES
        if (measure := seams[axis].get(name))
    ]
    header = ("Axis", "Borders", "What", "Times the usual", "Significance", "Size", "Worst at")
    return [
        heading("Seams"),
        paragraph(f"{_sentence(seams['verdict'])}."),
        *([table(rows, header, caption="Where tiles meet")] if rows else []),
        paragraph(EXPLAINED["seams"], quiet=True),
    ]


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.3g} %"
