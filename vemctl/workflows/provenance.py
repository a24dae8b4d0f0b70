"""What an output says of how it was made."""

from __future__ import annotations

import platform
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from vemctl import __version__
from vemctl.plugin import Method
from vemctl.workflows.options import ComputeOptions, OutputOptions, PredictRequest, RunOptions
from vemctl.workflows.preparation import Prepared


def recordable(request: PredictRequest) -> PredictRequest:
    """Return `request` without what does not change the result: memory, blocks, run control."""
    return replace(
        request,
        compute=replace(
            request.compute, memory=ComputeOptions().memory, block=ComputeOptions().block
        ),
        writing=replace(request.writing, overwrite=OutputOptions().overwrite),
        run=replace(request.run, resume=RunOptions().resume),
    )


def provenance(method: Method, prepared: Prepared, recorded: dict[str, Any]) -> dict[str, Any]:
    """Return what an output says of how it was made; the same for the same result."""
    footprint, weights = prepared.restorer.footprint, prepared.weights
    return {
        "vemctl": __version__,
        "method": method.name,
        "citation": method.citation,
        "doi": method.doi,
        "weights": {"name": weights.name, "sha256": weights.sha256} if weights else None,
        "request": recorded,
        "tiling": {
            "tile": list(prepared.plan.grid.tile_shape),
            "overlap": list(footprint.overlap),
            "halo": list(footprint.halo),
            "window": footprint.window,
            "batch": prepared.plan.batch,
        },
        "statistics": prepared.statistics,
        "device": prepared.device.partition(":")[0],
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "torch", "zarr")},
        },
    }
