"""Train GShiftNet, supervised or self-supervised, as the published programs do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from vemctl.errors import OptionError
from vemctl.nn.optimizers import optimizer_state, restore_optimizer
from vemctl.nn.panels import middle_slice
from vemctl.nn.quality import psnr, ssim
from vemctl.nn.state_dict import read_state_dict
from vemctl.plugin import Batch, Best, TrainingRequest, Triple, Validation
from vemctl_denoise.checkpoints import load_network
from vemctl_denoise.losses import SSIM_WINDOW, parse_loss
from vemctl_denoise.network import GShiftNet
from vemctl_denoise.samples import (
    VALIDATION_DEPTH,
    NoisySampler,
    PairSampler,
    check_patch,
    validation_depth,
)
from vemctl_denoise.scaling import scaling_of
from vemctl_denoise.train_options import TrainOptions

SUPERVISED_PATCH = (5, 128, 128)
SELF_SUPERVISED_PATCH = (9, 128, 128)
NUM_EPOCHS = 100
METRIC_WINDOW = 11
BYTES_PER_VOXEL = 70_000
"""What a float32 step keeps for its gradients per voxel that the network sees; 66,300 to 67,100
were measured on a CPU."""
BYTES_OF_PARAMETERS = 4_704_994 * 4 * 4  # and their gradients and Adam's two moments


class DenoiseTrainer:
    """GShiftNet, its loss, and Adam on a plateau schedule.

    Parameters
    ----------
    network : GShiftNet
        On its device.
    sampler : PairSampler or NoisySampler
    options : TrainOptions
    request : TrainingRequest

    Raises
    ------
    OptionError
        The text of the loss means none.
    """

    num_epochs = NUM_EPOCHS

    def __init__(
        self,
        network: GShiftNet,
        sampler: PairSampler | NoisySampler,
        options: TrainOptions,
        request: TrainingRequest,
    ) -> None:
        self.sampler = sampler
        self.batch = request.batch or 1
        self.steps_per_epoch = options.epoch_steps
        self.num_validation = options.validation_samples
        # Without a clean target the score on noise says too little to choose weights by.
        self.best = Best("val_psnr", "max") if options.supervised else None
        self.networks = {"network": network}
        self._loss = parse_loss(options.loss)
        self._options = options
        self._gradients = request.gradients
        self._network = network
        self._compiled = torch.compile(network) if request.compile else network
        self._optimizer = torch.optim.Adam(
            network.parameters(), options.learning_rate, (options.beta1, options.beta2)
        )
        self._schedule = ReduceLROnPlateau(
            self._optimizer, factor=options.schedule_factor, patience=options.schedule_patience
        )

    def step(self, batches: Sequence[Batch]) -> Mapping[str, Tensor]:
        """Learn to predict the target from the source, self-supervised also the other way round.

        ``auxiliary`` is the loss of the other way; it is not in ``loss``, as the original logs it.
        """
        seen: list[dict[str, Tensor]] = []
        for batch in batches:
            source, target = batch["source"], batch["target"]  # (n, 1, z, y, x)
            losses = self._learn(source, target, len(batches))
            if self._options.self_supervised:
                # A backward pass of its own: the sum of both losses would hold both activations.
                losses["auxiliary"] = self._learn(target, source, len(batches))["loss"]
            seen.append(losses)
        self._gradients.step(self._optimizer)
        return {name: torch.stack([losses[name] for losses in seen]).mean() for name in seen[0]}

    def _learn(self, source: Tensor, target: Tensor, parts: int) -> dict[str, Tensor]:
        with self._gradients.autocast():
            restored = self._compiled(source)
        losses = self._loss(restored, target)
        self._gradients.backward(losses["loss"] / parts)
        return {name: loss.detach() for name, loss in losses.items()}

    @torch.no_grad()
    def validate(self, samples: Iterable[Batch]) -> Validation:
        """Return means over the samples; PSNR of what the network gives, SSIM of it clamped."""
        metrics: dict[str, list[float]] = {"val_loss": [], "val_psnr": [], "val_ssim": []}
        panels: dict[str, npt.NDArray[Any]] = {}
        for sample in samples:
            source, target = sample["source"], sample["target"]  # (1, 1, z, y, x)
            with self._gradients.autocast():
                restored = self._network(source).float()
            alike = ssim(
                restored.clamp(0, 1), target.clamp(0, 1), window=METRIC_WINDOW, axes=(-3, -2, -1)
            )
            metrics["val_loss"].append(self._loss(restored, target)["loss"].item())
            metrics["val_psnr"].append(psnr(restored, target).item())
            metrics["val_ssim"].append(alike.item())
            if not panels:
                shown = {"input": source, "output": restored, "target": target}
                panels = {name: middle_slice(volume) for name, volume in shown.items()}
        return Validation({name: fmean(values) for name, values in metrics.items()}, panels)

    def validated(self, metrics: Mapping[str, float]) -> None:
        """Lower the learning rate where the validation loss no longer falls."""
        self._schedule.step(metrics["val_loss"])

    def learning_rates(self) -> Mapping[str, float]:
        """Return Adam's."""
        return {"adam": float(self._optimizer.param_groups[0]["lr"])}

    def state_dict(self) -> dict[str, Any]:
        """Return the states of network, optimiser and schedule."""
        return {
            "network": self._network.state_dict(),
            "adam": optimizer_state(self._optimizer, self._options.learning_rate),
            "schedule": self._schedule.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self._network.load_state_dict(state["network"])
        restore_optimizer(self._optimizer, state["adam"], self._options.learning_rate)
        self._schedule.load_state_dict(state["schedule"])
        # What the options say now; they are the recorded ones unless changes were allowed.
        self._schedule.factor = self._options.schedule_factor
        self._schedule.patience = self._options.schedule_patience
        for group in self._optimizer.param_groups:
            group["betas"] = (self._options.beta1, self._options.beta2)

    def weights(self) -> Mapping[str, Tensor]:
        """Return all published tensors, those of the networks that are never used too."""
        return self._network.state_dict()

    def facts(self) -> Mapping[str, Any]:
        """Return the network, what was 0 and 1 to it, and what it saw."""
        options = self._options
        high = "maximum of the type" if options.high is None else options.high
        return {
            "network": {"name": "GShiftNet"},
            "normalisation": {"low": options.low or 0.0, "high": high},
            "tile": list(self.sampler.seen),
            "mode": "supervised" if options.supervised else "self-supervised",
            "z_edge": options.z_edge,
        }

    def memory(self, samples: int) -> int:
        """Return the bytes of activations, parameters and the optimiser's state."""
        return samples * math.prod(self.sampler.seen) * BYTES_PER_VOXEL + BYTES_OF_PARAMETERS


def make_trainer(options: TrainOptions, request: TrainingRequest) -> DenoiseTrainer:
    """Make or load the network, and settle what it is shown.

    Parameters
    ----------
    options : TrainOptions
    request : TrainingRequest

    Raises
    ------
    WeightsError
        The weights to start from are of another network.
    OptionError
        An option does not fit the network or the data.
    """
    sampler = _make_sampler(options, request)
    terms = parse_loss(options.loss).weights  # before a network is read
    if "SSIM" in terms and min(sampler.seen[1:]) < SSIM_WINDOW:
        seen = ",".join(map(str, sampler.seen))
        raise OptionError(
            f"--patch {seen}: the loss SSIM looks at {SSIM_WINDOW} pixels at a time; expected at "
            f"least 12 in y and x, or --loss 1*L1"
        )
    if request.weights is None:
        network = GShiftNet(options.z_edge)
    else:
        tensors = read_state_dict(request.weights)
        network = load_network(tensors, request.weights, options.z_edge)
    return DenoiseTrainer(network.to(request.device), sampler, options, request)


def _make_sampler(options: TrainOptions, request: TrainingRequest) -> PairSampler | NoisySampler:
    for facts in (each for role in request.data.values() for each in role):
        scaling_of(options.low, options.high, facts.dtype)  # refuses what no sample could be
    default: Triple = SUPERVISED_PATCH if options.supervised else SELF_SUPERVISED_PATCH
    seen = check_patch(options.patch or default)
    if options.supervised:
        return PairSampler(seen, options.low, options.high, options.emulate_fast_slow)
    own = request.validation.get("noisy", ())
    if own:
        depth = max(seen[0], min(VALIDATION_DEPTH, *(facts.shape[0] for facts in own)))
    else:
        num_slices = min(facts.shape[0] for facts in request.data["noisy"])
        depth = validation_depth(num_slices, seen[0])
    return NoisySampler(seen, options.low, options.high, depth)
