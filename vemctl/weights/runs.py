"""The weights of a training run.

::

    <run>/run.json                        "method", and "default_weights": "best" or "last"
    <run>/checkpoints/best.safetensors    and last.safetensors
"""

from __future__ import annotations

import json
from pathlib import Path

from vemctl.errors import WeightsError

DESCRIPTION = "run.json"
CHECKPOINTS = "checkpoints"
SUFFIX = ".safetensors"


def split_choice(asked: str) -> tuple[Path, str | None]:
    """Return the run's folder and what follows ``@``, for instance ``"last"``; None without it."""
    path, at, choice = asked.rpartition("@")
    return (Path(path), choice) if at and path else (Path(asked), None)


def is_run(folder: Path) -> bool:
    """Tell whether a folder is a training run."""
    return (folder / DESCRIPTION).is_file()


def weights_of_run(folder: Path, choice: str | None, method: str | None) -> Path:
    """Return the file of a run's weights.

    Parameters
    ----------
    folder : Path
    choice : str, optional
        ``"best"`` or ``"last"``; by default what the run says.
    method : str, optional
        That the run must be of.

    Raises
    ------
    WeightsError
        The run is of another method, is damaged, or has no such weights yet.
    """
    path = folder / DESCRIPTION
    try:
        facts = json.loads(path.read_bytes())
        trained, default = str(facts["method"]), str(facts["default_weights"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path}: damaged; expected the description of a training run"
        ) from error
    if method is not None and trained != method:
        raise WeightsError(f"{folder}: a run of {trained}; expected one of {method}")
    there = sorted(path.stem for path in (folder / CHECKPOINTS).glob(f"*{SUFFIX}"))
    wanted = choice or default
    if wanted not in there and choice is None and there:
        wanted = "last" if "last" in there else there[0]
    if wanted not in there:
        raise WeightsError(
            f"{folder}: no weights {wanted!r}; "
            + (
                f"it has {', '.join(f'{folder}@{name}' for name in there)}"
                if there
                else "it has none yet: let it train until its first checkpoint"
            )
        )
    return folder / CHECKPOINTS / f"{wanted}{SUFFIX}"
