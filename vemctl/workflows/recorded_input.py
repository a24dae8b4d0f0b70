"""The input of an output, found again by what the output records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vemctl.errors import InputError
from vemctl.remote_path import as_path
from vemctl.volumes.fingerprint import fingerprint
from vemctl.volumes.open import open_volume
from vemctl.volumes.view import crop, replace_nonfinite
from vemctl.volumes.volume import Volume
from vemctl.workflows.sources import parse_roi


def input_paths(provenance: Mapping[str, Any]) -> list[Path]:
    """Return the inputs that an output names; none if it does not say."""
    request = provenance.get("request") or {}
    return [as_path(each) for each in request.get("inputs") or []]


def input_options(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return with which options the inputs were read; see `InputOptions`."""
    request = provenance.get("request") or {}
    options: Mapping[str, Any] = request.get("input") or {}
    return options


def open_recorded(provenance: Mapping[str, Any], path: Path | None = None) -> Volume:
    """Open the first input of an output as it was read, with all channels and time points.

    Parameters
    ----------
    provenance : mapping
        Of the output.
    path : Path, optional
        Where the input may lie by now; by default where it was.

    Returns
    -------
    Volume
        To be closed by the caller.

    Raises
    ------
    InputError
        Nothing is recorded, or the input is gone, damaged or another by now.
    VemctlError
        As `open_volume`.
    """
    paths, options = input_paths(provenance), input_options(provenance)
    if not paths:
        raise InputError("the output does not tell what it was made from")
    given, path = path, path or paths[0]
    if not path.exists():
        raise InputError(f"{path} is not there any more")
    volume = open_volume(path, axes=options.get("axes"), level=options.get("level", 0))
    try:
        if options.get("roi"):
            volume = crop(volume, parse_roi(options["roi"], volume.header))
        if options.get("nan_to_num"):
            volume = replace_nonfinite(volume)
        _check_unchanged(volume, provenance, known=given is None)
    except BaseException:
        volume.close()
        raise
    return volume


def _check_unchanged(volume: Volume, provenance: Mapping[str, Any], *, known: bool) -> None:
    """Refuse what is not the input; what nothing is recorded of passes only if `known`."""
    recorded = provenance.get("input") or []
    if (recorded or not known) and [fingerprint(volume)] != recorded[:1]:
        path = volume.header.path
        raise InputError(f"{path} was changed since the output was made from it")
