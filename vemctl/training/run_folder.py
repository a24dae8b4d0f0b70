"""The folder of a training run, and whether a run may be continued in it.

::

    <run>/run.json       what is trained, on what, with which options; see `create`
    <run>/metrics.csv    losses, learning rates and validations by step
    <run>/previews/      images of validations
    <run>/checkpoints/   what the run continues from, and the weights
    <run>/log.txt        what was told, with date and time
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from vemctl.durable import TEMPORARY, remove_temporaries, write_json
from vemctl.errors import OutputError, ResumeError
from vemctl.training.changes import changes, is_within
from vemctl.training.states import newest_state
from vemctl.weights.runs import CHECKPOINTS, DESCRIPTION

METRICS = "metrics.csv"
PREVIEWS = "previews"
LOG = "log.txt"
VERSION = 1
COMPARED = ("command", "options", "data", "seed")
"""Keys of a description on which the trained weights depend."""
NOTED = ("versions",)
"""Keys whose changes are recorded, and need no leave."""
SHOWN = 3


def run_id(description: Mapping[str, Any]) -> str:
    """Return the name of a run: the same for equal descriptions, whatever their order of keys."""
    canonical = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def create(folder: Path, description: Mapping[str, Any]) -> dict[str, Any]:
    """Make the folder of a new run.

    Parameters
    ----------
    folder : Path
        Not there, or empty; nobody else may be making it.
    description : mapping
        Of JSON types: ``"method"``, ``"default_weights"`` ("best" or "last"), ``"command"``,
        ``"options"``, ``"data"`` (fingerprints), ``"seed"``, ``"versions"``, and what else is
        worth knowing.

    Returns
    -------
    dict
        What run.json says now.

    Raises
    ------
    OutputError
        Something is there already, or the folder cannot be made.
    """
    with _one_line(folder, "choose another folder with -o"):
        check_new(folder)
        folder.mkdir(parents=True, exist_ok=True)
        remove_temporaries(folder)
        plain = json.loads(json.dumps(description))
        recorded = {"run": VERSION, "id": run_id(plain), **plain, "changes": []}
        # Before all else: what is no run yet cannot be continued.
        write_json(folder / DESCRIPTION, recorded)
        _make_parts(folder)
    return recorded


def reopen(
    folder: Path,
    description: Mapping[str, Any],
    *,
    free: Collection[str],
    allow_changes: bool = False,
) -> dict[str, Any]:
    """Continue the run in `folder`, and sweep what killed writers left there.

    Parameters
    ----------
    folder : Path
        Nobody else may be writing in it.
    description : mapping
        As for `create`.
    free : collection of str
        Keys under ``"options"`` that may change: ``"workers"`` wherever it stands, or
        ``"compute.workers"`` in that group only; they are recorded as they are now.
    allow_changes : bool
        Continue with other options or data, and record from which step on.

    Returns
    -------
    dict
        What run.json says now; ``"id"`` is still that of the beginning.

    Raises
    ------
    ResumeError
        There is no run, or one that cannot be continued as asked.
    OutputError
        The folder cannot be written.
    """
    path = folder / DESCRIPTION
    recorded = read_run(folder)
    now = json.loads(json.dumps(description))
    if recorded["method"] != now["method"]:
        raise ResumeError(
            f"{folder}: a run of {recorded['method']}, not of {now['method']}; "
            "choose that method, or another folder"
        )
    found = [
        each
        for each in changes(recorded, now, COMPARED)
        if not (each.what.startswith("options.") and is_within(each.what, free))
    ]
    if found and not allow_changes:
        shown = "; ".join(str(each) for each in found[:SHOWN])
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise ResumeError(
            f"{folder}: cannot resume with other settings: {shown}{more}; use the recorded ones, "
            "--allow-changes, or another folder"
        )
    found += changes(recorded, now, NOTED)
    with _one_line(folder, "mend that and run the same command again"):
        remove_temporaries(folder)
        newest = newest_state(folder / CHECKPOINTS) if found else None
        log = [
            {"step": newest[0] if newest else 0, "what": what, "from": was, "to": new}
            for what, was, new in found
        ]
        updated: dict[str, Any] = recorded | now | {"changes": [*recorded.get("changes", []), *log]}
        if updated != recorded:
            write_json(path, updated)
        _make_parts(folder)
    return updated


def read_run(folder: Path) -> dict[str, Any]:
    """Return what run.json says.

    Raises
    ------
    ResumeError
        It is not there, damaged, or of a newer vemctl.
    """
    path = folder / DESCRIPTION
    try:
        recorded = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ResumeError(
            f"{folder}: no run to resume there; start one without --resume"
        ) from error
    except OSError as error:
        raise ResumeError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, " ".join(str(error).split())) from error
    if not isinstance(recorded, dict) or not isinstance(recorded.get("method"), str):
        raise _damaged(path, "no description of a training run")
    if recorded.get("run") != VERSION:
        raise ResumeError(f"{path}: of another format than {VERSION}; update vemctl")
    if not isinstance(recorded.get("changes", []), list):
        raise _damaged(path, "its changes are no list")
    return recorded


def preview_path(folder: Path, step: int) -> Path:
    """Return where the preview of a step lies."""
    return folder / PREVIEWS / f"step-{step:08d}.png"


def check_new(folder: Path) -> None:
    """Refuse a folder in which a new run cannot begin.

    Raises
    ------
    OutputError
        Something is there already.
    """
    if (folder / DESCRIPTION).exists():
        raise OutputError(
            f"{folder}: there is a run already; continue it with --resume, or choose another name"
        )
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: a file; expected a new folder: choose another name")
    # A process that was killed while it made the folder left nothing else.
    if folder.exists() and any(not each.name.endswith(TEMPORARY) for each in folder.iterdir()):
        raise OutputError(
            f"{folder}: exists, is not empty and no run that --resume could continue; choose "
            "another name"
        )


def _make_parts(folder: Path) -> None:
    for name in (CHECKPOINTS, PREVIEWS):
        (folder / name).mkdir(exist_ok=True)


def _damaged(path: Path, reason: str) -> ResumeError:
    return ResumeError(f"{path}: damaged ({reason}); put a copy back, or start another run")


@contextlib.contextmanager
def _one_line(folder: Path, cure: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot write {error.filename or folder}: {error.strerror or error}; {cure}"
        ) from error
