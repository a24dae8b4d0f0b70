"""Evaluate: open the volumes, look at slabs of them, and say how good the prediction is."""

from __future__ import annotations

import csv
import io
import math
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vemctl.durable import write_whole
from vemctl.errors import OptionError, OutputError
from vemctl.events import Listener, Noted, StageAdvanced, StageFinished, StageStarted, ignore
from vemctl.quality.evaluation import Evaluation, Readers, Tiled, is_in
from vemctl.quality.slabs import Sampling, choose_slabs, number_of_slabs
from vemctl.tiles.borders import borders_of, borders_of_step, period_of
from vemctl.volumes.volume import Triple
from vemctl.workflows.evaluate_options import EvaluateRequest
from vemctl.workflows.evaluate_volumes import Judged, open_judged
from vemctl.workflows.places import check_folder

SPANNED = "what the truth spans"
FEW = 2.0
"""Times the range without the outermost thousandths, from which a few voxels are said to decide."""


def evaluate(request: EvaluateRequest, listen: Listener = ignore) -> dict[str, Any]:
    """Carry `request` out.

    Parameters
    ----------
    request : EvaluateRequest
    listen : Listener

    Returns
    -------
    dict
        JSON types; docs/quality.md explains every number. None where one is not defined.

    Raises
    ------
    VemctlError
        Whatever the user can mend.
    """
    asked = number_of_slabs(request.slabs)
    given = _given_range(request.data_range)
    with open_judged(request) as judged:
        for note in judged.notes:
            listen(Noted(note))
        header = judged.prediction.header
        sampling = choose_slabs(header, judged.series, asked)
        data_range, basis = _data_range(given, request, judged, sampling, listen)
        evaluation = Evaluation(
            header,
            _types(judged),
            _readers(judged),
            _tiled(request, judged),
            data_range,
            sampling.largest,
        )
        began = time.monotonic()
        listen(StageStarted("evaluating", len(sampling.slabs), "slabs"))
        for slab in sampling.slabs:
            evaluation.look(slab)
            listen(StageAdvanced("evaluating"))
        listen(StageFinished("evaluating", time.monotonic() - began))
        found = evaluation.to_json()
        if request.truth and basis == SPANNED:
            found["warnings"] += _few_decide(data_range, found, masked=request.mask is not None)
        if not sampling.whole:
            listen(Noted(f"looked at {sampling.text}"))
        warnings = [*judged.notes, *found.pop("warnings")]
        return {
            "prediction": str(request.prediction),
            "truth": None if request.truth is None else str(request.truth),
            "input": None if judged.source is None else str(judged.source.volume.header.path),
            "mask": None if request.mask is None else str(request.mask),
            "roi": request.roi,
            "shape": list(header.shape),
            "channels_judged": sorted({channel for _, channel in judged.series}),
            "timepoints_judged": sorted({timepoint for timepoint, _ in judged.series}),
            "dtype": header.dtype.name,
            "voxel_size_nm": header.voxel_size,
            "looked_at": sampling.to_json(),
            "data_range": {"value": data_range, "from": basis} if request.truth else None,
            **found,
            "warnings": warnings,
        }


def _types(judged: Judged) -> dict[str, np.dtype[Any]]:
    types = {"prediction": judged.prediction.header.dtype}
    for name, companion in (("truth", judged.truth), ("input", judged.source)):
        if companion is not None:
            types[name] = companion.volume.header.dtype
    return types


def _readers(judged: Judged) -> Readers:
    prediction = judged.prediction

    def read(region: Any, channel: int, timepoint: int) -> Any:
        return prediction.read(region, channel=channel, timepoint=timepoint)

    return Readers(
        read,
        None if judged.truth is None else judged.truth.at,
        None if judged.source is None else judged.source.at,
        None if judged.mask is None else judged.mask.at,
    )


def _given_range(text: str) -> float | None:
    """Return the range that the user names; None if a volume decides it.

    Raises
    ------
    OptionError
        It is neither a number above 0 nor one of the words.
    """
    if text in ("auto", "type", "truth"):
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise OptionError(
            f"--data-range {text}: expected type, truth, auto, or a number above 0, such as 255"
        )
    return value


