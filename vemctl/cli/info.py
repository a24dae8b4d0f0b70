"""`vemctl info FILE`: what a volume file holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vemctl.cli.render import print_facts, print_json
from vemctl.cli.switches import PlainJsonFlag
from vemctl.workflows.info import volume_facts


def command(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="A volume: OME-Zarr, TIFF, MRC, CZI or NumPy.")
    ],
    axes: Annotated[
        str | None,
        typer.Option(
            "--axes",
            metavar="AXES",
            help="Axes of the file, letters out of tczyx, where it does not say.",
        ),
    ] = None,
    level: Annotated[
        int,
        typer.Option("--level", metavar="INT", min=0, help="Level of an OME-Zarr pyramid."),
    ] = 0,
    json: PlainJsonFlag = False,
) -> None:
    """Show what a volume file holds.

    Shows shape, axes, type, voxel size, chunks and pyramid, statistics of a sample of voxels, and
    how the file was made if vemctl made it.
    """
    facts = volume_facts(path, axes, level)
    if json:
        print_json(facts)
    else:
        unknown = {"voxel_size_nm": "unknown"} if facts["voxel_size_nm"] is None else {}
        print_facts(known(facts | unknown))


def known(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return `facts` without those that are None, in all groups.

    Parameters
    ----------
    facts : mapping
    """
    return {
        name: known(value) if isinstance(value, Mapping) else value
        for name, value in facts.items()
        if value is not None
    }
