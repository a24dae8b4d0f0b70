"""The training of pssr: what it learns from, at which rates, and what it leaves behind."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from vemctl_pssr.architecture import standard
from vemctl_pssr.building import make_trainer
from vemctl_pssr.checkpoints import read_checkpoint
from vemctl_pssr.network import build
from vemctl_pssr.one_cycle import rate_and_momentum
from vemctl_pssr.train_options import FinetuneOptions, TrainOptions
from vemctl_pssr.trainer import PssrTrainer, groups_and_peaks

from vemctl.errors import InputError, OptionError
from vemctl.nn.gradients import GradientSteps
from vemctl.nn.own_weights import write_weights
from vemctl.plugin import Sample, Sampler, TrainingRequest, VolumeFacts

EDGE = 16
SMALL = TrainOptions(
    hr=(Path("good.npy"),), encoder="wnresnet18", width=4, patch=(1, EDGE, EDGE), select=False
)
FACTS = VolumeFacts((8, 100, 100), "uint8", (30.0, 2.0, 2.0), {"bound:min": 0, "bound:max": 255})


def samples(frames: int = 1, count: int = 2) -> dict[str, torch.Tensor]:
    """Return a batch of poor and good images."""
    rng = torch.Generator().manual_seed(0)
    good = torch.rand(count, 1, 4 * EDGE, 4 * EDGE, generator=rng)
    poor = torch.nn.functional.avg_pool2d(good, 4).expand(-1, frames, -1, -1)
    return {"lr": poor.contiguous(), "hr": good}


def look(sampler: Sampler, count: int) -> Iterable[Sample]:
    """Return poor images of a known mean and standard deviation."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield {"lr": (0.3 + 0.1 * rng.standard_normal((1, EDGE, EDGE))).astype(np.float32)}


def request(**changes: Any) -> TrainingRequest:
    """Return what a trainer is made for."""
    usual: dict[str, Any] = {
        "data": {"hr": [FACTS]}, "gradients": GradientSteps(), "batch": 2, "steps": 10,
        "look": look,
    }  # fmt: skip
    return TrainingRequest(**usual | changes)


def trainer(options: TrainOptions = SMALL, **changes: Any) -> PssrTrainer:
    """Make a trainer, the same every time."""
    torch.manual_seed(0)
    return make_trainer(options, request(**changes))


def test_normalisation_is_that_of_many_samples() -> None:
    """Of poor images; stored, with range, tile and the voxel size of poor images."""
    facts = trainer().facts()
    stored = facts["normalisation"]
    assert stored["mean"] == [pytest.approx(0.3, abs=2e-3)]
    assert stored["std"] == [pytest.approx(0.1, abs=2e-3)]
    assert (stored["input"], stored["target"], stored["range"]) == (True, True, "dtype")
    assert facts["tile"] == [1, EDGE, EDGE]
    assert facts["voxel_size"] == [30, 8, 8]
    assert facts["resample"] == "direct"
    assert facts["crappifier"] == "em_AG_D_sameas_preprint"


def test_nothing_is_learned_from_images_of_one_grey() -> None:
    """One line that says where to look."""

    def flat(_: Sampler, count: int) -> Iterable[Sample]:
        return [{"lr": np.full((1, 4, 4), 0.5, np.float32)}] * count

    with pytest.raises(InputError, match=r"every pixel of the poor images is 0\.5.*--hr-range"):
        trainer(look=flat)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"encoder": "resnet18"},
        {"encoder": "rrdb", "width": 4, "blocks": 1},
        {"attention": False, "bottle": False},
        {"loss": "1*L1+0.5*SSIM"},
        {"detach_skips": True},
        {"freeze": True},
    ],
    ids=str,
)
def test_steps_lower_the_loss(changes: dict[str, Any]) -> None:
    """Every network and loss, and a frozen encoder, on one batch again and again."""
    made = trainer(replace(SMALL, learning_rate=3e-3, **changes), steps=12)
    batch = samples()
    losses = [made.step([batch])["loss"].item() for _ in range(12)]
    assert np.isfinite(losses).all()
    assert min(losses[8:]) < losses[0]


