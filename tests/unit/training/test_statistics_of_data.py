"""What a training wants to know of whole volumes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vemctl.events import ignore
from vemctl.plugin import bound, by_series, by_slice, mean_above, percentile
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


def test_statistics_by_slice_are_those_of_the_slices_that_are_drawn_from(tmp_path: Path) -> None:
    """Of the own channel and time point only, and cut as the volume is cut for validation."""
    values = np.random.default_rng(1).integers(0, 60000, (2, 3, 6, 8, 8)).astype(np.uint16)
    other = np.random.default_rng(2).integers(0, 60000, (1, 1, 4, 8, 8)).astype(np.uint16)
    paths = [tmp_path / "a.npy", tmp_path / "b.npy"]
    for path, each in zip(paths, (values, other), strict=True):
        np.save(path, each)
    data = open_data(TrainingData({"noisy": tuple(paths)}), axes="tczyx")

    def asked(options: Any, role: str, index: int, *, validation: bool) -> Sequence[str]:
        return [by_slice("max"), bound("max"), "min"]

    method: Any = SimpleNamespace(training_statistics=asked)
    measured = with_statistics(method, None, data, ignore, threading.Event())
    sampler: Any = SimpleNamespace(patch=(1, 8, 8), validation_patch=(2, 8, 8))
    training, validation = split(measured, sampler, 0.1)
    assert validation is not None
    for part, cut in ((training, slice(None, -2)), (validation, slice(-2, None))):
        for facts in part.facts("noisy"):
            file = (values, other)[facts.file_index]
            expected = file[facts.timepoint, facts.channel][cut].max(axis=(1, 2)).tolist()
            assert facts.slices == {by_slice("max"): expected}
            assert facts.statistics == {bound("max"): 65535.0, "min": float(file.min())}
        assert len(part.facts("noisy")) == 7


def test_statistics_by_series_are_those_of_the_own_channel_and_time_point(tmp_path: Path) -> None:
    """One value each, of the whole series, though the last slices are kept to validate on."""
    rng = np.random.default_rng(3)
    tops = np.arange(1, 7).reshape(2, 3, 1, 1, 1) * 9000
    values = (rng.random((2, 3, 6, 8, 8)) * tops).astype(np.uint16)
    floats = rng.normal(size=(1, 2, 4, 8, 8)).astype(np.float32)
    floats[0, 1] *= 1e6
    paths = [tmp_path / "a.npy", tmp_path / "b.npy"]
    for path, each in zip(paths, (values, floats), strict=True):
        np.save(path, each)
    data = open_data(TrainingData({"noisy": tuple(paths)}), axes="tczyx")
    low, top, high = by_series("min"), by_series("max"), by_series(percentile(90))
    bright = by_slice(mean_above(90))
    method: Any = SimpleNamespace(training_statistics=lambda *_, **__: [low, top, high, bright])
    measured = with_statistics(method, None, data, ignore, threading.Event())
    sampler: Any = SimpleNamespace(patch=(1, 8, 8), validation_patch=(2, 8, 8))
    training, validation = split(measured, sampler, 0.1)
    assert validation is not None
    for part, cut in ((training, slice(None, -2)), (validation, slice(-2, None))):
        assert len(part.facts("noisy")) == 8
        for facts in part.facts("noisy"):
            own = (values, floats)[facts.file_index][facts.timepoint, facts.channel]
            assert facts.statistics == {}
            assert facts.each_series[low] == [float(own.min())]
            assert facts.each_series[top] == [float(own.max())]
            allowed = np.ptp(own.astype(float)) / 65536 if own.dtype.kind == "f" else 1e-9
            assert facts.each_series[high] == pytest.approx([np.percentile(own, 90)], abs=allowed)
            planes = own[cut]
            expected = [p[p > np.percentile(p, 90)].mean(dtype=np.float64) for p in planes]
            assert facts.slices == {bright: expected}


def test_a_preparation_asks_by_itself(tmp_path: Path) -> None:
    """Its statistics are named by another function, which does not know of validation."""
    path = tmp_path / "a.npy"
    np.save(path, np.arange(2 * 8 * 8, dtype=np.uint16).reshape(2, 8, 8))
    data = open_data(TrainingData({"raw": (path,)}))
    asked: list[tuple[Any, ...]] = []

    def preparation_statistics(*words: Any) -> Sequence[str]:
        asked.append(words)
        return ["max"]

    method: Any = SimpleNamespace(preparation_statistics=preparation_statistics)
    stop = threading.Event()
    measured = with_statistics(method, "options", data, ignore, stop, preparing=True)
    assert asked == [("options", "raw", 0)]
    assert measured.facts["raw"][0].statistics == {"max": 127.0}
