"""The best validation of a run so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vemctl.errors import MethodError
from vemctl.learning import Best


class BestScore:
    """Knows whether a validation is the best.

    Parameters
    ----------
    best : Best, optional
        By what; without it none ever is.

    Attributes
    ----------
    record : dict, optional
        Of the best so far: ``"metric"``, ``"score"`` and ``"step"``, plain values to keep in a
        checkpoint.
    """

    def __init__(self, best: Best | None) -> None:
        self._best = best
        self.record: dict[str, Any] | None = None

    def better(self, step: int, metrics: Mapping[str, float]) -> dict[str, Any] | None:
        """Return what becomes the record if this validation beats it, else None.

        NaN and equal scores beat nothing. A record by another metric, from before a change of
        options, is beaten by anything.

        Raises
        ------
        MethodError
            The validation lacks the metric; only a plugin can cause it.
        """
        if self._best is None:
            return None
        name = self._best.metric
        if name not in metrics:
            raise MethodError(
                f"the best weights are known by {name!r}, which the validation does not have; it "
                f"has {', '.join(metrics) or 'nothing'}: the plugin must be mended"
            )
        score = float(metrics[name])
        sign = 1 if self._best.sense == "max" else -1
        old = self.record if self.record and self.record["metric"] == name else None
        if math.isnan(score) or (old and sign * score <= sign * old["score"]):
            return None
        return {"metric": name, "score": score, "step": step}
