"""Train both generators and both discriminators at once, as the published program does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vemctl.plugin import Batch, TrainingRequest, Validation
from vemctl_exem.building import Built, build
from vemctl_exem.judging import judge
from vemctl_exem.losses import (
    CONTENT_SHARE,
    Groups,
    adversarial,
    content_decay,
    content_terms_of_em,
    content_terms_of_lm,
    cycle,
    precise,
)
from vemctl_exem.memory import step_bytes
from vemctl_exem.network_sets import DISCRIMINATORS, GENERATORS, NETWORKS
from vemctl_exem.polarity import Polarity
from vemctl_exem.ranges import common_rule
from vemctl_exem.replay import ReplayBuffer
from vemctl_exem.train_options import TrainOptions

NUM_EPOCHS = 500
BETAS = (0.5, 0.999)
LOWEST_RATE = 0.01
"""Of the rate that was asked for, where the schedule lowers it."""

Content = Callable[[Groups, Tensor, Tensor], dict[str, Tensor]]


class ExemTrainer:
    """Two generators, two discriminators; an Adam for the generators and for each of the others.

    Parameters
    ----------
    built : Built
        Networks on their device, and what they are shown.
    options : TrainOptions
    request : TrainingRequest
    """

    num_epochs = NUM_EPOCHS
    best = None  # no number says how good a translation without a truth is

    def __init__(self, built: Built, options: TrainOptions, request: TrainingRequest) -> None:
        self.sampler = built.sampler
        self.batch = request.batch or 1
        self.steps_per_epoch = math.ceil(built.epoch_length / self.batch)
        self.num_validation = options.validation_samples
        self.networks = built.networks
        self._built = built
        self._options = options
        self._gradients = request.gradients
        self._device = request.device
        self._groups = Groups(options.lm_threshold, *options.em_thresholds)
        self._run: dict[str, Any] = {
            name: torch.compile(network) if request.compile else network
            for name, network in built.networks.items()
        }
        other = options.discriminator_learning_rate
        other = options.learning_rate if other is None else other
        self._rates = {"G": options.learning_rate * self.batch}
        self._rates |= dict.fromkeys(DISCRIMINATORS, other * self.batch)
        # Groups, so that the gradients of each generator are clipped by themselves.
        generators = [{"params": list(self.networks[name].parameters())} for name in GENERATORS]
        self._optimizers = {"G": torch.optim.Adam(generators, self._rates["G"], BETAS)} | {
            name: torch.optim.Adam(self.networks[name].parameters(), self._rates[name], BETAS)
            for name in DISCRIMINATORS
        }
        self._replay = {name: ReplayBuffer(options.replay_buffer) for name in DISCRIMINATORS}
        self._polarity = Polarity()
        self._step = 0
        self._set_rates()

    def step(self, batches: Sequence[Batch]) -> Mapping[str, Tensor]:
        """Update both generators, then each discriminator, on a batch of each kind.

        ``loss`` is that of the generators. Terms are as they enter the losses, but ``content_A1``
        to ``content_B3``, which are bare.
        """
        parts = len(batches)
        seen: list[dict[str, Tensor]] = []
        made: dict[str, list[Tensor]] = {name: [] for name in DISCRIMINATORS}
        with _frozen(*(self.networks[name] for name in DISCRIMINATORS)):
            for batch in batches:
                # What begins with A and what begins with B have no activation in common: a
                # backward pass of its own for each takes half the memory, for the same sums.
                of_a, fake_b = self._there_and_back(
                    batch["lm"], "AB", "BA", "D_B", content_terms_of_lm, parts
                )
                of_b, fake_a = self._there_and_back(
                    batch["em"], "BA", "AB", "D_A", content_terms_of_em, parts
                )
                seen.append(_joined(of_a, of_b))
                made["D_A"].append(fake_a)
                made["D_B"].append(fake_b)
        self._gradients.step(self._optimizers["G"])
        for name, kind in (("D_A", "lm"), ("D_B", "em")):
            for losses, batch, fake in zip(seen, batches, made[name], strict=True):
                losses[name] = self._discriminate(name, batch[kind], fake, parts)
            self._gradients.step(self._optimizers[name])
        self._step += 1
        self._set_rates()
        return {name: torch.stack([losses[name] for losses in seen]).mean() for name in seen[0]}

    def _there_and_back(
        self, real: Tensor, there: str, back: str, judge: str, content: Content, parts: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Add the gradients of the generators on one kind; return its losses and translation."""
        options = self._options
        with self._gradients.autocast():
            fake = self._run[f"G_{there}"](real)  # (n, 1, z, y, x)
            returned = self._run[f"G_{back}"](fake)  # (n, 1, z, y, x)
            scores = self._run[judge](fake)
        terms = content(self._groups, real, fake)
        decay = content_decay(self._step, options.content_half_life)
        losses: dict[str, Tensor] = {
            f"gan_{there}": adversarial(scores, 1.0),
            f"cycle_{there[0]}": options.cycle_weight * cycle(returned, real),
            "content": options.content_weight * decay * CONTENT_SHARE * _sum(terms),
        }
        loss = _sum(losses)
        self._gradients.backward(loss / parts)
        losses = {"loss": loss, **losses, **terms}
        return {name: value.detach() for name, value in losses.items()}, precise(fake.detach())

    def _discriminate(self, name: str, real: Tensor, made: Tensor, parts: int) -> Tensor:
        """Add the gradients of a discriminator; return its loss, ()."""
        made = self._replay[name].exchange(made)
        with self._gradients.autocast():
            of_real, of_made = self._run[name](real), self._run[name](made)
        loss = 0.5 * (adversarial(of_real, 1.0) + adversarial(of_made, 0.0))
        self._gradients.backward(loss / parts)
        return loss.detach()

    def validate(self, samples: Iterable[Batch]) -> Validation:
        """Return how well translations come back, and warn where contrast turns."""
        translate = {name: self.networks[name] for name in GENERATORS}
        found = judge(translate, samples, self._groups, self._gradients.autocast)
        warnings = []
        if self._options.content_weight:
            warnings = self._polarity.judge(found.metrics["val_polarity"])
        return replace(found, warnings=warnings)

    def validated(self, metrics: Mapping[str, float]) -> None:
        """Change nothing: the schedule does not depend on it."""

    def _set_rates(self) -> None:
        """Set the learning rates of the coming step."""
        factor = 1.0
        if self._options.rate_schedule == "cosine-restarts":
            factor = cosine_restarts(self._step, self._options.restart_steps)
        for name, optimizer in self._optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = self._rates[name] * factor

    def learning_rates(self) -> Mapping[str, float]:
        """Return those of the coming step, times the batch."""
        return {name: float(o.param_groups[0]["lr"]) for name, o in self._optimizers.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return networks, optimisers, the step, earlier translations, and the polarity."""
        return {
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "optimizers": {name: each.state_dict() for name, each in self._optimizers.items()},
            "replay": {name: buffer.state_dict() for name, buffer in self._replay.items()},
            "polarity": self._polarity.state_dict(),
            "step": self._step,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned; learning rates are what the options say."""
        for name, network in self.networks.items():
            network.load_state_dict(state["networks"][name])
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        for name, buffer in self._replay.items():
            buffer.load_state_dict(state["replay"][name], self._device)
        self._polarity.load_state_dict(state["polarity"])
        self._step = int(state["step"])
        self._set_rates()

    def weights(self) -> Mapping[str, Tensor]:
        """Return the parameters of all four networks, behind their names."""
        return {
            f"{name}.{key}": value
            for name in NETWORKS
            for key, value in self.networks[name].state_dict().items()
        }

    def facts(self) -> Mapping[str, Any]:
        """Return the networks, what was 0 and 1 to them, and what they saw."""
        built = self._built
        return {
            "network": {
                "name": "ExEM",
                "channels": list(built.channels),
                "discriminator": {"scales": built.scales, "filters": built.filters},
                "networks": list(NETWORKS),
            },
            "normalisation": {
                role: common_rule(rules) for role, rules in built.sampler.rules.items()
            },
            "tile": list(built.sampler.patch),
        }

    def memory(self, samples: int) -> int:
        """Return the bytes of activations, parameters, gradients and the optimisers' states."""
        built, checkpointing = self._built, self._options.checkpointing
        return step_bytes(
            built.channels,
            built.scales,
            built.filters,
            built.sampler.patch,
            samples,
            checkpointing=checkpointing,
        )


def make_trainer(options: TrainOptions, request: TrainingRequest) -> ExemTrainer:
    """Make or load the networks, and settle what they are shown.

    Parameters
    ----------
    options : TrainOptions
    request : TrainingRequest

    Raises
    ------
    WeightsError
        The weights to start from are of other networks.
    OptionError
        An option does not fit the networks or the data.
    """
    return ExemTrainer(build(options, request), options, request)


def cosine_restarts(step: int, first: int) -> float:
    """Return the factor on a learning rate that falls and starts again, each time twice as long.

    Parameters
    ----------
    step : int
        Counted from 0.
    first : int
        Steps until the first restart.

    Returns
    -------
    float
        From 1 down to `LOWEST_RATE`; with warm restarts of Loshchilov and Hutter, 2017.
    """
    cycles = int(math.log2(step / first + 1))
    begun = first * (2**cycles - 1)
    part = (step - begun) / (first * 2**cycles)
    return LOWEST_RATE + (1 - LOWEST_RATE) * (1 + math.cos(math.pi * part)) / 2


def _joined(of_a: Mapping[str, Tensor], of_b: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the losses of both kinds; what both have is added."""
    shared = {name: of_a[name] + of_b[name] for name in of_a.keys() & of_b.keys()}
    return {**of_a, **of_b, **shared}


def _sum(terms: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


@contextmanager
def _frozen(*networks: nn.Module) -> Iterator[None]:
    """Compute no gradients of these parameters meanwhile."""
    for network in networks:
        network.requires_grad_(requires_grad=False)
    try:
        yield
    finally:
        for network in networks:
            network.requires_grad_(requires_grad=True)
