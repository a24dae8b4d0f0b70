"""Predict: open, plan, restore, write."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vemctl.errors import ResumeError, UnfinishedError, VemctlError
from vemctl.events import Finished, Listener, Noted, ignore, one_at_a_time
from vemctl.locks.claim import Slot
from vemctl.locks.exclusive import exclusive
from vemctl.plugin import Method
from vemctl.prediction.allocator import settle_heap
from vemctl.prediction.ledger import STAGES
from vemctl.volumes.checks import partial_folder
from vemctl.workflows.beginning import Begun, begin, describe_job, go_on, known_identity, writer
from vemctl.workflows.completing import complete, refuse_failures, strike_torn, tidy
from vemctl.workflows.options import PredictRequest
from vemctl.workflows.preparation import Prepared, prepare
from vemctl.workflows.request_checks import check_place, is_done, method_of, needed_bytes
from vemctl.workflows.restoring import Run, restore_blocks
from vemctl.workflows.run_record import note_run
from vemctl.workflows.shards import asked_share, predict_share
from vemctl.workflows.sources import Sources, open_sources
from vemctl.workflows.timing import time_tiles
from vemctl.workflows.workforce import foreseen, workforce


@dataclass(frozen=True)
class PredictResult:
    """What a prediction did.

    Attributes
    ----------
    output : Path
    facts : dict
        JSON types: the plan, seconds in all and in the network, what was resumed.
    """

    output: Path
    facts: dict[str, Any]


def plan_prediction(request: PredictRequest, listen: Listener = ignore) -> dict[str, Any]:
    """Return the frozen plan of `request` as JSON types; writes nothing.

    Two tiles are restored to estimate the time. A cluster is not asked: the plan is as for this
    machine.

    Raises
    ------
    VemctlError
        Whatever would stop the run itself.
    """
    method = method_of(request)
    request, site = foreseen(request)
    share = asked_share(request)
    workers = site.at_once
    site = replace(site, at_once=workers * (share.count if share else 1))
    with open_sources(request.inputs, method.inputs, request.input) as sources:
        check_place(request)
        prepared = prepare(request, method, sources, listen, threading.Event(), site=site)
        plan = prepared.plan
        per_tile = time_tiles(request, prepared)
        return {
            "method": method.name,
            "inputs": [str(path) for path in request.inputs],
            "output": str(request.output),
            "weights": prepared.weights.name if prepared.weights else None,
            "device": prepared.device,
            "precision": request.compute.precision,
            **({"workers": workers} if workers > 1 else {}),
            **({"shard": share.name} if share else {}),
            **plan.to_json(),
            **({"settled": prepared.settled} if prepared.settled else {}),
            "seconds_per_tile": round(per_tile, 4),
            "estimated_seconds": round(
                per_tile * plan.tiles_computed / min(site.at_once, plan.num_blocks), 1
            ),
        }


def predict(
    request: PredictRequest, listen: Listener = ignore, stop: threading.Event | None = None
) -> PredictResult:
    """Carry `request` out.

    Parameters
    ----------
    request : PredictRequest
    listen : Listener
    stop : threading.Event, optional
        Set it to end the run; what is written can be resumed.

    Raises
    ------
    VemctlError
        Whatever the user can mend. The output is then absent, or what it was before.
    Interrupted
        `stop` was set.
    """
    began = time.monotonic()
    stop = stop or threading.Event()
    listen = one_at_a_time(listen)
    settle_heap()
    method = method_of(request)
    with (
        open_sources(request.inputs, method.inputs, request.input) as sources,
        workforce(request, listen, stop) as force,
    ):
        check_place(request)
        if _nothing_to_do(request, method, sources, listen, stop):
            return PredictResult(request.output, {"resumed": True, "seconds": 0.0})
        run = Run(request, method, sources, force, listen, stop)
        facts = predict_share(run) if request.spread.shard else _predict_whole(run, began)
    seconds = time.monotonic() - began
    if not request.spread.shard:
        listen(Finished(request.output, seconds))
    return PredictResult(request.output, facts | {"seconds": round(seconds, 2)})


def _nothing_to_do(
    request: PredictRequest,
    method: Method,
    sources: Sources,
    listen: Listener,
    stop: threading.Event,
) -> bool:
    if not (request.run.resume or request.spread.shard):
        return False
    tidy(request.output, listen, stop)
    if partial_folder(request.output).exists():
        return False
    if is_done(request, method, sources, listen, stop):
        again = "; remove it to make it anew by shards" if request.writing.overwrite else ""
        listen(Noted(f"{request.output} is finished: nothing to resume{again}"))
        return True
    if request.run.resume:
        listen(Noted(f"{request.output} was not begun: starting it"))
    return False


def _predict_whole(run: Run, began: float) -> dict[str, Any]:
    request, listen, stop = run.request, run.listen, run.stop
    known = known_identity(request) if request.run.resume else None
    prepared = prepare(request, run.method, run.sources, listen, stop, known=known, site=run.site)
    check_place(request, needed_bytes(request, prepared), prepared)
    with exclusive(request.output, listen, stop=stop, lost=stop):
        job = describe_job(request, run.method, prepared, run.sources, listen, stop)
        partial = partial_folder(request.output)
        if request.run.resume and partial.exists():
            begun = go_on(request.output, job, overwrite=request.writing.overwrite)
        elif partial.exists() and not request.writing.overwrite:
            raise ResumeError(
                f"{partial}: an unfinished run of this output; pass --resume to continue it, or "
                f"--overwrite to start anew"
            )
        else:
            begun = begin(request, job)
        if begun.destination.finished:
            complete(begun, listen, stop)
            facts = {"resumed": True, "plan": prepared.plan.to_json()}
        else:
            facts = _restore_all(run, prepared, begun)
        device = None if run.force else prepared.device
        note_run(request.output, device, facts, time.monotonic() - began, listen)
    return facts


def _restore_all(run: Run, prepared: Prepared, begun: Begun) -> dict[str, Any]:
    begun.ledger.sign(writer(Slot("run").name, prepared.device))
    try:
        if begun.resumed:
            strike_torn(begun, run.listen, run.stop)
        failures, facts = restore_blocks(run, prepared, begun)
        refuse_failures(begun, prepared.plan, failures, "run it again with --resume")
    except UnfinishedError:
        raise  # what failed is noted
    except VemctlError:
        if not any(begun.ledger.count(stage) for stage in STAGES):
            begun.destination.discard()
        raise
    complete(begun, run.listen, run.stop)
    return facts
