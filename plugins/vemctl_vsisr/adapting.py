"""Adapt a generator and a discriminator to a task, as the published meta-training does.

Nothing of the networks themselves changes: each step gives new tensors, through which gradients
reach the parameters that they began as.

Source of the method: Finn et al., "Model-Agnostic Meta-Learning for Fast Adaptation of Deep
Networks", ICML 2017; here for two networks, as in the published program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

HALF_SCALE = 2.0**10
"""On losses within a task in half precision, whose small gradients would vanish."""

Run = Callable[[Tensor, Sequence[Tensor]], Tensor]
"""A network, (n, c, y, x) and its parameters to what it makes of them."""
Weights = Sequence[Tensor]


@dataclass(frozen=True)
class Examples:
    """Inputs (n, 7, y, x) and their truth (n, 3, 1.5 y, 1.5 x)."""

    inputs: Tensor
    truth: Tensor


@dataclass(frozen=True)
class Losses:
    """What generator and discriminator are to minimise.

    Attributes
    ----------
    generator, discriminator : callable
        Run either network with given parameters.
    reconstruction : callable
        From truth and restored planes to ().
    gan_weight : float
        Of the discriminator's verdict in the generator's loss.
    autocast : callable
        Returns the context of the networks' arithmetic.
    """

    generator: Run
    discriminator: Run
    reconstruction: Callable[[Tensor, Tensor], Tensor]
    gan_weight: float
    autocast: Callable[[], AbstractContextManager[Any]]

    def restore(self, pairs: Examples, generator: Weights) -> Tensor:
        """Return what a generator makes of the inputs."""
        with self.autocast():
            return precise(self.generator(pairs.inputs, generator))

    def of_generator(self, pairs: Examples, generator: Weights, discriminator: Weights) -> Tensor:
        """Return how far from the truth, and how easily told from it, restored planes are, ()."""
        restored = self.restore(pairs, generator)
        verdict = self._verdict(restored, discriminator, 1.0)
        return self.reconstruction(pairs.truth, restored) + self.gan_weight * verdict

    def of_discriminator(
        self, pairs: Examples, generator: Weights, discriminator: Weights
    ) -> Tensor:
        """Return how badly a discriminator tells restored planes from the truth, ().

        No gradients reach the generator.
        """
        with torch.no_grad():
            restored = self.restore(pairs, generator)
        of_truth = self._verdict(pairs.truth, discriminator, 1.0)
        return (of_truth + self._verdict(restored, discriminator, 0.0)) / 2

    def _verdict(self, planes: Tensor, discriminator: Weights, label: float) -> Tensor:
        with self.autocast():
            probability = precise(self.discriminator(planes, discriminator))
        return functional.binary_cross_entropy(probability, torch.full_like(probability, label))

    def scale(self, device: str) -> float:
        """Return by what losses within a task are multiplied before their gradients are taken."""
        with self.autocast():
            half = torch.get_autocast_dtype(device) == torch.float16
            return HALF_SCALE if half and torch.is_autocast_enabled(device) else 1.0


@dataclass(frozen=True)
class Adaptation:
    """How networks are adapted to a task.

    Attributes
    ----------
    rounds : int
    generator_steps, discriminator_steps : int
        Of each round; the discriminator comes first.
    generator_rate, discriminator_rate : float
        Of plain gradient descent.
    second_order : bool
        Let gradients through the gradients.
    """

    rounds: int
    generator_steps: int
    discriminator_steps: int
    generator_rate: float
    discriminator_rate: float
    second_order: bool = False


@dataclass(frozen=True)
class Stage:
    """Where an adaptation has come to.

    Attributes
    ----------
    round : int
        Counted from 0.
    adapted : {"discriminator", "generator"}
        Which of them was adapted last.
    generator, discriminator : sequence of tensor
        Parameters.
    """

    round: int
    adapted: Literal["discriminator", "generator"]
    generator: Weights
    discriminator: Weights


def stages(
    losses: Losses,
    support: Examples,
    generator: Weights,
    discriminator: Weights,
    adaptation: Adaptation,
) -> Iterator[Stage]:
    """Adapt networks to a task; each round yields a stage for either.

    Parameters
    ----------
    losses : Losses
    support : Examples
        What they are adapted to.
    generator, discriminator : sequence of tensor
        Parameters to begin with, which need gradients.
    adaptation : Adaptation
    """
    scale = losses.scale(support.inputs.device.type)

    def descended(loss: Tensor, weights: Weights, rate: float) -> list[Tensor]:
        second = adaptation.second_order
        gradients = torch.autograd.grad(loss * scale, list(weights), create_graph=second)
        return [w - rate * (g / scale) for w, g in zip(weights, gradients, strict=True)]

    for number in range(adaptation.rounds):
        for _ in range(adaptation.discriminator_steps):
            loss = losses.of_discriminator(support, generator, discriminator)
            discriminator = descended(loss, discriminator, adaptation.discriminator_rate)
        yield Stage(number, "discriminator", generator, discriminator)
        # Nothing of the discriminator depends on the parameters that the generator began as.
        fixed = detached(discriminator)
        for _ in range(adaptation.generator_steps):
            loss = losses.of_generator(support, generator, fixed)
            generator = descended(loss, generator, adaptation.generator_rate)
        yield Stage(number, "generator", generator, discriminator)


def detached(weights: Weights) -> list[Tensor]:
    """Return parameters through which no gradients go."""
    return [weight.detach() for weight in weights]


def afresh(weights: Weights) -> list[Tensor]:
    """Return parameters to begin with from which no gradients go on."""
    return [weight.detach().requires_grad_() for weight in weights]


def precise(values: Tensor) -> Tensor:
    """Return a tensor in no less than single precision, whatever the networks computed in."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
