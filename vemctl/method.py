"""The contract of a method: what it is called, what it can do, and who does it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vemctl.errors import WeightsError
from vemctl.option_field import NoOptions
from vemctl.published import Weights
from vemctl.restoring import Request, Restorer, TimeWindow
from vemctl.trainable import Trainable

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


class Method(Trainable, ABC):
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
    takes_folders : bool
        Whether these may be a folder of the published program's, of which `original_files` says
        what belongs together.
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
    takes_folders: bool = False
    has_original: bool = True
    predict_options: type[Any] = NoOptions
    train_options: type[Any] | None = None
    finetune_options: type[Any] | None = None
    prepare_options: type[Any] | None = None

    def needs_weights(self, options: Any) -> bool:  # noqa: ARG002
        """Tell whether a prediction needs weights, of a method that takes them.

        Parameters
        ----------
        options : object
            An instance of `predict_options`.
        """
        return self.takes_weights

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

    def files(self, options: Any, *, as_original: bool) -> Mapping[str, str]:  # noqa: ARG002
        """Return what a restorer reads beside the weights, such as files of a microscope.

        Parameters
        ----------
        options : object
            An instance of `predict_options`.
        as_original : bool
            Whether the published program's output is asked for.

        Returns
        -------
        mapping of str to str
            By names of the method's, each a name of the catalogue, which is fetched if need be, or
            the path of a file or a folder. They come to the restorer as `Request.files`.

        Raises
        ------
        OptionError
            The options do not say which.
        """
        return {}

    @abstractmethod
    def restorer(self, weights: Path | None, options: Any, request: Request) -> Restorer:
        """Load the network and return what runs it.

        Parameters
        ----------
        weights : Path, optional
            A verified file, or a folder for several; None only where none are needed.
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
