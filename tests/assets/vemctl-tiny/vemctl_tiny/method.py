"""What vemctl knows of tiny before it runs. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vemctl.errors import OptionError
from vemctl.plugin import Method, Request, Restorer, Trainer, TrainingData, TrainingRequest, option


@dataclass(frozen=True)
class TrainOptions:
    """Options of `vemctl train tiny`."""

    target: tuple[Path, ...] = option((), help="What each volume should become, in their order.")
    learning_rate: float = option(0.05, min=0, help="Of Adam.")
    dropout: float = option(0.05, min=0, max=1, help="Part of the input left out at random.")
    patch: tuple[int, int, int] = option((2, 12, 12), min=1, help="What a sample shows.")


class Tiny(Method):
    """One convolution of 3 x 3 pixels."""

    name = "tiny"
    summary = "Learn a filter of 3 x 3 pixels."
    train_options = TrainOptions
    finetune_options = TrainOptions

    def training_data(self, options: TrainOptions, volumes: Sequence[Path]) -> TrainingData:
        """Pair the volumes with their targets."""
        if not volumes or len(volumes) != len(options.target):
            raise OptionError(
                f"{len(volumes)} volumes and {len(options.target)} targets: expected as many; "
                f"name each target by --target"
            )
        roles = {"noisy": tuple(volumes), "target": options.target}
        return TrainingData(roles, paired=(("noisy", "target"),))

    def trainer(self, options: Any, request: TrainingRequest) -> Trainer:
        """Make what learns; see `vemctl_tiny.trainer`."""
        from vemctl_tiny.trainer import TinyTrainer

        return TinyTrainer(options, request)

    def restorer(self, weights: Path | None, options: Any, request: Request) -> Restorer:
        """Make what runs; see `vemctl_tiny.restorer`."""
        from vemctl_tiny.restorer import TinyRestorer

        assert weights is not None
        return TinyRestorer(weights, request)


METHOD = Tiny()
