"""`vemctl verify OUT`: compare an output with the checksums noted for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vemctl.cli.progress import reporter
from vemctl.cli.render import print_json
from vemctl.cli.running import stop_by_signal
from vemctl.cli.switches import NoProgressFlag, PlainJsonFlag, QuietFlag


def command(
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="An output of vemctl predict, finished or not.")
    ],
    json: PlainJsonFlag = False,
    quiet: QuietFlag = False,
    no_progress: NoProgressFlag = False,
) -> None:
    """Compare an output, finished or not, with the checksums that were noted for it."""
    from vemctl.workflows.verifying import refuse_damage, verify_output

    with (
        reporter(quiet=quiet, progress=not no_progress) as listen,
        stop_by_signal(listen, stopping="stopping") as stop,
    ):
        found = verify_output(output, listen, stop)
    if json:
        print_json(found)
    refuse_damage(found)
    if not json:
        what = "files" if found["finished"] else "units written so far"
        print(f"{output}: {found['checked']} {what}, all as they were noted")
