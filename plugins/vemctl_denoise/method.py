"""What vemctl knows of denoise before it runs: options, weights, citation. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vemctl.plugin import (
    Method,
    Patches,
    Request,
    Restorer,
    Trainer,
    TrainingData,
    TrainingRequest,
    option,
    percentile,
)
from vemctl_denoise.published import PUBLISHED
from vemctl_denoise.train_options import FinetuneOptions, TrainOptions

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PredictOptions:
    """Options of `vemctl predict denoise`."""

    round: bool = option(
        False,
        help="Round integer results to nearest; the published program truncates, which darkens "
        "by half a grey level on average.",
    )
    z_edge: Literal["cyclic", "repeat"] | None = option(
        None,
        help="What the temporal shift sees beyond a block's first and last slice: the other end "
        "(cyclic, as the published weights were trained) or the edge slice again. Default: as the "
        "weights were trained, if they say so, else cyclic.",
    )
    low: float | None = option(
        None,
        help="Input value that becomes 0 for the network. Default: as the weights were trained, if "
        "they say so, else 0.",
    )
    high: float | None = option(
        None,
        help="Input value that becomes 1 for the network. Default: as the weights were trained, if "
        "they say so, else the integer type's maximum; 1 for floating input.",
    )
    low_percentile: float | None = option(
        None,
        min=0,
        max=100,
        help="Take --low from this percentile of all channels and time points restored.",
    )
    high_percentile: float | None = option(
        None,
        min=0,
        max=100,
        help="Take --high from this percentile of all channels and time points restored.",
    )


class Denoise(Method):
    """Grouped shift network on blocks of slices (Li et al., CVPR 2023; fast-scan volume EM)."""

    name = "denoise"
    summary = "Restore noisy, quickly scanned volume EM (SBEM and other serial sections)."
    citation = (
        "Fast-Scan, AI-Restore (repository hmzawz2/OptimizedAcquisition4vEM, 2025); network: "
        "Li et al., A Simple Baseline for Video Restoration with Grouped Spatial-temporal Shift, "
        "CVPR 2023, pp. 9822-9832"
    )
    doi = "10.48550/arXiv.2206.10810"
    weights = PUBLISHED
    predict_options = PredictOptions
    train_options = TrainOptions
    finetune_options = FinetuneOptions

    def statistics(
        self,
        options: PredictOptions,
        *,
        weights: Path | None,  # noqa: ARG002
        as_original: bool,
    ) -> Sequence[str]:
        """Ask for the percentiles that the options name."""
        if as_original:
            return ()
        asked = (options.low_percentile, options.high_percentile)
        return [percentile(percent) for percent in asked if percent is not None]

    def restorer(self, weights: Path | None, options: Any, request: Request) -> Restorer:
        """Load GShiftNet; see `vemctl_denoise.restorer`."""
        from vemctl_denoise.restorer import make_restorer

        assert weights is not None, "denoise takes weights"
        return make_restorer(weights, options, request)

    def check_weights(self, tensors: Mapping[str, torch.Tensor], path: Path) -> Mapping[str, Any]:
        """Load them into GShiftNet, which has one configuration only."""
        from vemctl_denoise.checkpoints import load_network

        load_network(tensors, path)
        return {"name": "GShiftNet"}

    def original_layout(self, tensors: Mapping[str, torch.Tensor], path: Path) -> Any:
        """Return a checkpoint that the published program loads."""
        from vemctl_denoise.checkpoints import original_checkpoint

        return original_checkpoint(tensors, path)

    def training_data(self, options: Any, volumes: Sequence[Path]) -> TrainingData:
        """Return fast and slow scans in pairs, or noisy ones; see `vemctl_denoise.data`."""
        from vemctl_denoise.data import training_data

        return training_data(options, volumes)

    def data_warnings(self, options: Any, patches: Patches) -> Sequence[str]:
        """Warn of slices that are unlike the others where the training is self-supervised."""
        from vemctl_denoise.evenness import warnings_of

        return warnings_of(patches, "noisy") if options.self_supervised else ()

    def trainer(self, options: Any, request: TrainingRequest) -> Trainer:
        """Return what trains GShiftNet; see `vemctl_denoise.trainer`."""
        from vemctl_denoise.trainer import make_trainer

        return make_trainer(options, request)


METHOD = Denoise()
