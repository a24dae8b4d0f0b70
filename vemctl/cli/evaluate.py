"""`vemctl evaluate PRED [TRUTH]`: how good a result is, with a truth and without."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vemctl.cli.evaluation_text import print_evaluation
from vemctl.cli.progress import reporter
from vemctl.cli.render import print_json
from vemctl.cli.switches import JsonFlag, NoProgressFlag, QuietFlag, switch
from vemctl.errors import OptionError
from vemctl.workflows.evaluate_options import EvaluateRequest
from vemctl.workflows.options import INPUT, OUTPUT

LOOKING = "What is looked at"
EPILOG = """
Examples:

  vemctl evaluate clean.zarr truth.tif
  vemctl evaluate clean.zarr truth.tif --json
  vemctl evaluate clean.zarr truth.tif --csv slices.csv --mask cells.tif
  vemctl evaluate clean.zarr
  vemctl evaluate clean.zarr --slabs all
"""


def command(
    prediction: Annotated[Path, typer.Argument(metavar="PRED", help="The volume to judge.")],
    truth: Annotated[
        Path | None,
        typer.Argument(
            metavar="TRUTH", help="What it should be, voxel by voxel, if that is known."
        ),
    ] = None,
    source: Annotated[
        Path | None,
        switch(
            "--input",
            metavar="VOLUME",
            help="What was restored. Default: what the output itself names, if it is there.",
            panel=INPUT,
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        switch(
            "--mask",
            metavar="VOLUME",
            help="Count voxels where this is not 0; of the same shape, or one plane for all.",
            panel=INPUT,
        ),
    ] = None,
    axes: Annotated[
        str | None,
        switch(
            "--axes",
            metavar="AXES",
            help="Axes of the volumes, letters out of tczyx, where a file does not say.",
            panel=INPUT,
        ),
    ] = None,
    level: Annotated[
        int,
        switch("--level", metavar="INT", help="Level of PRED's pyramid.", panel=INPUT, smallest=0),
    ] = 0,
    truth_level: Annotated[
        int,
        switch(
            "--truth-level",
            metavar="INT",
            help="Level of TRUTH's pyramid.",
            panel=INPUT,
            smallest=0,
        ),
    ] = 0,
    truth_channel: Annotated[
        int | None,
        switch(
            "--truth-channel",
            metavar="INT",
            help="Channel of TRUTH, where it has several and PRED one. Default: the one that was "
            "restored, if PRED tells.",
            panel=INPUT,
            smallest=0,
        ),
    ] = None,
    truth_timepoint: Annotated[
        int | None,
        switch(
            "--truth-timepoint",
            metavar="INT",
            help="Time point of TRUTH, likewise.",
            panel=INPUT,
            smallest=0,
        ),
    ] = None,
    roi: Annotated[
        str | None,
        switch(
            "--roi",
            metavar="Z0:Z1,Y0:Y1,X0:X1",
            help="Judge this region of PRED only; an end may be left out.",
            panel=LOOKING,
        ),
    ] = None,
    truth_roi: Annotated[
        str | None,
        switch(
            "--truth-roi",
            metavar="Z0:Z1,Y0:Y1,X0:X1",
            help="The part of TRUTH that shows what the whole of PRED shows.",
            panel=INPUT,
        ),
    ] = None,
    channel: Annotated[
        str, switch("--channel", metavar="N|all", help="Channel to judge.", panel=LOOKING)
    ] = "all",
    timepoint: Annotated[
        str, switch("--timepoint", metavar="N|all", help="Time point to judge.", panel=LOOKING)
    ] = "all",
    slabs: Annotated[
        str | None,
        switch(
            "--slabs",
            metavar="N|all",
            help="How many slabs are looked at of each channel. Default: everything up to 268 "
            "million voxels, else 8.",
            panel=LOOKING,
        ),
    ] = None,
    data_range: Annotated[
        str,
        switch(
            "--data-range",
            metavar="NUMBER|type|truth|auto",
            help="From the smallest possible value to the largest, for PSNR and SSIM: a number, "
            "that of TRUTH's type, or what TRUTH spans. auto: the type of 8-bit volumes, else what "
            "TRUTH spans.",
            panel=LOOKING,
        ),
    ] = "auto",
    tile_step: Annotated[
        str | None,
        switch(
            "--tile-step",
            metavar="Z,Y,X",
            help="Look for seams where another program's tiles meet: every so many voxels; 0 where "
            "it did not cut. Outputs of vemctl tell themselves.",
            panel=LOOKING,
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        switch("--csv", metavar="FILE", help="Write the scores of every slice.", panel=OUTPUT),
    ] = None,
    overwrite: Annotated[
        bool, switch("--overwrite", help="Replace the file of --csv.", panel=OUTPUT)
    ] = False,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
    no_progress: NoProgressFlag = False,
) -> None:
    """Judge a restored volume, against the truth or alone.

    With TRUTH: PSNR, SSIM, error, correlation and Fourier ring correlation, overall, by channel and
    by slice. In any case: what the volume tells by itself - its resolution by a split into
    interleaved pixels, whether what was removed is noise, whether tiles meet without seams, whether
    values are saturated. docs/quality.md explains each number.
    """
    from vemctl.workflows.evaluate import check_table, evaluate, step_of, write_slices

    if csv is not None:
        if truth is None:
            raise OptionError(f"--csv {csv}: slices have scores against a TRUTH only; give one")
        check_table(csv, overwrite=overwrite)

    request = EvaluateRequest(
        prediction=prediction,
        truth=truth,
        source=source,
        mask=mask,
        axes=axes,
        level=level,
        truth_level=truth_level,
        truth_channel=truth_channel,
        truth_timepoint=truth_timepoint,
        channel=channel,
        timepoint=timepoint,
        roi=roi,
        truth_roi=truth_roi,
        data_range=data_range,
        slabs=slabs,
        tile_step=step_of(tile_step),
    )
    with reporter(quiet=quiet, progress=not no_progress) as listen:
        facts = evaluate(request, listen)
    if json:
        print_json(facts)
    else:
        print_evaluation(facts)
    if csv is not None:
        write_slices(csv, facts)
