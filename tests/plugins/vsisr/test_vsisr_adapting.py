"""Both networks are adapted to a task as the published meta-training adapts them."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional
from vemctl_vsisr.adapting import (
    HALF_SCALE,
    Adaptation,
    Examples,
    Losses,
    afresh,
    detached,
    precise,
    stages,
)

from vemctl.nn.gradients import GradientSteps

TINY = Adaptation(2, 2, 1, 0.05, 0.03)


class Tiny:
    """A generator and a discriminator of a few numbers, in double precision."""

    def __init__(self, gan_weight: float = 0.1) -> None:
        torch.manual_seed(0)
        self.gan_weight = gan_weight
        self.g = [torch.randn(3, 7, 1, 1).double() * 0.4, torch.randn(3).double() * 0.1]
        self.d = [torch.randn(3).double(), torch.randn(()).double()]

    @staticmethod
    def generator(planes: torch.Tensor, weights: Any) -> torch.Tensor:
        return torch.tanh(functional.conv2d(planes, *weights))

    @staticmethod
    def discriminator(planes: torch.Tensor, weights: Any) -> torch.Tensor:
        means = (planes**2).mean((2, 3))
        return torch.sigmoid(means @ weights[0] + weights[1])[:, None]

    def losses(self) -> Losses:
        return Losses(
            self.generator,
            self.discriminator,
            lambda truth, restored: ((truth - restored) ** 2).mean(),
            self.gan_weight,
            contextlib.nullcontext,
        )

    @staticmethod
    def pairs(seed: int) -> Examples:
        rng = torch.Generator().manual_seed(seed)
        inputs, truth = (torch.rand(2, n, 4, 4, generator=rng, dtype=torch.float64) for n in (7, 3))
        return Examples(inputs, truth)


def outer(tiny: Tiny, g: Any, d: Any, adaptation: Adaptation, *, of: str) -> torch.Tensor:
    """Return the loss after an adaptation."""
    losses, query = tiny.losses(), tiny.pairs(1)
    *_, last = stages(losses, tiny.pairs(0), g, d, adaptation)
    if of == "g":
        return losses.of_generator(query, last.generator, detached(last.discriminator))
    return losses.of_discriminator(query, last.generator, last.discriminator)


@pytest.mark.parametrize("of", ["g", "d"])
def test_second_order_gradients_are_those_of_the_whole_adaptation(of: str) -> None:
    """Compared with differences of the loss after an adaptation that begins a little elsewhere.

    Without what the networks have to do with each other, which is cut, as published.
    """
    tiny = Tiny(gan_weight=0.0)
    alone = replace(TINY, generator_rate=0.05 if of == "g" else 0.0)
    g, d = afresh(tiny.g), afresh(tiny.d)
    mine = g if of == "g" else d
    loss = outer(tiny, g, d, replace(alone, second_order=True), of=of)
    gradients = torch.autograd.grad(loss, mine)
    first = torch.autograd.grad(outer(tiny, g, d, alone, of=of), mine)
    assert not torch.allclose(gradients[0], first[0], rtol=1e-3)
    step = 1e-5
    for tensor, gradient in zip(mine, gradients, strict=True):
        for index in range(min(4, tensor.numel())):
            values = []
            for sign in (1, -2):
                with torch.no_grad():
                    tensor.view(-1)[index] += sign * step
                values.append(outer(tiny, g, d, alone, of=of).item())
            with torch.no_grad():
                tensor.view(-1)[index] += step
            slope = (values[0] - values[1]) / (2 * step)
            assert gradient.reshape(-1)[index].item() == pytest.approx(slope, rel=1e-5, abs=1e-9)


def test_second_order_gradients_are_those_of_the_published_order_of_steps() -> None:
    """Written down plainly, with all gradients kept, and restored planes detached for the judge."""
    tiny = Tiny()
    support, query = tiny.pairs(0), tiny.pairs(1)
    cross = functional.binary_cross_entropy

    def loss_d(pairs: Examples, g: Any, d: Any) -> torch.Tensor:
        real = tiny.discriminator(pairs.truth, d)
        fake = tiny.discriminator(tiny.generator(pairs.inputs, g).detach(), d)
        return (cross(real, torch.ones_like(real)) + cross(fake, torch.zeros_like(fake))) / 2

    def loss_g(pairs: Examples, g: Any, d: Any) -> torch.Tensor:
        restored = tiny.generator(pairs.inputs, g)
        verdict = tiny.discriminator(restored, d)
        error = ((pairs.truth - restored) ** 2).mean()
        return error + 0.1 * cross(verdict, torch.ones_like(verdict))

    def descend(loss: torch.Tensor, weights: Any, rate: float) -> Any:
        slopes = torch.autograd.grad(loss, weights, create_graph=True)
        return [w - rate * s for w, s in zip(weights, slopes, strict=True)]

    g0, d0 = afresh(tiny.g), afresh(tiny.d)
    g, d = g0, d0
    for _ in range(2):
        d = descend(loss_d(support, g, d), d, 0.03)
        for _ in range(2):
            g = descend(loss_g(support, g, d), g, 0.05)
    expected_d = torch.autograd.grad(loss_d(query, g, d), d0, retain_graph=True)
    expected_g = torch.autograd.grad(loss_g(query, g, d), g0)
    whole = replace(TINY, second_order=True)
    g, d = afresh(tiny.g), afresh(tiny.d)
    found_d = torch.autograd.grad(outer(tiny, g, d, whole, of="d"), d)
    found_g = torch.autograd.grad(outer(tiny, g, d, whole, of="g"), g)
    for ours, theirs in zip([*found_d, *found_g], [*expected_d, *expected_g], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("of", ["g", "d"])
def test_first_order_gradients_are_those_where_the_adaptation_has_come_to(of: str) -> None:
    """The adapted parameters count as if they were the first ones."""
    tiny = Tiny()
    g, d = afresh(tiny.g), afresh(tiny.d)
    mine = g if of == "g" else d
    found = torch.autograd.grad(outer(tiny, g, d, TINY, of=of), mine)
    *_, last = stages(tiny.losses(), tiny.pairs(0), g, d, TINY)
    fast_g, fast_d = afresh(last.generator), afresh(last.discriminator)
    loss = getattr(tiny.losses(), {"g": "of_generator", "d": "of_discriminator"}[of])
    direct = torch.autograd.grad(
        loss(tiny.pairs(1), fast_g, fast_d), fast_g if of == "g" else fast_d
    )
    for ours, theirs in zip(found, direct, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)


def test_nothing_of_the_networks_changes() -> None:
    """New tensors are made; the first are as they were, without gradients."""
    tiny = Tiny()
    g, d = afresh(tiny.g), afresh(tiny.d)
    *_, last = stages(tiny.losses(), tiny.pairs(0), g, d, TINY)
    for ours, theirs, fast in zip([*g, *d], [*tiny.g, *tiny.d],
                                  [*last.generator, *last.discriminator], strict=True):  # fmt: skip
        assert torch.equal(ours, theirs)
        assert ours.grad is None
        assert not torch.equal(fast, ours)


def test_rounds_yield_the_discriminator_first() -> None:
    """Each adapts one of them, by as many steps as are asked for."""
    tiny = Tiny()
    g, d = afresh(tiny.g), afresh(tiny.d)
    found = list(stages(tiny.losses(), tiny.pairs(0), g, d, TINY))
    assert [(s.round, s.adapted) for s in found] == [
        (0, "discriminator"), (0, "generator"), (1, "discriminator"), (1, "generator")
    ]  # fmt: skip
    assert found[0].generator is g
    assert found[1].discriminator is found[0].discriminator
    twice = replace(TINY, rounds=1, discriminator_steps=2)
    stage = next(stages(tiny.losses(), tiny.pairs(0), g, d, twice))
    by_hand = d
    for _ in range(2):
        loss = tiny.losses().of_discriminator(tiny.pairs(0), g, by_hand)
        slopes = torch.autograd.grad(loss, by_hand)
        by_hand = [w - 0.03 * s for w, s in zip(by_hand, slopes, strict=True)]
    for ours, theirs in zip(stage.discriminator, by_hand, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)


def test_losses_are_scaled_in_half_precision_alone() -> None:
    """As autocast says; what comes out of networks is single precision then."""
    scales = {
        None: GradientSteps().autocast,
        torch.bfloat16: GradientSteps(precision="bf16").autocast,
        torch.float16: lambda: torch.autocast("cpu", dtype=torch.float16),
    }
    for dtype, autocast in scales.items():
        losses = replace(Tiny().losses(), autocast=autocast)
        assert losses.scale("cpu") == (HALF_SCALE if dtype == torch.float16 else 1)
    assert precise(torch.ones(1, dtype=torch.float16)).dtype == torch.float32
    assert precise(torch.ones(1, dtype=torch.float64)).dtype == torch.float64
