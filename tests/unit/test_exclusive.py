"""One run per output at a time."""

from __future__ import annotations

from pathlib import Path

import filelock
import pytest

from vemctl.errors import OutputError
from vemctl.events import Event, Noted
from vemctl.workflows.exclusive import exclusive


def test_a_second_run_of_an_output_is_refused(tmp_path: Path) -> None:
    """While one run holds an output another is told so; afterwards nothing is left behind."""
    output = tmp_path / "out.zarr"
    with exclusive(output):
        with pytest.raises(OutputError, match="another run"), exclusive(output):
            pass
        with exclusive(tmp_path / "other.zarr"):
            pass
    with exclusive(output):
        pass
    assert not list(tmp_path.iterdir())


def test_where_there_are_no_locks_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system without locks does not stop a run, but the user is warned."""

    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    heard: list[Event] = []
    with exclusive(tmp_path / "out.zarr", heard.append):
        pass
    (note,) = heard
    assert isinstance(note, Noted)
    assert note.level == "warning"
    assert "out.zarr" in note.text
