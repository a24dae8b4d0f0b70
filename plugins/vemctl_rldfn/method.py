"""What vemctl knows of rldfn before it runs: options, weights, citation. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vemctl.plugin import (
    Method,
    Preparation,
    PreparationRequest,
    Request,
    Restorer,
    Trainer,
    TrainingData,
    TrainingRequest,
    by_series,
)
from vemctl_rldfn.predict_options import PredictOptions
from vemctl_rldfn.prepare_options import PrepareOptions
from vemctl_rldfn.psf_options import files_of
from vemctl_rldfn.published import PUBLISHED
from vemctl_rldfn.train_options import FinetuneOptions, TrainOptions

if TYPE_CHECKING:
    import torch


class Rldfn(Method):
    """A Richardson-Lucy step with two point spread functions, and a network that fuses."""

    name = "rldfn"
    summary = "Fuse the two views of a reflective light-sheet into one near-isotropic volume."
    citation = (
        "Fast-adaptive super-resolution lattice light-sheet microscopy for rapid, long-term, "
        "near-isotropic subcellular imaging, bioRxiv 2024.05.09.593386"
    )
    doi = "10.1101/2024.05.09.593386"
    inputs = ("view_a", "view_b")
    weights = PUBLISHED
    takes_folders = True
    predict_options = PredictOptions
    train_options = TrainOptions
    finetune_options = FinetuneOptions
    prepare_options = PrepareOptions

    def needs_weights(self, options: PredictOptions) -> bool:
        """Tell that plain deconvolution has no network."""
        return options.mode == "network"

    def statistics(
        self,
        options: PredictOptions,
        *,
        weights: Path | None,  # noqa: ARG002
        as_original: bool,
    ) -> Sequence[str]:
        """Ask for the largest value of each view at each time point, where it becomes 1."""
        from vemctl_rldfn.choosing import uses_maxima

        return (by_series("max"),) if uses_maxima(options, as_original=as_original) else ()

    def files(self, options: PredictOptions, *, as_original: bool) -> Mapping[str, str]:  # noqa: ARG002
        """Ask for the point spread functions that are files."""
        return files_of(options)

    def restorer(self, weights: Path | None, options: Any, request: Request) -> Restorer:
        """Load the network; see `vemctl_rldfn.choosing`."""
        from vemctl_rldfn.choosing import make_restorer

        return make_restorer(weights, options, request)

    def check_weights(self, tensors: Mapping[str, torch.Tensor], path: Path) -> Mapping[str, Any]:
        """Load them into the networks that they are of."""
        from vemctl_rldfn.checkpoints import check

        return check(dict(tensors), path)

    def original_files(self, folder: Path, choice: str | None) -> Mapping[str, Path]:
        """Return the files of one iteration; see `vemctl_rldfn.checkpoints`."""
        from vemctl_rldfn.checkpoints import files_of_checkpoint

        return files_of_checkpoint(folder, choice)

    def original_layout(self, tensors: Mapping[str, torch.Tensor], path: Path) -> Any:
        """Return the five files that the published program reads."""
        from vemctl_rldfn.checkpoints import original_layout

        return original_layout(dict(tensors), path)

    def training_data(self, options: Any, volumes: Sequence[Path]) -> TrainingData:
        """Pair the views; see `vemctl_rldfn.data`."""
        from vemctl_rldfn.data import training_data

        return training_data(options, volumes)

    def training_files(self, options: Any) -> Mapping[str, str]:
        """Ask for the point spread functions that are files."""
        return files_of(options)

    def training_statistics(
        self,
        options: Any,  # noqa: ARG002
        role: str,  # noqa: ARG002
        index: int,  # noqa: ARG002
        *,
        validation: bool,  # noqa: ARG002
    ) -> Sequence[str]:
        """Ask for the largest value of each view, which becomes 1."""
        from vemctl_rldfn.data import training_statistics

        return training_statistics()

    def trainer(self, options: Any, request: TrainingRequest) -> Trainer:
        """Make what trains; see `vemctl_rldfn.trainer`."""
        from vemctl_rldfn.trainer import make_trainer

        return make_trainer(options, request)

    def preparation_data(self, options: Any, inputs: Sequence[Path]) -> TrainingData:
        """Find the stacks; see `vemctl_rldfn.prepare`."""
        from vemctl_rldfn.prepare import preparation_data

        return preparation_data(options, inputs)

    def preparation(self, options: Any, request: PreparationRequest) -> Preparation:
        """Make what rotates stacks and splits them into views."""
        from vemctl_rldfn.prepare import preparation

        return preparation(options, request)


METHOD = Rldfn()
