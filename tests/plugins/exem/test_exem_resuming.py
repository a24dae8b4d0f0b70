"""A training of exem that goes on, and its schedule of rates."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from vemctl_exem.trainer import LOWEST_RATE, cosine_restarts

from vemctl.nn.gradients import GradientSteps

SCHEDULED = {"rate_schedule": "cosine-restarts", "restart_steps": 2, "replay_buffer": 2}


def test_continues_as_if_never_stopped(make, batch_of, tmp_path) -> None:
    """Networks, optimisers, schedule, decay and earlier translations come back from a file."""
    trainer = make({**SCHEDULED, "content_half_life": 2.0}, gradients=GradientSteps())
    for seed in range(3):
        trainer.step([batch_of(1, seed)])
    trainer._polarity.judge(0.8)
    torch.save(trainer.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    other = make({**SCHEDULED, "content_half_life": 2.0}, gradients=GradientSteps())
    other.load_state_dict(state)
    assert other.learning_rates() == trainer.learning_rates()
    found = []
    for each in (trainer, other):
        torch.manual_seed(7)
        steps = [each.step([batch_of(2, seed)]) for seed in range(3, 5)]
        found.append([{name: loss.item() for name, loss in losses.items()} for losses in steps])
    assert found[0] == found[1]
    assert other.learning_rates() == trainer.learning_rates()
    weights = other.weights()
    for name, value in trainer.weights().items():
        assert torch.equal(value, weights[name]), name
    assert other.state_dict()["step"] == 5
    for name, kept in trainer.state_dict()["replay"].items():
        same = other.state_dict()["replay"][name]["kept"]
        assert len(kept["kept"]) == len(same) == 2
        assert all(map(torch.equal, kept["kept"], same))
    assert other._polarity.judge(0.0) == trainer._polarity.judge(0.0) != []


def test_rates_are_what_the_options_say(make, batch_of) -> None:
    """Also where the training that is continued had others."""
    trainer = make()
    trainer.step([batch_of()])
    other = make({"learning_rate": 1e-5, "discriminator_learning_rate": 2e-5})
    other.load_state_dict(trainer.state_dict())
    assert other.learning_rates() == pytest.approx({"G": 1e-5, "D_A": 2e-5, "D_B": 2e-5})


def test_discriminators_see_earlier_translations(make, batch_of) -> None:
    """In some of the steps after the buffer is full; the generators never do."""
    plain, replaying = make(), make({"replay_buffer": 1})
    torch.manual_seed(2)
    differ = []
    for seed in range(3):
        batch = batch_of(1, seed)
        state = {**plain.state_dict(), "replay": replaying.state_dict()["replay"]}
        replaying.load_state_dict(deepcopy(state))
        one, other = plain.step([batch]), replaying.step([batch])
        assert one["loss"].item() == other["loss"].item()
        differ += [one[name].item() != other[name].item() for name in ("D_A", "D_B")]
    assert not any(differ[:2])
    assert 0 < sum(differ[2:]) < 4


@pytest.mark.parametrize("first", [1, 3, 7])
def test_restarts_are_those_of_torch(first: int) -> None:
    """The factor of the rate at each step."""
    rate = 2e-3
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], rate)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, T_0=first, T_mult=2, eta_min=LOWEST_RATE * rate
    )
    for step in range(80):
        expected = optimizer.param_groups[0]["lr"]
        assert rate * cosine_restarts(step, first) == pytest.approx(expected, rel=1e-9), step
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("first", [10_000, 7777, 3])
def test_restarts_are_on_time(first: int) -> None:
    """Full at each, and lowest just before, however long the training."""
    for cycle in range(14):
        begin = first * (2**cycle - 1)
        assert cosine_restarts(begin, first) == 1.0
        if cycle:
            assert cosine_restarts(begin + first * 2 ** (cycle - 1), first) == pytest.approx(0.505)
        if cycle > 3:
            assert cosine_restarts(begin - 1, first) < 0.02


def test_all_rates_follow_the_schedule(make, batch_of) -> None:
    """From the first step on, each on its own height; a constant one stays."""
    trainer, constant = make({**SCHEDULED, "discriminator_learning_rate": 1e-3}, batch=2), make()
    for step in range(3):
        factor = cosine_restarts(step, 2)
        expected = {"G": 6e-4 * factor, "D_A": 2e-3 * factor, "D_B": 2e-3 * factor}
        assert trainer.learning_rates() == pytest.approx(expected)
        used = {name: o.param_groups for name, o in trainer._optimizers.items()}
        assert {g["lr"] for g in used["G"]} == {trainer.learning_rates()["G"]}
        trainer.step([batch_of()])
        assert constant.learning_rates() == {"G": 3e-4, "D_A": 3e-4, "D_B": 3e-4}
        constant.step([batch_of()])
