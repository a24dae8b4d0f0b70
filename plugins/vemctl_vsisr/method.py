"""What vemctl knows of vsisr before it runs: options, weights, citation. Imports no torch."""

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
)
from vemctl_vsisr.predict_options import PredictOptions
from vemctl_vsisr.prepare_options import PrepareOptions
from vemctl_vsisr.published import PUBLISHED
from vemctl_vsisr.train_options import FinetuneOptions, TrainOptions

if TYPE_CHECKING:
    import torch


class Vsisr(Method):
    """A network that super-resolves along one lateral axis, used in three orientations."""

    name = "vsisr"
    summary = "Super-resolve lattice light-sheet volumes laterally, by a meta-learned network."
    citation = (
        "Fast-adaptive super-resolution lattice light-sheet microscopy for rapid, long-term, "
        "near-isotropic subcellular imaging, bioRxiv 2024.05.09.593386"
    )
    doi = "10.1101/2024.05.09.593386"
    weights = PUBLISHED
    predict_options = PredictOptions
    train_options = TrainOptions
    finetune_options = FinetuneOptions
    prepare_options = PrepareOptions

    def statistics(
        self,
        options: PredictOptions,
        *,
        weights: Path | None,  # noqa: ARG002
        as_original: bool,  # noqa: ARG002
    ) -> Sequence[str]:
        """Ask for the range of each time point and the brightness of each slice."""
        from vemctl_vsisr.intensities import statistics

        return statistics(options)

    def files(self, options: PredictOptions, *, as_original: bool) -> Mapping[str, str]:  # noqa: ARG002
        """Ask for the transfer functions of the microscope, but for those that are built."""
        from vemctl_vsisr.microscope import files_of

        return files_of(options)

    def restorer(self, weights: Path | None, options: Any, request: Request) -> Restorer:
        """Load the network; see `vemctl_vsisr.choosing`."""
        from vemctl_vsisr.choosing import make_restorer

        assert weights is not None, "vsisr takes weights"
        return make_restorer(weights, options, request)

    def check_weights(self, tensors: Mapping[str, torch.Tensor], path: Path) -> Mapping[str, Any]:
        """Return how large the generator is that these parameters are of."""
        from vemctl_vsisr.checkpoints import check

        return check(tensors, path).to_json()

    def training_data(self, options: Any, volumes: Sequence[Path]) -> TrainingData:
        """Find the pairs of a training; see `vemctl_vsisr.data`."""
        from vemctl_vsisr.data import training_data

        return training_data(options, volumes)

    def trainer(self, options: Any, request: TrainingRequest) -> Trainer:
        """Make what trains or fine-tunes; see `vemctl_vsisr.data`."""
        from vemctl_vsisr.trainer import make_trainer

        return make_trainer(options, request)

    def preparation_data(self, options: Any, inputs: Sequence[Path]) -> TrainingData:
        """Find raw files; see `vemctl_vsisr.prepare`."""
        from vemctl_vsisr.prepare import preparation_data

        return preparation_data(options, inputs)

    def preparation(self, options: Any, request: PreparationRequest) -> Preparation:
        """Make what deskews raw stacks, or cuts pairs of them."""
        from vemctl_vsisr.prepare import preparation

        return preparation(options, request)


METHOD = Vsisr()
