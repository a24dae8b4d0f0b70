"""Train a generator such that few steps adapt it to a specimen: meta-training, as published."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from vemctl.errors import OptionError
from vemctl.nn.optimizers import optimizer_state, restore_optimizer
from vemctl.plugin import Batch, Best, Trainer, TrainingRequest, Validation
from vemctl_vsisr.adapting import Adaptation, Examples, Stage, Weights, afresh, detached, stages
from vemctl_vsisr.building import (
    discriminator_for,
    facts_of,
    generator_for,
    make_losses,
    task_sampler,
)
from vemctl_vsisr.discriminator import Discriminator
from vemctl_vsisr.finetuner import make_finetuner
from vemctl_vsisr.judging import enlarged_panel, to_unit
from vemctl_vsisr.memory import (
    STEP_BYTES,
    discriminator_parameters,
    generator_parameters,
    step_bytes,
)
from vemctl_vsisr.network import Generator
from vemctl_vsisr.samples import TaskSampler
from vemctl_vsisr.train_options import FinetuneOptions, PairOptions, TrainOptions

NUM_EPOCHS, STEPS_PER_EPOCH = 100, 1000
VALIDATION_ROUNDS = 2
"""Times as many rounds as in training."""
LOWEST_RATE = 0.01
"""Of the rate that was asked for, where the schedule lowers it."""
UNROLLED = 1.3
"""Times what a step keeps of first order."""
INTERVAL = "val_train_loss"
"""The mean loss since the last validation, by which the learning rates are lowered."""


class MetaTrainer:
    """A generator and a discriminator, adapted to task after task, and an Adam for each.

    Parameters
    ----------
    generator, discriminator : Module
        On their device.
    sampler : TaskSampler
    options : TrainOptions
    request : TrainingRequest
    """

    steps_per_epoch = STEPS_PER_EPOCH
    num_epochs = NUM_EPOCHS
    best = Best("val_loss", "min")

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        sampler: TaskSampler,
        options: TrainOptions,
        request: TrainingRequest,
    ) -> None:
        self.sampler = sampler
        self.batch = sampler.batch
        self.num_validation = sampler.num_validation
        self.networks: dict[str, nn.Module] = {"G": generator, "D": discriminator}
        self._generator = generator
        self._options = options
        self._gradients = request.gradients
        self._facts = facts_of(generator, options, request, sampler.patch, "meta")
        self._losses = make_losses(options, request, generator, discriminator)
        self._adaptation = Adaptation(
            options.rounds,
            options.generator_steps,
            options.discriminator_steps,
            options.inner_learning_rate,
            options.inner_discriminator_learning_rate,
            options.second_order,
        )
        self._rates = {"G": options.learning_rate, "D": options.discriminator_learning_rate}
        self._optimizers = {
            name: torch.optim.Adam(network.parameters(), self._rates[name])
            for name, network in self.networks.items()
        }
        self._schedules = {
            name: ReduceLROnPlateau(
                optimizer,
                factor=options.schedule_factor,
                patience=options.schedule_patience,
                min_lr=LOWEST_RATE * self._rates[name],
            )
            for name, optimizer in self._optimizers.items()
        }
        self._sum = torch.zeros(())
        self._summed = 0

    def step(self, batches: Sequence[Batch]) -> Mapping[str, Tensor]:
        """Adapt to each task, then update the discriminator and the generator by what that gave.

        ``loss`` is the generator's on pairs that were not adapted to, ``before`` the same of what
        was not adapted, ``D`` the discriminator's.

        Parameters
        ----------
        batches : sequence of Batch
            ``input``, (tasks, pairs, 7, y, x), and ``gt``, (tasks, pairs, 3, 1.5 y, 1.5 x).
        """
        total = sum(len(batch["input"]) for batch in batches)
        generator, discriminator = (list(n.parameters()) for n in self.networks.values())
        found: dict[str, list[Tensor]] = {"loss": [], "before": [], "D": []}
        adapted: list[tuple[Examples, Weights, Weights]] = []
        for support, query in _tasks(batches, self._options.support):
            judging: list[Stage] = []
            for last in stages(self._losses, support, generator, discriminator, self._adaptation):
                if last.adapted == "discriminator":
                    judging.append(last)
            with torch.no_grad():
                fixed = judging[0].discriminator
                found["before"].append(self._losses.of_generator(query, generator, fixed))
            # The discriminator as it has learnt to judge the generator of the round's beginning.
            stage = judging[-1]
            loss = self._losses.of_discriminator(query, stage.generator, stage.discriminator)
            self._gradients.backward(loss / total)
            found["D"].append(loss.detach())
            adapted.append((query, last.generator, detached(last.discriminator)))
        self._gradients.step(self._optimizers["D"])
        # The generator's later, for the scale of losses may change in between.
        for query, fast, fixed in adapted:
            loss = self._losses.of_generator(query, fast, fixed)
            self._gradients.backward(loss / total)
            found["loss"].append(loss.detach())
        self._gradients.step(self._optimizers["G"])
        losses = {name: torch.stack(values).mean() for name, values in found.items()}
        self._sum = self._sum.to(losses["loss"].device) + losses["loss"]
        self._summed += 1
        return losses

    def validate(self, samples: Iterable[Batch]) -> Validation:
        """Adapt to tasks that were not trained on; return mean losses of the pairs left over."""
        found: dict[str, list[float]] = {"val_loss": [], "val_before": [], "val_D": []}
        panels: dict[str, Any] = {}
        rounds = VALIDATION_ROUNDS * self._adaptation.rounds
        adaptation = replace(self._adaptation, rounds=rounds, second_order=False)
        begun = [afresh(list(network.parameters())) for network in self.networks.values()]
        for support, query in _tasks(samples, self._options.validation_support):
            *_, last = stages(self._losses, support, begun[0], begun[1], adaptation)
            with torch.no_grad():
                for n in range(len(query.inputs)):
                    one = Examples(query.inputs[n : n + 1], query.truth[n : n + 1])
                    g, d = last.generator, last.discriminator
                    values = {
                        "val_loss": self._losses.of_generator(one, g, d),
                        "val_before": self._losses.of_generator(one, begun[0], d),
                        "val_D": self._losses.of_discriminator(one, g, d),
                    }
                    for name, value in values.items():
                        found[name].append(value.item())
                    panels = panels or self._panels(one, begun[0], g)
        metrics = {name: _mean(values) for name, values in found.items()}
        if self._summed:
            metrics[INTERVAL] = self._sum.item() / self._summed
        scaled_as = {name: name for name in panels}
        return Validation(metrics, panels, scaled_as)

    def _panels(self, pair: Examples, before: Weights, after: Weights) -> dict[str, Any]:
        """Return the middle planes of a pair, each on its own scale, for outputs have none."""
        truth = pair.truth[0, 1]
        shown = {
            "input": pair.inputs[0, pair.inputs.shape[1] // 2],
            "before": self._losses.restore(pair, before)[0, 1],
            "output": self._losses.restore(pair, after)[0, 1],
            "target": truth,
        }
        planes = {name: to_unit(plane.float().cpu().numpy()) for name, plane in shown.items()}
        return planes | {"input": enlarged_panel(planes["input"], tuple(truth.shape))}

    def validated(self, metrics: Mapping[str, float]) -> None:
        """Lower both learning rates where the loss of the training no longer falls."""
        if INTERVAL in metrics:
            for schedule in self._schedules.values():
                schedule.step(metrics[INTERVAL])
        self._sum, self._summed = torch.zeros_like(self._sum), 0

    def learning_rates(self) -> Mapping[str, float]:
        """Return those of both Adams."""
        return {name: float(o.param_groups[0]["lr"]) for name, o in self._optimizers.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return networks, optimisers, schedules, and the losses since the last validation."""
        return {
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "adam": {
                name: optimizer_state(optimizer, self._rates[name])
                for name, optimizer in self._optimizers.items()
            },
            "schedules": {name: each.state_dict() for name, each in self._schedules.items()},
            "sum": self._sum,
            "summed": self._summed,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        options = self._options
        for name, network in self.networks.items():
            network.load_state_dict(state["networks"][name])
            restore_optimizer(self._optimizers[name], state["adam"][name], self._rates[name])
            schedule = self._schedules[name]
            schedule.load_state_dict(state["schedules"][name])
            # What the options say now; they are the recorded ones unless changes were allowed.
            schedule.factor, schedule.patience = options.schedule_factor, options.schedule_patience
            schedule.min_lrs = [LOWEST_RATE * self._rates[name]]
        self._sum, self._summed = state["sum"].clone(), int(state["summed"])

    def weights(self) -> Mapping[str, Tensor]:
        """Return the generator's parameters by their published keys."""
        return self._generator.state_dict()

    def facts(self) -> Mapping[str, Any]:
        """Return the network, its normalisation, and what it saw."""
        return self._facts

    def memory(self, samples: int) -> int:
        """Return the bytes that a step on so many tasks takes."""
        options, blocks = self._options, self._generator.num_blocks
        _, y, x = self.sampler.patch
        pairs = max(
            options.support, options.pairs_per_task - options.support, options.validation_support
        )
        whole = step_bytes(pairs, y, x, judged=True, num_blocks=blocks)
        adapted = 4 * (generator_parameters(num_blocks=blocks) + discriminator_parameters())
        if options.second_order:
            # What a step of either keeps stays for the gradients of its gradients.
            steps = options.rounds * (options.generator_steps + options.discriminator_steps)
            adapted += int(UNROLLED * steps * (whole - STEP_BYTES))
        return whole + samples * adapted


def make_trainer(options: PairOptions, request: TrainingRequest) -> Trainer:
    """Make what meta-trains or, for `FinetuneOptions`, what fine-tunes.

    Parameters
    ----------
    options : PairOptions
        `TrainOptions` or `FinetuneOptions`.
    request : TrainingRequest

    Raises
    ------
    WeightsError
        The weights to start from are of another network.
    InputError
        The data are no pairs, or too few.
    OptionError
        Options contradict each other or the weights.
    """
    if isinstance(options, FinetuneOptions):
        return make_finetuner(options, request)
    assert isinstance(options, TrainOptions), "there are two kinds"
    for less, more in (("support", "pairs_per_task"), ("validation_support", "validation_pairs")):
        if getattr(options, less) >= getattr(options, more):
            flags = [f"--{n.replace('_', '-')} {getattr(options, n)}" for n in (less, more)]
            raise OptionError(f"{flags[0]} with {flags[1]}: expected fewer, some pairs judge")
    if request.compile and options.second_order:
        raise OptionError("--compile with --second-order: not possible; leave one of them out")
    sampler = task_sampler(options, request)
    generator = generator_for(request, options.generator, options.blocks)
    discriminator = discriminator_for(request, options.discriminator, generator.out_channels)
    return MetaTrainer(generator, discriminator, sampler, options, request)


def _tasks(batches: Iterable[Batch], support: int) -> Iterator[tuple[Examples, Examples]]:
    """Yield the pairs of each task that are adapted to, and those that judge it."""
    for batch in batches:
        for inputs, truth in zip(batch["input"], batch["gt"], strict=True):
            yield (
                Examples(inputs[:support], truth[:support]),
                Examples(inputs[support:], truth[support:]),
            )


def _mean(values: Sequence[float]) -> float:
    """Return the mean of what are numbers: a plane without contrast has no loss."""
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan
