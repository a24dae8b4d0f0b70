"""What happened when an output was made: time and memory, apart from its provenance.

The provenance of the same result is the same; this is not, and lies where it changes no byte of
the volume: in a file of its own in a Zarr store, in the sidecar of other formats.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vemctl import __version__
from vemctl.durable import write_json
from vemctl.events import Listener, Noted
from vemctl.nn import device as devices
from vemctl.volumes.sidecar import read_sidecar, sidecar_path

RECORD = ".vemctl-run.json"
"""In the folder of a Zarr store."""
KEY = "run"
"""In a sidecar."""


def note_run(
    output: Path, device: str | None, facts: Mapping[str, Any], seconds: float, listen: Listener
) -> None:
    """Record what a prediction took, beside its output.

    Parameters
    ----------
    output : Path
        Finished.
    device : str, optional
        The torch device of this process; None where others have restored the blocks.
    facts : mapping
        JSON types: what the run tells of itself, its plan among them.
    seconds : float
        Since it began.
    listen : Listener
        Is told if it cannot be written, which does not concern the output.
    """
    began = time.time() - seconds
    record = {
        "version": __version__,
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        "seconds": round(seconds, 2),
        "peak_memory_bytes": peak_memory_bytes(),
        **(devices.in_use(device) if device else {}),
        **facts,
    }
    try:
        write_record(output, record)
    except OSError as error:
        text = f"{output}: what the run took cannot be recorded ({error.strerror or error})"
        listen(Noted(text, "warning"))


def write_record(output: Path, facts: Mapping[str, Any]) -> None:
    """Write what happened beside a finished output, for reports.

    Parameters
    ----------
    output : Path
        A Zarr store, or a file with its sidecar.
    facts : mapping
        JSON types.

    Raises
    ------
    OSError
        It cannot be written; the output is not concerned.
    """
    if output.is_dir():
        write_json(output / RECORD, facts)
        return
    sidecar = read_sidecar(output)
    if sidecar is not None:
        write_json(sidecar_path(output), {**sidecar, KEY: dict(facts)})


def read_record(output: Path) -> dict[str, Any] | None:
    """Return what happened when an output was made; None where that is not recorded.

    Parameters
    ----------
    output : Path

    Raises
    ------
    InputError
        The sidecar is damaged.
    """
    if not output.is_dir():
        found = (read_sidecar(output) or {}).get(KEY)
    else:
        try:
            found = json.loads((output / RECORD).read_bytes())
        except (OSError, ValueError):
            return None
    return found if isinstance(found, dict) else None


def peak_memory_bytes() -> int | None:
    """Return how much main memory this process has held at most; None where nobody counts."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
