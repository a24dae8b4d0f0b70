"""`vemctl rerun OUT [NEW_OUTPUT]`: repeat the run that made an output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from vemctl.cli.flags import DryRunFlag, JsonFlag, NoProgressFlag, QuietFlag, VerboseFlag, switch
from vemctl.cli.running import carry_out
from vemctl.errors import InputError
from vemctl.workflows.config import request_from_json
from vemctl.workflows.options import OUTPUT


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
    dry_run: DryRunFlag = False,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    no_progress: NoProgressFlag = False,
) -> None:
    """Repeat the run that made an output: same inputs, weights and options."""
    from vemctl.volumes.destination import read_provenance

    if not made.exists():
        raise InputError(f"{made}: no such file or folder, expected an output of vemctl predict")
    form = (read_provenance(made) or {}).get("request")
    if not isinstance(form, Mapping):
        raise InputError(
            f"{made} does not tell how it was made, expected an output of vemctl predict"
        )
    recorded = request_from_json(form, output or made, where=f"the provenance of {made}")
    request = replace(
        recorded,
        writing=replace(recorded.writing, overwrite=overwrite),
        run=replace(recorded.run, resume=False),
    )
    carry_out(
        request,
        dry_run=dry_run,
        json=json,
        quiet=quiet,
        verbose=verbose,
        no_progress=no_progress,
    )
