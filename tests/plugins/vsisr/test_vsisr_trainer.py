"""Meta-training: what a step does to both networks, and how it is judged and continued."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import vemctl_vsisr.trainer
from parity import load_fixture, seeded_state_dict
from torch.nn import functional
from vemctl_vsisr.adapting import Examples
from vemctl_vsisr.discriminator import Discriminator
from vemctl_vsisr.network import Generator
from vemctl_vsisr.train_options import TrainOptions
from vemctl_vsisr.trainer import INTERVAL, MetaTrainer
from vsisr_tasks import EDGE, SMALL, TaskPatches, batch_of, held_out, make, pair_volumes
from winograd import TORCHS, conv2d

from vemctl.errors import OptionError, WeightsError
from vemctl.nn.gradients import GradientSteps

FEW = TrainOptions(
    **SMALL, pairs_per_task=3, support=2, rounds=1, generator_steps=1, validation_pairs=4,
    validation_support=2, learning_rate=1e-3, discriminator_learning_rate=1e-3,
)  # fmt: skip


@pytest.fixture
def patches() -> TaskPatches:
    """Return three tasks of a few pairs."""
    return TaskPatches(pair_volumes([6, 4, 5]))


def gradients_at_updates(trainer: MetaTrainer) -> dict[str, list[torch.Tensor]]:
    """Note what each optimiser sees, from now on."""
    seen: dict[str, list[torch.Tensor]] = {}
    for name, optimizer in trainer._optimizers.items():

        def note(optimizer: Any, *_: Any, name: str = name) -> None:
            seen[name] = [p.grad.clone() for p in optimizer.param_groups[0]["params"]]

        optimizer.register_step_pre_hook(note)
    return seen


def summary(weights: Any) -> np.ndarray:
    """Return sum, sum of magnitudes and norm of each tensor."""
    return np.array([[w.sum(), w.abs().sum(), w.norm()] for w in map(torch.Tensor.detach, weights)])


def test_quicker_convolutions_are_torchs() -> None:
    """To rounding in double precision, with their gradients: the next test takes them."""
    torch.manual_seed(0)
    shapes = ((2, 64, 9, 14), (70, 64, 3, 3), (70,))
    parts = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    found = [
        [made := convolve(*parts, padding=1), *torch.autograd.grad(made.square().sum(), parts)]
        for convolve in (TORCHS, conv2d)
    ]
    for expected, value in zip(*found, strict=True):
        scale = expected.abs().max().item()
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-13 * scale)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_iteration_is_the_published_one(tmp_path: Path, patches, monkeypatch) -> None:
    """Losses on the way, adapted weights, outer losses and gradients, and both updates."""
    spec, arrays, _ = load_fixture("vsisr_maml_step")
    params = spec["params"]
    options = TrainOptions(
        **SMALL, pairs_per_task=4, support=params["spt_num"], rounds=params["task_iter"]
    )
    assert (options.inner_learning_rate, options.learning_rate) == (
        params["g_lr_in"], params["g_lr_out"]
    )  # fmt: skip
    batch = params["meta_batch_size"]
    trainer = make(tmp_path, patches, options, discriminator=Discriminator, batch=batch)
    for name, prefix in (("G", "generator"), ("D", "discriminator")):
        network = trainer.networks[name]
        shapes = {f"{prefix}.vars.{i}": tuple(p.shape) for i, p in enumerate(network.parameters())}
        state = seeded_state_dict(shapes, spec["seed"], spec["gain"])
        for parameter, value in zip(network.parameters(), state.values(), strict=True):
            parameter.data = value.double()
    before = {name: [*map(torch.clone, n.parameters())] for name, n in trainer.networks.items()}
    passed: list[list[Any]] = []
    original = vemctl_vsisr.trainer.stages

    def noted(*arguments: Any) -> Any:
        passed.append([])
        for stage in original(*arguments):
            passed[-1].append(stage)
            yield stage

    monkeypatch.setattr(vemctl_vsisr.trainer, "stages", noted)
    monkeypatch.setattr(functional, "conv2d", conv2d)
    seen = gradients_at_updates(trainer)
    both = {
        ours: torch.from_numpy(
            np.concatenate([arrays[f"{theirs}a"], arrays[f"{theirs}b"]], axis=1)
        ).double()
        for ours, theirs in (("input", "input"), ("gt", "label"))
    }
    losses = trainer.step([both])

    assert losses["loss"].item() == pytest.approx(arrays["g_outer"], abs=1e-8)
    assert losses["D"].item() == pytest.approx(arrays["d_outer"], abs=1e-8)
    assert losses["before"].item() == pytest.approx(arrays["g_losses"][:, 0].mean(), abs=1e-8)
    query = Examples(both["input"][0, options.support :], both["gt"][0, options.support :])
    for stage in passed[0]:
        name = stage.adapted[0]
        loss = trainer._losses.of_generator if name == "g" else trainer._losses.of_discriminator
        # The first generator has been updated since.
        fast = before["G"] if stage.generator[0] is passed[0][0].generator[0] else stage.generator
        with torch.no_grad():
            found = loss(query, fast, stage.discriminator).item()
        assert found == pytest.approx(arrays[f"{name}_losses"][0, 1 + stage.round], abs=1e-8)
    for task, stages in enumerate(passed):
        for name, weights in (("g", stages[-1].generator), ("d", stages[-1].discriminator)):
            expected = arrays[f"{name}_fast{task}_stats"][:, 2]
            np.testing.assert_allclose(summary(weights)[:, 2], expected, rtol=1e-6)
    for name, network in trainer.networks.items():
        small = name.lower()
        np.testing.assert_allclose(
            summary(seen[name])[:, 2], arrays[f"{small}_grad_stats"][:, 2], rtol=1e-6
        )
        change = [p - b for p, b in zip(network.parameters(), before[name], strict=True)]
        np.testing.assert_allclose(
            summary(change)[:, 2], arrays[f"{small}_step_stats"][:, 2], rtol=1e-2
        )
    np.testing.assert_allclose(seen["G"][0], arrays["g_grad_vars0"], rtol=1e-5, atol=1e-9)


def test_parts_and_tasks_are_averaged(tmp_path: Path, patches) -> None:
    """Three tasks at once and one after another: the same losses, the same gradients."""
    found = []
    for parts in (1, 3):
        trainer = make(tmp_path / str(parts), patches, FEW)
        for network in trainer.networks.values():
            network.double()
        batch = {name: each.double() for name, each in batch_of(trainer.sampler, patches).items()}
        seen = gradients_at_updates(trainer)
        split = [{n: t.chunk(parts)[k] for n, t in batch.items()} for k in range(parts)]
        losses = trainer.step(split)
        found.append((losses, seen))
    for name in ("loss", "before", "D"):
        torch.testing.assert_close(found[0][0][name], found[1][0][name])
    for name in ("G", "D"):
        for one, other in zip(found[0][1][name], found[1][1][name], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_both_networks_learn(precision: str, tmp_path: Path, patches) -> None:
    """All parameters but those of silent gates change; losses are single precision."""
    options = TrainOptions(**{**vars(FEW), "learning_rate": 3e-4, "gan_weight": 0.0})
    gradients = GradientSteps(precision=precision)
    trainer = make(tmp_path, patches, options, gradients=gradients, batch=1)
    before = copy.deepcopy({n: list(net.parameters()) for n, net in trainer.networks.items()})
    batch = batch_of(trainer.sampler, patches)
    losses = trainer.step([batch])
    assert next(iter(losses)) == "loss"
    assert {value.dtype for value in losses.values()} == {torch.float32}
    assert not any(value.requires_grad for value in losses.values())
    for name, network in trainer.networks.items():
        changed = [
            not torch.equal(old, new)
            for old, new in zip(before[name], network.parameters(), strict=True)
        ]
        assert sum(changed) >= len(changed) - 4, name
        assert all(p.grad is None for p in network.parameters())
    for _ in range(2):
        last = trainer.step([batch])
    assert last["loss"] < losses["loss"]


def test_second_order_changes_the_gradients(tmp_path: Path, patches) -> None:
    """It takes the switch; the losses before an update are the same."""
    found = []
    for name, second in (("first", False), ("second", True)):
        options = TrainOptions(**{**vars(FEW), "second_order": second, "inner_learning_rate": 0.05})
        trainer = make(tmp_path / name, patches, options)
        seen = gradients_at_updates(trainer)
        losses = trainer.step([batch_of(trainer.sampler, patches)])
        found.append((losses["loss"], seen["G"][0]))
    torch.testing.assert_close(found[0][0], found[1][0])
    assert not torch.allclose(found[0][1], found[1][1], rtol=1e-3)


def test_validation_adapts_to_other_tasks_and_changes_nothing(tmp_path: Path, patches) -> None:
    """The loss of adapted weights is found, as by hand; weights and randomness are left alone."""
    held = TaskPatches(pair_volumes([4, 5], seed=9))
    trainer = make(tmp_path, patches, FEW, held)
    assert trainer.num_validation == 2
    samples = held_out(trainer, held)
    assert [tuple(sample["input"].shape) for sample in samples] == [(1, 4, 7, EDGE, EDGE)] * 2
    before = copy.deepcopy(trainer.networks["G"].state_dict())
    found = trainer.validate(samples)
    assert set(found.metrics) == {"val_loss", "val_before", "val_D"}
    assert all(math.isfinite(value) for value in found.metrics.values())
    assert found.metrics == trainer.validate(samples).metrics
    assert list(found.panels) == ["input", "before", "output", "target"]
    assert {panel.shape for panel in found.panels.values()} == {(3 * EDGE // 2, 3 * EDGE // 2)}
    for key, value in trainer.networks["G"].state_dict().items():
        assert torch.equal(value, before[key])
    assert all(p.grad is None for p in trainer.networks["G"].parameters())
    assert trainer.best.metric in found.metrics
    rounds = []
    original = vemctl_vsisr.trainer.stages
    try:
        vemctl_vsisr.trainer.stages = lambda *a: rounds.append(a[-1].rounds) or original(*a)
        trainer.validate(samples)
    finally:
        vemctl_vsisr.trainer.stages = original
    assert rounds == [2 * FEW.rounds] * 2


def test_a_truth_without_contrast_is_left_out_of_a_validation(tmp_path: Path, patches) -> None:
    """It has no loss: the mean is of the others, not NaN."""
    held = TaskPatches(pair_volumes([4]))
    trainer = make(tmp_path, patches, FEW, held)
    (sample,) = held_out(trainer, held)
    sample["gt"][0, -1] = 0.25
    assert math.isfinite(trainer.validate([sample]).metrics["val_loss"])


def test_rates_fall_when_the_loss_of_the_training_no_longer_does(tmp_path: Path, patches) -> None:
    """Both of them, by the mean since the last validation; down to a hundredth."""
    options = TrainOptions(**{**vars(FEW), "schedule_patience": 0, "schedule_factor": 0.5})
    trainer = make(tmp_path, patches, options)
    trainer.validated({INTERVAL: 1.0})
    trainer.validated({INTERVAL: 1.0 - 1e-5})  # less than the threshold
    assert trainer.learning_rates() == pytest.approx({"G": 5e-4, "D": 5e-4})
    trainer.validated({})
    assert trainer.learning_rates()["G"] == pytest.approx(5e-4)
    for _ in range(20):
        trainer.validated({INTERVAL: 2.0})
    assert trainer.learning_rates() == pytest.approx({"G": 1e-5, "D": 1e-5})


def test_the_interval_begins_anew_with_each_validation(tmp_path: Path, patches) -> None:
    """The metric is the mean of the steps' losses since then."""
    held = TaskPatches(pair_volumes([4]))
    trainer = make(tmp_path, patches, FEW, held)
    samples = held_out(trainer, held)
    losses = [trainer.step([batch_of(trainer.sampler, patches, n)])["loss"] for n in range(2)]
    metrics = trainer.validate(samples).metrics
    assert metrics[INTERVAL] == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)
    trainer.validated(metrics)
    assert INTERVAL not in trainer.validate(samples).metrics


