"""`vemctl finish OUT`: complete an output whose shards are done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vemctl.cli.progress import reporter
from vemctl.cli.render import print_json
from vemctl.cli.running import stop_by_signal, write_report
from vemctl.cli.switches import (
    JsonFlag,
    NoProgressFlag,
    QuietFlag,
    ReportFlag,
    VerboseFlag,
    switch,
)


def command(
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="The output, as vemctl predict was told.")
    ],
    no_verify: Annotated[
        bool,
        switch("--no-verify", help="Do not read all blocks again to compare their checksums."),
    ] = False,
    report: ReportFlag = False,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    no_progress: NoProgressFlag = False,
) -> None:
    """Complete an output whose shards are done: check that all is there, build its pyramid."""
    from vemctl.workflows.finish import finish
    from vemctl.workflows.report import check_place, default_place

    with (
        reporter(quiet=quiet, verbose=verbose, progress=not no_progress) as listen,
        stop_by_signal(listen) as stop,
    ):
        if report:
            check_place(default_place(output), overwrite=False)
        facts = finish(output, check=not no_verify, listen=listen, stop=stop)
        if report:
            facts["report"] = str(write_report(output, listen))
    if json:
        print_json({"output": str(output), **facts})
