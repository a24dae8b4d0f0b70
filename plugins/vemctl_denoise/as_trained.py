"""What weights say of their training, taken over where the user says nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from vemctl.plugin import Triple
from vemctl_denoise.method import PredictOptions


def options_as_trained(options: PredictOptions, facts: Mapping[str, Any]) -> PredictOptions:
    """Return the options, filled with range and edge of the training.

    Parameters
    ----------
    options : PredictOptions
    facts : mapping
        What is stored beside the weights; empty for published ones.
    """
    edge = facts.get("z_edge")
    taken: dict[str, Any] = {}
    if options.z_edge is None:
        taken["z_edge"] = edge if edge in ("cyclic", "repeat") else "cyclic"
    ranges = (options.low, options.high, options.low_percentile, options.high_percentile)
    trained = facts.get("normalisation")
    if isinstance(trained, Mapping) and all(value is None for value in ranges):
        for name in ("low", "high"):
            if isinstance(trained.get(name), int | float):  # else it was the range of the type
                taken[name] = float(trained[name])
    return dataclasses.replace(options, **taken)


def tile_as_trained(tile: Triple, facts: Mapping[str, Any]) -> Triple:
    """Return `tile` (z, y, x) with as many slices as a block of the training had."""
    trained = facts.get("tile")
    if isinstance(trained, list) and trained and isinstance(trained[0], int) and trained[0] > 0:
        return trained[0], tile[1], tile[2]
    return tile
