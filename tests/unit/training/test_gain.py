"""What a training has gained: found in its table, and told to people and to programs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from vemctl.cli.training_lines import JsonLines, print_gain
from vemctl.events import Event, Finished
from vemctl.training.metrics import Metrics, gained
from vemctl.training.schedule import Outcome
from vemctl.workflows.train import _kept_step

BEST = {"metric": "val_psnr", "score": 24.0, "step": 20}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write the table of a run that was judged before its first step, and return its place."""
    path = tmp_path / "metrics.csv"
    table = Metrics(path, ("l1",))
    table.append({"step": 0, "lr_adam": 0.1, "val_psnr": 20.5, "val_ssim": 0.5})
    table.append({"step": 10, "l1": 0.3, "lr_adam": 0.1})
    table.append({"step": 20, "l1": 0.2, "lr_adam": 0.05, "val_psnr": 24.0, "val_ssim": 0.25})
    table.append({"step": 30, "l1": 0.1, "lr_adam": 0.05, "val_psnr": math.nan})
    return path


def test_what_was_gained_is_what_two_validations_found(path: Path) -> None:
    """Losses and learning rates are no gain; a metric that is missing at one end is left out."""
    assert gained(path, 20) == {"val_psnr": (20.5, 24.0), "val_ssim": (0.5, 0.25)}
    assert gained(path, 0) == {"val_psnr": (20.5, 20.5), "val_ssim": (0.5, 0.5)}
    ((name, (before, after)),) = gained(path, 30).items()
    assert (name, before, math.isnan(after)) == ("val_psnr", 20.5, True)


@pytest.mark.parametrize("step", [10, 25])
def test_nothing_is_gained_where_nothing_was_judged(path: Path, step: int) -> None:
    """At a step between validations, or one that has no row."""
    assert gained(path, step) == {}


def test_nothing_is_gained_without_a_judgement_before(tmp_path: Path) -> None:
    """As in most trainings."""
    path = tmp_path / "metrics.csv"
    Metrics(path, ()).append({"step": 20, "val_psnr": 24.0})
    assert gained(path, 20) == {}


@pytest.mark.parametrize(("best", "step"), [(BEST, 20), ({**BEST, "step": 0}, 0), (None, 30)])
def test_the_step_that_is_kept_is_the_best_or_else_the_last(best: Any, step: int) -> None:
    """It may be the one before the first."""
    assert _kept_step(Outcome(30, best, "steps")) == step


@pytest.mark.parametrize(("best", "step"), [(BEST, 20), (None, 30)])
def test_people_are_shown_a_table(best: Any, step: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Its columns stand below each other, and it says after which step."""
    both = {"val_psnr": (20.5, 24.0), "val_ssim_masked": (0.123456, math.nan)}
    print_gain({"step": 30, "best": best, "gained": both})
    assert capsys.readouterr().out == (
        f"                 before  after step {step}\n"
        "val_psnr           20.5             24\n"
        "val_ssim_masked  0.1235            nan\n"
    )


def test_nothing_is_shown_where_nothing_was_gained(capsys: pytest.CaptureFixture[str]) -> None:
    """No table without rows."""
    print_gain({"step": 30, "best": BEST, "gained": {}})
    assert capsys.readouterr().out == ""


def test_programs_get_it_with_the_last_event(capsys: pytest.CaptureFixture[str]) -> None:
    """As pairs, null where it is no number; empty where the training was not judged before."""
    told: list[Event] = []
    lines = JsonLines(told.append)
    lines(Finished(Path("run"), 2.5, {"val_psnr": (20.5, 24.0), "val_ssim": (0.5, math.nan)}))
    lines(Finished(Path("run"), 2.5))
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {
        "event": "finished",
        "path": "run",
        "seconds": 2.5,
        "gained": {"val_psnr": [20.5, 24.0], "val_ssim": [0.5, None]},
    }
    assert second["gained"] == {}
    assert len(told) == 2
