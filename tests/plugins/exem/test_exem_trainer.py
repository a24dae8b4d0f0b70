"""The training of exem: the published program's losses, rates and networks after it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from parity import load_fixture, load_shapes, seeded_state_dict
from vemctl_exem.method import METHOD
from vemctl_exem.network_sets import DISCRIMINATORS, GENERATORS, NETWORKS
from vemctl_exem.samples import OriginalSampler, UniformSampler
from vemctl_exem.trainer import ExemTrainer

from vemctl.nn.gradients import GradientSteps
from vemctl.plugin import VolumeFacts

LOGGED = {
    "G_loss": "loss", "D_A_loss": "D_A", "D_B_loss": "D_B",
    "loss_GAN_AB": "gan_AB", "loss_GAN_BA": "gan_BA",
    "Cycle_loss_A": "cycle_A", "Cycle_loss_B": "cycle_B", "Content_loss": "content",
    "Content_loss_A_group_1": "content_A1", "Content_loss_A_group_2": "content_A2",
    "Content_loss_B_group_1": "content_B1", "Content_loss_B_group_2": "content_B2",
    "Content_loss_B_group_3": "content_B3",
}  # fmt: skip
PUBLISHED_PATCH = {"patch": (2, 64, 64)}
MICE = {"lm": [VolumeFacts((4, 96, 96), "uint8")] * 2, "em": [VolumeFacts((6, 64, 64), "uint16")]}


def exact(trainer: ExemTrainer) -> ExemTrainer:
    """Return it in double precision, in which sums do not depend on their order."""
    for network in trainer.networks.values():
        network.double()
    return trainer


def gradients_of(trainer: ExemTrainer, parts) -> dict[str, torch.Tensor]:
    """Return what a step uses, by network and key, and its losses as they are."""
    found = {}

    def note(*_) -> None:
        for name, network in trainer.networks.items():
            for key, parameter in network.named_parameters():
                if parameter.grad is not None:
                    found.setdefault(f"{name}.{key}", parameter.grad.clone())

    for optimizer in trainer._optimizers.values():
        optimizer.register_step_pre_hook(note)
    losses = trainer.step(parts)
    return found | losses


@pytest.mark.parametrize(("onednn", "tolerance"), [(False, 1e-4), (True, 5e-4)])
def test_learns_as_published(onednn: bool, tolerance: float, make, monkeypatch) -> None:
    """Every loss of three steps, the rates, and a generator after them are the original's.

    With other convolutions than the original's, and in float64 too, the smallest terms of the third
    step are off by 2e-4: Adam's first steps are as large for small gradients as for large ones.
    """
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", onednn)
    spec, arrays, _ = load_fixture("exem_train_step")
    shapes = {"G": load_shapes(spec["keys"]), "D": load_shapes(spec["discriminator_keys"])}
    trainer = make(PUBLISHED_PATCH, gradients=GradientSteps())
    for name, seed in spec["params"]["net_seeds"].items():
        state = seeded_state_dict(shapes[name[0]], seed, spec["gain"])
        assert list(trainer.networks[name].state_dict()) == list(state)
        trainer.networks[name].load_state_dict(state)
    for number in range(3):
        for name, rate in (("G", "Generator"), ("D_A", "Discriminator_A")):
            expected = arrays[f"Learning_Rate_{rate}"][number]
            assert trainer.learning_rates()[name] == pytest.approx(expected)
        grey = {kind: torch.from_numpy(arrays[kind][number][None] / 255) for kind in "AB"}
        losses = trainer.step([{"lm": grey["A"], "em": grey["B"]}])
        assert next(iter(losses)) == "loss"
        assert set(losses) == set(LOGGED.values())
        for logged, name in LOGGED.items():
            expected = arrays[logged][number]
            assert losses[name].item() == pytest.approx(expected, rel=1e-3, abs=tolerance), name
            assert not losses[name].requires_grad
    with torch.no_grad():
        made = trainer.networks["G_AB"].eval()(torch.from_numpy(arrays["A"][0][None] / 255))
    np.testing.assert_allclose(made, arrays["fake_B_after"], rtol=0, atol=1e-2)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_two_parts_make_one_batch(checkpointing: bool, make, batch_of) -> None:
    """Two samples at once and one after the other: the same losses, the same gradients."""
    both = {kind: each.double() for kind, each in batch_of(2).items()}
    singles = [{kind: each[i : i + 1] for kind, each in both.items()} for i in range(2)]
    at_once = gradients_of(exact(make(batch=2)), [both])
    in_turn = gradients_of(exact(make({"checkpointing": checkpointing}, batch=2)), singles)
    assert at_once.keys() == in_turn.keys()
    assert {name.partition(".")[0] for name in at_once} > set(NETWORKS)
    for name, value in at_once.items():
        torch.testing.assert_close(in_turn[name], value, rtol=1e-6, atol=1e-9, msg=name)


def test_discriminators_learn_from_what_they_judge_alone(make, batch_of) -> None:
    """What the generators' loss would leave in them is not there; nobody is left frozen."""
    trainer, other = exact(make()), exact(make())
    batch = {kind: each.double() for kind, each in batch_of().items()}
    found = gradients_of(trainer, [batch])
    fakes = {
        "D_A": other.networks["G_BA"](batch["em"]).detach(),
        "D_B": other.networks["G_AB"](batch["lm"]).detach(),
    }
    for name, kind in (("D_A", "lm"), ("D_B", "em")):
        network = other.networks[name]
        loss = sum((score - 1).square().mean() for score in network(batch[kind]))
        loss = 0.5 * (loss + sum(score.square().mean() for score in network(fakes[name])))
        assert found[name].item() == pytest.approx(loss.item(), rel=1e-9)
        loss.backward()
        for key, parameter in network.named_parameters():
            gradient = found[f"{name}.{key}"]
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-6, atol=1e-9, msg=key)
    parameters = [p for network in trainer.networks.values() for p in network.parameters()]
    assert all(parameter.requires_grad for parameter in parameters)
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in parameters)


