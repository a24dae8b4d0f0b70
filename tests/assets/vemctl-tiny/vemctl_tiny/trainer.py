"""Learn the convolution."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from vemctl.nn.optimizers import optimizer_state, restore_optimizer
from vemctl.nn.state_dict import load, read_state_dict
from vemctl.plugin import Batch, Best, Patches, TrainingRequest, Triple, Validation, draw_place
from vemctl_tiny.method import TrainOptions

RANGE = 255.0


def make_network(dropout: float = 0.0) -> nn.Sequential:
    """Return the network; `dropout` is the part of its input left out at random in training."""
    return nn.Sequential(nn.Dropout(dropout), nn.Conv3d(1, 1, (1, 3, 3), padding=(0, 1, 1)))


@dataclass(frozen=True)
class PairSampler:
    """Draws the same place of a volume and of its target."""

    patch: Triple
    validation_patch: Triple

    def draw(
        self, patches: Patches, rng: np.random.Generator, number: int
    ) -> dict[str, np.ndarray]:
        """Return source and target, (1, z, y, x) in [0, 1]."""
        index, corner = draw_place(patches.facts("noisy"), self.patch, rng)
        return {
            name: patches.read(role, index, corner, self.patch)[None].astype(np.float32) / RANGE
            for name, role in (("source", "noisy"), ("target", "target"))
        }

    draw_validation = draw


class TinyTrainer:
    """Adam and a squared error."""

    steps_per_epoch = 10
    num_epochs = 3
    num_validation = 4
    best = Best("val_mse", "min")

    def __init__(self, options: TrainOptions, request: TrainingRequest) -> None:
        self.sampler = PairSampler(options.patch, options.patch)
        self.batch = request.batch or 2
        self._network = make_network(options.dropout).to(request.device)
        if request.weights is not None:
            load(self._network, read_state_dict(request.weights), request.weights)
        self.networks = {"network": self._network}
        self._gradients = request.gradients
        self._rate = options.learning_rate
        self._optimizer = torch.optim.Adam(self._network.parameters(), self._rate)

    def step(self, batches: Sequence[Batch]) -> Mapping[str, torch.Tensor]:
        """Make one update from micro-batches of source and target, (n, 1, z, y, x)."""
        self._network.train()
        losses = []
        for batch in batches:
            with self._gradients.autocast():
                restored = self._network(batch["source"])
            loss = nn.functional.mse_loss(restored.float(), batch["target"])
            self._gradients.backward(loss / len(batches))
            losses.append(loss.detach())
        self._gradients.step(self._optimizer)
        return {"mse": torch.stack(losses).mean()}

    @torch.no_grad()
    def validate(self, samples: Iterable[Batch]) -> Validation:
        """Return the mean squared error, and the middle slices of the first sample."""
        self._network.eval()
        errors: list[float] = []
        panels: dict[str, Any] = {}
        for sample in samples:
            source, target = sample["source"], sample["target"]
            restored = self._network(source)
            errors.append(nn.functional.mse_loss(restored, target).item())
            if not panels:
                shown = {"input": source, "output": restored, "target": target}
                panels = {name: volume[0, 0, 0].cpu().numpy() for name, volume in shown.items()}
        return Validation({"val_mse": sum(errors) / len(errors)}, panels)

    def validated(self, metrics: Mapping[str, float]) -> None:
        """Take no note: the learning rate stays."""

    def learning_rates(self) -> Mapping[str, float]:
        """Return Adam's."""
        return {"adam": self._optimizer.param_groups[0]["lr"]}

    def state_dict(self) -> dict[str, Any]:
        """Return network and optimiser."""
        optimizer = optimizer_state(self._optimizer, self._rate)
        return {"network": self._network.state_dict(), "adam": optimizer}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with network and optimiser."""
        self._network.load_state_dict(state["network"])
        restore_optimizer(self._optimizer, state["adam"], self._rate)

    def weights(self) -> Mapping[str, torch.Tensor]:
        """Return the parameters that `TinyRestorer` loads."""
        return self._network.state_dict()

    def facts(self) -> Mapping[str, Any]:
        """Return what is stored beside the weights."""
        return {"network": {"name": "tiny"}, "tile": list(self.sampler.patch)}

    def memory(self, samples: int) -> int:
        """Return the bytes of patches and results in float32."""
        z, y, x = self.sampler.patch
        return 16 * samples * z * y * x
