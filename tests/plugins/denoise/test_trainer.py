"""The training of GShiftNet: the published programs' losses, metrics and network after it."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from parity import load_fixture
from torch.nn import functional
from vemctl_denoise.method import METHOD
from vemctl_denoise.network import GShiftNet
from vemctl_denoise.train_options import FinetuneOptions, TrainOptions
from vemctl_denoise.trainer import DenoiseTrainer

from vemctl.errors import OptionError, WeightsError
from vemctl.nn.state_dict import read_state_dict
from vemctl.plugin import Best, TrainingRequest, VolumeFacts

FACTS = VolumeFacts((40, 300, 300), "uint8")
SUPERVISED = TrainOptions(supervised=True)
SELF_SUPERVISED = TrainOptions(self_supervised=True)
CASES = [
    (SUPERVISED, "denoise_train_step", "float32", 1e-4),
    (SELF_SUPERVISED, "denoise_selfsup_step", "float64", 2e-5),
]


def make_trainer(options: TrainOptions, gradients, state=None, **wishes) -> DenoiseTrainer:
    """Return a trainer, with the parameters `state` if they are given."""
    roles = ("fast", "slow") if options.supervised else ("noisy",)
    request = TrainingRequest({role: [FACTS] for role in roles}, gradients, **wishes)
    torch.manual_seed(0)
    trainer = METHOD.trainer(options, request)
    assert isinstance(trainer, DenoiseTrainer)
    if state is not None:
        trainer.networks["network"].load_state_dict(state)
    return trainer


def batches(arrays: dict[str, np.ndarray], kind: str = "train") -> list[dict[str, torch.Tensor]]:
    """Return the items of a fixture as batches of one."""
    names = ("source", "target")
    items = zip(*(arrays[f"{kind}_{name}"] for name in names), strict=True)
    return [
        {name: torch.from_numpy(each[None]) for name, each in zip(names, pair, strict=True)}
        for pair in items
    ]


def random_batch(count: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return random samples."""
    source, target = torch.rand(
        2, count, 1, 3, 16, 16, generator=torch.Generator().manual_seed(seed)
    )
    return {"source": source, "target": target}


def seeded_state() -> dict[str, torch.Tensor]:
    """Return parameters of which every one learns."""
    return load_fixture("denoise_train_step")[2]


def gradients_of(trainer: DenoiseTrainer, parts: list[dict[str, torch.Tensor]]):
    """Return what a step would have used."""
    trainer._optimizer.step = lambda: None  # keep parameters and gradients
    trainer._optimizer.zero_grad = lambda: None
    trainer.step(parts)
    network = trainer.networks["network"]
    found = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    return found


