"""Info: what a volume file holds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any


def volume_facts(path: Path, axes: str | None = None, level: int = 0) -> dict[str, Any]:
    """Return what is known of a volume file, as JSON types; see `vemctl.volumes.describe`.

    Parameters
    ----------
    path : Path
    axes : str, optional
        Of the file, where it does not say.
    level : int
        Of an OME-Zarr pyramid.

    Raises
    ------
    InputError
        The file is missing, damaged, ambiguous or of the wrong kind.
    """
    from vemctl.volumes.describe import describe

    return dataclasses.asdict(describe(path, axes, level))
