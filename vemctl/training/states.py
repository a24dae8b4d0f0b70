"""Files of a training's whole state: ``checkpoints/step-00001200.pt``.

They are what `torch.save` writes, of tensors and plain values only, so that loading one can run
no code.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vemctl.durable import replacing
from vemctl.errors import MethodError, ResumeError
from vemctl.events import Listener, Noted, ignore

VERSION = 1
NAME = re.compile(r"step-(\d{8,})\.pt")
PLAIN = (bool, int, float, str, bytes, type(None))
CONTAINERS = (dict, OrderedDict, Counter, list, tuple)


def state_path(folder: Path, step: int) -> Path:
    """Return where in a folder of checkpoints the state of a step lies."""
    return folder / f"step-{step:08d}.pt"


def state_paths(folder: Path) -> dict[int, Path]:
    """Return the states in a folder of checkpoints by their steps, damaged ones too."""
    named = ((NAME.fullmatch(path.name), path) for path in folder.glob("step-*.pt"))
    return {int(match[1]): path for match, path in named if match}


def newest_state(folder: Path, listen: Listener = ignore) -> tuple[int, Path] | None:
    """Return step and path of the newest whole state; None if there is none.

    Parameters
    ----------
    folder : Path
        Of checkpoints.
    listen : Listener
        Is told about damaged ones.
    """
    for step, path in sorted(state_paths(folder).items(), reverse=True):
        reason = _damage(path)
        if reason is None:
            return step, path
        listen(Noted(f"{path}: damaged ({reason}); the one before is used", "warning"))
    return None


def write_state(path: Path, content: Mapping[str, Any]) -> None:
    """Write a state; the file is whole or not there.

    Parameters
    ----------
    path : Path
    content : mapping
        Of tensors and plain values, in dicts, lists and tuples.

    Raises
    ------
    MethodError
        It has a value that no file may have; only a plugin can cause it.
    OSError
        The file cannot be written.
    """
    import torch

    _check_plain(content, "")
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            torch.save({"format": VERSION, **content}, file)
    except RuntimeError as error:
        # torch wants to finish the file in any case, and fails again.
        cause = _system_error(error)
        if cause is None:
            raise
        raise cause from error


def read_state(path: Path) -> dict[str, Any]:
    """Return what `write_state` was given, its tensors in main memory.

    Raises
    ------
    ResumeError
        The file is damaged, none of ours, or of a newer vemctl.
    """
    import torch

    # torch checks no sums.
    reason = _damage(path)
    if reason is not None:
        raise _damaged(path, reason)
    try:
        content = dict(torch.load(path, map_location="cpu", weights_only=True))
        version = content.pop("format")
    except (
        OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError,
        MemoryError, pickle.UnpicklingError, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        raise _damaged(path, str(error).strip().partition("\n")[0]) from error
    if version != VERSION:
        raise ResumeError(f"{path}: of another format than {VERSION}; update vemctl")
    return content


def _damaged(path: Path, reason: str) -> ResumeError:
    return ResumeError(
        f"{path}: damaged checkpoint ({reason}); remove it, and --resume continues from the one "
        "before"
    )


def _damage(path: Path) -> str | None:
    """Return what is wrong with a file that torch wrote, by its check sums."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.testzip()
    except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
        return " ".join(str(error).split())
    return f"{member} has another check sum" if member else None


def _check_plain(value: Any, where: str) -> None:
    import torch

    if isinstance(value, torch.Tensor) or type(value) in PLAIN:
        return
    if type(value) not in CONTAINERS:
        raise MethodError(
            f"the training's state has a {type(value).__name__} at {where}: expected tensors and "
            "plain values; the plugin must be mended"
        )
    if isinstance(value, dict):
        for key, part in value.items():
            _check_plain(key, f"a key of {where}")
            _check_plain(part, f"{where}.{key}" if where else str(key))
    else:
        for i, part in enumerate(value):
            _check_plain(part, f"{where}.{i}")


def _system_error(error: BaseException | None) -> OSError | None:
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error
