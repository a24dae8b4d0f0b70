"""Which validation of a run is the best."""

from __future__ import annotations

import math
from typing import Any

import pytest

from vemctl.errors import MethodError
from vemctl.learning import Best
from vemctl.training.best_score import better

PSNR = Best("psnr", "max")


@pytest.mark.parametrize(
    ("best", "scores", "expected"),
    [
        (PSNR, [1.0, 3.0, 3.0, 2.0, 4.0], [1, 2, 5]),
        (Best("psnr", "min"), [3.0, 1.0, 1.0, 2.0, 0.5], [1, 2, 5]),
        (PSNR, [math.nan, -math.inf, 1.0, math.nan, math.inf], [2, 3, 5]),
        (None, [1.0, 2.0], []),
    ],
)
def test_the_best_has_the_best_score(
    best: Best | None, scores: list[float], expected: list[int]
) -> None:
    """In either sense; equal scores keep the earlier one, and NaN is never good."""
    record: dict[str, Any] | None = None
    found = []
    for step, score in enumerate(scores, 1):
        new = better(best, record, step, {"psnr": score, "other": 0.0})
        if new is not None:
            record = new
            found.append(step)
    assert found == expected


def test_another_metric_begins_a_new_record() -> None:
    """Scores of two metrics cannot be compared."""
    record = better(PSNR, None, 1, {"psnr": 40.0})
    assert record == {"metric": "psnr", "score": 40.0, "step": 1}
    assert better(Best("ssim", "max"), record, 2, {"ssim": 0.9}) is not None


def test_a_validation_without_the_metric_is_the_plugins_error() -> None:
    """One line with what there is instead."""
    with pytest.raises(MethodError, match="'psnr', which the validation does not have; it has l1"):
        better(PSNR, None, 1, {"l1": 1.0})
