"""The terms of rldfn's losses against the published ones, and what they are made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from parity import load_fixture
from torch import Tensor, nn
from vemctl_rldfn.losses import (
    LossWeights,
    adversarial,
    cycle,
    discriminator_losses,
    generator_losses,
    total_variation,
)
from vemctl_rldfn.section_plans import SectionPlan, StepOffsets, draw_step
from vemctl_rldfn.sections import section

PATCH = (16, 20, 24)
PLAN = SectionPlan(11, 12, 30.8, 5.0, 0.3)
WEIGHTS = LossWeights(2.0, 30.0, 0.1)


class Judge(nn.Module):
    """A discriminator that notes what it saw."""

    def __init__(self, seen: list[tuple[str, Tensor]], name: str) -> None:
        super().__init__()
        self._seen, self._name = seen, name
        self.slope = nn.Parameter(torch.tensor(1.5))

    def forward(self, planes: Tensor) -> Tensor:
        """Return judgements of pixels."""
        self._seen.append((self._name, planes.detach()))
        return torch.sigmoid(self.slope * planes)


@pytest.fixture
def reference() -> dict[str, Tensor]:
    """Return the fixture's arrays as tensors."""
    _, arrays, _ = load_fixture("rldfn_losses")
    return {name: torch.from_numpy(each) for name, each in arrays.items()}


@pytest.fixture
def seen() -> list[tuple[str, Tensor]]:
    """Return what discriminators will have seen."""
    return []


@pytest.fixture
def judges(seen) -> tuple[Judge, Judge]:
    """Return a discriminator of A and of B."""
    return Judge(seen, "A"), Judge(seen, "B")


@pytest.fixture
def volumes() -> list[Tensor]:
    """Return a fused volume, how the views would see it, and the views."""
    generator = torch.Generator().manual_seed(2)
    return [torch.rand(2, 1, *PATCH, generator=generator) for _ in range(5)]


@pytest.fixture
def offsets() -> StepOffsets:
    """Return random offsets."""
    return draw_step(PLAN, PATCH, 2, np.random.default_rng(1))


def close(found: Tensor, expected: Tensor) -> bool:
    """Return whether scalars agree to single precision."""
    return found.item() == pytest.approx(expected.item(), rel=2e-6)


def test_terms_are_the_published_ones(reference) -> None:
    """On the same judgements and volumes."""
    real = adversarial(reference["pred_real"], is_real=True)
    made = adversarial(reference["pred_fake"], is_real=False)
    assert close(real, reference["gan_true"])
    assert close(made, reference["gan_false"])
    assert close(0.5 * (real + made), reference["D_loss_backpropagated"])
    found = adversarial(reference["pred_fake"], is_real=True) / 3
    assert close(found, reference["gan_G_one_section"])
    inner = load_fixture("rldfn_losses")[0]["params"]["TV_inner_weight"]
    volume = reference["volume"]
    assert close(inner * total_variation(volume), reference["tv_batch2"])
    assert close(inner * total_variation(volume[:1]), reference["tv_batch1"])
    assert close(
        10 * cycle(reference["rec_A"], reference["real_A"]), reference["cycle_times_lambda"]
    )


def test_weights_are_the_published_ones_in_effect(reference) -> None:
    """The published options, with the factors that its code multiplies them by."""
    spec, _, _ = load_fixture("rldfn_losses")
    params = spec["params"]
    weights = LossWeights()
    classes = params["cycle_loss_weight_cli"] * params["cycle_class_factor"]
    assert weights.cycle == classes * params["lambda_G"]
    assert weights.tv == pytest.approx(params["TV_loss_weight_cli"] * params["TV_inner_weight"])
    assert weights.gan == 1
    total = (
        weights.gan * 2 * reference["gan_G_one_section"]
        + weights.cycle * 2 * cycle(reference["rec_A"], reference["real_A"])
        + weights.tv * total_variation(reference["volume"][:1])
    )
    assert close(total, reference["total_example"])


@pytest.mark.parametrize(("is_real", "bounds"), [(True, (0.313, 0.694)), (False, (0.693, 1.314))])
def test_adversarial_terms_are_bounded(is_real: bool, bounds) -> None:
    """For what is judged is a probability, taken as logits."""
    best, worst = (torch.full((2, 1, 3, 4), float(value)) for value in (is_real, not is_real))
    found = [adversarial(judged, is_real=is_real).item() for judged in (best, worst)]
    assert found == pytest.approx(bounds, abs=1e-3)


