"""The weights of a training run: the best, the last, or what the run itself says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vemctl.errors import WeightsError
from vemctl.weights.runs import is_run, split_choice, weights_of_run


def make_run(
    folder: Path, *, default: str = "best", have: tuple[str, ...] = ("best", "last")
) -> Path:
    """Make what training leaves behind, as far as weights go."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"method": "denoise", "default_weights": default}))
    for name in have:
        (folder / "checkpoints" / f"{name}.safetensors").write_bytes(name.encode())
    return folder


def test_the_run_says_which_weights_it_stands_for(tmp_path: Path) -> None:
    """Best of a supervised training, last of one that cannot tell."""
    run = make_run(tmp_path / "d1", default="last")
    assert is_run(run)
    assert weights_of_run(run, None, "denoise").read_bytes() == b"last"
    assert weights_of_run(run, "best", "denoise").read_bytes() == b"best"


def test_before_the_first_validation_the_last_stands_in_for_the_best(tmp_path: Path) -> None:
    """Unless the best was asked for."""
    run = make_run(tmp_path / "d1", have=("last",))
    assert weights_of_run(run, None, None).read_bytes() == b"last"
    with pytest.raises(WeightsError, match=r"no weights 'best'; it has .*d1@last"):
        weights_of_run(run, "best", None)


def test_a_run_without_weights_or_of_another_method_is_refused(tmp_path: Path) -> None:
    """One line each."""
    with pytest.raises(WeightsError, match="it has none yet"):
        weights_of_run(make_run(tmp_path / "d1", have=()), None, "denoise")
    with pytest.raises(WeightsError, match="a run of denoise; expected one of exem"):
        weights_of_run(make_run(tmp_path / "d2"), None, "exem")
    (tmp_path / "d2" / "run.json").write_text("{")
    with pytest.raises(WeightsError, match="damaged"):
        weights_of_run(tmp_path / "d2", None, "denoise")


def test_what_follows_the_at_sign_is_the_choice() -> None:
    """The last one, for folders may have some in their names."""
    assert split_choice("runs/d1") == (Path("runs/d1"), None)
    assert split_choice("runs/d1@last") == (Path("runs/d1"), "last")
    assert split_choice("a@b/d1@best") == (Path("a@b/d1"), "best")
