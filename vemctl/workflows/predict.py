"""Predict: open, plan, restore, write."""

from __future__ import annotations

import json
import shutil
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vemctl import registry
from vemctl.errors import OptionError, OutputError, ResumeError, VemctlError
from vemctl.events import (
    Finished,
    Listener,
    Noted,
    ignore,
)
from vemctl.plugin import Method
from vemctl.prediction import engine
from vemctl.prediction.allocator import share_arena
from vemctl.prediction.calls import Caller
from vemctl.prediction.ledger import Ledger, differences
from vemctl.volumes.block_store import BlockStore
from vemctl.volumes.checks import partial_folder
from vemctl.volumes.destination import Destination, check_output
from vemctl.volumes.fingerprint import fingerprint
from vemctl.volumes.provenance import read_provenance
from vemctl.workflows.config import request_to_json
from vemctl.workflows.exclusive import exclusive
from vemctl.workflows.layout import refuse_unused
from vemctl.workflows.options import PredictRequest
from vemctl.workflows.phases import Phases
from vemctl.workflows.preparation import Prepared, identity, prepare
from vemctl.workflows.provenance import made_by, provenance, recordable
from vemctl.workflows.run_record import note_run
from vemctl.workflows.sources import Sources, open_sources
from vemctl.workflows.timing import time_tiles
from vemctl.workflows.weights import read_by

