"""Verify: compare the files of an output, finished or not, with the checksums noted for them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from vemctl.errors import OutputError
from vemctl.events import Listener, ignore
from vemctl.prediction.finishing import Torn, find_torn
from vemctl.prediction.ledger import Ledger
from vemctl.volumes.checks import partial_folder
from vemctl.volumes.volume import show_region
from vemctl.workflows import checksums
from vemctl.workflows.beginning import open_stores
from vemctl.workflows.job import is_placed, read_job
from vemctl.workflows.standing import settled

NAMED = 3
SECONDS_TO_WRITE = 1.0
"""In which a unit is certainly written, if somebody is at it."""


def verify_output(
    output: Path, listen: Listener = ignore, stop: threading.Event | None = None
) -> dict[str, Any]:
    """Return what is damaged in an output, as JSON types; changes nothing.

    Parameters
    ----------
    output : Path
        Finished, or unfinished even while others write it.
    listen : Listener
    stop : threading.Event, optional

    Returns
    -------
    dict
        ``output``, ``finished``, ``checked`` (units, or 1 for a file) and ``damaged``: a list of
        what and where.

    Raises
    ------
    InputError
        There is no such output, or it has no checksums.
    Interrupted
        `stop` was set.
    """
    stop = stop or threading.Event()
    found = _verify_unfinished(output, listen, stop) if _is_going(output) else None
    checked, damaged = found or checksums.compare(output, listen, stop)
    return {
        "output": str(output),
        "finished": found is None,
        "checked": checked,
        "damaged": damaged,
    }


def refuse_damage(found: dict[str, Any]) -> None:
    """End with what `verify_output` found, if that is damage.

    Raises
    ------
    OutputError
        Names the first places, and the cure.
    """
    damaged = found["damaged"]
    if not damaged:
        return
    named = "; ".join(f"{each['where']} ({each['what']})" for each in damaged[:NAMED])
    more = f"; and {len(damaged) - NAMED} more" if len(damaged) > NAMED else ""
    cure = (
        "make it again with --overwrite (without --shard), or copy it again"
        if found["finished"]
        else "continue with --resume (or --shard), which restores these again"
    )
    raise OutputError(f"{found['output']}: {len(damaged)} damaged: {named}{more}; {cure}")


def _is_going(output: Path) -> bool:
    """Return whether it is unfinished, by what lies beside it: it may be damaged or gone itself."""
    return partial_folder(output).exists() and not is_placed(output)


def _verify_unfinished(
    output: Path, listen: Listener, stop: threading.Event
) -> tuple[int, list[dict[str, str]]] | None:
    """Return how many units were looked at and what is damaged; None if it was finished by then."""
    with settled(output):
        job = read_job(output)
        ledger = Ledger.reopen(partial_folder(output), job.identity, job.units)
        store, draft = open_stores(output, job)
        checked, damaged = 0, list[Torn]()
        for stage, each in (("final", store), ("scratch", draft)):
            if each is None:
                continue
            count = ledger.count(stage)
            torn = find_torn(ledger.entries(stage), count, job.units, each, listen, stop)
            if torn:  # or is it being written again?
                stop.wait(SECONDS_TO_WRITE)
                entries = (one.entry for one in torn)
                torn = find_torn(entries, len(torn), job.units, each, ignore, stop)
            damaged += torn
            checked += count
        if not damaged or _is_going(output):
            return checked, [_told(one) for one in damaged]
    return None


def _told(torn: Torn) -> dict[str, str]:
    entry = torn.entry
    z, y, x = (slice(*ends) for ends in zip(entry.start, entry.stop, strict=True))
    where = f"{show_region((z, y, x))}, channel {entry.channel}, time point {entry.timepoint}"
    return {"where": where, "what": "missing" if torn.gone else "other bytes"}
