"""The best validation of a run so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vemctl.errors import MethodError
from vemctl.learning import Best

Record = Mapping[str, Any]
"""Of the best validation: ``"metric"``, ``"score"`` and ``"step"``, plain values to be kept."""


def better(
    best: Best | None, record: Record | None, step: int, metrics: Mapping[str, float]
) -> dict[str, Any] | None:
    """Return what becomes the record if this validation beats it, else None.

    NaN and equal scores beat nothing. A record by another metric, from before a change of options,
    is beaten by anything.

    Parameters
    ----------
    best : Best, optional
        By what; without it none is the best.
    record : mapping, optional
        The present one.
    step : int
    metrics : mapping of str to float
        Of the validation.

    Raises
    ------
    MethodError
        The validation lacks the metric; only a plugin can cause it.
    """
    if best is None:
        return None
    if best.metric not in metrics:
        raise MethodError(
            f"the best weights are known by {best.metric!r}, which the validation does not have; "
            f"it has {', '.join(metrics) or 'nothing'}: the plugin must be mended"
        )
    score = float(metrics[best.metric])
    sign = 1 if best.sense == "max" else -1
    comparable = record is not None and record["metric"] == best.metric
    if math.isnan(score) or (
        record is not None and comparable and sign * score <= sign * record["score"]
    ):
        return None
    return {"metric": best.metric, "score": score, "step": step}
