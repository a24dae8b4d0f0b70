"""The end of a run, whoever restored its blocks: check, stretch, build, put in place."""

from __future__ import annotations

import threading
from pathlib import Path

from vemctl.errors import UnfinishedError
from vemctl.events import Listener, Noted
from vemctl.locks.exclusive import exclusive
from vemctl.prediction.engine import Failure
from vemctl.prediction.finishing import stretch, verify
from vemctl.prediction.plan import Plan
from vemctl.volumes.destination import Destination
from vemctl.volumes.volume import Layout
from vemctl.workflows.beginning import Begun
from vemctl.workflows.checksums import seal_store
from vemctl.workflows.job import is_placed
from vemctl.workflows.phases import Phases

NAMED = 3
"""Blocks that an error names; of each it was told when it failed."""


def strike_torn(
    begun: Begun, listen: Listener, stop: threading.Event, then: str = "are restored again"
) -> int:
    """Strike out of the ledger what is damaged on disk; return how many units."""
    stores = [("final", begun.destination.store), ("scratch", begun.draft)]
    torn = sum(
        verify(begun.ledger, stage, store, listen, stop)
        for stage, store in stores
        if store is not None
    )
    if torn:
        listen(Noted(f"{torn} damaged units {then}", "warning"))
    return torn


def complete(begun: Begun, listen: Listener, stop: threading.Event) -> None:
    """Make the output of the blocks that all are written, and put it in its place.

    Raises
    ------
    OutputError
        The disk is full or refuses; the run can be resumed.
    Interrupted
        `stop` was set.
    """
    job = begun.job
    if begun.draft and not begun.destination.finished:
        store = begun.destination.store
        stretch(begun.ledger, begun.draft, store, job.stored_as, job.dtype, listen, stop)
    layout = Layout.from_json(dict(job.layout))
    begun.destination.finish(
        job.provenance,
        Phases(listen, stop),
        memory_bytes=int(job.plan["block_memory_bytes"]),
        seal=lambda folder, described: seal_store(
            folder, described, layout, begun.ledger, listen, stop
        ),
    )


def tidy(output: Path, listen: Listener, stop: threading.Event) -> None:
    """Remove what remains of the making of an output that is in its place.

    Raises
    ------
    OutputError
        Somebody is writing it, or the disk refuses.
    """
    if not is_placed(output):
        return
    with exclusive(output, listen, stop=stop, lost=stop):
        if is_placed(output):
            Destination.reopen(output).finish({}, Phases(listen, stop))


def refuse_failures(begun: Begun, plan: Plan, failures: list[Failure], again: str) -> None:
    """End a run without which some blocks went on, after noting them.

    Parameters
    ----------
    begun : Begun
    plan : Plan
    failures : list of Failure
    again : str
        How to go on when what failed is mended.

    Raises
    ------
    UnfinishedError
        There are any.
    """
    if not failures:
        return
    for failure in failures:
        z, y, x = failure.task.region
        one = plan.series[failure.task.series]
        begun.ledger.fail(
            one.output_timepoint,
            one.output_channel,
            (z.start, y.start, x.start),
            (z.stop, y.stop, x.stop),
            failure.reason,
        )
    named = "; ".join(f"{each.task}: {each.reason}" for each in failures[:NAMED])
    more = f"; and {len(failures) - NAMED} more" if len(failures) > NAMED else ""
    blocks = "1 block" if len(failures) == 1 else f"{len(failures)} blocks"
    raise UnfinishedError(
        f"{begun.destination.path}: {blocks} could not be restored, all others are: "
        f"{named}{more}. Mend that, then {again}"
    )
