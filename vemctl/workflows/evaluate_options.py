"""What an evaluation depends on, as a frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class EvaluateRequest:
    """What is judged, against what, and where.

    Attributes
    ----------
    prediction : Path
    truth : Path, optional
    source : Path, optional
        What was restored; by default what the prediction's provenance names, if it is there.
    mask : Path, optional
        Voxels that are not 0 count; of the prediction's shape, or one plane for all.
    axes : str, optional
        Of the prediction, and of the others, where a file does not say.
    level : int
        Of the prediction's pyramid.
    channel, timepoint : str
        A number, or "all".
    roi : str, optional
        Part of the prediction, as ``Z0:Z1,Y0:Y1,X0:X1``.
    truth_roi : str, optional
        Part of the truth that shows the same as the prediction, before `roi` is taken of both.
    truth_level : int
        Of the truth's pyramid.
    truth_channel, truth_timepoint : int, optional
        Of the truth, where it has more of them than the prediction.
    data_range : str
        From the smallest possible value to the largest: a number, "type" or "truth"; "auto" is
        the type of 8-bit truths, and what the truth spans otherwise.
    slabs : str, optional
        How many are looked at of each channel, or "all".
    tile_step : (z, y, x), optional
        Of tiles in the output of another program, to look for seams.
    """

    prediction: Path
    truth: Path | None = None
    source: Path | None = None
    mask: Path | None = None
    axes: str | None = None
    level: int = 0
    channel: str = "all"
    timepoint: str = "all"
    roi: str | None = None
    truth_roi: str | None = None
    truth_level: int = 0
    truth_channel: int | None = None
    truth_timepoint: int | None = None
    data_range: str = "auto"
    slabs: str | None = None
    tile_step: tuple[int, int, int] | None = None
