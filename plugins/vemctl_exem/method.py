"""What vemctl knows of exem before it runs: options, citation. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vemctl.plugin import (
    FileSet,
    Method,
    Patches,
    Request,
    Restorer,
    Trainer,
    TrainingData,
    TrainingRequest,
    option,
)
from vemctl_exem.train_options import RANGE, FinetuneOptions, TrainOptions

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PredictOptions:
    """Options of `vemctl predict exem`."""

    direction: Literal["lm-to-em", "em-to-lm"] = option(
        "lm-to-em",
        help="Make virtual EM of expansion microscopy, or virtual expansion microscopy of EM.",
    )
    input_range: str | None = option(
        None,
        metavar=RANGE,
        help="What becomes 0 and 1 for the network: the range of the type, two values, or two "
        "percentiles of all channels and time points restored, such as 0.5%,99.5%. Default: as "
        "the weights were trained, if they say so, else dtype.",
    )
    sigma: float = option(
        0.5,
        min=0.13,
        help="Width of the Gaussian with which tiles are blended, in half tiles. Smaller ones "
        "trust the middle of a tile more.",
    )


class Exem(Method):
    """A pair of generators that translate between two kinds of microscopy, learned unpaired."""

    name = "exem"
    summary = "Turn expansion microscopy into virtual electron microscopy, and back."
    citation = (
        "ExEM: Automated analysis of densely labeled expansion microscopy images using electron "
        "microscopy resources (repository NICALab/ExEM, 2025); see also VCM: Expansion microscopy "
        "enables virtual correlative super-resolution optical and electron microscopy"
    )
    predict_options = PredictOptions
    train_options = TrainOptions
    finetune_options = FinetuneOptions

    def statistics(
        self, options: PredictOptions, *, weights: Path | None, as_original: bool
    ) -> Sequence[str]:
        """Ask for the percentiles by which the input is scaled, if it is by percentiles."""
        from vemctl.nn.own_weights import read_facts
        from vemctl_exem.restorer import range_rule

        if as_original or weights is None:
            return ()
        return range_rule(options, read_facts(weights)).statistics

    def restorer(self, weights: Path | None, options: Any, request: Request) -> Restorer:
        """Load a generator; see `vemctl_exem.restorer`."""
        from vemctl_exem.restorer import make_restorer

        assert weights is not None, "exem takes weights"
        return make_restorer(weights, options, request)

    def check_weights(self, tensors: Mapping[str, torch.Tensor], path: Path) -> Mapping[str, Any]:
        """Load them into the networks that they are of."""
        from vemctl_exem.network_sets import describe

        return describe(tensors, path)

    def original_files(self, folder: Path, choice: str | None) -> Mapping[str, Path]:
        """Return the files of one iteration; see `vemctl_exem.original_files`."""
        from vemctl_exem.original_files import files_of_iteration

        return files_of_iteration(folder, choice)

    def original_layout(self, tensors: Mapping[str, torch.Tensor], path: Path) -> Any:
        """Return one file for each network, as the published program reads them."""
        from vemctl.nn.own_weights import read_facts
        from vemctl_exem.network_sets import networks_in
        from vemctl_exem.original_files import name_of

        step = int(read_facts(path).get("step", 0)) if path.is_file() else 0
        found = networks_in(tensors, path)
        return FileSet({name_of(network, step): dict(part) for network, part in found.items()})

    def training_data(self, options: Any, volumes: Sequence[Path]) -> TrainingData:
        """Return volumes of both kinds; see `vemctl_exem.data`."""
        from vemctl_exem.data import training_data

        return training_data(options, volumes)

    def training_statistics(
        self, options: Any, role: str, index: int, *, validation: bool
    ) -> Sequence[str]:
        """Ask for the percentiles by which a volume is scaled, if it is by percentiles."""
        from vemctl_exem.data import rules_of

        return rules_of(options, role)[validation][index].statistics

    def data_warnings(self, options: Any, patches: Patches) -> Sequence[str]:
        """Warn of grey values with which the group loss cannot work."""
        from vemctl_exem.data import warnings_of

        return warnings_of(options, patches)

    def trainer(self, options: Any, request: TrainingRequest) -> Trainer:
        """Return what trains all four networks; see `vemctl_exem.trainer`."""
        from vemctl_exem.trainer import make_trainer

        return make_trainer(options, request)


METHOD = Exem()
