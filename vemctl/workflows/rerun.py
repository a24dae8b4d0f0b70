"""Rerun: the request that made an output, to be carried out again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vemctl import registry
from vemctl.errors import InputError, WeightsError
from vemctl.events import Listener, ignore
from vemctl.volumes.fingerprint import fingerprint
from vemctl.volumes.provenance import read_provenance
from vemctl.weights import Resolved
from vemctl.workflows.config import request_from_json
from vemctl.workflows.options import PredictRequest
from vemctl.workflows.sources import open_sources
from vemctl.workflows.weights import read_by


def recorded_request(
    made: Path,
    output: Path | None,
    *,
    overwrite: bool,
    resume: bool,
    listen: Listener = ignore,
) -> PredictRequest:
    """Return the request that made the output `made`.

    Parameters
    ----------
    made : Path
    output : Path, optional
        Where the repetition goes; None for `made` itself.
    overwrite, resume : bool
    listen : Listener
        Is told of a download of the weights.

    Raises
    ------
    InputError
        `made` is missing or does not tell how it was made; an input is gone or another by now.
    WeightsError
        The weights of that name or path are others by now.
    """
    if not made.exists():
        raise InputError(f"{made}: no such file or folder, expected an output of vemctl predict")
    provenance = read_provenance(made) or {}
    form = provenance.get("request")
    if not isinstance(form, Mapping):
        raise InputError(
            f"{made} does not tell how it was made, expected an output of vemctl predict"
        )
    recorded = request_from_json(form, output or made, where=f"the provenance of {made}")
    used = provenance.get("weights")
    if recorded.weights is None and isinstance(used, Mapping):
        # The default of that time, whichever it is by now.
        recorded = replace(recorded, weights=used.get("name"))
    method = registry.get(recorded.method)
    found, files = read_by(recorded, method, listen)
    if found and isinstance(used, Mapping) and found.sha256 != used.get("sha256"):
        raise WeightsError(
            f"{found.path}: SHA-256 {found.sha256}, but {made} was made with weights of SHA-256 "
            f"{used.get('sha256')}; put those back, or use vemctl predict"
        )
    _check_files(files, provenance, made)
    for path in recorded.inputs:
        if not path.exists():
            raise InputError(
                f"{path}: {made} was made from it, but it is not there; put it back, or use vemctl "
                f"predict with its new place"
            )
    with open_sources(recorded.inputs, method.inputs, recorded.input) as sources:
        now = [fingerprint(volume) for volume in sources.volumes]
    if now != provenance.get("input"):
        raise InputError(
            f"{', '.join(map(str, recorded.inputs))}: changed since {made} was made from it; put "
            f"the former back, or use vemctl predict"
        )
    return replace(
        recorded,
        writing=replace(recorded.writing, overwrite=overwrite),
        run=replace(recorded.run, resume=resume),
    )


def _check_files(files: Mapping[str, Resolved], provenance: Mapping[str, Any], made: Path) -> None:
    """See to it that what the method read beside the weights is what it was."""
    known = provenance.get("files")
    for key, file in files.items():
        before = known.get(key) if isinstance(known, Mapping) else None
        if not isinstance(before, Mapping) or before.get("sha256") != file.sha256:
            raise WeightsError(
                f"{file.path}: changed since {made} was made with it; put the former back, or use "
                f"vemctl predict"
            )
