"""What an output says of how it was made."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from vemctl import __version__
from vemctl.plugin import Method
from vemctl.weights import Resolved
from vemctl.workflows.config import request_to_json
from vemctl.workflows.options import (
    ComputeOptions,
    OutputOptions,
    PredictRequest,
    RunOptions,
    SpreadOptions,
)
from vemctl.workflows.preparation import Prepared
from vemctl.workflows.weights import digests_of


def recordable(request: PredictRequest) -> PredictRequest:
    """Return `request` without what does not change the result: memory, blocks, processes."""
    return replace(
        request,
        compute=replace(
            request.compute,
            memory=ComputeOptions().memory,
            block=ComputeOptions().block,
            threads=ComputeOptions().threads,  # the number that was used is recorded by itself
        ),
        writing=replace(request.writing, overwrite=OutputOptions().overwrite),
        run=replace(request.run, resume=RunOptions().resume),
        spread=SpreadOptions(),
    )


def made_by(
    request: PredictRequest,
    weights: Resolved | None,
    files: Mapping[str, Resolved],
    inputs: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return the part of an output's provenance that `request` decides, as JSON types.

    Parameters
    ----------
    request : PredictRequest
    weights : Resolved, optional
    files : mapping of str to Resolved
    inputs : list of dict
        The fingerprint of every input.
    """
    recorded = request_to_json(recordable(request))
    return {
        "method": request.method,
        "weights": {"name": weights.name, "sha256": weights.sha256} if weights else None,
        **digests_of(files),
        "input": inputs,
        "request": recorded,
    }


def provenance(
    method: Method, prepared: Prepared, belongs: dict[str, Any], recorded: dict[str, Any]
) -> dict[str, Any]:
    """Return what an output says of how it was made; the same for the same result.

    Parameters
    ----------
    method : Method
    prepared : Prepared
    belongs : dict
        The run's identity.
    recorded : dict
        The request.
    """
    footprint, weights = prepared.restorer.footprint, prepared.weights
    return {
        "vemctl": __version__,
        "method": method.name,
        "citation": method.citation,
        "doi": method.doi,
        "weights": {"name": weights.name, "sha256": weights.sha256} if weights else None,
        **digests_of(prepared.files),
        "request": recorded,
        "input": belongs["input"],
        "tiling": {
            "tile": list(prepared.plan.grid.tile_shape),
            "overlap": list(footprint.overlap),
            "halo": list(footprint.halo),
            "window": footprint.window,
            "batch": prepared.plan.batch,
            # What lays the same grid again, for whoever looks for seams between the tiles.
            "shape": [axis.size for axis in prepared.plan.grid.axes],
            "footprint": footprint.to_json(),
        },
        "settled": prepared.settled,
        "statistics": prepared.statistics,
        "device": belongs["device"],
        "threads": belongs["threads"],
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "torch", "zarr")},
        },
    }