@pytest.mark.parametrize("precision", ["bf16"])
def test_half_precision_learns_too(precision: str) -> None:
    """Losses are finite, parameters stay float32."""
    made = trainer(gradients=GradientSteps("cpu", precision))
    assert made.step([samples()])["loss"].isfinite()
    assert {p.dtype for p in made.networks["network"].parameters()} == {torch.float32}


def test_two_halves_make_the_gradient_of_a_batch() -> None:
    """But for batch normalisations, which see one half at a time; an RRDB of no blocks has one."""
    options = replace(SMALL, encoder="rrdb", width=4, blocks=1)
    whole, halves = trainer(options, batch=4), trainer(options, batch=4)
    for made in (whole, halves):
        for module in made.networks["network"].modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum, module.forward = 0, lambda x: x  # type: ignore[method-assign]
    batch = samples(count=4)
    parts = [{name: each[i : i + 2] for name, each in batch.items()} for i in (0, 2)]
    losses = [made.step(given)["loss"] for made, given in ((whole, [batch]), (halves, parts))]
    torch.testing.assert_close(*losses)
    for one, other in zip(
        whole.networks["network"].parameters(), halves.networks["network"].parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-5)


def test_rates_follow_one_cycle_by_layer_group() -> None:
    """A tenth for the encoder, or a series; the place in the cycle is part of the state."""
    made = trainer(steps=10)
    for step in range(3):
        made.step([samples()])
        expected = rate_and_momentum(step, 10, 4e-4)[0]
        rates = made.learning_rates()
        assert rates["decoder"] == pytest.approx(expected)
        assert rates["encoder"] == rates["encoder_deep"] == pytest.approx(expected / 10)
    series = trainer(replace(SMALL, encoder_learning_rate=4e-6), steps=10)
    series.step([samples()])
    rates = series.learning_rates()
    assert rates["encoder_deep"] / rates["encoder"] == pytest.approx(10)
    assert rates["decoder"] / rates["encoder_deep"] == pytest.approx(10)
    state = copy.deepcopy(made.state_dict())  # as if it had been on disk
    other = trainer(steps=10)
    other.load_state_dict(state)
    one, two = (each.step([samples()])["loss"] for each in (made, other))
    assert one == two
    for name, value in made.weights().items():
        assert torch.equal(value, other.weights()[name]), name


@pytest.mark.parametrize(("name", "counts"), [("wnresnet18", 3), ("resnet18", 3), ("rrdb", 1)])
def test_every_parameter_is_in_one_group(name: str, counts: int) -> None:
    """The encoder's children 0 to 5, the rest of it, all else; an RRDB is one group."""
    architecture = standard(name, width=8, filters=4, blocks=1, wrapped=name != "rrdb" or None)
    network = build(architecture)
    groups, peaks = groups_and_peaks(network, architecture, SMALL)
    assert len(groups) == len(peaks) == counts
    found = [id(parameter) for group in groups for parameter in group]
    assert sorted(found) == sorted(map(id, network.parameters()))
    if counts == 3:
        names = {id(p): n.removeprefix("model.") for n, p in network.named_parameters()}
        shallow = {names[id(p)].split(".")[2] for p in groups[0]}
        assert shallow <= {"0", "1", "2", "4", "5"}
        assert {names[id(p)].split(".")[2] for p in groups[1]} == {"6", "7"}
        assert not any(names[id(p)].startswith("layers.0.") for p in groups[2])


def test_a_frozen_encoder_stays_as_it_is() -> None:
    """But for its batch normalisations, which an older U-Net has."""
    made = trainer(replace(SMALL, encoder="resnet18", freeze=True))
    before = {name: value.clone() for name, value in made.weights().items()}
    made.step([samples()])
    for name, value in made.weights().items():
        inside = name.startswith("model.layers.0.")
        norm = ".bn" in name or name.startswith("model.layers.0.1.")
        if any(word in name for word in ("num_batches", "running", "downsample.1", "conv2.2")):
            continue  # statistics; normalisations by another name; attention begins with no share
        assert torch.equal(value, before[name]) == (inside and not norm), name