def convolved(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> torch.Tensor:
    """Convolve; channels that are by themselves as sums of shifted products.

    In float64 torch convolves these one after the other, which takes most of a step.
    """
    if groups == 1:
        return torch.conv2d(x, weight, bias, stride, padding, dilation)
    size, (height, width) = weight.shape[-1], x.shape[2:]
    padded = functional.pad(x, (size // 2,) * 4)
    return sum(
        padded[:, :, row : row + height, column : column + width]
        * weight[:, 0, row, column, None, None]
        for row, column in itertools.product(range(size), repeat=2)
    )


@pytest.mark.parametrize(("options", "fixture", "dtype", "tolerance"), CASES)
def test_learns_as_published(
    options: TrainOptions, fixture: str, dtype: str, tolerance: float, gradients, monkeypatch
) -> None:
    """Losses of every step, rates, metrics and the network afterwards are the original's.

    The second is in float64: in float32 one activation of 4e-8 lies on the other side of a
    rectifier's corner, and Adam's first steps, as large for small gradients as for large ones, make
    2e-4 of it.
    """
    spec, arrays, state = load_fixture(fixture)
    arrays = {name: value.astype(dtype) for name, value in arrays.items()}
    assert spec["params"]["loss"] == options.loss
    trainer = make_trainer(options, gradients, state)
    network = trainer.networks["network"].to(getattr(torch, dtype))
    if dtype == "float64":
        monkeypatch.setattr(functional, "conv2d", convolved)
    running: list[list[float]] = []
    for number, batch in enumerate(batches(arrays)):
        assert trainer.learning_rates()["adam"] == pytest.approx(arrays["LearningRate"][number])
        losses = trainer.step([batch])
        assert next(iter(losses)) == "loss"
        assert ("auxiliary" in losses) is options.self_supervised
        running.append([losses[name].item() for name in ("loss", "loss_L1", "loss_SSIM")])
        # The original logs averages since the start of the epoch.
        expected = [arrays[f"Loss_{name}_train"][number] for name in ("total", "L1", "SSIM")]
        np.testing.assert_allclose(np.mean(running, 0), expected, atol=2e-5)
    assert gradients.steps == len(running)
    restored: list[torch.Tensor] = []
    network.register_forward_hook(lambda *parts: restored.append(parts[-1]))
    found = trainer.validate(batches(arrays, "val"))
    assert found.metrics["val_loss"] == pytest.approx(arrays["Loss_total_val"][0], abs=1e-4)
    assert found.metrics["val_psnr"] == pytest.approx(arrays["Metrics_PSNR_val"][0], abs=2e-3)
    assert found.metrics["val_ssim"] == pytest.approx(arrays["Metrics_SSIM_val"][0], abs=1e-4)
    np.testing.assert_allclose(restored[0], arrays["prediction_after"], atol=tolerance)
    middle = arrays["val_source"].shape[2] // 2
    np.testing.assert_allclose(
        found.panels["output"], arrays["prediction_after"][0, 0, middle], atol=tolerance
    )
    np.testing.assert_array_equal(found.panels["input"], arrays["val_source"][0, 0, middle])
    np.testing.assert_array_equal(found.panels["target"], arrays["val_target"][0, 0, middle])


@pytest.mark.parametrize("options", [SUPERVISED, SELF_SUPERVISED])
def test_a_batch_has_the_mean_of_its_samples_gradients(options: TrainOptions, gradients) -> None:
    """Two samples at once, one after the other, and each alone: the same gradients."""
    both = random_batch(2)
    singles = [{name: each[i : i + 1] for name, each in both.items()} for i in range(2)]
    trainer = make_trainer(options, gradients, seeded_state())
    at_once, in_turn = gradients_of(trainer, [both]), gradients_of(trainer, singles)
    alone = [gradients_of(trainer, [each]) for each in singles]
    assert len(at_once) == 1558
    for name, value in at_once.items():
        scale = value.abs().max().item() + 1e-6
        mean = (alone[0][name] + alone[1][name]) / 2
        assert (value - mean).abs().max() < 1e-4 * scale + 1e-6, name
        assert (value - in_turn[name]).abs().max() < 1e-4 * scale + 1e-6, name


def test_both_ways_are_the_gradient_of_the_sum(gradients) -> None:
    """Two backward passes give what one of the summed losses gives."""
    batch, state = random_batch(1), seeded_state()
    trainer = make_trainer(SELF_SUPERVISED, gradients, state)
    found = gradients_of(trainer, [batch])
    network = GShiftNet()
    network.load_state_dict(state)
    forth = trainer._loss(network(batch["source"]), batch["target"])["loss"]
    back = trainer._loss(network(batch["target"]), batch["source"])["loss"]
    (forth + back).backward()
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            scale = parameter.grad.abs().max().item() + 1e-6
            assert (found[name] - parameter.grad).abs().max() < 1e-4 * scale + 1e-6, name


def test_continues_as_if_never_stopped(gradients, tmp_path: Path) -> None:
    """Network, optimiser and schedule come back from a file that torch reads safely."""
    options = dataclasses.replace(SUPERVISED, schedule_patience=0)
    trainer = make_trainer(options, gradients)
    trainer.step([random_batch(1)])
    for loss in (1.0, 2.0):
        trainer.validated({"val_loss": loss})
    torch.save(trainer.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    other = make_trainer(options, gradients)
    other.load_state_dict(state)
    assert other.learning_rates() == {"adam": 1e-4}
    one, same = (each.step([random_batch(1, 1)]) for each in (trainer, other))
    assert {name: loss.item() for name, loss in one.items()} == {
        name: loss.item() for name, loss in same.items()
    }
    for each in (trainer, other):
        each.validated({"val_loss": 2.0})
    assert trainer.learning_rates() == other.learning_rates() == {"adam": 5e-5}
    found = other.weights()
    for name, value in trainer.weights().items():
        assert torch.equal(value, found[name]), name


def test_the_rate_falls_when_the_loss_does_not(gradients) -> None:
    """By the factor, after as many validations without progress as the patience allows."""
    options = TrainOptions(supervised=True, schedule_factor=0.1, schedule_patience=2)
    trainer = make_trainer(options, gradients)
    rates = []
    for loss in (1, 0.9, 0.9, 0.9, 0.9, 0.8):
        trainer.validated({"val_loss": loss})
        rates.append(trainer.learning_rates()["adam"])
    assert rates == pytest.approx([2e-4] * 4 + [2e-5] * 2)


@pytest.mark.parametrize("options", [SUPERVISED, SELF_SUPERVISED])
def test_weights_and_facts_are_what_a_prediction_needs(options: TrainOptions, gradients) -> None:
    """All published keys, accepted by the method; facts of JSON types."""
    trainer = make_trainer(options, gradients)
    weights = trainer.weights()
    assert list(weights) == list(load_fixture("denoise_gshiftnet")[2])
    assert not any(value.requires_grad for value in weights.values())
    assert METHOD.check_weights(dict(weights), Path("x")) == trainer.facts()["network"]
    facts = json.loads(json.dumps(trainer.facts()))
    assert facts == trainer.facts()
    assert facts["tile"] == ([5, 128, 128] if options.supervised else [9, 128, 128])
    assert facts["mode"] == ("supervised" if options.supervised else "self-supervised")
    assert facts["normalisation"] == {"low": 0.0, "high": "maximum of the type"}


def test_the_defaults_are_the_published_ones(gradients) -> None:
    """Patches, epochs, steps, batch, and by what the best weights are known."""
    supervised = make_trainer(SUPERVISED, gradients)
    assert supervised.sampler.patch == supervised.sampler.validation_patch == (5, 256, 256)
    assert supervised.best == Best("val_psnr", "max")
    assert (supervised.batch, supervised.steps_per_epoch) == (1, 540)
    assert (supervised.num_epochs, supervised.num_validation) == (100, 32)
    plain = make_trainer(TrainOptions(supervised=True, emulate_fast_slow=False), gradients)
    assert plain.sampler.patch == (5, 128, 128)
    alone = make_trainer(SELF_SUPERVISED, gradients, batch=4)
    assert alone.sampler.patch == alone.sampler.validation_patch == (9, 256, 256)
    assert (alone.best, alone.batch) == (None, 4)


def test_the_seed_makes_the_network(gradients) -> None:
    """Fresh parameters come from torch's generator alone."""
    one, same = (make_trainer(SUPERVISED, gradients).weights() for _ in range(2))
    assert all(torch.equal(value, same[name]) for name, value in one.items())


def test_finetuning_starts_from_a_file(gradients, tmp_path: Path) -> None:
    """A published checkpoint, prefix and wrapper and all; another network is refused."""
    path = tmp_path / "checkpoint.pth"
    state = load_fixture("denoise_tiled")[2]
    torch.save({"epoch": 1, "state_dict": state, "optimizer": {}, "best_psnr": 1.0}, path)
    options = FinetuneOptions(supervised=True)
    weights = make_trainer(options, gradients, weights=path).weights()
    loaded = read_state_dict(path)
    assert all(torch.equal(value, loaded[name]) for name, value in weights.items())
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match="weights of another network"):
        make_trainer(options, gradients, weights=path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"patch": (5, 130, 128)}, "--patch 5,130,128"), ({"loss": "1*VGG"}, "--loss 1"),
     ({"low": 2.0, "high": 1.0}, "--low 2 and --high 1"), ({"low": 300.0}, "--low 300")],
)  # fmt: skip
def test_what_does_not_fit_is_refused(changes: dict, words: str, gradients) -> None:
    """Before anything is learned."""
    with pytest.raises(OptionError) as error:
        make_trainer(dataclasses.replace(SUPERVISED, **changes), gradients)
    assert str(error.value).startswith(words)


def test_memory_grows_with_samples_and_patch(gradients) -> None:
    """By the voxels that the network sees."""
    small = make_trainer(dataclasses.replace(SUPERVISED, patch=(5, 64, 64)), gradients)
    large = make_trainer(SUPERVISED, gradients)
    parameters = 2 * large.memory(1) - large.memory(2)
    assert large.memory(1) - parameters == 4 * (small.memory(1) - parameters)
    assert parameters < 100e6


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch itself
def test_compiling_leaves_the_keys(gradients) -> None:
    """Only the step sees the compiled network."""
    trainer = make_trainer(SUPERVISED, gradients, compile=True)
    assert trainer._compiled is not trainer.networks["network"]
    assert list(trainer.weights()) == list(GShiftNet().state_dict())
