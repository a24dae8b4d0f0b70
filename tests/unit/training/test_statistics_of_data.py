"""What a training wants to know of whole volumes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from vemctl.events import ignore
from vemctl.plugin import percentile
from vemctl.sampling import TrainingData
from vemctl.training.patches import open_data, split
from vemctl.workflows.train_statistics import with_statistics

ASKED: list[tuple[str, int, bool]] = []


def wanted(options: Any, role: str, index: int, *, validation: bool) -> Sequence[str]:
    """Ask for percentiles of the second file to train on, and of what is validated on."""
    ASKED.append((role, index, validation))
    return (percentile(50),) if validation or index == 1 else ()


def test_statistics_are_of_whole_files_and_reach_the_sampler(tmp_path: Path) -> None:
    """Channels of one file are measured together; parts of a volume know of the whole."""
    paths = [tmp_path / f"{name}.npy" for name in "abv"]
    for number, path in enumerate(paths):
        np.save(path, np.arange(2 * 6 * 8 * 8, dtype=np.uint16).reshape(2, 6, 8, 8) + 1000 * number)
    data = open_data(
        TrainingData({"noisy": tuple(paths[:2])}, validation={"noisy": (paths[2],)}), axes="czyx"
    )
    method: Any = SimpleNamespace(training_statistics=wanted)
    ASKED.clear()
    measured = with_statistics(method, None, data, ignore, threading.Event())
    assert ASKED == [("noisy", 0, False), ("noisy", 1, False), ("noisy", 0, True)]
    sampler: Any = SimpleNamespace(patch=(2, 8, 8), validation_patch=(2, 8, 8))
    training, validation = split(measured, sampler, 0)
    facts = training.facts("noisy")
    assert [each.file_index for each in facts] == [0, 0, 1, 1]
    middle = (2 * 6 * 8 * 8 - 1) / 2
    assert [each.statistics.get(percentile(50)) for each in facts] == [
        None, None, 1000 + middle, 1000 + middle,
    ]  # fmt: skip
    assert validation is not None
    assert validation.facts("noisy")[0].statistics == {percentile(50): 2000 + middle}