def test_half_precision_is_taken_as_single(volumes) -> None:
    """Sums of squares would overflow, and differences of judgements vanish."""
    fused, view = (100 * volume for volume in volumes[:2])
    for term in (
        total_variation,
        lambda volume: cycle(volume, view.half()),
        lambda volume: adversarial(volume / 100, is_real=True),
    ):
        found = term(fused.half())
        assert found.dtype == torch.float32
        expected = term(fused.half().float())
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)
        assert term(fused.double()).dtype == torch.float64


def test_generators_loss_is_the_weighted_sum(volumes, judges, seen, offsets) -> None:
    """Discriminators judge in the published order, and learn nothing."""
    fused, blurred, views = volumes[0].requires_grad_(), volumes[1:3], volumes[3:]
    found = generator_losses(
        fused, tuple(blurred), tuple(views), judges, PLAN, offsets.generator, WEIGHTS
    )
    assert [name for name, _ in seen] == ["A", "B", "A", "B"]
    for n, axis in enumerate((2, 3, 4, 4)):
        expected = section(fused.detach(), axis, PLAN, offsets.generator[n])
        torch.testing.assert_close(seen[n][1], expected, rtol=0, atol=0)
    judged = [adversarial(torch.sigmoid(1.5 * planes), is_real=True) for _, planes in seen]
    assert close(found["G_A"], (judged[0] + judged[2]) / 3)
    assert close(found["G_B"], (judged[1] + judged[3]) / 3)
    for view, name in enumerate(("cycle_A", "cycle_B")):
        assert close(found[name], (blurred[view] - views[view]).abs().mean())
    assert close(found["tv"], total_variation(fused.detach()))
    total = 2 * (found["G_A"] + found["G_B"]) + 0.1 * found["tv"]
    assert close(found["loss"].detach(), total + 30 * (found["cycle_A"] + found["cycle_B"]))
    assert [name for name, term in found.items() if term.requires_grad] == ["loss"]
    found["loss"].backward()
    assert fused.grad is not None
    assert fused.grad.abs().sum() > 0
    for judge in judges:
        assert judge.slope.grad is None
        assert judge.slope.requires_grad


def test_every_term_reaches_the_generator(volumes, judges, offsets) -> None:
    """The gradient of the whole is the sum of those of its terms."""

    def gradient(weights: LossWeights) -> Tensor:
        fused = volumes[0].clone().requires_grad_()
        blurred = (0.5 * fused, fused.square())
        views = (volumes[3], volumes[4])
        loss = generator_losses(fused, blurred, views, judges, PLAN, offsets.generator, weights)
        return torch.autograd.grad(loss["loss"], fused)[0]

    whole = gradient(WEIGHTS)
    parts = [gradient(LossWeights(*each)) for each in ((2.0, 0, 0), (0, 30.0, 0), (0, 0, 0.1))]
    assert min(part.norm().item() for part in parts) > 0
    torch.testing.assert_close(torch.stack(parts).sum(0), whole)


def test_discriminators_losses(volumes, judges, seen, offsets) -> None:
    """Of sections of views and of the fused volume, in the published order; it learns nothing."""
    fused, views = volumes[0].requires_grad_(), (volumes[3], volumes[4])
    found = discriminator_losses(fused, views, judges, PLAN, offsets.discriminators)
    assert [name for name, _ in seen] == ["A", "A", "B", "B"]
    volumes_seen = (views[0], fused.detach(), views[1], fused.detach())
    for n, (axis, volume) in enumerate(zip((0, 2, 1, 3), volumes_seen, strict=True)):
        expected = section(volume, axis, PLAN, offsets.discriminators[n])
        torch.testing.assert_close(seen[n][1], expected, rtol=0, atol=0)
    terms = [
        adversarial(torch.sigmoid(1.5 * planes), is_real=n % 2 == 0)
        for n, (_, planes) in enumerate(seen)
    ]
    assert close(found["D_A"], 0.5 * (terms[0] + terms[1]))
    assert close(found["D_B"], 0.5 * (terms[2] + terms[3]))
    assert close(found["loss"].detach(), found["D_A"] + found["D_B"])
    assert [name for name, term in found.items() if term.requires_grad] == ["loss"]
    found["loss"].backward()
    assert fused.grad is None
    assert all(judge.slope.grad is not None for judge in judges)
