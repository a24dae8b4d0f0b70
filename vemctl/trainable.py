"""The part of a method's contract that is for its training, and for what prepares one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vemctl.errors import OptionError
from vemctl.learning import Trainer, TrainingRequest
from vemctl.preparing import Preparation, PreparationRequest
from vemctl.sampling import Patches, TrainingData


class Trainable:
    """What `vemctl train`, `finetune` and `prepare` ask of a method; by default it has none.

    Attributes
    ----------
    name : str
        The sub-command.
    """

    name: str

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

    def training_files(self, options: Any) -> Mapping[str, str]:  # noqa: ARG002
        """Return what a training reads beside its volumes, such as files of a microscope.

        Parameters
        ----------
        options : object
            An instance of `train_options` or `finetune_options`.

        Returns
        -------
        mapping of str to str
            As of `Method.files`. They come to the trainer as `TrainingRequest.files`.

        Raises
        ------
        OptionError
            The options do not say which.
        """
        return {}

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
