"""Flags of the command line that are no part of a request."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from vemctl.workflows.options import RUN


def switch(
    *names: str,
    help: str,  # noqa: A002 - Typer's own word
    panel: str | None = RUN,
    metavar: str = "",
    smallest: int | None = None,
) -> Any:
    """Declare a flag of the command line that is no part of a request.

    Parameters
    ----------
    *names : str
        All spellings.
    help : str
        One sentence.
    panel : str, optional
        Of the help.
    metavar : str
        How the value is written; nothing for a mere switch.
    smallest : int, optional
        That a number may be.
    """
    return typer.Option(*names, help=help, rich_help_panel=panel, metavar=metavar, min=smallest)


ConfigFlag = Annotated[
    Path | None,
    switch(
        "--config", metavar="FILE.toml", help="Read flags from a TOML file; flags given here win."
    ),
]
DryRunFlag = Annotated[
    bool, switch("--dry-run", help="Show the plan and stop; nothing is written.")
]
JsonFlag = Annotated[bool, switch("--json", help="Print the result as JSON.")]
PlainJsonFlag = Annotated[bool, switch("--json", help="Print JSON.", panel=None)]
QuietFlag = Annotated[bool, switch("--quiet", "-q", help="Show errors only.")]
VerboseFlag = Annotated[
    bool, switch("--verbose", "-v", help="Show times of stages, and where an error came from.")
]
OfflineFlag = Annotated[
    bool, switch("--offline", help="Open no connection, as with VEMCTL_OFFLINE=1.")
]
NoProgressFlag = Annotated[bool, switch("--no-progress", help="Show no progress, only notes.")]
ReportFlag = Annotated[
    bool, switch("--report", help="Write a report of it in the end, one HTML file.")
]

CLI_ONLY: dict[str, Any] = {
    "config": ConfigFlag,
    "dry_run": DryRunFlag,
    "json": JsonFlag,
    "quiet": QuietFlag,
    "verbose": VerboseFlag,
    "no_progress": NoProgressFlag,
    "offline": OfflineFlag,
    "report": ReportFlag,
}


def use_offline(asked: bool) -> None:
    """Let the flag mean what the variable means, for this process and those that it starts."""
    if asked:
        os.environ["VEMCTL_OFFLINE"] = "1"
