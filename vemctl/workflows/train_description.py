"""A training as JSON, as its run records it and compares it when it is continued."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from vemctl.method import Method
from vemctl.training.patches import DataDescription
from vemctl.weights import Resolved
from vemctl.workflows.config import options_to_json
from vemctl.workflows.train_options import CHANGEABLE, TRAIN_GROUPS, TrainRequest

VERSIONS = ("vemctl", "torch", "numpy")


def describe(
    request: TrainRequest,
    method: Method,
    data: DataDescription,
    weights: Resolved | None,
    files: Mapping[str, Resolved],
    device: str,
    default_weights: str,
) -> dict[str, Any]:
    """Return the description of a run, of JSON types.

    Parameters
    ----------
    request : TrainRequest
    method : Method
    data : DataDescription
    weights : Resolved, optional
        From which it starts.
    files : mapping of str to Resolved
        What the method reads beside them.
    device : str
    default_weights : {"best", "last"}
        For which of its weights the run stands.
    """
    options = {name: options_to_json(getattr(request, name)) for name in TRAIN_GROUPS}
    recorded = data.to_json()
    if weights is not None:
        recorded["weights"] = [{"path": weights.name, "sha256": weights.sha256}]
    if files:
        recorded["files"] = {
            key: {"path": file.name, "sha256": file.sha256} for key, file in files.items()
        }
    return {
        "method": method.name,
        "default_weights": default_weights,
        "command": request.command,
        "options": {**options, "method": options_to_json(_without_volumes(request.method_options))},
        "data": recorded,
        "seed": request.compute.seed,
        "device": device,
        "versions": {name: version(name) for name in VERSIONS},
    }


def settings_that_may_change() -> frozenset[str]:
    """Return the options with which a run may be continued otherwise, as descriptions name them."""
    return CHANGEABLE


def _without_volumes(options: Any) -> Any:
    """Return the method's options without volumes, which the description has as data."""
    volumes = {
        field.name: field.default
        for field in dataclasses.fields(options)
        if "Path" in str(field.type)
    }
    return dataclasses.replace(options, **volumes)
