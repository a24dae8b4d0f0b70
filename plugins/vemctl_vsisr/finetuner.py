"""Fine-tune a generator to one kind of specimen in a few steps, as published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vemctl.plugin import Batch, Best, TrainingRequest, Validation
from vemctl_vsisr.adapting import precise
from vemctl_vsisr.building import facts_of, generator_for, pair_sampler
from vemctl_vsisr.judging import judge
from vemctl_vsisr.losses import reconstruction_loss
from vemctl_vsisr.memory import call_bytes, step_bytes
from vemctl_vsisr.network import Generator
from vemctl_vsisr.samples import PairSampler
from vemctl_vsisr.train_options import FinetuneOptions, decay_steps_of

if TYPE_CHECKING:
    from torch import Tensor

STEPS, VALIDATE_EVERY = 30, 5
RATES = {"sgd": 0.25, "adam": 1e-4}


class FinetuneTrainer:
    """A generator, and plain gradient descent whose rate falls at given steps.

    The loss scales every channel by its range over a batch: parts of a batch, on several devices
    or one after another, are scaled by their own.

    Parameters
    ----------
    network : Generator
        On its device.
    sampler : PairSampler
    options : FinetuneOptions
    request : TrainingRequest
    """

    steps_per_epoch = VALIDATE_EVERY
    num_epochs = STEPS // VALIDATE_EVERY
    best = Best("val_psnr_masked", "max")
    judge_first = True

    def __init__(
        self,
        network: Generator,
        sampler: PairSampler,
        options: FinetuneOptions,
        request: TrainingRequest,
    ) -> None:
        import torch

        self.sampler = sampler
        self.batch = sampler.batch
        self.num_validation = sampler.num_validation
        self.networks = {"generator": network}
        self._network = network
        self._compiled = torch.compile(network) if request.compile else network
        self._options = options
        self._gradients = request.gradients
        self._facts = facts_of(network, options, request, sampler.patch, "fine-tuned")
        rate = options.learning_rate
        self._rate = RATES[options.optimizer] if rate is None else rate
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[options.optimizer]
        self._optimizer: torch.optim.Optimizer = kind(network.parameters(), lr=self._rate)
        self._decay_steps = decay_steps_of(options.decay_steps)
        self._done = 0
        self._set_rate()

    def step(self, batches: Sequence[Batch]) -> Mapping[str, Tensor]:
        """Learn from ``input``, (n, 7, y, x), what ``gt``, (n, 3, 1.5 y, 1.5 x), looks like."""
        import torch

        losses = []
        for batch in batches:
            with self._gradients.autocast():
                restored = self._compiled(batch["input"])
            loss = reconstruction_loss(
                batch["gt"],
                precise(restored),
                ssim_weight=self._options.ssim_weight,
                spectrum_weight=self._options.spectrum_weight,
                double=self._options.double_precision_loss,
            )
            self._gradients.backward(loss / len(batches))
            losses.append(loss.detach())
        self._gradients.step(self._optimizer)
        self._done += 1
        self._set_rate()
        return {"loss": torch.stack(losses).mean()}

    def validate(self, samples: Iterable[Batch]) -> Validation:
        """Restore the cell, or pairs, to validate on; see `vemctl_vsisr.judging.judge`."""
        import torch

        def restore(seen: Tensor) -> Tensor:
            with torch.no_grad(), self._gradients.autocast():
                return precise(self._network(seen))

        return judge(restore, samples, cells=self.sampler.cells)

    def validated(self, metrics: Mapping[str, float]) -> None:
        """Change nothing: the rate falls at given steps."""

    def _set_rate(self) -> None:
        """Set the learning rate of the coming step."""
        options = self._options
        lowered = sum(step <= self._done for step in self._decay_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * options.decay**lowered

    def learning_rates(self) -> Mapping[str, float]:
        """Return that of the coming step."""
        return {"generator": float(self._optimizer.param_groups[0]["lr"])}

    def state_dict(self) -> dict[str, Any]:
        """Return the states of network and optimiser, and how many steps were made."""
        return {
            "network": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "done": self._done,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned; the rate is what the options say now."""
        self._network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._done = int(state["done"])
        self._set_rate()

    def weights(self) -> Mapping[str, Tensor]:
        """Return the generator's parameters by their published keys."""
        return self._network.state_dict()

    def facts(self) -> Mapping[str, Any]:
        """Return the network, its normalisation, and what it saw."""
        return self._facts

    def memory(self, samples: int) -> int:
        """Return the bytes of activations, parameters and the optimiser's state."""
        _, y, x = self.sampler.patch
        blocks = self._network.num_blocks
        step = step_bytes(samples, y, x, judged=False, num_blocks=blocks)
        return max(step, call_bytes(1, *self.sampler.validation_patch[1:], num_blocks=blocks))


def make_finetuner(options: FinetuneOptions, request: TrainingRequest) -> FinetuneTrainer:
    """Check the pairs, and load the generator or make one.

    Raises
    ------
    WeightsError
        The weights to start from are of another network.
    InputError
        The data are no pairs, or too few.
    OptionError
        The steps at which the rate falls are none.
    """
    decay_steps_of(options.decay_steps)  # before a network is read
    sampler = pair_sampler(options, request)
    return FinetuneTrainer(generator_for(request, request.weights), sampler, options, request)
