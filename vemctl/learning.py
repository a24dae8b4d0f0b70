"""The contract of a training: a trainer that learns from what a sampler draws.

The loop knows neither losses nor networks, the trainer knows neither files nor devices other than
its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from vemctl.restoring import VolumeFacts, Warn, ignore_warning
from vemctl.sampling import Peek, Sample, Sampler, peek_at_nothing

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

Batch = Mapping[str, "torch.Tensor"]
"""Tensors (n, ...) by name, as the sampler names them, on the trainer's device."""


Look = Callable[[Sampler, int], Iterable[Sample]]


def see_nothing(_: Sampler, __: int) -> Iterable[Sample]:
    """Return no samples, for there are no data."""
    return ()


class Gradients(Protocol):
    """What lies between a loss and a step: precision, clipping, several devices."""

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which the network's arithmetic has the precision asked for."""

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss, (), to the parameters'."""

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Average the gradients over the devices, clip them, update, and clear them."""


@dataclass(frozen=True)
class TrainingRequest:
    """What a trainer is made for.

    Attributes
    ----------
    data : mapping of str to sequence of VolumeFacts
        By role; the shapes are those of whole volumes, of which a part is kept for validation.
    gradients : Gradients
    device : str
        A torch device.
    batch : int, optional
        Samples per step over all devices, as the user wishes; None for the method's default.
    compile : bool
        Compile the networks.
    weights : Path, optional
        What to start from; None to start from nothing.
    steps : int, optional
        How long the training is to be, where that is known; for schedules.
    validation : mapping of str to sequence of VolumeFacts
        Of volumes of their own to validate on, by role; empty where there are none.
    seed : int
        Of everything random; the networks' first parameters are drawn by torch, which has it.
    warn : callable
        Tells the user one sentence.
    look : callable
        Returns so many training samples of a sampler, other than those that will be trained on,
        but the same for the same seed; for those who must know their data.
    peek : callable
        Reads some of a volume that an option names.
    volumes : sequence of Path
        What the user named without a flag, as `Method.training_data` got it.
    files : mapping of str to Path
        What `Method.training_files` asked for, verified; a folder where it is several files.
    """

    data: Mapping[str, Sequence[VolumeFacts]]
    gradients: Gradients
    device: str = "cpu"
    batch: int | None = None
    compile: bool = False
    weights: Path | None = None
    steps: int | None = None
    validation: Mapping[str, Sequence[VolumeFacts]] = field(default_factory=dict)
    seed: int = 0
    warn: Warn = ignore_warning
    look: Look = see_nothing
    peek: Peek = peek_at_nothing
    volumes: Sequence[Path] = ()
    files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Best:
    """By what the best weights of a run are known.

    Attributes
    ----------
    metric : str
        A name that `Validation.metrics` has.
    sense : {"max", "min"}
        Whether more or less of it is better.
    """

    metric: str
    sense: Literal["max", "min"]


@dataclass(frozen=True)
class Validation:
    """What a validation found.

    Attributes
    ----------
    metrics : mapping of str to float
    panels : mapping of str to ndarray, (y, x)
        Images of the first sample, such as input, output and target; they are shown side by side
        on one scale.
    scaled_as : mapping of str to str
        Panels that are shown on the scale of another panel; for images of several kinds.
    warnings : sequence of str
        What the user should know, one sentence each.
    """

    metrics: Mapping[str, float]
    panels: Mapping[str, npt.NDArray[Any]]
    scaled_as: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()


class Trainer(Protocol):
    """Owns networks, losses, optimisers and schedules.

    Attributes
    ----------
    sampler : Sampler
    batch : int
        Samples per step, over all devices.
    steps_per_epoch : int
        Length of what the method calls an epoch; validations are that far apart by default.
    num_epochs : int
        Length of a training where the user does not say.
    num_validation : int
        Samples to validate on.
    best : Best, optional
        By what the best weights are known; None where only the last ones make sense.
    networks : mapping of str to torch.nn.Module
        All that is trained.
    judge_first : bool, optional
        Whether to validate before the first step too, and have what that finds as step 0; for
        trainings that say what they gain. A trainer need not have it.
    """

    @property
    def sampler(self) -> Sampler:
        """What draws its samples."""

    @property
    def batch(self) -> int:
        """Samples per step."""

    @property
    def steps_per_epoch(self) -> int:
        """Length of an epoch."""

    @property
    def num_epochs(self) -> int:
        """Usual length of a training."""

    @property
    def num_validation(self) -> int:
        """Samples to validate on."""

    @property
    def best(self) -> Best | None:
        """By what the best weights are known."""

    @property
    def networks(self) -> Mapping[str, torch.nn.Module]:
        """All that is trained."""

    def step(self, batches: Sequence[Batch]) -> Mapping[str, torch.Tensor]:
        """Make one update of everything.

        Parameters
        ----------
        batches : sequence of Batch
            All of one size; their gradients are averaged (more than one saves memory).

        Returns
        -------
        mapping of str to tensor, ()
            The losses, detached, on the device. The first is the one to watch.
        """

    def validate(self, samples: Iterable[Batch]) -> Validation:
        """Judge the networks.

        Parameters
        ----------
        samples : iterable of Batch
            Of one sample each, the same every time.
        """

    def validated(self, metrics: Mapping[str, float]) -> None:
        """Take note of a validation, for schedules that depend on it."""

    def learning_rates(self) -> Mapping[str, float]:
        """Return the present learning rates by the optimisers' names."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next steps depend on: tensors and plain values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned."""

    def weights(self) -> Mapping[str, torch.Tensor]:
        """Return the parameters that a prediction needs, by key of the published layout."""

    def facts(self) -> Mapping[str, Any]:
        """Return what is stored beside the weights: network, normalisation, tile (JSON types)."""

    def memory(self, samples: int) -> int:
        """Return the bytes that a step on so many samples at once takes on the device."""