LEDGER = "ledger.jsonl"


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

    Two tiles are restored to estimate the time.

    Raises
    ------
    VemctlError
        Whatever would stop the run itself.
    """
    method = _method(request)
    with open_sources(request.inputs, method.inputs, request.input) as sources:
        _check_place(request, 0)
        prepared = prepare(request, method, sources, listen, threading.Event())
        plan = prepared.plan
        per_tile = time_tiles(request, prepared)
        return {
            "method": method.name,
            "inputs": [str(path) for path in request.inputs],
            "output": str(request.output),
            "weights": prepared.weights.name if prepared.weights else None,
            "device": prepared.device,
            "precision": request.compute.precision,
            **plan.to_json(),
            **({"settled": prepared.settled} if prepared.settled else {}),
            "seconds_per_tile": round(per_tile, 4),
            "estimated_seconds": round(per_tile * plan.tiles_computed, 1),
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
    share_arena()
    method = _method(request)
    with open_sources(request.inputs, method.inputs, request.input) as sources:
        _check_place(request, 0)
        if request.run.resume and not partial_folder(request.output).exists():
            if _is_done(request, method, sources, listen, stop):
                listen(Noted(f"{request.output} is finished: nothing to resume"))
                return PredictResult(request.output, {"resumed": True, "seconds": 0.0})
            listen(Noted(f"{request.output} was not begun: starting it"))
        prepared = prepare(request, method, sources, listen, stop, known=_known(request))
        _check_place(request, _needed_bytes(request, prepared), prepared)
        with exclusive(request.output, listen):
            facts = _run(request, method, prepared, sources, listen, stop)
            note_run(request.output, prepared.device, facts, time.monotonic() - began, listen)
    seconds = time.monotonic() - began
    listen(Finished(request.output, seconds))
    return PredictResult(request.output, facts | {"seconds": round(seconds, 2)})


def _method(request: PredictRequest) -> Method:
    method = registry.get(request.method)
    if len(request.inputs) != len(method.inputs):
        raise OptionError(
            f"{method.name} takes {len(method.inputs)} inputs ({', '.join(method.inputs)}), "
            f"{len(request.inputs)} were given"
        )
    return method


def _check_place(request: PredictRequest, needed: int, prepared: Prepared | None = None) -> None:
    refuse_unused(request.output, request.writing)
    check_output(
        request.output,
        inputs=request.inputs,
        overwrite=request.writing.overwrite,
        resume=request.run.resume,
        needed_bytes=needed,
        layout=prepared.plan.layout if prepared else None,
        tiff_format=request.writing.tiff_format,
    )


def _needed_bytes(request: PredictRequest, prepared: Prepared) -> int:
    """Return the disk space without which a run cannot end: how well Zarr compresses is unknown."""
    plan = prepared.plan
    kept = plan.output_bytes if request.output.suffix != ".zarr" else 0
    return kept + plan.output_bytes // 20


def _is_done(
    request: PredictRequest,
    method: Method,
    sources: Sources,
    listen: Listener,
    stop: threading.Event,
) -> bool:
    """Return whether the output is there and this request made it; there is no unfinished one.

    Raises
    ------
    ResumeError
        The output was made otherwise, and may not be replaced.
    """
    if not request.output.exists():
        return False
    found, files = read_by(request, method, listen, stop)
    wanted = made_by(request, found, files, [fingerprint(volume) for volume in sources.volumes])
    there = read_provenance(request.output) or {}
    other = differences({key: there.get(key) for key in wanted}, wanted)
    if other and not request.writing.overwrite:
        raise ResumeError(
            f"{request.output}: finished, and made otherwise: {'; '.join(other[:3])}. Use "
            f"--overwrite to make it anew, or choose another output"
        )
    return not other


def _known(request: PredictRequest) -> dict[str, Any] | None:
    """Return the identity of the run that is being resumed: what it measured need not be again."""
    path = partial_folder(request.output) / LEDGER
    if not request.run.resume or not path.exists():
        return None
    try:
        with path.open() as file:
            identity = json.loads(file.readline())["identity"]
    except (ValueError, KeyError, TypeError, OSError):
        return None  # `Ledger.reopen` says what is wrong with it
    return identity if isinstance(identity, dict) else None


def _run(
    request: PredictRequest,
    method: Method,
    prepared: Prepared,
    sources: Sources,
    listen: Listener,
    stop: threading.Event,
) -> dict[str, Any]:
    plan = prepared.plan
    recorded = request_to_json(recordable(request))
    belongs = identity(request, prepared, sources, recorded)
    existed = partial_folder(request.output).exists()
    try:
        destination, ledger, resumed = _begin(request, prepared, belongs)
    except OutputError:
        if not existed:
            shutil.rmtree(partial_folder(request.output), ignore_errors=True)
        raise
    if destination.finished:
        destination.finish({}, lambda *_: None)
        return {"resumed": True, "plan": plan.to_json()}
    draft = _draft(destination, plan, resumed=resumed) if plan.output.stretch else None
    caller = Caller(
        prepared.restorer, prepared.device, request.compute.precision, plan.batch, listen
    )
    work = engine.Work(
        plan, prepared.sources.seen, caller, draft or destination.store, ledger, listen, stop
    )
    try:
        if resumed:
            torn = sum(
                engine.verify(ledger, stage, store, listen, stop)
                for stage, store in (("final", destination.store), ("scratch", draft))
                if store is not None
            )
            if torn:
                listen(Noted(f"{torn} damaged units are restored again", "warning"))
        engine.restore(work)
        if draft:
            engine.stretch(work, destination.store, listen)
    except VemctlError:
        if not ledger.entries:
            destination.discard()
        raise
    destination.finish(
        provenance(method, prepared, belongs, recorded),
        Phases(listen, stop),
        memory_bytes=plan.memory.total,
    )
    return {
        "resumed": resumed,
        "network_seconds": round(caller.seconds, 2),
        "estimated_network_seconds": round(caller.seconds_at_first * caller.calls, 2),
        "tiles_computed": caller.tiles,
        "batch": caller.batch,
        "plan": plan.to_json(),
    }


def _begin(
    request: PredictRequest, prepared: Prepared, belongs: dict[str, Any]
) -> tuple[Destination, Ledger, bool]:
    """Create the unfinished output with its ledger, or reopen both."""
    partial = partial_folder(request.output)
    if request.run.resume and partial.exists():
        ledger = Ledger.reopen(partial / LEDGER, belongs)
        destination = Destination.reopen(request.output, overwrite=request.writing.overwrite)
        return destination, ledger, True
    if partial.exists() and not request.writing.overwrite:
        raise ResumeError(
            f"{partial}: an unfinished run of this output; pass --resume to continue it, or "
            f"--overwrite to start anew"
        )
    destination = Destination.create(
        request.output,
        prepared.plan.layout,
        overwrite=request.writing.overwrite,
        tiff_format=request.writing.tiff_format,
    )
    return destination, Ledger.create(partial / LEDGER, belongs), False


def _draft(destination: Destination, plan: Any, *, resumed: bool) -> BlockStore:
    """Return the float32 store of a result whose range is known only at its end."""
    import numpy as np

    folder = destination.partial / "scratch.zarr"
    if resumed and folder.exists():
        return BlockStore.open(folder)
    return BlockStore.create(folder, replace(plan.layout, dtype=np.dtype(np.float32)))
