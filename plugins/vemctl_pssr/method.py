"""What vemctl knows of pssr before it runs: options, weights, citation. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vemctl.plugin import (
    Method,
    Preparation,
    PreparationRequest,
    Request,
    Restorer,
    TimeWindow,
    Trainer,
    TrainingData,
    TrainingRequest,
    option,
)
from vemctl_pssr.prepare_options import PrepareOptions
from vemctl_pssr.published import PUBLISHED
from vemctl_pssr.ranges import RULES
from vemctl_pssr.train_options import STATISTICS, FinetuneOptions, TrainOptions

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PredictOptions:
    """Options of `vemctl predict pssr`."""

    frames: Literal["t", "z"] | None = option(
        None,
        help="What the frames are that weights for several take at once: time points or slices. "
        "Default: time points where there are several, else slices.",
    )
    resample: Literal["original", "direct"] | None = option(
        None,
        help="original: enlarge the image, and shrink it again for networks that enlarge by "
        "themselves, as the published program does; direct: give them the pixels as they are. "
        "Default: original, but direct for weights that vemctl has trained.",
    )
    tiling: Literal["original", "even"] | None = option(
        None,
        help="original: the published tiles, zeros beyond the far borders, seams blurred; even: "
        "tiles of one size, shifted and reflected at borders, blended. Default: as --resample, "
        "even with direct.",
    )
    scale_range: str | None = option(
        None,
        metavar=RULES,
        help="What becomes 0 and 1 for the network: 0 and the maximum of a channel, of the first "
        "slice or of each slice, the range of the type, two values, or two percentiles. Default: "
        "as the weights were trained, else max; first-slice for the published EM model.",
    )
    values: Literal["input", "full"] = option(
        "input",
        help="input: results have the units of the input; full: 0 to 1 of the network becomes 0 to "
        "the maximum of an integer type, as the published program writes it.",
    )
    mean: str | None = option(
        None,
        metavar=STATISTICS,
        help="Mean of the images, in [0, 1], that the weights were trained on, or one per channel; "
        "for files that do not tell it.",
    )
    std: str | None = option(None, metavar=STATISTICS, help="The same for the standard deviation.")


class Pssr(Method):
    """U-Nets that make four times as many pixels per axis of an under-sampled image."""

    name = "pssr"
    summary = "Enlarge under-sampled scanning-microscope images four times, and denoise them."
    citation = (
        "Fang et al., Deep learning-based point-scanning super-resolution imaging, Nature Methods "
        "18, 406-416 (2021)"
    )
    doi = "10.1038/s41592-021-01080-z"
    weights = PUBLISHED
    predict_options = PredictOptions
    train_options = TrainOptions
    finetune_options = FinetuneOptions
    prepare_options = PrepareOptions

    def statistics(
        self, options: PredictOptions, *, weights: Path | None, as_original: bool
    ) -> Sequence[str]:
        """Ask for the maxima or percentiles by which the input is scaled."""
        from vemctl_pssr.choosing import check_options, range_rule

        assert weights is not None, "pssr takes weights"
        check_options(options, weights, as_original=as_original)
        return range_rule(options, weights, as_original=as_original).statistics_to_predict

    def time_window(
        self,
        options: PredictOptions,
        *,
        weights: Path | None,
        as_original: bool,
        num_timepoints: int,
    ) -> TimeWindow:
        """Return the time points that weights for several frames take."""
        from vemctl_pssr.choosing import time_window

        assert weights is not None, "pssr takes weights"
        return time_window(options, weights, num_timepoints, as_original=as_original)

    def restorer(self, weights: Path | None, options: Any, request: Request) -> Restorer:
        """Load a network; see `vemctl_pssr.choosing`."""
        from vemctl_pssr.choosing import make_restorer

        assert weights is not None, "pssr takes weights"
        return make_restorer(weights, options, request)

    def check_weights(self, tensors: Mapping[str, torch.Tensor], path: Path) -> Mapping[str, Any]:
        """Load them into the network that they are of."""
        from vemctl_pssr.architecture import recognise
        from vemctl_pssr.checkpoints import Checkpoint

        architecture = recognise(tensors, path)
        Checkpoint(path, tensors, {}, architecture).network()
        return {"name": architecture.name, **architecture.to_json()}

    def original_layout(
        self,
        tensors: Mapping[str, torch.Tensor],
        path: Path,  # noqa: ARG002
    ) -> Any:
        """Return what the published training loads."""
        return {"model": dict(tensors)}

    def training_data(self, options: Any, volumes: Sequence[Path]) -> TrainingData:
        """Return good images, alone or with poor ones; see `vemctl_pssr.data`."""
        from vemctl_pssr.data import training_data

        return training_data(options, volumes)

    def training_statistics(
        self,
        options: Any,
        role: str,
        index: int,  # noqa: ARG002
        *,
        validation: bool,  # noqa: ARG002
    ) -> Sequence[str]:
        """Ask for what the range and the choice of places need."""
        from vemctl_pssr.data import training_statistics

        return training_statistics(options, role)

    def trainer(self, options: Any, request: TrainingRequest) -> Trainer:
        """Return what trains a network; see `vemctl_pssr.building`."""
        from vemctl_pssr.building import make_trainer

        return make_trainer(options, request)

    def preparation_data(self, options: Any, inputs: Sequence[Path]) -> TrainingData:
        """Return good images by part; see `vemctl_pssr.prepare_sources`."""
        from vemctl_pssr.prepare_sources import preparation_data

        return preparation_data(options, inputs)

    def preparation_statistics(self, options: Any, role: str, index: int) -> Sequence[str]:  # noqa: ARG002
        """Ask for what ranges, choice of places and the table of files need."""
        from vemctl_pssr.prepare import preparation_statistics

        return preparation_statistics(options)

    def preparation(self, options: Any, request: PreparationRequest) -> Preparation:
        """Return what makes a training set; see `vemctl_pssr.prepare`."""
        from vemctl_pssr.prepare import PssrPreparation

        return PssrPreparation(options, request)


METHOD = Pssr()