def test_a_continued_training_is_the_uninterrupted_one(tmp_path: Path, patches) -> None:
    """Weights, moments, schedules and the losses of the interval."""
    whole, first, second = (make(tmp_path / n, patches, FEW) for n in ("a", "b", "c"))
    steps = [batch_of(whole.sampler, patches, n) for n in range(4)]
    for trainer, parts in ((whole, steps), (first, steps[:2])):
        for n, batch in enumerate(parts):
            trainer.step([batch])
            if n == 0:
                trainer.validated({INTERVAL: 1.0})
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for batch in steps[2:]:
        second.step([batch])
    assert second._summed == whole._summed == 3
    assert torch.equal(second._sum, whole._sum)
    for name in ("G", "D"):
        for one, other in zip(
            whole.networks[name].parameters(), second.networks[name].parameters(), strict=True
        ):
            assert torch.equal(one, other)
    assert second._schedules["G"].state_dict() == whole._schedules["G"].state_dict()


def test_what_is_kept_is_the_generator(tmp_path: Path, patches) -> None:
    """By its published keys; beside it what it is, and what it saw."""
    trainer = make(tmp_path, patches, FEW)
    weights = trainer.weights()
    assert [*weights] == [f"vars.{n}" for n in range(14)]
    facts = trainer.facts()
    assert facts["network"] == {
        "name": "Meta-VSI-SR", "in_channels": 7, "num_blocks": 1, "out_channels": 3
    }  # fmt: skip
    assert facts["stage"] == "meta"
    assert facts["tile"] == [7, EDGE, EDGE]
    assert (trainer.batch, trainer.steps_per_epoch * trainer.num_epochs) == (3, 100_000)


