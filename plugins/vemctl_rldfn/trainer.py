"""Train the fusion of two views and both discriminators at once, as the published program does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from vemctl.plugin import Batch, Best, TrainingRequest, Validation
from vemctl_rldfn.building import Built, build
from vemctl_rldfn.data import VIEW_A, VIEW_B
from vemctl_rldfn.deconvolving import DualViewDeconvolution
from vemctl_rldfn.degrading import Degradation
from vemctl_rldfn.fusing import fused as fused_for_evaluation
from vemctl_rldfn.judging import judge
from vemctl_rldfn.losses import LossWeights, discriminator_losses, generator_losses
from vemctl_rldfn.memory import step_bytes
from vemctl_rldfn.section_plans import SectionPlan, StepOffsets
from vemctl_rldfn.train_options import FusionOptions

NUM_EPOCHS = 10
EPOCH_SAMPLES = 1000
LEARNT_TOGETHER = {"G": ("FA", "G"), "D": ("D_A", "D_B")}
"""Networks by the Adam that they share; the spare feature net has none."""
TOLD = {
    "loss": "loss",
    "cycle_A": "cycle_a",
    "cycle_B": "cycle_b",
    "G_A": "gan_a",
    "G_B": "gan_b",
    "D_A": "d_a",
    "D_B": "d_b",
    "tv": "tv",
}
"""Terms of the losses, and what they are called in logs; all but the first without weights."""


class FusionTrainer:
    """A fusion network with an Adam, and two discriminators that share another.

    Parameters
    ----------
    built : Built
        Networks on their device, and what they are shown.
    options : FusionOptions
    request : TrainingRequest
    """

    num_epochs = NUM_EPOCHS
    best = Best("val_cycle", "min")

    def __init__(self, built: Built, options: FusionOptions, request: TrainingRequest) -> None:
        self.sampler = built.sampler
        self.batch = request.batch or 1
        self.steps_per_epoch = math.ceil(EPOCH_SAMPLES / self.batch)
        self.num_validation = options.validation_samples
        self.networks = built.networks
        self._built = built
        self._gradients = request.gradients
        self._weights = LossWeights(options.gan_weight, options.cycle_weight, options.tv_weight)
        psfs, crop = (built.optics.psf_a, built.optics.psf_b), built.sampler.crop
        self._deconvolution = DualViewDeconvolution(*psfs, crop, request.device)
        self._degradation = Degradation(*psfs).to(request.device)
        self._run, judge_a, judge_b = (
            self._compiled(network, request) for network in (built.network, *built.discriminators)
        )
        self._judges = judge_a, judge_b
        self._rates = {"G": options.learning_rate, "D": options.discriminator_learning_rate}
        # Groups, so that the gradients of each network are clipped by themselves.
        self._optimizers = {
            name: torch.optim.Adam(
                [{"params": list(self.networks[each].parameters())} for each in together],
                self._rates[name],
            )
            for name, together in LEARNT_TOGETHER.items()
        }
        self._step = 0

    @staticmethod
    def _compiled(network: nn.Module, request: TrainingRequest) -> nn.Module:
        compiled: Any = torch.compile(network) if request.compile else network
        return cast(nn.Module, compiled)

    def step(self, batches: Sequence[Batch]) -> Mapping[str, Tensor]:
        """Update the fusion, then the discriminators on what it made before that.

        Parameters
        ----------
        batches : sequence of Batch
            ``view_a`` and ``view_b``, (n, 1, z, y, x), and ``seed``, (n,), of their sections.
        """
        for network in (self._built.network, *self._built.discriminators):
            network.train()
        plan = self._built.schedule.plan(self._step)
        offsets = [self._built.schedule.offsets(plan, batch["seed"].tolist()) for batch in batches]
        seen, made = [], []
        for batch, places in zip(batches, offsets, strict=True):
            losses, fused = self._fuse(batch, plan, places, len(batches))
            seen.append(losses)
            made.append(fused)
        self._gradients.step(self._optimizers["G"])
        for batch, places, losses, fused in zip(batches, offsets, seen, made, strict=True):
            losses.update(self._discriminate(batch, fused, plan, places, len(batches)))
        self._gradients.step(self._optimizers["D"])
        self._step += 1
        return {
            told: torch.stack([losses[name] for losses in seen]).mean()
            for name, told in TOLD.items()
        }

    def _fuse(
        self, batch: Batch, plan: SectionPlan, places: StepOffsets, parts: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Add the gradients of the fusion; return its losses, and what it made."""
        views = batch[VIEW_A], batch[VIEW_B]
        ratios = self._deconvolution.ratios(*views)
        with self._gradients.autocast():
            fused: Tensor = self._run(*ratios)  # (n, 1, z, y, x)
            blurred = self._degradation(fused)
            losses = generator_losses(
                fused, blurred, views, self._judges, plan, places.generator, self._weights
            )
        self._gradients.backward(losses["loss"] / parts)
        return {name: loss.detach() for name, loss in losses.items()}, fused.detach()

    def _discriminate(
        self, batch: Batch, fused: Tensor, plan: SectionPlan, places: StepOffsets, parts: int
    ) -> dict[str, Tensor]:
        """Add the gradients of both discriminators; return the loss of each."""
        views = batch[VIEW_A], batch[VIEW_B]
        with self._gradients.autocast():
            losses = discriminator_losses(fused, views, self._judges, plan, places.discriminators)
        self._gradients.backward(losses.pop("loss") / parts)
        return losses

    def validate(self, samples: Iterable[Batch]) -> Validation:
        """Fuse samples as a prediction would; see `vemctl_rldfn.judging.judge`."""
        self._built.network.eval()
        network = fused_for_evaluation(self._built.network)

        def fuse(view_a: Tensor, view_b: Tensor) -> Tensor:
            ratios = self._deconvolution.ratios(view_a, view_b)
            with self._gradients.autocast():
                made: Tensor = network(*ratios)
            return made

        return judge(fuse, self._degradation, samples)

    def validated(self, metrics: Mapping[str, float]) -> None:
        """Change nothing: the learning rates are constant."""

    def learning_rates(self) -> Mapping[str, float]:
        """Return those of both Adams."""
        return {name: float(o.param_groups[0]["lr"]) for name, o in self._optimizers.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return networks, optimisers, and the number of steps, on which sections depend."""
        return {
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "optimizers": {name: each.state_dict() for name, each in self._optimizers.items()},
            "step": self._step,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned; learning rates are what the options say."""
        for name, network in self.networks.items():
            network.load_state_dict(state["networks"][name])
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
            for group in optimizer.param_groups:
                group["lr"] = self._rates[name]
        self._step = int(state["step"])

    def weights(self) -> Mapping[str, Tensor]:
        """Return the parameters of all five networks, and both point spread functions."""
        return self._built.tensors()

    def facts(self) -> Mapping[str, Any]:
        """Return the network, what the views were to it, and the microscope."""
        return self._built.facts

    def memory(self, samples: int) -> int:
        """Return the bytes of activations, parameters, gradients and the optimisers' states."""
        built = self._built
        return step_bytes(
            samples,
            built.sampler.crop,
            built.schedule.largest,
            checkpointed=built.network.checkpointed,
        )


def make_trainer(options: FusionOptions, request: TrainingRequest) -> FusionTrainer:
    """Make or load the networks, and settle what they are shown.

    Parameters
    ----------
    options : FusionOptions
    request : TrainingRequest

    Raises
    ------
    WeightsError
        The weights to start from are of other networks, or a file is no point spread function.
    OptionError
        An option does not fit the data.
    InputError
        A volume cannot be learned from.
    """
    return FusionTrainer(build(options, request), options, request)
