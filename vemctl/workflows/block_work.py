"""What a process elsewhere does: open the run's inputs once, then restore block after block."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vemctl import registry
from vemctl.crew.tasks import Report
from vemctl.errors import Interrupted, VemctlError, WorkerError
from vemctl.events import Event, Listener, Noted, one_at_a_time
from vemctl.nn import device as devices
from vemctl.prediction.allocator import give_back, settle_heap
from vemctl.prediction.blocks import (
    Bench,
    Task,
    fill_block,
    patiently,
    read_sources,
    write_units,
)
from vemctl.prediction.calls import Caller
from vemctl.prediction.ledger import differences
from vemctl.remote_path import as_path
from vemctl.workflows.beginning import open_stores
from vemctl.workflows.config import request_from_json, request_to_json
from vemctl.workflows.job import Job, read_job, require_same_beginning
from vemctl.workflows.options import PredictRequest
from vemctl.workflows.preparation import Site, identity, prepare
from vemctl.workflows.provenance import recordable
from vemctl.workflows.shops import Shop, Shops, setting
from vemctl.workflows.sources import open_sources

Tell = Callable[[str], None]


@dataclass(frozen=True)
class BlockWork:
    """Restores blocks of one run, on whatever process it is called.

    Attributes
    ----------
    output : str
        Absolute; must be the same place on every machine.
    token : str
        Of this attempt at the run: workers may outlive it.
    device : str
        What the user asked for, to be found on the worker.
    offline : bool
        Open no connection; else as the process was started.
    """

    output: str
    token: str
    device: str
    offline: bool

    def __call__(self, task: list[int], report: Report) -> list[dict[str, Any]]:
        """Restore a block; return the ledger's entries for it, as JSON types.

        Parameters
        ----------
        task : list of int
            As `Task.to_json` writes it.
        report : Report
            Told how many tiles more are done, and what the user should know.

        Raises
        ------
        WorkerError
            This process cannot take part.
        VemctlError
            The block cannot be restored.
        """
        with shops.entered(self.token, lambda stop: _make(self, report.note, stop)) as shop:
            return _restore(shop, Task.from_json(task), report)


shops = Shops()
"""Of this process."""


def close_shop(token: str) -> None:
    """Let go of what this process keeps for a run, and end what it is still at."""
    shops.close(token)


def _restore(shop: Shop, block: Task, report: Report) -> list[dict[str, Any]]:
    def go_on() -> None:
        """Ask whether somebody waits for it: else another process may be at it."""
        report(0)
        if shop.bench.stop.is_set():
            raise Interrupted("the run that gave this task has ended")

    if shop.threads:
        devices.use_threads(shop.threads)  # each thread has a number of its own
    sources = read_sources(shop.bench, block)
    with shop.at_work:  # one block is at work while another is read or written
        filled = fill_block(shop.bench, shop.window, block, sources, report)
    del sources
    go_on()
    require_same_beginning(shop.output, shop.job)
    entries = write_units(shop.bench, block, filled, go_on)
    del filled
    give_back()
    return [asdict(entry) for entry in entries]


def _make(work: BlockWork, tell: Tell, stop: threading.Event) -> Shop:
    def notes(event: Event) -> None:
        if isinstance(event, Noted):
            tell(event.text)

    listen = one_at_a_time(notes)
    try:
        # what hiccups here must not end the run
        return patiently(lambda: _open(work, listen, stop), listen, stop)
    except VemctlError as error:
        raise WorkerError(
            f"a worker on {socket.gethostname()} cannot take part: {error}"
        ) from error


def _open(work: BlockWork, listen: Listener, stop: threading.Event) -> Shop:
    settle_heap()
    output = as_path(work.output)
    with contextlib.ExitStack() as stack:
        stack.enter_context(setting.as_asked(offline=work.offline))
        job = read_job(output)
        request = _request_of(job, output, work.device)
        method = registry.get(request.method)
        sources = stack.enter_context(open_sources(request.inputs, method.inputs, request.input))
        prepared = prepare(
            request,
            method,
            sources,
            listen,
            stop,
            known=dict(job.identity),
            site=Site(block=job.block),
        )
        recorded = request_to_json(recordable(request))
        ours = identity(request, prepared, sources, recorded)
        changed = differences(job.identity, json.loads(json.dumps(ours)))
        if changed:
            raise WorkerError(f"it differs from where the run was begun: {'; '.join(changed[:3])}")
        store, draft = open_stores(output, job)
        caller = Caller(
            prepared.restorer,
            prepared.device,
            request.compute.precision,
            prepared.plan.batch,
            listen,
        )
        bench = Bench(prepared.plan, prepared.sources.seen, caller, draft or store, listen, stop)
        threads = devices.num_threads(prepared.device)
        return Shop(output, job, bench, bench.window(), threads, stack.pop_all().close)
    raise AssertionError("unreachable")


def _request_of(job: Job, output: Path, device: str) -> PredictRequest:
    request = request_from_json(job.request, output, where=f"the job of {output}")
    return replace(request, compute=replace(request.compute, device=device))
