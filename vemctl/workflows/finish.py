"""Finish an output whose blocks were restored by many: see that all are there, then complete it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from vemctl.errors import UnfinishedError
from vemctl.events import Finished, Listener, Noted, ignore
from vemctl.locks.exclusive import exclusive
from vemctl.workflows.beginning import Begun, go_on
from vemctl.workflows.completing import complete, strike_torn, tidy
from vemctl.workflows.job import is_begun, read_job
from vemctl.workflows.run_record import note_run
from vemctl.workflows.shards import Share, owner

NAMED = 8
"""Shards that an error names."""


def finish(
    output: Path,
    *,
    check: bool = True,
    listen: Listener = ignore,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Complete an output of which every block is written, and put it in its place.

    Parameters
    ----------
    output : Path
        As it was given to ``vemctl predict``.
    check : bool
        Read every unit again and compare its checksum.
    listen : Listener
    stop : threading.Event, optional
        Set it to end; may be called again then.

    Returns
    -------
    dict
        JSON types: what was done.

    Raises
    ------
    InputError
        There is no such output, finished or not.
    UnfinishedError
        Blocks are missing or damaged; says of which shards.
    OutputError
        Somebody is writing it, or the disk is full or refuses.
    Interrupted
        `stop` was set.
    """
    began = time.monotonic()
    stop = stop or threading.Event()
    if is_begun(output):
        with exclusive(output, listen, stop=stop, lost=stop):
            if is_begun(output):  # another may have been quicker
                facts = _finish(output, began, check=check, listen=listen, stop=stop)
                listen(Finished(output, facts["seconds"]))
                return facts
    tidy(output, listen, stop)
    listen(Noted(f"{output} is finished: nothing to do"))
    return {"units": None, "seconds": 0.0}


def _finish(
    output: Path, began: float, *, check: bool, listen: Listener, stop: threading.Event
) -> dict[str, Any]:
    job = read_job(output)
    begun = go_on(output, job)
    if not begun.destination.finished:
        if check:
            strike_torn(begun, listen, stop, "count as missing")
        _refuse_missing(begun)
    complete(begun, listen, stop)
    seconds = time.monotonic() - began
    facts = {"resumed": True, "shards": job.shards, "plan": dict(job.plan)}
    note_run(output, None, facts, seconds, listen)
    return {"units": job.units.total, "shards": job.shards, "seconds": round(seconds, 2)}


def _refuse_missing(begun: Begun) -> None:
    """Name the shards of which blocks are missing."""
    job, ledger = begun.job, begun.ledger
    total, there = job.units.total, ledger.count(job.stage)
    if there == total:
        return
    output = begun.destination.path
    text = f"{output}: {total - there} of {total} units are missing or damaged"
    if job.shards:
        missing = np.flatnonzero(~job.blocks.complete(ledger.done(job.stage)))
        owners = sorted({owner(int(one), job.blocks.total, job.shards) for one in missing})
        named = ", ".join(Share(each, job.shards).name for each in owners[:NAMED])
        more = f" and {len(owners) - NAMED} more" if len(owners) > NAMED else ""
        raise UnfinishedError(
            f"{text}, of shards {named}{more}; run vemctl predict with these again"
        )
    raise UnfinishedError(f"{text}; run vemctl predict again with --resume")
