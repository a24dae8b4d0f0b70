"""Train a network of pssr on pairs of poor and good images, as published (the specification, 4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vemctl.nn.optimizers import optimizer_state
from vemctl.plugin import Batch, Best, Sampler, TrainingRequest, Validation
from vemctl_pssr.architecture import SCALE, Architecture
from vemctl_pssr.checkpoints import Normalisation
from vemctl_pssr.judging import judge
from vemctl_pssr.losses import make_loss
from vemctl_pssr.memory import step_bytes
from vemctl_pssr.one_cycle import set_step
from vemctl_pssr.train_options import TrainOptions

NUM_EPOCHS = 50
BATCH = 8
SHALLOW = ("0", "1", "2", "3", "4", "5")
"""Children of the encoder that make up its first group."""
ENCODER = "layers.0"
DECAY, DENSE_DECAY = 1e-3, 1e-2


@dataclass(frozen=True)
class Learned:
    """What a training makes, and what is told of it beside the weights.

    Attributes
    ----------
    network : Module
        On its device.
    architecture : Architecture
    normalisation : Normalisation
    facts : mapping
        JSON types: of images and ranges.
    """

    network: nn.Module
    architecture: Architecture
    normalisation: Normalisation
    facts: Mapping[str, Any]


class PssrTrainer:
    """A network, its loss, and one cycle of AdamW.

    Parameters
    ----------
    learned : Learned
    sampler : Sampler
        Of poor and good images in [0, 1].
    steps_per_epoch : int
    options : TrainOptions
    request : TrainingRequest
    """

    num_epochs = NUM_EPOCHS
    best = Best("val_loss", "min")

    def __init__(
        self,
        learned: Learned,
        sampler: Sampler,
        steps_per_epoch: int,
        options: TrainOptions,
        request: TrainingRequest,
    ) -> None:
        self.sampler = sampler
        self.batch = request.batch or BATCH
        self.steps_per_epoch = steps_per_epoch
        self.num_validation = options.validation_samples
        self.networks = {"network": learned.network}
        self._learned = learned
        self._network = learned.network
        self._compiled = torch.compile(self._network) if request.compile else self._network
        self._options = options
        self._edge = options.patch[1]
        self._gradients = request.gradients
        self._total = request.steps or NUM_EPOCHS * steps_per_epoch
        self._done = 0
        self._loss = make_loss(
            options.loss,
            options.feature_weights,
            mean=learned.normalisation.mean,
            std=learned.normalisation.std,
            device=request.device,
        )
        groups, self._peaks = groups_and_peaks(self._network, learned.architecture, options)
        decay = options.weight_decay
        if decay is None:
            decay = DENSE_DECAY if learned.architecture.encoder == "rrdb" else DECAY
        self._optimizer = torch.optim.AdamW(
            [{"params": group} for group in groups], options.learning_rate, weight_decay=decay
        )

    def step(self, batches: Sequence[Batch]) -> Mapping[str, Tensor]:
        """Learn from poor images, ``lr`` (n, frames, h, w), what good ones, ``hr``, look like."""
        self._network.train()
        self._set_rates()
        seen = []
        for batch in batches:
            with self._gradients.autocast():
                restored = self._compiled(self._input(batch["lr"]))
            target = self._normal(batch["hr"]).expand_as(restored)
            losses = self._loss(restored.float(), target)
            self._gradients.backward(losses["loss"] / len(batches))
            seen.append({name: loss.detach() for name, loss in losses.items()})
        self._gradients.step(self._optimizer)
        self._done += 1
        return {name: torch.stack([losses[name] for losses in seen]).mean() for name in seen[0]}

    def _set_rates(self) -> None:
        set_step(
            self._optimizer, self._done, self._total, self._peaks, pct_start=self._options.warm_up
        )

    def _input(self, poor: Tensor) -> Tensor:
        """Return what the network sees of poor images in [0, 1]."""
        architecture = self._learned.architecture
        if not architecture.upsamples:
            # Edges on edges, as predictions with these weights will enlarge: see `EvenTiles`.
            poor = functional.interpolate(
                poor, scale_factor=SCALE, mode="bilinear", align_corners=False
            )
        return self._normal(poor.expand(-1, architecture.in_channels, -1, -1))

    def _normal(self, images: Tensor) -> Tensor:
        mean, std = (
            images.new_tensor(values).reshape(1, -1, 1, 1)
            for values in (self._learned.normalisation.mean, self._learned.normalisation.std)
        )
        return (images - mean) / std

    @torch.no_grad()
    def validate(self, samples: Iterable[Batch]) -> Validation:
        """Enlarge samples; see `vemctl_pssr.judging.judge`."""
        self._network.eval()
        stored = self._learned.normalisation

        def upscale(poor: Tensor) -> Tensor:
            with self._gradients.autocast():
                restored: Tensor = self._network(self._input(poor))[:, :1]
            return restored.float() * stored.std[0] + stored.mean[0]

        def loss(output: Tensor, target: Tensor) -> Tensor:
            return self._loss(self._normal(output), self._normal(target))["loss"]

        return judge(upscale, samples, loss)

    def validated(self, metrics: Mapping[str, float]) -> None:
        """Nothing depends on it: the cycle is fixed."""

    def learning_rates(self) -> Mapping[str, float]:
        """Return those of the encoder's two groups, if they are trained, and of the decoder."""
        rates = [float(group["lr"]) for group in self._optimizer.param_groups]
        names = ("encoder", "encoder_deep", "decoder")[-len(rates) :]
        return dict(zip(names, rates, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Return the states of network and optimiser, and the place in the cycle."""
        return {
            "network": self._network.state_dict(),
            "adam": optimizer_state(self._optimizer, self._options.learning_rate),
            "done": self._done,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned; rates are those of the cycle as it is now."""
        self._network.load_state_dict(state["network"])
        decay = [group["weight_decay"] for group in self._optimizer.param_groups]
        self._optimizer.load_state_dict(state["adam"]["optimizer"])
        for group, each in zip(self._optimizer.param_groups, decay, strict=True):
            group["weight_decay"] = each
        self._done = int(state["done"])

    def weights(self) -> Mapping[str, Tensor]:
        """Return the network's parameters by their published keys."""
        return self._network.state_dict()

    def facts(self) -> Mapping[str, Any]:
        """Return the network, its normalisation, and what it saw."""
        learned = self._learned
        normalisation = learned.normalisation.to_json()
        facts = dict(learned.facts)
        return {
            "network": {"name": learned.architecture.name, **learned.architecture.to_json()},
            "normalisation": {**normalisation, "range": facts.pop("range")},
            "tile": [1, self._edge, self._edge],
            "resample": "direct",
            **facts,
        }

    def memory(self, samples: int) -> int:
        """Return the bytes of activations, parameters and the optimiser's state."""
        architecture = self._learned.architecture
        scale = 1 if architecture.upsamples else SCALE
        return step_bytes(architecture, (scale * self._edge, scale * self._edge), samples)


def groups_and_peaks(
    network: nn.Module, architecture: Architecture, options: TrainOptions
) -> tuple[list[list[nn.Parameter]], list[float]]:
    """Return the groups of parameters that are trained, and the greatest rate of each.

    The encoder's children 0 to 5 are the first group, the rest of it the second, all else the
    third. Two tenths of the rate and the whole, or a geometric series (the specification, 4).
    """
    peak = options.learning_rate
    if architecture.encoder == "rrdb":
        return [list(network.parameters())], [peak]
    groups: list[list[nn.Parameter]] = [[], [], []]
    norms = {
        id(p) for m in network.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()
    }
    for name, parameter in network.named_parameters():
        head, found, rest = name.removeprefix("model.").partition(f"{ENCODER}.")
        inside = found and not head
        if inside and options.freeze and id(parameter) not in norms:
            parameter.requires_grad = False
            continue
        number = 2 if not inside else 0 if rest.partition(".")[0] in SHALLOW else 1
        groups[number].append(parameter)
    first = options.encoder_learning_rate
    peaks = [peak / 10, peak / 10, peak]
    if first is not None:
        peaks = [first, (first * peak) ** 0.5, peak]
    kept = [(group, rate) for group, rate in zip(groups, peaks, strict=True) if group]
    return [group for group, _ in kept], [rate for _, rate in kept]
