"""`vemctl rerun OUT [NEW_OUTPUT]`: repeat the run that made an output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vemctl.cli.progress import reporter
from vemctl.cli.running import carry_out
from vemctl.cli.switches import (
    DryRunFlag,
    JsonFlag,
    NoProgressFlag,
    OfflineFlag,
    QuietFlag,
    VerboseFlag,
    switch,
    use_offline,
)
from vemctl.workflows.options import OUTPUT, RUN


def command(
    made: Annotated[
        Path, typer.Argument(metavar="OUT", help="An output of vemctl; it tells how it was made.")
    ],
    output: Annotated[
        Path | None,
        typer.Argument(
            metavar="NEW_OUTPUT", help="Where the repetition goes. Default: OUT itself."
        ),
    ] = None,
    overwrite: Annotated[
        bool, switch("--overwrite", help="Replace an existing output when done.", panel=OUTPUT)
    ] = False,
    resume: Annotated[
        bool, switch("--resume", help="Continue an interrupted repetition.", panel=RUN)
    ] = False,
    dry_run: DryRunFlag = False,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    no_progress: NoProgressFlag = False,
    offline: OfflineFlag = False,
) -> None:
    """Repeat the run that made an output: same inputs, weights and options."""
    from vemctl.workflows.rerun import recorded_request

    use_offline(offline)
    with reporter(quiet=quiet, progress=not no_progress) as listen:
        request = recorded_request(made, output, overwrite=overwrite, resume=resume, listen=listen)
    carry_out(
        request,
        dry_run=dry_run,
        json=json,
        quiet=quiet,
        verbose=verbose,
        no_progress=no_progress,
    )