def _data_range(
    given: float | None,
    request: EvaluateRequest,
    judged: Judged,
    sampling: Sampling,
    listen: Listener,
) -> tuple[float, str]:
    """Return the range of possible values, and where it is from."""
    if judged.truth is None:
        if request.data_range != "auto":
            raise OptionError(
                f"--data-range {request.data_range}: there is no TRUTH to compare with; leave it "
                "out"
            )
        return 1.0, ""
    if given is not None:
        return given, "--data-range"
    dtype = judged.truth.volume.header.dtype
    eight = dtype.kind in "iu" and dtype.itemsize == 1
    if request.data_range == "type" or (request.data_range == "auto" and eight):
        if dtype.kind not in "iu":
            raise OptionError(
                f"--data-range type: {request.truth} holds {dtype.name}, whose range says "
                "nothing; expected truth, or a number"
            )
        limits = np.iinfo(dtype)
        return float(limits.max) - float(limits.min), f"the type, {dtype.name}"
    return _span(judged, sampling, listen), SPANNED


def _few_decide(data_range: float, found: Mapping[str, Any], *, masked: bool) -> list[str]:
    """Tell if a few voxels of the truth, such as hot pixels, make the range that it spans."""
    values = [channel["values"]["truth"] for channel in found["channels"]]
    known = [each for each in values if each["percentile_999"] is not None]
    if not known or masked:
        return []
    usual = max(each["percentile_999"] for each in known) - min(
        each["percentile_01"] for each in known
    )
    if data_range <= FEW * usual:
        return []
    return [
        f"a few voxels decide the data range of {data_range:g}: between its percentiles 0.1 and "
        f"99.9 the truth spans {usual:g}; choose with --data-range"
    ]


def _span(judged: Judged, sampling: Sampling, listen: Listener) -> float:
    """Return the largest less the smallest finite value of the truth, where it counts."""
    assert judged.truth is not None
    low, high = math.inf, -math.inf
    listen(StageStarted("measuring the truth", len(sampling.slabs), "slabs"))
    began = time.monotonic()
    for slab in sampling.slabs:
        where = (slab.region, slab.channel, slab.timepoint)
        values = judged.truth.at(*where)
        if judged.mask is not None:
            values = values[is_in(judged.mask.at(*where))]
        if values.dtype.kind == "f":
            values = values[np.isfinite(values)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
        listen(StageAdvanced("measuring the truth"))
    listen(StageFinished("measuring the truth", time.monotonic() - began))
    # A constant truth has no range; its scores are not defined, whatever this is.
    return high - low if high > low else 1.0


def _tiled(request: EvaluateRequest, judged: Judged) -> Tiled | None:
    """Return where tiles meet in what is looked at; None if nobody knows."""
    tiling = judged.provenance.get("tiling", {})
    period: Triple = (1, 1, 1)
    if request.tile_step is not None:
        whole = borders_of_step(judged.whole_shape, request.tile_step)
    elif request.level or (found := borders_of(tiling)) is None:
        return None
    else:
        whole = found
        period = period_of(tiling)
    shape = judged.prediction.header.shape
    inside = [
        [border - start for border in axis if start < border < start + size]
        for axis, start, size in zip(whole, judged.origin, shape, strict=True)
    ]
    return Tiled(inside, period)


def step_of(text: str | None) -> Triple | None:
    """Return the triple that ``--tile-step`` means.

    Raises
    ------
    OptionError
        It is not three whole numbers.
    """
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*", text)
    if match is None or not any(int(part) for part in match.groups()):
        raise OptionError(f"--tile-step {text}: expected Z,Y,X in voxels, such as 0,128,128")
    return int(match[1]), int(match[2]), int(match[3])


def check_table(path: Path, *, overwrite: bool) -> None:
    """Refuse a place for the table of slices that is taken.

    Raises
    ------
    OutputError
        Something is there already.
    """
    if path.is_dir():
        raise OutputError(f"--csv {path}: a folder; expected a file, such as {path / 'slices.csv'}")
    check_folder(path)
    if path.exists() and not overwrite:
        raise OutputError(f"--csv {path}: exists: pass --overwrite or choose another file")


def write_slices(path: Path, facts: Mapping[str, Any]) -> None:
    """Write the scores of every slice as CSV; what is not defined is empty.

    Parameters
    ----------
    path : Path
        Replaced.
    facts : mapping
        What `evaluate` returned.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    text = io.StringIO()
    rows = facts["slices"]
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["z"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {key: ":".join(map(str, value)) if isinstance(value, list) else value
             for key, value in row.items()}
        )  # fmt: skip
    try:
        write_whole(path, text.getvalue().encode())
    except OSError as error:
        raise OutputError(
            f"--csv {path}: cannot be written ({error.strerror or error}); choose another file"
        ) from error
