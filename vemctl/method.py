"""The contract of a method: what it is called, what it can do, and who does it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vemctl.errors import OptionError, WeightsError
from vemctl.learning import Trainer, TrainingRequest
from vemctl.option_field import NoOptions
from vemctl.preparing import Preparation, PreparationRequest
from vemctl.published import Weights
from vemctl.restoring import Request, Restorer, TimeWindow
from vemctl.sampling import Patches, TrainingData

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class FileSet:
    """What a published program reads from several files of one folder.

    Attributes
    ----------
    files : mapping of str to object
        What is in each, for `torch.save`, by its name.
    """

    files: Mapping[str, Any]


class Method(ABC):
    """A published method; its module imports no torch.

    Attributes
    ----------
    name : str
        The sub-command.
    summary : str
        One line for lists.
    citation, doi : str
        The paper.
    inputs : sequence of str
        Names of the volumes that a prediction takes.
    weights : sequence of Weights
        What is published, by the authors or by the plugin's.
    takes_weights : bool
        Whether the method has a network whose weights are given by ``-w``.
    has_original : bool
        Whether there is a published program whose output ``--as-original`` reproduces.
    predict_options : type
        A frozen dataclass whose fields are made by `option`.
    train_options, finetune_options, prepare_options : type, optional
        The same for `vemctl train`, `vemctl finetune` and `vemctl prepare`; None where the method
        has no such command.
    """

    name: str
    summary: str
    citation: str = ""
    doi: str = ""
    inputs: Sequence[str] = ("input",)
    weights: Sequence[Weights] = ()
    takes_weights: bool = True
    has_original: bool = True
    predict_options: type[Any] = NoOptions
    train_options: type[Any] | None = None
    finetune_options: type[Any] | None = None
    prepare_options: type[Any] | None = None

    def statistics(
        self,
        options: Any,  # noqa: ARG002
        *,
        weights: Path | None,  # noqa: ARG002
        as_original: bool,  # noqa: ARG002
    ) -> Sequence[str]:
        """Return the whole-volume statistics that `restorer` needs of every input.

        Known names are ``"min"``, ``"max"``, ``"mean"``, ``"std"`` and what `percentile`,
        `by_slice` and `bound` return; they are streamed once before the restorer is made.

        Parameters
        ----------
        options : object
            An instance of `predict_options`.
        weights : Path, optional
            As `restorer` gets them; `vemctl.nn.own_weights.read_facts` tells what they say.
        as_original : bool
            Whether the published program's output is asked for.
        """
        return ()

    def time_window(
        self,
        options: Any,  # noqa: ARG002
        *,
        weights: Path | None,  # noqa: ARG002
        as_original: bool,  # noqa: ARG002
        num_timepoints: int,  # noqa: ARG002
    ) -> TimeWindow:
        """Return which time points a prediction sees at once; only the one by default.

        Parameters
        ----------
        options : object
            An instance of `predict_options`.
        weights : Path, optional
            As `restorer` gets them.
        as_original : bool
            Whether the published program's output is asked for.
        num_timepoints : int
            Of the input, whether all of them or one is restored.

        Raises
        ------
        OptionError
            The input has too few.
        """
        return TimeWindow()

    @abstractmethod
    def restorer(self, weights: Path | None, options: Any, request: Request) -> Restorer:
        """Load the network and return what runs it.

        Parameters
        ----------
        weights : Path, optional
            A verified file; None exactly where the method takes none.
        options : object
            An instance of `predict_options`.
        request : Request
            What the restorer is made for.

        Raises
        ------
        WeightsError
            The file does not fit the network.
        OptionError
            The options contradict each other or the inputs.
        """

    def check_weights(
        self,
        tensors: Mapping[str, torch.Tensor],  # noqa: ARG002
        path: Path,  # noqa: ARG002
    ) -> Mapping[str, Any]:
        """Return the configuration of the network that these parameters are of, as JSON types.

        Parameters
        ----------
        tensors : mapping of str to tensor
            By key of the published layout.
        path : Path
            Where they are from, for errors.

        Raises
        ------
        WeightsError
            They fit no network of this method.
        """
        return {}

    def original_layout(
        self,
        tensors: Mapping[str, torch.Tensor],
        path: Path,  # noqa: ARG002
    ) -> Any:
        """Return what the published program reads, for `torch.save`; a bare state dict by default.

        Where it reads several files, they are a `FileSet`.

        Parameters
        ----------
        tensors : mapping of str to tensor
            That `check_weights` accepted.
        path : Path
            Where they are from, for errors.
        """
        return dict(tensors)

    def original_files(
        self,
        folder: Path,
        choice: str | None,  # noqa: ARG002
    ) -> Mapping[str, Path]:
        """Return which files of the published program's folder belong together; opens none.

        Parameters
        ----------
        folder : Path
        choice : str, optional
            What the user wrote behind ``@``, such as the number of an iteration.

        Returns
        -------
        mapping of str to Path
            By what comes before their keys where all are in one file, as in `check_weights`.

        Raises
        ------
        WeightsError
            There are none, or it is not clear which.
        """
        raise WeightsError(
            f"{folder}: a folder, but no training run; expected a file of weights, such as a .pth "
            f"in it"
        )

    def training_data(self, options: Any, volumes: Sequence[Path]) -> TrainingData:  # noqa: ARG002
        """Return which volumes a training reads; touches names of files only.

        Parameters
        ----------
        options : object
            An instance of `train_options` or `finetune_options`.
        volumes : sequence of Path
            What the user named without a flag.

        Raises
        ------
        OptionError
            They do not make up what the options ask for.
        """
        raise OptionError(f"{self.name} cannot be trained")

    def training_statistics(
        self,
        options: Any,  # noqa: ARG002
        role: str,  # noqa: ARG002
        index: int,  # noqa: ARG002
        *,
        validation: bool,  # noqa: ARG002
    ) -> Sequence[str]:
        """Return the statistics that a training needs of a volume, named as in `statistics`.

        They are those of the whole file, over all channels and time points that are trained on,
        and stand in the facts that samplers and `trainer` get.

        Parameters
        ----------
        options : object
            An instance of `train_options` or `finetune_options`.
        role : str
        index : int
            Of the file in its role.
        validation : bool
            Whether it is one of those to validate on.
        """
        return ()

    def data_warnings(self, options: Any, patches: Patches) -> Sequence[str]:  # noqa: ARG002
        """Return what is doubtful about the data of a training, one sentence each.

        Parameters
        ----------
        options : object
            An instance of `train_options` or `finetune_options`.
        patches : Patches
            What is trained on.
        """
        return ()

    def trainer(self, options: Any, request: TrainingRequest) -> Trainer:  # noqa: ARG002
        """Make networks, losses and optimisers, and return what trains them.

        Parameters
        ----------
        options : object
            An instance of `train_options` or `finetune_options`.
        request : TrainingRequest
            What the trainer is made for.

        Raises
        ------
        WeightsError
            The weights to start from do not fit.
        OptionError
            The options contradict each other or the data.
        """
        raise OptionError(f"{self.name} cannot be trained")

    def preparation_data(self, options: Any, inputs: Sequence[Path]) -> TrainingData:  # noqa: ARG002
        """Return which raw volumes a preparation reads; touches names of files only.

        Parameters
        ----------
        options : object
            An instance of `prepare_options`.
        inputs : sequence of Path

        Raises
        ------
        OptionError
            They do not make up what the options ask for.
        """
        raise OptionError(f"{self.name} has nothing to prepare")

    def preparation_statistics(self, options: Any, role: str, index: int) -> Sequence[str]:  # noqa: ARG002
        """Return the statistics that a preparation needs of a raw volume, named as in `statistics`.

        Parameters
        ----------
        options : object
            An instance of `prepare_options`.
        role : str
        index : int
            Of the file in its role.
        """
        return ()

    def preparation(self, options: Any, request: PreparationRequest) -> Preparation:  # noqa: ARG002
        """Return what makes a training set of raw volumes.

        Parameters
        ----------
        options : object
            An instance of `prepare_options`.
        request : PreparationRequest
            What it is made for.

        Raises
        ------
        OptionError
            The options contradict each other or the data.
        """
        raise OptionError(f"{self.name} has nothing to prepare")
