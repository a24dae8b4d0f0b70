"""`vemctl demo`: a noisy volume, restored and compared with the truth, without any data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vemctl.cli.progress import reporter
from vemctl.cli.render import print_json
from vemctl.cli.switches import JsonFlag, NoProgressFlag, QuietFlag, VerboseFlag, switch
from vemctl.workflows.options import COMPUTE, OUTPUT


def command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the volumes go.")] = Path(
        "vemctl-demo"
    ),
    device: Annotated[
        str,
        switch("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps.", panel=COMPUTE),
    ] = "auto",
    overwrite: Annotated[
        bool, switch("--overwrite", help="Replace the volumes of an earlier demo.", panel=OUTPUT)
    ] = False,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    no_progress: NoProgressFlag = False,
) -> None:
    """Make a noisy volume, restore it, and compare.

    The volume is synthetic, hence its truth is known; nothing is downloaded.
    """
    from vemctl.workflows.demo import run_demo

    with reporter(quiet=quiet, verbose=verbose, progress=not no_progress) as listen:
        facts = run_demo(folder, device=device, overwrite=overwrite, listen=listen)
    if json:
        print_json(facts)
        return
    for line in facts["what"]:
        typer.echo(line)
