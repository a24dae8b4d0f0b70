"""What a run continues from, and the weights it has trained.

::

    checkpoints/step-00001200.pt     the whole state of the training; the newest few are kept
    checkpoints/last.safetensors     the weights of the newest
    checkpoints/best.safetensors     those of the best validation

Every file is whole or not there. The state comes first, then the last weights, and only then are
older states removed: whatever kills the process, a state to continue from stays.
"""

from __future__ import annotations

import contextlib
import errno
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vemctl.durable import free_bytes, remove_temporaries, show_bytes
from vemctl.errors import OutputError
from vemctl.events import Listener, ignore
from vemctl.nn.own_weights import METADATA, write_weights
from vemctl.training.states import (
    newest_state,
    read_state,
    state_path,
    state_paths,
    write_state,
)
from vemctl.weights.runs import CHECKPOINTS, SUFFIX

if TYPE_CHECKING:
    import torch

LAST = f"last{SUFFIX}"
BEST = f"best{SUFFIX}"


class Checkpoints:
    """The checkpoints of a run; sweeps what killed writers left behind.

    Parameters
    ----------
    folder : Path
        Of the run; nobody else may be writing in it.
    keep : int
        States to keep, at least 1.
    listen : Listener
        Is told about damaged files.

    Raises
    ------
    OutputError
        The folder cannot be written.
    """

    def __init__(self, folder: Path, keep: int, listen: Listener = ignore) -> None:
        self._folder = folder / CHECKPOINTS
        self._keep = max(1, keep)
        self._listen = listen
        self._whole: int | None = None
        with self._errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            remove_temporaries(self._folder)

    def save(
        self,
        step: int,
        state: Mapping[str, Any],
        weights: Mapping[str, torch.Tensor],
        facts: Mapping[str, Any],
    ) -> Path:
        """Write the state and the weights of a step, then remove all but the newest few states.

        Parameters
        ----------
        step : int
            States of later steps are of a history that was left, and are removed.
        state : mapping
            Tensors and plain values, in dicts, lists and tuples.
        weights : mapping of str to tensor
        facts : mapping
            Of JSON types; the step is added.

        Returns
        -------
        Path
            Of the state.

        Raises
        ------
        OutputError
            The disk is full or cannot be written; what is there stays whole.
        MethodError
            The state has a value that no file may have; only a plugin can cause it.
        """
        path = state_path(self._folder, step)
        with self._errors(path):
            write_state(path, {"step": step, "state": dict(state)})
        self._whole = step
        self._write(LAST, step, weights, facts)
        self._prune(step)
        return path

    def save_best(
        self, step: int, weights: Mapping[str, torch.Tensor], facts: Mapping[str, Any]
    ) -> None:
        """Write the weights as the best so far; to be called before `save`.

        Parameters
        ----------
        step : int
        weights, facts : mapping
            As for `save`.

        Raises
        ------
        OutputError
            As `save`.
        """
        self._write(BEST, step, weights, facts)

    def newest(self) -> tuple[int, Path] | None:
        """Return step and path of the newest whole state; damaged ones are told and passed over."""
        found = newest_state(self._folder, self._listen)
        self._whole = found[0] if found else None
        return found

    def load(self, path: Path) -> dict[str, Any]:
        """Return the state that `save` was given, its tensors in main memory.

        Raises
        ------
        ResumeError
            The file is damaged, none of ours, or of a newer vemctl.
        """
        content = read_state(path)
        self._whole = content["step"]
        return dict(content["state"])

    def complete(
        self, step: int, weights: Mapping[str, torch.Tensor], facts: Mapping[str, Any]
    ) -> None:
        """Write the last weights if a kill came between the state of `step` and them.

        Parameters
        ----------
        step : int
            At which the run continues.
        weights, facts : mapping
            As for `save`.
        """
        if _step_of(self._folder / LAST) != step:
            self._write(LAST, step, weights, facts)

    def _write(
        self,
        name: str,
        step: int,
        weights: Mapping[str, torch.Tensor],
        facts: Mapping[str, Any],
    ) -> None:
        path = self._folder / name
        with self._errors(path):
            write_weights(path, weights, {**facts, "step": step})

    def _prune(self, step: int) -> None:
        there = state_paths(self._folder)
        kept = sorted((number for number in there if number <= step), reverse=True)[: self._keep]
        with self._errors(self._folder):
            for number in sorted(there.keys() - set(kept)):
                there[number].unlink(missing_ok=True)

    @contextlib.contextmanager
    def _errors(self, path: Path) -> Iterator[None]:
        """Turn what the system says about writing into one line that tells what is still there."""
        try:
            yield
        except OSError as error:
            # safetensors tells the number in words only.
            match = re.search(r"os error (\d+)", str(error))
            number = error.errno or (int(match[1]) if match else None)
            full = number in (errno.ENOSPC, errno.EDQUOT)
            if number == errno.ENOSPC:
                reason = f"disk full, {show_bytes(free_bytes(path))} free"
            else:
                reason = "quota exceeded" if full else f"cannot write: {error.strerror or error}"
            stays = (
                "no checkpoint is there yet"
                if self._whole is None
                else f"the checkpoint of step {self._whole} is intact"
            )
            raise OutputError(
                f"{path}: {reason}; {stays}: {'make room' if full else 'mend that'} and run the "
                "same command with --resume"
            ) from error


def _step_of(path: Path) -> int | None:
    """Return which step a file of weights says that it is of; None if it is not readable."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            step = json.loads((file.metadata() or {})[METADATA])["step"]
    except (SafetensorError, OSError, ValueError, LookupError, TypeError):
        return None
    return step if isinstance(step, int) else None