def test_each_network_is_clipped_by_itself(make, batch_of) -> None:
    """The norm of either generator's gradients, not that of both, is brought down."""
    limit = 1e-3
    found = gradients_of(make(gradients=GradientSteps(clip=limit)), [batch_of()])
    for name in NETWORKS:
        parts = [value.norm() for key, value in found.items() if key.startswith(f"{name}.")]
        norm = torch.stack(parts).norm().item()
        assert norm == pytest.approx(limit, rel=1e-2), name


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_network_learns(precision: str, make, batch_of) -> None:
    """All parameters change, whatever the precision, and the losses fall."""
    trainer = make(gradients=GradientSteps(precision=precision), batch=1)
    before = {name: value.clone() for name, value in trainer.weights().items()}
    first = trainer.step([batch_of()])
    same = [name for name, value in trainer.weights().items() if torch.equal(value, before[name])]
    assert same == []
    for _ in range(2):
        last = trainer.step([batch_of()])
    assert all(value.dtype == torch.float32 for value in last.values())
    assert last["loss"] < first["loss"]
    assert last["D_A"] < first["D_A"]


@pytest.mark.parametrize(("rate", "other"), [(None, 1.2e-3), (1e-3, 4e-3), (0.0, 0.0)])
def test_rates_are_multiplied_by_the_batch(rate, other: float, make) -> None:
    """Both of them; the discriminators' is the generators' unless it is given."""
    trainer = make({"discriminator_learning_rate": rate}, batch=4)
    assert trainer.learning_rates() == pytest.approx({"G": 1.2e-3, "D_A": other, "D_B": other})
    assert trainer.batch == 4


def test_a_rate_of_zero_leaves_the_discriminators(make, batch_of) -> None:
    """The rate that is reported is the one that is used."""
    trainer = make({"discriminator_learning_rate": 0.0})
    before = {name: value.clone() for name, value in trainer.weights().items()}
    trainer.step([batch_of()])
    for name, value in trainer.weights().items():
        assert torch.equal(value, before[name]) is name.startswith(DISCRIMINATORS), name


