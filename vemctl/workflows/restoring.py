"""Restore the blocks of an output that was begun: in this process, or on others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vemctl.events import Listener
from vemctl.plugin import Method
from vemctl.prediction import engine
from vemctl.prediction.blocks import Bench
from vemctl.prediction.calls import Caller
from vemctl.prediction.engine import Failure
from vemctl.workflows.beginning import Begun
from vemctl.workflows.options import PredictRequest
from vemctl.workflows.preparation import HERE, Prepared, Site
from vemctl.workflows.sources import Sources
from vemctl.workflows.spread import restore_spread
from vemctl.workflows.workforce import Workforce


@dataclass(frozen=True)
class Run:
    """A prediction that is being carried out.

    Attributes
    ----------
    request : PredictRequest
    method : Method
    sources : Sources
        Open.
    force : Workforce, optional
        Where its networks are; None for this process.
    listen : Listener
    stop : threading.Event
    """

    request: PredictRequest
    method: Method
    sources: Sources
    force: Workforce | None
    listen: Listener
    stop: threading.Event

    @property
    def site(self) -> Site:
        """What its plan must mind."""
        return self.force.site if self.force else HERE


def restore_blocks(
    run: Run,
    prepared: Prepared,
    begun: Begun,
    share: Callable[[int], bool] | None = None,
    *,
    keep_going: bool = False,
) -> tuple[list[Failure], dict[str, Any]]:
    """Restore every block that the ledger does not have.

    Parameters
    ----------
    run : Run
    prepared : Prepared
    begun : Begun
    share : callable, optional
        Tells of a block's number whether it is wanted.
    keep_going : bool
        Go on without blocks that fail; on other processes that is always so.

    Returns
    -------
    failures : list of Failure
        The blocks without which it went on.
    facts : dict
        JSON types: what the run tells of itself.

    Raises
    ------
    VemctlError
        What ends the run.
    Interrupted
        The run's `stop` was set.
    """
    plan = prepared.plan
    facts: dict[str, Any] = {"resumed": begun.resumed}
    if run.force:
        failures = restore_spread(run.request, run.force, plan, begun, share, run.listen, run.stop)
        return failures, facts | {"processes": run.force.site.processes, "plan": plan.to_json()}
    caller = Caller(
        prepared.restorer, prepared.device, run.request.compute.precision, plan.batch, run.listen
    )
    bench = Bench(plan, prepared.sources.seen, caller, begun.store, run.listen, run.stop)
    failures = engine.restore(bench, begun.ledger, share, keep_going=keep_going)
    return failures, facts | {
        "network_seconds": round(caller.seconds, 2),
        "estimated_network_seconds": round(caller.seconds_at_first * caller.calls, 2),
        "tiles_computed": caller.tiles,
        "batch": caller.batch,
        "plan": plan.to_json(),
    }
