"""The options that every method's `prepare` has, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vemctl.plugin import option

INPUT, RUN = "Input", "Run control"


@dataclass(frozen=True)
class PrepareInputOptions:
    """How the raw volumes are read."""

    axes: str | None = option(
        None,
        panel=INPUT,
        metavar="AXES",
        help="Axes of the volumes, letters out of tczyx, where the files do not say.",
    )
    level: int = option(
        0, panel=INPUT, min=0, help="Resolution level of OME-Zarr pyramids; 0 is full resolution."
    )
    channel: str = option(
        "all", panel=INPUT, metavar="N|all", help="Channel to take, counted from 0."
    )
    timepoint: str = option(
        "all", panel=INPUT, metavar="N|all", help="Time point to take, counted from 0."
    )


@dataclass(frozen=True)
class PrepareRunOptions:
    """How the run behaves."""

    seed: int = option(0, panel=RUN, min=0, max=2**31 - 1, help="Of everything random.")
    overwrite: bool = option(
        False, panel=RUN, help="Replace a folder that an earlier preparation made."
    )


@dataclass(frozen=True)
class PrepareRequest:
    """Everything that a preparation depends on.

    Attributes
    ----------
    method : str
    inputs : tuple of Path
    output : Path
        The new folder.
    method_options : object
        An instance of the method's `prepare_options`.
    """

    method: str
    inputs: tuple[Path, ...]
    output: Path
    method_options: Any
    input: PrepareInputOptions = field(default_factory=PrepareInputOptions)
    run: PrepareRunOptions = field(default_factory=PrepareRunOptions)


PREPARE_GROUPS: dict[str, type[Any]] = {"input": PrepareInputOptions, "run": PrepareRunOptions}
"""Field of `PrepareRequest` to the dataclass of its options, in the order of the help."""
