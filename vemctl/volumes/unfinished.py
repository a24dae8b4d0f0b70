"""The mark of an image that is not finished, looked up and put back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vemctl.durable import output_errors
from vemctl.errors import InputError, OutputError
from vemctl.volumes.ome_metadata import UNFINISHED
from vemctl.volumes.stored_array import open_group


@contextmanager
def told_apart(folder: Path) -> Iterator[None]:
    """Turn what the system says of a folder into an OutputError, but that it is not there."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot look at it ({error.strerror or error}); mend that and run the same "
            "command with --resume"
        ) from error


def restore_unfinished(folder: Path, described: Mapping[str, Any]) -> None:
    """Let `BlockStore.open` find the layout of an image that was nearly finished.

    Parameters
    ----------
    folder : Path
    described : mapping
        As `Layout.to_json` returns it.

    Raises
    ------
    InputError
        There is no image.
    OutputError
        It cannot be looked at.
    """
    try:
        with told_apart(folder):
            group = open_group(folder)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: no image ({error})") from error
    if UNFINISHED not in group.attrs:
        with output_errors(folder):
            group.attrs.put(dict(group.attrs) | {UNFINISHED: dict(described)})
