"""What an evaluation found is shown as far as it says something."""

from __future__ import annotations

import pytest

from vemctl.workflows.report_quality import quality_parts


def evaluation(**channel: object) -> dict[str, object]:
    """Return as much of an evaluation as is shown."""
    return {"looked_at": {"text": "all"}, "channels": [channel]}


def test_curves_that_are_not_judged_are_not_drawn():
    """Only why not is told."""
    curve = {
        "frequency": [0.1, 0.2],
        "correlation": [None, None],
        "unit": "1/nm",
        "threshold": 1 / 7,
        "resolution": None,
        "verdict": "not judged: too small",
    }
    page = "".join(quality_parts(evaluation(curves={"single_image_frc": curve})))
    assert page.count("not judged: too small") == 1
    assert "<svg" not in page
    curve |= {"correlation": [0.9, 0.5], "verdict": "nothing correlates"}
    assert "<svg" in "".join(quality_parts(evaluation(curves={"single_image_frc": curve})))


@pytest.mark.parametrize("lag", [[0, 0, 1], [0, 1, 0]])
def test_strongest_correlation_is_told_where_it_is_another(lag):
    """Else the highest is it."""
    residual = {"verdict": "like noise", "highest": 0.1, "highest_lag": [0, 0, 1]}
    residual |= {"strongest": -0.2, "strongest_lag": lag}
    page = "".join(quality_parts(evaluation(residual=residual)))

    assert "Highest correlation" in page
    assert ("Strongest correlation" in page) == (lag == [0, 1, 0])
