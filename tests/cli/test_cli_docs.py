"""The reference of the command line is written by the program and current."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_cli_docs.py"


def test_the_reference_is_current():
    """docs/cli.md is what the program says of itself, whatever else is installed."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_foreign_methods_and_terminals_change_nothing(fresh):
    """Other people's plugins and the width of the terminal do not show in the reference."""
    assert fresh(str(SCRIPT), "--check", COLUMNS="40").code == 0
