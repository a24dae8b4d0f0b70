"""The root command."""

from __future__ import annotations

from typing import Annotated, ClassVar

import typer

from vemctl import __version__
from vemctl.cli.lazy import LazyGroup, Target

RESTORE, TRAIN, LOOK = "Restore", "Train", "Look"

EPILOG = """
Examples:

  vemctl demo
  vemctl predict denoise noisy.tif clean.zarr
  vemctl train denoise --self-supervised noisy.tif -o runs/a
  vemctl weights list
  vemctl info noisy.tif
  vemctl doctor
"""


class Root(LazyGroup):
    """The commands of vemctl."""

    targets: ClassVar[dict[str, Target]] = {
        "predict": Target(
            "vemctl.cli.predict", "Restore a volume with a published method.", RESTORE
        ),
        "train": Target("vemctl.cli.train", "Train a method on volumes.", TRAIN),
        "finetune": Target("vemctl.cli.finetune", "Train on from published or own weights.", TRAIN),
        "prepare": Target("vemctl.cli.prepare", "Make a training set of raw volumes.", TRAIN),
        "status": Target("vemctl.cli.status", "Show how far an output is, and by whom.", RESTORE),
        "finish": Target("vemctl.cli.finish", "Complete an output whose shards are done.", RESTORE),
        "verify": Target("vemctl.cli.verify", "Compare an output with its checksums.", RESTORE),
        "rerun": Target("vemctl.cli.rerun", "Repeat the run that made an output.", RESTORE),
        "demo": Target("vemctl.cli.demo", "Make a noisy volume, restore it, and compare.", RESTORE),
        "weights": Target("vemctl.cli.weights", "List, fetch, verify and carry weights.", RESTORE),
        "methods": Target("vemctl.cli.methods", "List the installed methods.", LOOK),
        "evaluate": Target(
            "vemctl.cli.evaluate", "Judge a result, against the truth or alone.", LOOK
        ),
        "info": Target("vemctl.cli.info", "Show what a volume file holds.", LOOK),
        "preview": Target("vemctl.cli.preview", "Make a picture of a volume, or of two.", LOOK),
        "report": Target("vemctl.cli.report", "Write up a run or an output as one page.", LOOK),
        "doctor": Target("vemctl.cli.doctor", "Check the installation and the machine.", LOOK),
    }


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"vemctl {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Root,
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog=EPILOG,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            callback=_show_version,
            is_eager=True,
            metavar="",
            help="Show the version.",
        ),
    ] = False,
) -> None:
    """Restore and super-resolve microscopy volumes.

    Volumes are OME-Zarr, TIFF, MRC, CZI or NumPy files of any size; methods are published networks.
    """
