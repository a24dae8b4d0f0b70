"""What the tests of vsisr's restorer share: facts of arrays, and restorers of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from e2e.vsisr_files import tops, write_generator, write_microscope
from vemctl_vsisr.choosing import make_restorer
from vemctl_vsisr.intensities import statistics
from vemctl_vsisr.predict_options import PredictOptions
from vemctl_vsisr.restorer import VsisrRestorer

from vemctl.plugin import Place, Request, VolumeFacts

VOXEL_SIZE = (200.0, 92.6, 92.6)
CONTEXT = 4
"""Slices that are read beside a core."""


def facts_of(
    series: Sequence[np.ndarray],
    options: PredictOptions,
    num_channels: int = 1,
    voxel_size: tuple[float, float, float] | None = VOXEL_SIZE,
) -> VolumeFacts:
    """Measure what the options ask for."""
    each_series, slices = {}, {}
    for name in statistics(options):
        kind, _, what = name.partition(":")
        percent = float(what.rpartition(":")[2]) if ":" in what else {"min": 0, "max": 100}[what]
        if kind == "series":
            each_series[name] = [float(np.percentile(each, percent)) for each in series]
        else:
            measured = np.concatenate([tops(each, percent) for each in series])
            slices[name] = [float(value) for value in measured]
    return VolumeFacts(
        series[0].shape,
        series[0].dtype.name,
        voxel_size,
        slices=slices,
        each_series=each_series,
        num_channels=num_channels,
    )


def restorer_of(
    folder: Path,
    series: Sequence[np.ndarray],
    options: PredictOptions | None = None,
    *,
    weights: Path | None = None,
    num_channels: int = 1,
    voxel_size: tuple[float, float, float] | None = VOXEL_SIZE,
    **wishes: Any,
) -> VsisrRestorer:
    """Make a restorer of volumes with a small network and a small microscope."""
    options = options or PredictOptions(otf=(folder / "optics",))
    if not (folder / "optics").exists():
        write_microscope(folder / "optics")
        write_generator(folder / "small.pth")
    told = {"files": {"otf-0": folder / "optics"}, **wishes}
    request = Request([facts_of(series, options, num_channels, voxel_size)], **told)
    return make_restorer(weights or folder / "small.pth", options, request)


def restored(
    restorer: VsisrRestorer, volume: np.ndarray, start: int, core: int, series: int = 0
) -> torch.Tensor:
    """Restore slices of a volume, (z, y, x), as the core of vemctl has it done."""
    low, high = min(CONTEXT, start), min(CONTEXT, len(volume) - start - core)
    tile = torch.from_numpy(volume[start - low : start + core + high].astype(np.float32))
    plane = volume.shape[1:]
    place = Place((start, 0, 0), (core, *plane), (low, 0, 0), (high, 0, 0), series)
    with torch.inference_mode():
        return restorer([tile[None, None]], [place])[0, 0]