def test_the_group_loss_fades_with_the_steps(make, batch_of) -> None:
    """From its full weight on; what is logged bare does not fade."""
    options = {"content_half_life": 2.0, "learning_rate": 0.0, "content_weight": 30.0}
    trainer = make(options)
    for step in range(3):
        losses = trainer.step([batch_of()])
        bare = sum(losses[f"content_{name}"].item() for name in ("A1", "A2", "B1", "B2", "B3"))
        expected = 30 * 0.4 * bare * 0.5 ** (step / 2)
        assert losses["content"].item() == pytest.approx(expected, rel=1e-4)


def test_weights_are_told_by_the_options(make, batch_of) -> None:
    """The loss is what its terms add up to; without weights only the adversarial ones are left."""
    losses = make().step([batch_of()])
    terms = ("gan_AB", "gan_BA", "cycle_A", "cycle_B", "content")
    assert losses["loss"].item() == pytest.approx(sum(losses[t].item() for t in terms), rel=1e-5)
    plain = make({"cycle_weight": 0.0, "content_weight": 0.0}).step([batch_of()])
    assert plain["loss"].item() == pytest.approx(sum(losses[t].item() for t in terms[:2]), rel=1e-4)
    assert plain["cycle_A"] == plain["content"] == 0


def test_weights_and_facts_are_what_a_prediction_needs(make) -> None:
    """All networks behind their names, accepted by the method; facts of JSON types."""
    trainer = make({"lm_range": ("1%,99%",)})
    weights = trainer.weights()
    assert list(weights) == [
        f"{name}.{key}" for name in NETWORKS for key in trainer.networks[name].state_dict()
    ]
    assert not any(value.requires_grad for value in weights.values())
    facts = json.loads(json.dumps(trainer.facts()))
    assert facts == trainer.facts()
    assert METHOD.check_weights(dict(weights), Path("x")) == facts["network"]
    assert facts["tile"] == [2, 32, 32]
    assert facts["normalisation"] == {"lm": "1%,99%", "em": "dtype"}
    several = make({"lm": (Path("a.tif"), Path("b.tif")), "lm_range": ("1,2", "3,4")})
    assert several.facts()["normalisation"] == {"lm": None, "em": "dtype"}


def test_an_epoch_is_the_published_one(make) -> None:
    """As many steps as the larger kind has patches on the grid; the last batch may lack some."""
    lm = {"lm": (Path("a.tif"), Path("b.tif"))}
    trainer = make(lm, data=MICE)
    assert isinstance(trainer.sampler, UniformSampler)
    assert trainer.steps_per_epoch == 2 * 3 * 5 * 5
    assert make(lm, data=MICE, batch=4).steps_per_epoch == 38
    trainer = make({**lm, "patch_overlap": (0, 0, 0), "sampling": "original"}, data=MICE, seed=3)
    assert trainer.steps_per_epoch == 2 * 2 * 3 * 3
    assert isinstance(trainer.sampler, OriginalSampler)
    assert (trainer.sampler.overlap, trainer.sampler.seed) == ((0, 0, 0), 3)
    assert trainer.sampler.patch == trainer.sampler.validation_patch == (2, 32, 32)
    assert (trainer.num_epochs, trainer.num_validation, trainer.best) == (500, 4, None)


def test_memory_grows_with_samples_and_is_spared(make) -> None:
    """The trainer tells what it was made with."""
    plain, spared = make(), make({"checkpointing": True})
    assert spared.memory(4) < plain.memory(4)
    assert plain.memory(1) < plain.memory(2)
    assert make(PUBLISHED_PATCH).memory(1) == plain.memory(4)
    for trainer, checkpointing in ((plain, False), (spared, True)):
        found = {trainer.networks[name].checkpointing for name in GENERATORS}
        assert found == {checkpointing}
