"""`vemctl weights`: list, fetch, verify and carry published weights, and register one's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vemctl.cli.lazy import Command
from vemctl.cli.progress import reporter
from vemctl.cli.render import print_json, print_table
from vemctl.cli.running import stop_by_signal
from vemctl.cli.switches import (
    NoProgressFlag,
    OfflineFlag,
    PlainJsonFlag,
    QuietFlag,
    switch,
    use_offline,
)
from vemctl.pages.words import size_text

if TYPE_CHECKING:
    from vemctl.weights import Access

EPILOG = """
Examples:

  vemctl weights list
  vemctl weights fetch denoise/supervised
  vemctl weights pack weights.tar        # where there is a network
  vemctl weights unpack weights.tar      # where there is none
  vemctl weights add denoise/liver runs/liver
"""

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode="rich", epilog=EPILOG
)


@app.callback()
def weights() -> None:
    """List, fetch, verify and carry weights.

    Weights are kept in the user's cache folder, or where VEMCTL_CACHE says; the folders in
    VEMCTL_SHARED_CACHE are looked into first and never written to. With VEMCTL_OFFLINE=1 no
    connection is opened.
    """


NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Such as denoise/supervised.")]
NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME...", help="Such as denoise/supervised; all if none is given."),
]
OverwriteFlag = Annotated[
    bool, switch("--overwrite", help="Replace what has the same name.", panel=None)
]


@app.command("list", cls=Command)
def list_all(
    method: Annotated[
        str | None,
        switch("--method", metavar="METHOD", help="Only weights for this method.", panel=None),
    ] = None,
    json: PlainJsonFlag = False,
) -> None:
    """List all weights, published and registered; --json tells also files, digests and paths."""
    from vemctl.workflows import weights as workflow

    with reporter() as listen:
        rows = [row for row in workflow.rows(listen) if method in (None, row["method"])]
    if json:
        print_json(rows)
        return
    if not rows:
        typer.echo("no weights are published or registered" + (f" for {method}" if method else ""))
        return
    head = ["name", "state", "size", "licence", "source"]
    table = [
        [
            row["name"] + (" (default)" if row["default"] else ""),
            row["state"],
            "-" if row["bytes"] is None else size_text(row["bytes"]),
            row["licence"] or "-",
            _shortened(row["source"]),
        ]
        for row in rows
    ]
    print_table([head, *table])


@app.command(cls=Command)
def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME...", help="Names, doi:DOI/FILE or https://HOST/FILE#sha256=HEX."
        ),
    ] = None,
    everything: Annotated[
        bool, switch("--all", help="Everything that is published.", panel=None)
    ] = False,
    method: Annotated[
        str | None,
        switch("--method", metavar="METHOD", help="Everything published for a method.", panel=None),
    ] = None,
    json: PlainJsonFlag = False,
    quiet: QuietFlag = False,
    no_progress: NoProgressFlag = False,
    offline: OfflineFlag = False,
) -> None:
    """Download weights, verify and keep them."""
    from vemctl.workflows import weights as workflow

    use_offline(offline)
    with _access(quiet=quiet, progress=not no_progress) as access:
        rows = workflow.fetch(names or [], everything=everything, method=method, access=access)
    if json:
        print_json(rows)
    else:
        print_table([[row["name"], row["path"], size_text(row["bytes"])] for row in rows])


@app.command(cls=Command)
def path(name: NameArgument) -> None:
    """Print where weights are that were fetched; downloads nothing."""
    from vemctl.workflows import weights as workflow

    with _access() as access:
        typer.echo(str(workflow.find(name, access).path))


@app.command(cls=Command)
def verify(names: NamesArgument = None, json: PlainJsonFlag = False) -> None:
    """Read weights again and compare them with their digests; exit code 2 if one differs."""
    from vemctl.workflows import upkeep

    with _access() as access:
        rows = upkeep.verify(names or [], access)
    if json:
        print_json(rows)
    elif not rows:
        typer.echo("no weights are kept here")
    else:
        print_table([[row["name"], "; ".join(row["problems"]) or "sound"] for row in rows])
    if any(row["problems"] for row in rows):
        raise typer.Exit(2)


@app.command(cls=Command)
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="New, such as denoise/liver.")],
    source: Annotated[
        str, typer.Argument(metavar="PATH", help="A file, a folder of files, or a run (RUN@last).")
    ],
    overwrite: OverwriteFlag = False,
    json: PlainJsonFlag = False,
) -> None:
    """Copy weights of your own into the store, under a name."""
    from vemctl.workflows import upkeep

    with _access() as access:
        added = upkeep.add(name, source, access, overwrite=overwrite)
    facts = {"name": added.name, "path": str(added.path), "sha256": added.sha256}
    if json:
        print_json(facts)
    else:
        print_table([[added.name, str(added.path)]])


@app.command(cls=Command)
def remove(
    name: NameArgument,
    forget: Annotated[
        bool,
        switch(
            "--forget",
            help="Forget also its digest, so that a changed file is accepted.",
            panel=None,
        ),
    ] = False,
) -> None:
    """Remove weights from the store."""
    from vemctl.workflows import upkeep

    with _access() as access:
        freed = upkeep.remove(name, access, forget=forget)
    typer.echo(f"removed {name}, {size_text(freed)}")


@app.command(cls=Command)
def pack(
    archive: Annotated[Path, typer.Argument(metavar="OUT.tar", help="The new file.")],
    names: NamesArgument = None,
    json: PlainJsonFlag = False,
    quiet: QuietFlag = False,
    no_progress: NoProgressFlag = False,
) -> None:
    """Write weights into one file, to carry them to a machine without a network."""
    from vemctl.workflows import upkeep

    with _access(quiet=quiet, progress=not no_progress) as access:
        facts = upkeep.pack(names or [], archive, access)
    if json:
        print_json(facts)
    else:
        typer.echo(f"{facts['archive']}: {', '.join(facts['names'])}, {size_text(facts['bytes'])}")


@app.command(cls=Command)
def unpack(
    archive: Annotated[Path, typer.Argument(metavar="IN.tar", help="From vemctl weights pack.")],
    overwrite: OverwriteFlag = False,
    json: PlainJsonFlag = False,
) -> None:
    """Take weights that were packed into the store; each is verified."""
    from vemctl.workflows import upkeep

    with _access() as access:
        facts = upkeep.unpack(archive, access, overwrite=overwrite)
    if json:
        print_json(facts)
    else:
        typer.echo(f"{facts['store']}: {', '.join(facts['names']) or 'nothing new'}")


@app.command("import", cls=Command)
def import_file(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A checkpoint of any kind, a run (RUN@last), or with --method a folder "
            "of the published program (FOLDER@6000).",
        ),
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="The new file: .safetensors, or .pth; a folder where several are read.",
        ),
    ],
    method: Annotated[
        str | None,
        switch(
            "--method",
            metavar="METHOD",
            help="Check that it fits this method's network, and note that in the file.",
            panel=None,
        ),
    ] = None,
    layout: Annotated[
        Literal["vemctl", "original"],
        switch(
            "--layout",
            metavar="vemctl|original",
            help="safetensors, or what the method's published program reads.",
            panel=None,
        ),
    ] = "vemctl",
    overwrite: OverwriteFlag = False,
    json: PlainJsonFlag = False,
) -> None:
    """Convert a checkpoint to safetensors, or to the layout of the published program.

    Nothing in the file is executed.
    """
    from vemctl.workflows.conversion import convert

    facts = convert(source, target, method=method, layout=layout, overwrite=overwrite)
    if json:
        print_json(facts)
    else:
        typer.echo(
            f"{facts['output']}: {facts['num_tensors']} tensors, {size_text(facts['bytes'])}"
        )


def _shortened(source: str) -> str:
    """Return where weights are from as a table has room for: `--json` tells the file too."""
    place = source.partition(" ")[0]
    place = re.sub(r"(@[0-9a-f]{7})[0-9a-f]{33}/.*", r"\1", place)
    return re.sub(r"(doi:10\..*)/[^/]*", r"\1", place)


@contextmanager
def _access(*, quiet: bool = False, progress: bool = True) -> Iterator[Access]:
    from vemctl.weights import Access

    with (
        reporter(quiet=quiet, progress=progress) as listen,
        stop_by_signal(listen) as stop,
    ):
        yield Access.from_environment(listen, stop)
