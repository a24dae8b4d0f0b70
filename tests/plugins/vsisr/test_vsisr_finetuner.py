"""Fine-tuning: its steps, its rates, and how it is judged."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from parity import load_fixture, seeded_state_dict
from vemctl_vsisr.checkpoints import GeneratorConfiguration
from vemctl_vsisr.data import GT, INPUT
from vemctl_vsisr.finetuner import FinetuneTrainer
from vemctl_vsisr.judging import judge
from vemctl_vsisr.samples import smoothed
from vemctl_vsisr.train_options import FinetuneOptions
from vsisr_tasks import EDGE, TaskPatches, batch_of, held_out, make, pair_volumes

from vemctl.errors import OptionError, WeightsError
from vemctl.nn.gradients import GradientSteps


@pytest.fixture
def patches() -> TaskPatches:
    """Return two cells of a few pairs."""
    return TaskPatches(pair_volumes([5, 4]))


@pytest.fixture
def cells() -> TaskPatches:
    """Return two whole cells of odd sizes, with structures."""
    rng = np.random.default_rng(4)
    volumes: dict[str, list[Any]] = {INPUT: [], GT: []}
    for z, y, x in ((8, 21, 33), (10, 20, 17)):
        volumes[INPUT].append(rng.integers(0, 65536, (z, y, x), np.uint16))
        volumes[GT].append(rng.integers(0, 65536, (z, 3 * y // 2, 3 * x // 2), np.uint16))
    return TaskPatches(volumes)


def test_steps_are_the_published_ones(tmp_path: Path, patches) -> None:
    """Losses, gradients, rates and weights of three steps, and what the network then restores."""
    spec, arrays, _ = load_fixture("vsisr_finetune_step")
    params = spec["params"]
    count = params["batch_size"]
    network = GeneratorConfiguration().build()
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    path = tmp_path / "published.pth"
    torch.save(seeded_state_dict(shapes, spec["seed"], spec["gain"]), path)
    options = FinetuneOptions(
        learning_rate=params["lr"], decay_steps=",".join(map(str, params["lr_decay_step"]))
    )
    assert (options.decay, options.gt_sigma) == (0.5, params["gt_filter_sigma"])
    trainer = make(tmp_path / "run", patches, options, weights=path, batch=count)
    network = trainer.networks["generator"].double()
    seen: list[list[torch.Tensor]] = []
    trainer._optimizer.register_step_pre_hook(
        lambda *_: seen.append([p.grad.clone() for p in network.parameters()])
    )
    for step in range(params["steps"]):
        part = slice(step * count, (step + 1) * count)
        truth = np.stack([smoothed(each, options.gt_sigma) for each in arrays["label"][part]])
        np.testing.assert_allclose(truth, arrays["label_filtered"][part], rtol=0, atol=1e-7)
        batch = {
            "input": torch.from_numpy(arrays["input"][part]).double(),
            "gt": torch.from_numpy(arrays["label_filtered"][part]).double(),
        }
        assert trainer.learning_rates()["generator"] == pytest.approx(arrays["lrs"][step])
        loss = trainer.step([batch])["loss"].item()
        assert loss == pytest.approx(arrays["losses"][step], abs=1e-8)
        norms = np.array([gradient.norm().item() for gradient in seen[-1]])
        np.testing.assert_allclose(norms, arrays["grad_stats"][step, :, 2], rtol=1e-6, atol=1e-9)
    for tensor, first in zip(network.parameters(), arrays["weight_first"], strict=True):
        values = tensor.detach().reshape(-1).numpy()
        np.testing.assert_allclose(np.resize(values, len(first)), first, rtol=0, atol=1e-9)
    with torch.no_grad():
        restored = network(torch.from_numpy(arrays["input"][:1]).double())
    np.testing.assert_allclose(restored.numpy(), arrays["output"], rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ({}, {0: 0.25, 9: 0.25, 10: 0.125, 20: 0.0625, 29: 0.0625, 30: 0.03125}),
        ({"optimizer": "adam"}, {0: 1e-4, 10: 5e-5}),
        ({"learning_rate": 1.0, "decay_steps": "2", "decay": 0.1}, {1: 1.0, 2: 0.1, 50: 0.1}),
        ({"decay_steps": "none"}, {0: 0.25, 50: 0.25}),
    ],
    ids=str,
)
def test_the_rate_falls_at_given_steps(
    changes: dict, rates: dict[int, float], tmp_path: Path, patches
) -> None:
    """By default as published; adam begins with one of its own."""
    trainer = make(tmp_path, patches, FinetuneOptions(**changes), batch=2)
    for step, rate in rates.items():
        trainer._done = step
        trainer._set_rate()
        assert trainer.learning_rates() == {"generator": pytest.approx(rate)}


def test_length_and_judgements_are_the_published_ones(tmp_path: Path, patches) -> None:
    """Thirty steps of twenty pairs, judged before the first and after every fifth."""
    many = TaskPatches(pair_volumes([12, 9]))
    trainer = make(tmp_path, many, FinetuneOptions())
    assert (trainer.batch, trainer.steps_per_epoch, trainer.num_epochs) == (20, 5, 6)
    assert trainer.judge_first
    assert (trainer.best.metric, trainer.best.sense) == ("val_psnr_masked", "max")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_steps_lower_the_loss(optimizer: str, precision: str, tmp_path: Path, patches) -> None:
    """Whatever the optimiser and the precision; with the spectral term in double precision too."""
    options = FinetuneOptions(
        optimizer=optimizer, double_precision_loss=precision == "fp32",
        learning_rate={"sgd": 0.01, "adam": 1e-3}[optimizer],
    )  # fmt: skip
    gradients = GradientSteps(precision=precision)
    trainer = make(tmp_path, patches, options, batch=3, gradients=gradients)
    batch = batch_of(trainer.sampler, patches)
    losses = [trainer.step([batch])["loss"] for _ in range(4)]
    assert {loss.dtype for loss in losses} == {torch.float32}
    assert losses[-1] < losses[0]


def test_weights_of_the_loss_count(tmp_path: Path, patches) -> None:
    """Without both terms it is the squared error of scaled planes."""
    trainer = make(tmp_path, patches, FinetuneOptions(ssim_weight=0, spectrum_weight=0), batch=2)
    batch = batch_of(trainer.sampler, patches)
    with torch.no_grad():
        restored = trainer.networks["generator"](batch["input"])
    planes = []
    for each in (restored, batch["gt"]):
        low = each.amin(dim=(0, 2, 3), keepdim=True)
        planes.append((each - low) / (each.amax(dim=(0, 2, 3), keepdim=True) - low))
    expected = (planes[0] - planes[1]).square().mean()
    torch.testing.assert_close(trainer.step([batch])["loss"], expected)


def test_whole_cells_are_judged_window_by_window(tmp_path: Path, patches, cells) -> None:
    """All windows of all cells, as if they had been read at once."""
    trainer = make(tmp_path, patches, FinetuneOptions(), cells, batch=2)
    assert isinstance(trainer, FinetuneTrainer)
    assert trainer.num_validation == 2 + 4
    samples = held_out(trainer, cells)
    assert [sample["place"][0].tolist() for sample in samples] == [
        [0, 0, 2], [0, 1, 2], [1, 0, 4], [1, 1, 4], [1, 2, 4], [1, 3, 4]
    ]  # fmt: skip
    assert samples[1]["gt"].shape == (1, 3, 31, 49)
    assert samples[1]["mask"].shape == (1, 1, 31, 49)
    truth = smoothed((cells.volumes[GT][0][3:6] / 65535).astype(np.float32), 0.6)
    np.testing.assert_allclose(samples[1]["gt"][0], truth, atol=1e-6)
    np.testing.assert_allclose(samples[1]["input"][0] * 65535, cells.volumes[INPUT][0][1:8])
    found = trainer.validate(samples)
    network = trainer.networks["generator"]
    with torch.no_grad():
        expected = judge(network, samples, cells=True)
    assert found.metrics == expected.metrics
    assert set(found.metrics) == {"val_psnr_masked", "val_psnr"}
    assert all(math.isfinite(value) for value in found.metrics.values())
    assert list(found.panels) == ["input", "output", "target"]


def test_pairs_are_judged_where_there_is_no_cell(tmp_path: Path, patches) -> None:
    """Those that are kept, evenly among them; all their planes count."""
    trainer = make(tmp_path, patches, FinetuneOptions(), batch=2)
    kept = TaskPatches(pair_volumes([40, 24], seed=3))
    samples = held_out(trainer, kept)
    assert len(samples) == 32
    assert samples[0]["mask"].shape == (1, 3, 24, 24)
    first = kept.volumes[INPUT][0][14:21] / np.float32(65535)
    np.testing.assert_allclose(samples[1]["input"][0], first, rtol=1e-6)
    few = held_out(trainer, TaskPatches(pair_volumes([3])))
    assert len({float(sample["input"].sum()) for sample in few}) == 3
    assert math.isfinite(trainer.validate(samples[:3]).metrics["val_psnr_masked"])
    own = make(tmp_path / "own", patches, FinetuneOptions(), TaskPatches(pair_volumes([3])),
               batch=2)  # fmt: skip
    assert own.num_validation == 3


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_continued_training_is_the_uninterrupted_one(
    optimizer: str, tmp_path: Path, patches
) -> None:
    """The rate is that of the step at which it goes on."""
    options = FinetuneOptions(optimizer=optimizer, decay_steps="1,3")
    whole, first, second = (make(tmp_path / n, patches, options, batch=2) for n in ("a", "b", "c"))
    steps = [batch_of(whole.sampler, patches, n) for n in range(4)]
    for trainer, parts in ((whole, steps), (first, steps[:2])):
        for batch in parts:
            trainer.step([batch])
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert second.learning_rates() == first.learning_rates()
    for batch in steps[2:]:
        second.step([batch])
    assert second.learning_rates() == whole.learning_rates()
    for one, other in zip(whole.weights().values(), second.weights().values(), strict=True):
        assert torch.equal(one, other)


def test_what_is_kept_tells_that_it_was_fine_tuned(tmp_path: Path, patches) -> None:
    """The generator by its published keys, and what it saw."""
    trainer = make(tmp_path, patches, FinetuneOptions(), batch=2)
    assert [*trainer.weights()] == [f"vars.{n}" for n in range(14)]
    facts = trainer.facts()
    assert (facts["stage"], facts["tile"]) == ("fine-tuned", [7, EDGE, EDGE])
    assert trainer.memory(4) > trainer.memory(2) > trainer.memory(1)


def test_other_weights_are_refused(tmp_path: Path, patches) -> None:
    """One line that names the file."""
    path = tmp_path / "other.pth"
    network = GeneratorConfiguration(in_channels=5, num_blocks=1).build()
    torch.save(network.state_dict(), path)
    with pytest.raises(WeightsError, match=r"3 planes of 5 slices; expected .* 3 of 7"):
        make(tmp_path / "run", patches, FinetuneOptions(), weights=path, batch=2)


@pytest.mark.parametrize("text", ["", "10,", "ten", "10;20", "-1"])
def test_steps_of_the_rate_that_are_none_are_refused(text: str, tmp_path: Path, patches) -> None:
    """One line says how they are written."""
    with pytest.raises(OptionError, match=r"--decay-steps .*: expected steps .* 10,20,30, or none"):
        make(tmp_path, patches, FinetuneOptions(decay_steps=text), batch=2)
