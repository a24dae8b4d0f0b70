"""Trainings from folders to weights, through the core: both layouts, resumed, and judged first."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import zarr
from safetensors import safe_open
from vemctl_vsisr.data import GT, INPUT, training_data
from vemctl_vsisr.train_options import FinetuneOptions, TrainOptions
from vsisr_tasks import EDGE, SmallDiscriminator, pair_volumes, small_weights

from vemctl.errors import InputError, Interrupted
from vemctl.events import StepsDone, Validated
from vemctl.nn.own_weights import METADATA
from vemctl.training.patches import open_data, split
from vemctl.workflows.train import train
from vemctl.workflows.train_options import (
    SavingOptions,
    ScheduleOptions,
    TrainComputeOptions,
    TrainRequest,
    TrainRunOptions,
)
from vemctl.workflows.train_plan import plan_training

FEW = TrainOptions(
    blocks=1, pairs_per_task=3, support=2, rounds=1, generator_steps=1, validation_pairs=3,
    validation_support=2,
)  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train with a discriminator that is quick."""
    monkeypatch.setattr("vemctl_vsisr.building.Discriminator", SmallDiscriminator)


def write_stores(folder: Path, volumes: dict[str, np.ndarray]) -> None:
    """Write a task as `vemctl prepare vsisr` does."""
    for role, volume in volumes.items():
        path = folder / f"{role}.zarr"
        zarr.create_array(str(path), data=volume, dimension_names=["z", "y", "x"])


def write_tiffs(folder: Path, volumes: dict[str, np.ndarray]) -> None:
    """Write a task as the published program has it."""
    for role, depth in ((INPUT, 7), (GT, 3)):
        (folder / role).mkdir(parents=True)
        for k, start in enumerate(range(0, len(volumes[role]), depth)):
            pair = volumes[role][start : start + depth]
            path = folder / role / f"{k:08}.tif"
            tifffile.imwrite(path, pair, photometric="minisblack", metadata={"axes": "ZYX"})


Write = Callable[[Path, dict[str, np.ndarray]], None]


def write_set(
    root: Path, write: Write, train_as: str, valid_as: str, counts: list[int], kept: int
) -> Path:
    """Write so many pairs of each task, and some to validate on."""
    for n, count in enumerate([*counts, kept]):
        volumes = {role: each[0] for role, each in pair_volumes([count], seed=n).items()}
        name = f"{train_as}/task{n:03}" if n < len(counts) else f"{valid_as}/task1"
        write(root / name, volumes)
    return root


def cell_of(slices: int) -> dict[str, np.ndarray]:
    """Return a whole cell of odd sizes."""
    rng = np.random.default_rng(7)
    return {
        INPUT: rng.integers(0, 65536, (slices, 21, 18), np.uint16),
        GT: rng.integers(0, 65536, (slices, 31, 27), np.uint16),
    }


def request(command: Any, folder: Path, output: Path, options: Any, **changes: Any) -> TrainRequest:
    """Return a request for a few steps on the CPU."""
    usual: dict[str, Any] = {
        "schedule": ScheduleOptions(steps=4, batch=2, validate_every=2, log_every=1),
        "compute": TrainComputeOptions(device="cpu"),
        "saving": SavingOptions(checkpoint_steps=1),
        "weights": None,
    }
    return TrainRequest(command, "vsisr", (folder,), output, method_options=options,
                        **usual | changes)  # fmt: skip


def rows(run: Path) -> dict[int, dict[str, str]]:
    """Return the metrics of a run by step."""
    with (run / "metrics.csv").open(newline="") as file:
        return {int(row["step"]): row for row in csv.DictReader(file)}


def told(path: Path) -> dict[str, Any]:
    """Return what a file of weights says about itself."""
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()[METADATA])


@pytest.mark.parametrize("write", [write_stores, write_tiffs])
def test_a_fine_tuning_tells_what_it_gained(write: Write, tmp_path: Path) -> None:
    """Whole cells are judged before the first step, and every few; the best weights are kept."""
    names = ("train", "valid/cell") if write is write_stores else ("train", "test")
    folder = tmp_path / "pairs"
    write(folder / names[0], {role: each[0] for role, each in pair_volumes([5]).items()})
    cell = cell_of(9)
    if write is write_stores:
        write_stores(folder / names[1], cell)
    else:
        for role, volume in cell.items():
            (folder / "test" / role).mkdir(parents=True)
            tifffile.imwrite(folder / "test" / role / "00000000.tif", volume,
                             photometric="minisblack", metadata={"axes": "ZYX"})  # fmt: skip
    events: list[Any] = []
    weights = str(small_weights(tmp_path))
    run = tmp_path / "run"
    options = FinetuneOptions(learning_rate=0.01)
    result = train(request("finetune", folder, run, options, weights=weights), events.append)
    judged = {event.step: event.metrics for event in events if isinstance(event, Validated)}
    assert list(judged) == [0, 2, 4]
    found = rows(run)
    assert [step for step in found if found[step]["val_psnr_masked"]] == [0, 2, 4]
    assert found[0]["loss"] == ""
    assert float(found[0]["val_psnr"]) == judged[0]["val_psnr"]
    best = max(judged, key=lambda step: judged[step]["val_psnr_masked"])
    assert result.facts["best"]["step"] == best
    stored = told(run / "checkpoints" / "best.safetensors")
    assert (stored["step"], stored["stage"]) == (best, "fine-tuned")
    assert stored["network"]["num_blocks"] == 1
    assert len(list((run / "previews").glob("*.png"))) == 3


