"""Verify: compare the files of an output, finished or not, with the checksums noted for them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from vemctl.errors import OutputError
from vemctl.events import Listener, ignore
from vemctl.prediction.finishing import Torn, find_torn
from vemctl.prediction.ledger import Ledger
from vemctl.volumes.block_store import BlockStore
from vemctl.volumes.checks import partial_folder
from vemctl.volumes.destination import Destination
from vemctl.volumes.volume import show_region
from vemctl.workflows import checksums
from vemctl.workflows.beginning import SCRATCH
from vemctl.workflows.job import is_begun, read_job

NAMED = 3


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
    finished = not is_begun(output)
    look = checksums.compare if finished else _verify_unfinished
    checked, damaged = look(output, listen, stop)
    return {"output": str(output), "finished": finished, "checked": checked, "damaged": damaged}


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
        "make it again with --overwrite, or copy it again"
        if found["finished"]
        else "continue with --resume (or --shard), which restores these again"
    )
    raise OutputError(f"{found['output']}: {len(damaged)} damaged: {named}{more}; {cure}")


def _verify_unfinished(
    output: Path, listen: Listener, stop: threading.Event
) -> tuple[int, list[dict[str, str]]]:
    job = read_job(output)
    ledger = Ledger.reopen(partial_folder(output), job.identity, job.units)
    destination = Destination.reopen(output)
    if destination.finished:
        return checksums.compare(output, listen, stop)
    stores = {"final": destination.store}
    if job.stage == "scratch":
        stores["scratch"] = BlockStore.open(destination.partial / SCRATCH)
    checked, torn = 0, list[Torn]()
    for stage, store in stores.items():
        count = ledger.count(stage)
        torn += find_torn(ledger.entries(stage), count, job.units, store, listen, stop)
        checked += count
    return checked, [_told(each) for each in torn]


def _told(torn: Torn) -> dict[str, str]:
    entry = torn.entry
    z, y, x = (slice(*ends) for ends in zip(entry.start, entry.stop, strict=True))
    where = f"{show_region((z, y, x))}, channel {entry.channel}, time point {entry.timepoint}"
    return {"where": where, "what": "missing" if torn.gone else "other bytes"}
