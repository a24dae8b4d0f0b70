"""From losses to updates: accumulation, clipping, precision, and states of optimisers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vemctl.nn.gradients import GradientSteps
from vemctl.nn.optimizers import optimizer_state, restore_optimizer


def parameter() -> nn.Parameter:
    """Return three numbers to learn."""
    return nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))


def test_losses_add_up_until_the_step_and_then_begin_anew() -> None:
    """Two halves of a loss are the loss."""
    whole, halves = parameter(), parameter()
    for value, parts in ((whole, 1), (halves, 2)):
        steps = GradientSteps()
        optimizer = torch.optim.SGD([value], lr=0.1)
        for _ in range(2):
            for _ in range(parts):
                steps.backward((value**2).sum() / parts)
            steps.step(optimizer)
            assert value.grad is None
    torch.testing.assert_close(halves, whole)


def test_gradients_are_clipped_to_a_norm() -> None:
    """Of all parameters of the optimiser together."""
    value = parameter()
    before = value.detach().clone()
    steps = GradientSteps(clip=0.5)
    steps.backward((value * 100).sum())
    steps.step(torch.optim.SGD([value], lr=1.0))
    assert torch.linalg.vector_norm(before - value).item() == pytest.approx(0.5, rel=1e-4)


def test_averages_come_before_clipping() -> None:
    """Every device clips the same."""
    order: list[float] = []
    value = parameter()

    def average(parameters) -> None:
        order.append(float(parameters[0].grad.norm()))
        parameters[0].grad /= 1000

    steps = GradientSteps(clip=1e9, average=average)
    steps.backward((value * 1000).sum())
    before = value.detach().clone()
    steps.step(torch.optim.SGD([value], lr=1.0))
    assert order == [pytest.approx(1000 * 3**0.5)]
    torch.testing.assert_close(before - value, torch.ones(3))


@pytest.mark.parametrize(
    ("precision", "kind"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_the_network_computes_in_the_precision_asked_for(precision: str, kind: torch.dtype) -> None:
    """Parameters stay float32, and learn; the scale of losses outlives a checkpoint."""
    network = nn.Linear(4, 1)
    steps = GradientSteps("cpu", precision)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    batch = torch.randn(16, 4, generator=torch.Generator().manual_seed(1))
    losses = []
    for _ in range(30):
        with steps.autocast():
            result = network(batch)
        assert result.dtype == kind
        loss = ((result.float() - 1) ** 2).mean()
        steps.backward(loss)
        steps.step(optimizer)
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert network.weight.dtype == torch.float32
    again = GradientSteps("cpu", precision)
    again.load_state_dict(steps.state_dict())
    assert again.state_dict() == steps.state_dict()


def test_an_overflow_in_half_precision_leaves_the_update_out() -> None:
    """And lowers the scale."""
    value = parameter()
    before = value.detach().clone()
    steps = GradientSteps("cpu", "fp16")
    scale = steps.state_dict()["scale"]
    steps.backward((value * torch.inf).sum())
    steps.step(torch.optim.SGD([value], lr=1.0))
    assert torch.equal(before, value.detach())
    assert steps.state_dict()["scale"] < scale


def test_a_learning_rate_that_was_changed_scales_what_a_schedule_made_of_it() -> None:
    """The same rate restores the state as it was."""
    value = parameter()
    optimizer = torch.optim.Adam([value], lr=0.1)
    optimizer.param_groups[0]["lr"] = 0.05  # a schedule has halved it
    state = optimizer_state(optimizer, 0.1)
    for rate, expected in ((0.1, 0.05), (0.2, 0.1)):
        other = torch.optim.Adam([value], lr=rate)
        restore_optimizer(other, state, rate)
        assert other.param_groups[0]["lr"] == pytest.approx(expected)


def test_groups_are_clipped_each_by_itself() -> None:
    """As two networks of one optimiser are."""
    large, small = parameter(), parameter()
    steps = GradientSteps(clip=1.0)
    steps.backward((large * 1000).sum() + (small * 0.001).sum())
    optimizer = torch.optim.SGD([{"params": [large]}, {"params": [small]}], lr=1.0)
    before = [each.detach().clone() for each in (large, small)]
    steps.step(optimizer)
    assert (large.detach() - before[0]).norm() == pytest.approx(1.0, rel=1e-4)
    assert torch.allclose(before[1] - small.detach(), torch.full_like(small, 0.001), atol=1e-6)
