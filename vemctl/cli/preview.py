"""`vemctl preview VOLUME OUT.png`: what a volume looks like, alone or beside another."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vemctl.cli.progress import reporter
from vemctl.cli.render import print_json
from vemctl.cli.switches import JsonFlag, NoProgressFlag, QuietFlag, switch
from vemctl.errors import OptionError
from vemctl.workflows.options import INPUT, OUTPUT

SHOWN = "What is shown"
EPILOG = """
Examples:

  vemctl preview noisy.tif noisy.png
  vemctl preview noisy.tif both.png --compare clean.zarr
  vemctl preview noisy.tif both.html --compare clean.zarr
  vemctl preview clean.zarr planes.png --slice z=12 --slice z=40
  vemctl preview cells.zarr cells.png --mip --channel 1
  vemctl preview clean.zarr sheet.png --montage
"""


def command(
    volume: Annotated[
        Path, typer.Argument(metavar="VOLUME", help="A volume: OME-Zarr, TIFF, MRC, CZI or NumPy.")
    ],
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="*.png, *.jpg, *.webp or *.html; - writes a PNG to standard output."
        ),
    ],
    compare: Annotated[
        Path | None,
        switch(
            "--compare",
            metavar="OTHER",
            help="Show the same places of this volume beside it; in a page, below a slider.",
            panel=SHOWN,
        ),
    ] = None,
    slices: Annotated[
        list[str] | None,
        switch(
            "--slice",
            metavar="AXIS=N",
            help="Show this plane, such as z=12, in voxels of full resolution; may be repeated. "
            "Default: the planes through the middle.",
            panel=SHOWN,
        ),
    ] = None,
    mip: Annotated[
        bool, switch("--mip", help="Show maximum intensity projections along z, y, x.", panel=SHOWN)
    ] = False,
    montage: Annotated[
        bool, switch("--montage", help="Show planes spread evenly along z.", panel=SHOWN)
    ] = False,
    count: Annotated[
        int | None,
        switch(
            "--count",
            metavar="INT",
            help="Planes of the montage. Default: 12.",
            panel=SHOWN,
            smallest=1,
        ),
    ] = None,
    contrast: Annotated[
        str | None,
        switch(
            "--contrast",
            metavar="LOW,HIGH",
            help="Values that are black and white. Default: percentiles 0.5 and 99.5 of what is "
            "shown, the same for both volumes where their values are alike.",
            panel=SHOWN,
        ),
    ] = None,
    size: Annotated[
        int | None,
        switch(
            "--size",
            metavar="PIXELS",
            help="Longest edge of a panel. Default: 512; in a page 768, in a montage 256.",
            panel=SHOWN,
            smallest=1,
        ),
    ] = None,
    axes: Annotated[
        str | None,
        switch(
            "--axes",
            metavar="AXES",
            help="Axes of VOLUME, letters out of tczyx, where the file does not say.",
            panel=INPUT,
        ),
    ] = None,
    channel: Annotated[
        int,
        switch(
            "--channel",
            metavar="INT",
            help="Channel that is shown, counted from 0.",
            panel=INPUT,
            smallest=0,
        ),
    ] = 0,
    timepoint: Annotated[
        int,
        switch(
            "--timepoint",
            metavar="INT",
            help="Time point that is shown, counted from 0.",
            panel=INPUT,
            smallest=0,
        ),
    ] = 0,
    overwrite: Annotated[
        bool, switch("--overwrite", help="Replace an existing OUT.", panel=OUTPUT)
    ] = False,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
    no_progress: NoProgressFlag = False,
) -> None:
    """Show what a volume looks like, alone or beside another.

    A picture of the three planes through the middle, of other planes, of projections or of a
    montage, in true proportions and with a scale bar; as a page, with a slider between two volumes.
    Of an OME-Zarr pyramid the coarsest level is read that shows as much, so that size hardly
    matters.
    """
    from vemctl.workflows.preview import preview, rendered
    from vemctl.workflows.preview_options import PreviewRequest

    request = PreviewRequest(
        volume=volume,
        output=output,
        other=compare,
        slices=tuple(slices or ()),
        mip=mip,
        montage=montage,
        count=count,
        axes=axes,
        channel=channel,
        timepoint=timepoint,
        size=size,
        contrast=contrast,
        overwrite=overwrite,
    )
    if request.is_standard_output:
        _check_pipe(json=json)
    with reporter(quiet=quiet, progress=not no_progress) as listen:
        if request.is_standard_output:
            data, facts = rendered(request, listen)
        else:
            facts = preview(request, listen)
    if request.is_standard_output:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    elif json:
        print_json(facts)


def _check_pipe(*, json: bool) -> None:
    """Refuse to mix a picture with text."""
    if json:
        raise OptionError("- and --json both write to standard output: give OUT a name")
    if sys.stdout.isatty():
        raise OptionError("-: a picture is no text for a terminal: give OUT a name, or pipe it on")
