"""One run per output at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from vemctl.errors import OutputError
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
