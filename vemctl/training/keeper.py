"""What a training leaves behind, in the folder of its run or nowhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from vemctl.events import CheckpointSaved, Event, Listener
from vemctl.learning import Trainer, Validation
from vemctl.training import run_folder
from vemctl.training.checkpoints import Checkpoints
from vemctl.training.log import Log
from vemctl.training.metrics import Metrics
from vemctl.training.previews import write_preview
from vemctl.training.tensorboard import open_tensorboard


class NothingKept:
    """Keeps nothing: for dry runs, and for all processes but the first."""

    def row(self, step: int, values: Mapping[str, float]) -> None:
        """Keep no row of metrics."""

    def checkpoint(self, step: int, state: Mapping[str, Any], trainer: Trainer) -> None:
        """Keep no state."""

    def best(self, step: int, trainer: Trainer) -> None:
        """Keep no weights."""

    def preview(self, step: int, validation: Validation) -> None:
        """Keep no image."""


class RunKeeper:
    """Keeps everything in the folder of a run.

    Parameters
    ----------
    folder : Path
    description : mapping
        See `vemctl.training.run_folder.create`.
    listen : Listener
        Is told of what is kept, as is the log of the run.
    keep : int
        How many checkpoints stay.
    resume, allow_changes : bool
    free : collection of str
        Settings that may change when the run is resumed.

    Attributes
    ----------
    state : mapping, optional
        Of the checkpoint from which the run is continued.

    Raises
    ------
    OutputError
        There is a run already, or the folder cannot be written.
    ResumeError
        There is none to resume, or it was made otherwise.
    """

    def __init__(
        self,
        folder: Path,
        description: Mapping[str, Any],
        listen: Listener,
        *,
        keep: int,
        resume: bool,
        allow_changes: bool,
        free: Collection[str],
    ) -> None:
        if resume:
            run_folder.reopen(folder, description, free=free, allow_changes=allow_changes)
        else:
            run_folder.create(folder, description)
        self._folder = folder
        self._method = description["method"]
        self._told = listen
        self._log = Log(folder / run_folder.LOG)
        self._checkpoints = Checkpoints(folder, keep, self.listen)
        newest = self._checkpoints.newest() if resume else None
        self.state = self._checkpoints.load(newest[1]) if newest else None
        self._metrics = Metrics(folder / run_folder.METRICS, ())
        # Without a state the run begins again, with its row of step 0 if it has one.
        self._metrics.truncate_after(newest[0] if newest else -1)
        self._board = open_tensorboard(folder, newest[0] if newest else 0, self._log)

    def listen(self, event: Event) -> None:
        """Write down what happened, and tell it on."""
        self._log(event)
        self._told(event)

    def row(self, step: int, values: Mapping[str, float]) -> None:
        """Add a row to metrics.csv."""
        self._metrics.append({"step": step, **values})
        self._board.scalars(step, values)

    def checkpoint(self, step: int, state: Mapping[str, Any], trainer: Trainer) -> None:
        """Write the state and the last weights."""
        self._metrics.sync()
        path = self._checkpoints.save(step, state, trainer.weights(), self._facts(trainer))
        self.listen(CheckpointSaved(step, path))

    def complete(self, step: int, trainer: Trainer) -> None:
        """Write the last weights of a checkpoint, if a kill came between the two."""
        self._checkpoints.complete(step, trainer.weights(), self._facts(trainer))

    def best(self, step: int, trainer: Trainer) -> None:
        """Write the best weights."""
        self._checkpoints.save_best(step, trainer.weights(), self._facts(trainer))

    def preview(self, step: int, validation: Validation) -> None:
        """Write an image of the first sample."""
        path = run_folder.preview_path(self._folder, step)
        texts = [f"step {step}", *(f"{k} {v:.4g}" for k, v in validation.metrics.items())]
        write_preview(path, validation.panels, texts, validation.scaled_as)
        self._board.preview(step, path)

    def _facts(self, trainer: Trainer) -> dict[str, Any]:
        return {"method": self._method, **trainer.facts()}

    def close(self) -> None:
        """Close the files."""
        self._log.close()
        self._board.close()
