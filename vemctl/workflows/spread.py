"""Spread a run over processes: every block goes to one of them, and the ledger notes it here."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from vemctl.crew import tasks
from vemctl.crew.asking import ask_all
from vemctl.events import Listener, Noted, StageAdvanced, StageFinished, StageStarted
from vemctl.object_store import is_offline
from vemctl.prediction.blocks import Task, missing_tasks, tiles_to_do
from vemctl.prediction.engine import HOPELESS, Failure
from vemctl.prediction.ledger import Entry
from vemctl.prediction.plan import Plan
from vemctl.workflows.beginning import Begun
from vemctl.workflows.block_work import BlockWork, close_shop
from vemctl.workflows.options import PredictRequest
from vemctl.workflows.workforce import Workforce

SECONDS_TO_CLOSE = 5.0
"""In which workers are told that the run has ended; without it they learn it from the next run."""


def restore_spread(
    request: PredictRequest,
    force: Workforce,
    plan: Plan,
    begun: Begun,
    share: Callable[[int], bool] | None,
    listen: Listener,
    stop: threading.Event,
) -> list[Failure]:
    """Restore every block that the ledger does not have, on all processes.

    Parameters
    ----------
    request : PredictRequest
    force : Workforce
    plan : Plan
    begun : Begun
    share : callable, optional
        Tells of a block's number whether it is wanted.
    listen : Listener
    stop : threading.Event

    Returns
    -------
    list of Failure
        The blocks without which it went on.

    Raises
    ------
    Interrupted
        `stop` was set; what the ledger notes is on disk.
    VemctlError
        What would befall every block.
    """
    ledger = begun.ledger
    total = tiles_to_do(plan, ledger, share)
    if not total:
        listen(StageStarted("restoring", 0, "tiles"))
        listen(StageFinished("restoring", 0.0))
        return []
    work = BlockWork(
        str(request.output.absolute()),
        uuid.uuid4().hex,
        force.device,
        is_offline(),
    )

    def done(task: list[int], entries: list[dict[str, Any]], worker: str) -> None:  # noqa: ARG001
        ledger.commit([_entry(each) for each in entries], by=worker)

    if force.hiring:
        listen(Noted(force.hiring))
    with force.hire() as client:
        began = time.monotonic()
        listen(StageStarted("restoring", total, "tiles"))
        try:
            failed = tasks.carry_out(
                client,
                work,
                (task.to_json() for task in missing_tasks(plan, ledger, share)),
                name=lambda task: str(Task.from_json(task)),
                done=done,
                advanced=lambda tiles: listen(StageAdvanced("restoring", tiles)),
                note=lambda text: listen(Noted(text, "warning")),
                stop=stop,
                fatal=HOPELESS,
                patience=force.patience,
            )
        finally:
            with contextlib.suppress(Exception):  # workers that are gone keep nothing
                ask_all(client, close_shop, work.token, seconds=SECONDS_TO_CLOSE)
        listen(StageFinished("restoring", time.monotonic() - began))
    return [Failure(Task.from_json(each.task), each.reason) for each in failed]


def _entry(facts: Mapping[str, Any]) -> Entry:
    return Entry(**{**facts, "start": tuple(facts["start"]), "stop": tuple(facts["stop"])})