def test_a_validation_is_of_images_and_leaves_no_trace() -> None:
    """PSNR on [0, 1] beside that of bicubic enlarging; the network learns on as before."""
    made, undisturbed = trainer(), trainer()
    for each in (made, undisturbed):
        each.step([samples()])
    found = made.validate([samples(count=1)])
    assert set(found.metrics) == {
        "val_loss", "val_psnr", "val_ssim", "val_norm_psnr", "val_norm_ssim", "val_psnr_bicubic",
    }  # fmt: skip
    assert found.panels["output"].shape == found.panels["target"].shape == (64, 64)
    assert made.step([samples()])["loss"] == undisturbed.step([samples()])["loss"]


def test_finetuning_keeps_network_and_normalisation(tmp_path: Path) -> None:
    """Of the weights; what would make another network is refused."""
    first = trainer()
    path = tmp_path / "run.safetensors"
    write_weights(path, first.weights(), {"method": "pssr", **first.facts()})
    options = FinetuneOptions(hr=(Path("good.npy"),), patch=(1, EDGE, EDGE), select=False)

    def other(_: Sampler, count: int) -> Iterable[Sample]:
        raise AssertionError("the weights tell the normalisation")

    second = trainer(options, weights=path, look=other)
    assert second.facts()["network"] == first.facts()["network"]
    assert second.facts()["normalisation"] == first.facts()["normalisation"]
    for name, value in first.weights().items():
        assert torch.equal(value, second.weights()[name])
    assert read_checkpoint(path).is_own
    for changes, words in (
        ({"width": 8}, "--width: the network is that of the weights, wnresnet18"),
        ({"encoder": "rrdb"}, "--encoder"),
        ({"frames": 3}, "--frames 3: the weights take 1"),
    ):
        with pytest.raises(OptionError, match=words):
            trainer(replace(options, **changes), weights=path)


def test_the_published_em_network_is_finetuned_on_enlarged_images(tmp_path: Path) -> None:
    """Grey stands for all three colours; per-channel statistics of its export."""
    architecture = standard("resnet18", width=4)
    path = tmp_path / "em.safetensors"
    normalisation = {
        "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.2, 0.3], "input": True, "target": True,
    }  # fmt: skip
    write_weights(path, build(architecture).state_dict(), {"normalisation": normalisation})
    options = FinetuneOptions(hr=(Path("good.npy"),), patch=(1, EDGE, EDGE), select=False)
    made = trainer(options, weights=path)
    assert made.step([samples()])["loss"].isfinite()
    assert made.facts()["normalisation"]["mean"] == [0.4, 0.5, 0.6]
    assert np.isfinite(made.validate([samples(count=1)]).metrics["val_psnr"])


def test_what_no_network_takes_is_refused() -> None:
    """Before anything is made."""
    for options, changes, words in (
        (SMALL, {"batch": 1}, "--batch 1.*at least 2 samples"),
        (replace(SMALL, encoder="rrdb", freeze=True), {}, "--freeze: rrdb has no encoder"),
        (replace(SMALL, encoder="rrdb", attention=False), {}, "--attention: rrdb has no encoder"),
        (replace(SMALL, frames_axis="z"), {}, "--frames-axis z: the network takes one frame"),
        (replace(SMALL, blocks=3), {}, "--blocks: wnresnet18 has as many"),
        (replace(SMALL, encoder="resnet18", frames=3), {}, "resnet18 takes one frame"),
        (replace(SMALL, frames=3, frames_axis="t"), {}, "--frames-axis t: the images have one"),
    ):
        with pytest.raises((OptionError, InputError), match=words):
            trainer(options, **changes)


def test_a_large_network_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a cycle whose end is not known."""
    monkeypatch.setattr("vemctl_pssr.building.LARGE", 1000)
    told: list[str] = []
    trainer(steps=None, warn=told.append)
    assert any("million parameters" in text for text in told)
    assert any("neither --steps nor --epochs" in text for text in told)
