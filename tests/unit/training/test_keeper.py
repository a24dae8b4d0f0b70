"""What a run keeps when it begins again."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from vemctl.events import ignore
from vemctl.training.keeper import RunKeeper

DESCRIPTION: dict[str, Any] = {
    "method": "numbers", "default_weights": "best", "command": "train", "options": {}, "data": {},
    "seed": 0, "versions": {},
}  # fmt: skip


def keeper(folder: Path, *, resume: bool) -> RunKeeper:
    """Return what keeps a run in a folder."""
    return RunKeeper(
        folder, DESCRIPTION, ignore, keep=1, resume=resume, allow_changes=False, free=()
    )


def test_a_run_without_a_checkpoint_begins_again_with_its_first_row(tmp_path: Path) -> None:
    """A row of step 0 from before the kill does not stand beside the new one."""
    for score, resume in ((1.0, False), (2.0, True)):
        kept = keeper(tmp_path / "run", resume=resume)
        assert kept.state is None
        kept.row(0, {"score": score})
        kept.close()
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"step": "0", "score": "2.0"}]