def test_begins_from_files_or_from_nothing(tmp_path: Path, patches) -> None:
    """Sizes are those of the generator's file; a discriminator's is taken as well."""
    path = tmp_path / "g.pth"
    generator, discriminator = Generator(7, 1, 2, 3), Discriminator()
    torch.save({"model": generator.state_dict(), "step": 1000}, path)
    torch.save(discriminator.state_dict(), tmp_path / "d.pth")
    options = TrainOptions(
        **{**vars(FEW), "blocks": None, "generator": path, "discriminator": tmp_path / "d.pth"}
    )
    trainer = make(tmp_path / "a", patches, options)
    assert torch.equal(trainer.weights()["vars.0"], generator.state_dict()["vars.0"])
    assert len(trainer.weights()) == 22
    judge = trainer.networks["D"].state_dict()
    assert torch.equal(judge["vars.25"], discriminator.state_dict()["vars.25"])
    few = TrainOptions(**{**vars(options), "blocks": 5})
    with pytest.raises(OptionError, match=r"--blocks 5: .*g.pth has 2"):
        make(tmp_path / "b", patches, few)
    swapped = TrainOptions(**{**vars(options), "generator": tmp_path / "d.pth"})
    with pytest.raises(WeightsError, match="weights of a discriminator"):
        make(tmp_path / "c", patches, swapped)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"support": 3}, r"--support 3 with --pairs-per-task 3: expected fewer"),
        ({"validation_support": 4}, r"--validation-support 4 with --validation-pairs 4"),
    ],
)
def test_some_pairs_must_be_left_to_judge(changes, message: str, tmp_path: Path, patches) -> None:
    """One line that names both options."""
    with pytest.raises(OptionError, match=message):
        make(tmp_path, patches, TrainOptions(**{**vars(FEW), **changes}))


def test_memory_grows_with_pairs_and_with_second_order(tmp_path: Path, patches) -> None:
    """Tasks are gone through one after another; where gradients go through all, they add up."""
    made = {
        name: make(tmp_path / name, patches, TrainOptions(**{**vars(FEW), **changes}))
        for name, changes in (
            ("plain", {}), ("pairs", {"pairs_per_task": 4, "support": 1}),
            ("second", {"second_order": True}),
        )
    }  # fmt: skip
    plain = made["plain"].memory(1)
    assert made["pairs"].memory(1) > plain
    assert made["second"].memory(3) > 3 * (made["second"].memory(1) - plain)
    assert made["plain"].memory(3) < 1.5 * plain
