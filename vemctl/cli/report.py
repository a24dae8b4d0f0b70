"""`vemctl report RUN_OR_OUTPUT`: one HTML file about a training run or an output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vemctl.cli.progress import reporter
from vemctl.cli.render import print_json
from vemctl.cli.switches import JsonFlag, NoProgressFlag, QuietFlag, switch
from vemctl.pages.words import size_text
from vemctl.workflows.options import INPUT, OUTPUT


def command(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_OR_OUTPUT",
            help="The folder of a training run, or a volume that vemctl predict has made.",
        ),
    ],
    out: Annotated[
        Path | None,
        switch(
            "--out",
            "-o",
            metavar="FILE.html",
            help="Where the report goes. Default: report.html in the run, or clean.report.html "
            "beside clean.zarr. An earlier report is replaced.",
            panel=OUTPUT,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        switch("--overwrite", help="Replace the file also if it is no report.", panel=OUTPUT),
    ] = False,
    channel: Annotated[
        int | None,
        switch(
            "--channel",
            metavar="INT",
            help="Channel of an output to look at, counted from 0. Default: 0.",
            panel=INPUT,
            smallest=0,
        ),
    ] = None,
    timepoint: Annotated[
        int | None,
        switch(
            "--timepoint",
            metavar="INT",
            help="Time point of an output to look at, counted from 0. Default: 0.",
            panel=INPUT,
            smallest=0,
        ),
    ] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
    no_progress: NoProgressFlag = False,
) -> None:
    """Write a training run or an output up as one HTML file.

    The file needs no network and nothing beside it. Of a training it shows options, data, curves,
    validations and previews; of an output how it was made, what that took, before and after, and
    how good it is. Of large volumes parts are looked at, and the report says which.
    """
    from vemctl.workflows.report import report

    with reporter(quiet=quiet, progress=not no_progress) as listen:
        place = report(
            target, out, overwrite=overwrite, channel=channel, timepoint=timepoint, listen=listen
        )
    num_bytes = place.stat().st_size
    if json:
        print_json({"report": str(place), "of": str(target), "bytes": num_bytes})
    elif not quiet:
        typer.echo(f"wrote {place} ({size_text(num_bytes)}); open it in a browser")