def test_a_meta_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """One that was stopped and continued is the same run; layouts are the next test's."""
    folder = write_set(tmp_path / "tasks", write_stores, "train", "valid", [4, 5, 3], kept=3)
    whole = tmp_path / "whole"
    train(request("train", folder, whole, FEW))
    asked = request("train", folder, tmp_path / "stopped", FEW)
    stop = _Stop(after=2)
    with pytest.raises(Interrupted):
        train(asked, stop.listen, stop.event)
    train(replace(asked, run=TrainRunOptions(resume=True)))
    assert rows(tmp_path / "stopped") == rows(whole)
    last = rows(whole)[4]
    assert {"loss", "before", "D", "lr_G", "lr_D", "val_loss", "val_D", "val_train_loss"} <= {
        name for name, value in last.items() if value
    }
    names = ("stopped", "whole")
    ours, theirs = (
        torch.load(tmp_path / name / "checkpoints" / "step-00000004.pt", weights_only=True)
        for name in names
    )
    for network in ("G", "D"):
        states = [each["state"]["trainer"]["networks"][network] for each in (ours, theirs)]
        for key, value in states[0].items():
            assert torch.equal(value, states[1][key])
    assert told(whole / "checkpoints" / "best.safetensors")["stage"] == "meta"


class _Stop:
    """Stops a run after a step."""

    def __init__(self, after: int) -> None:
        self.event, self.after = threading.Event(), after

    def listen(self, event: Any) -> None:
        if isinstance(event, StepsDone) and event.step == self.after:
            self.event.set()


def test_layouts_give_the_same_run(tmp_path: Path) -> None:
    """The same pairs in the same order, whether stacked or one by one."""
    found = []
    for write, names in (
        (write_stores, ("train", "valid")), (write_tiffs, ("meta_train", "meta_val"))
    ):  # fmt: skip
        folder = write_set(tmp_path / names[0], write, *names, [4, 5], kept=3)
        run = tmp_path / f"run_{names[0]}"
        schedule = ScheduleOptions(steps=1, batch=2, log_every=1)
        train(request("train", folder, run, FEW, schedule=schedule))
        found.append(rows(run))
    assert found[0] == found[1]


def test_the_last_pairs_are_kept_where_nothing_else_is_validated_on(tmp_path: Path) -> None:
    """At least as many of each task as are validated on; their truth with them."""
    volumes = {role: each[0] for role, each in pair_volumes([30]).items()}
    write_stores(tmp_path / "task", volumes)
    data = training_data(FEW, (tmp_path / "task",))
    run = tmp_path / "run"
    options = replace(FEW, validation_pairs=5)
    schedule = ScheduleOptions(steps=1, batch=1)
    train(request("train", tmp_path / "task", run, options, schedule=schedule))
    assert rows(run)[1]["val_loss"]
    for validation_patch, kept in ((35, 5), (7, 3)):
        judged = (validation_patch, EDGE, EDGE)
        sampler: Any = SimpleNamespace(patch=(21, EDGE, EDGE), validation_patch=judged)
        training, held = split(open_data(data), sampler, 0.1)
        assert held is not None
        for part, count in ((training, 30 - kept), (held, kept)):
            assert part.facts(INPUT)[0].shape[0] == 7 * count
            assert part.facts(GT)[0].shape[0] == 3 * count
        first = held.read(GT, 0, (0, 0, 0), (3, 24, 24))
        np.testing.assert_array_equal(first, volumes[GT][3 * (30 - kept) :][:3])
        training.close()
        held.close()


def test_a_fine_tuning_without_a_cell_keeps_pairs(tmp_path: Path) -> None:
    """A tenth, the last ones; the plan says what will be done."""
    write_stores(tmp_path / "task", {r: each[0] for r, each in pair_volumes([12]).items()})
    weights = str(small_weights(tmp_path))
    schedule = ScheduleOptions(batch=2)
    asked = request("finetune", tmp_path / "task", tmp_path / "run", FinetuneOptions(),
                    schedule=schedule, weights=weights)  # fmt: skip
    plan = plan_training(asked)
    assert (plan["steps"], plan["validation_samples"]) == (30, 32)
    assert plan["step_memory_bytes"] > 0
    short = replace(asked, schedule=replace(schedule, steps=1))
    train(short)
    assert rows(tmp_path / "run")[1]["val_psnr_masked"]


def test_what_is_no_pair_is_told_before_a_step(tmp_path: Path) -> None:
    """Through the core, in one line with the file."""
    volumes = {role: each[0] for role, each in pair_volumes([4]).items()}
    write_stores(tmp_path / "task", {INPUT: volumes[INPUT], GT: volumes[GT][:-1]})
    asked = request("train", tmp_path / "task", tmp_path / "run", FEW)
    with pytest.raises(InputError, match=r"gt\.zarr: 11 x 24 x 24 .* 12 x 24 x 24 for the 4 pairs"):
        train(asked)
    assert not (tmp_path / "run").exists()
