"""Begin an output, or go on with one that was begun."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import uuid
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from vemctl.durable import remove_tree
from vemctl.errors import OutputError, ResumeError
from vemctl.events import Listener
from vemctl.plugin import Method
from vemctl.prediction.blocks import patiently
from vemctl.prediction.ledger import Ledger, read_identity
from vemctl.remote_path import RemotePath
from vemctl.volumes.block_store import BlockStore
from vemctl.volumes.checks import partial_folder
from vemctl.volumes.destination import Destination
from vemctl.volumes.volume import Layout
from vemctl.workflows.config import request_to_json
from vemctl.workflows.job import VOLUME, Job
from vemctl.workflows.options import PredictRequest
from vemctl.workflows.preparation import Prepared, identity
from vemctl.workflows.provenance import provenance, recordable
from vemctl.workflows.sources import Sources

SCRATCH = "scratch.zarr"
"""The draft in the folder of an unfinished output."""


@dataclass(frozen=True)
class Begun:
    """An unfinished output.

    Attributes
    ----------
    job : Job
    destination : Destination
    ledger : Ledger
    draft : BlockStore, optional
        In float32, of a result whose range is known only at its end.
    resumed : bool
        Somebody had begun it before.
    """

    job: Job
    destination: Destination
    ledger: Ledger
    draft: BlockStore | None
    resumed: bool

    @property
    def store(self) -> BlockStore:
        """Where blocks go."""
        return self.draft or self.destination.store


def describe_job(
    request: PredictRequest,
    method: Method,
    prepared: Prepared,
    sources: Sources,
    listen: Listener,
    stop: threading.Event,
) -> Job:
    """Return what whoever works on the output of `request` must know.

    Raises
    ------
    InputError
        An input cannot be read, now and some seconds later.
    Interrupted
        `stop` was set meanwhile.
    """
    recorded = request_to_json(recordable(request))
    belongs = patiently(lambda: identity(request, prepared, sources, recorded), listen, stop)
    plan = prepared.plan
    return Job(
        request=recorded,
        identity=json.loads(json.dumps(belongs)),
        provenance=provenance(method, prepared, belongs, recorded),
        plan=plan.to_json(),
        layout=plan.layout.to_json(),
        output=asdict(plan.output),
        block=plan.block_shape,
        token=uuid.uuid4().hex,
    )


def known_identity(request: PredictRequest) -> dict[str, Any] | None:
    """Return what the unfinished run belongs to: what it measured need not be measured again."""
    try:
        return read_identity(partial_folder(request.output))
    except ResumeError:
        return None  # there is none, or `go_on` says what is wrong with it


def begin(request: PredictRequest, job: Job) -> Begun:
    """Create the unfinished output with its ledger.

    Raises
    ------
    OutputError
        It exists, or cannot be written; nothing is left then.
    """
    existed = partial_folder(request.output).exists()
    try:
        destination = Destination.create(
            request.output,
            Layout.from_json(dict(job.layout)),
            overwrite=request.writing.overwrite,
            tiff_format=request.writing.tiff_format,
        )
        draft = _draft(destination, job) if job.stored_as.stretch else None
        job.write(request.output)
        ledger = Ledger.create(destination.partial, job.identity, job.units)
    except OutputError:
        if not existed:
            with contextlib.suppress(OSError):
                remove_tree(partial_folder(request.output))
        raise
    return Begun(job, destination, ledger, draft, resumed=False)


def go_on(output: Path, job: Job, *, overwrite: bool = False, part: str | None = None) -> Begun:
    """Reopen the unfinished output and its ledger.

    Parameters
    ----------
    output : Path
    job : Job
        What is asked for now, which must be what was begun.
    overwrite : bool
        Replace an existing output in the end.
    part : str, optional
        Name of the ledger's part that is this process' own.

    Raises
    ------
    ResumeError
        Another run was begun, or its files are damaged.
    """
    ledger = Ledger.reopen(partial_folder(output), job.identity, job.units, part)
    destination = Destination.reopen(output, overwrite=overwrite)
    draft = None
    if job.stored_as.stretch and not destination.finished:
        draft = BlockStore.open(destination.partial / SCRATCH)
    return Begun(job, destination, ledger, draft, resumed=True)


def open_stores(output: Path, job: Job) -> tuple[BlockStore, BlockStore | None]:
    """Open where the blocks of an unfinished output lie, and its draft if there is one.

    Unlike `go_on` that changes nothing, whatever those who write it are at.

    Raises
    ------
    ResumeError
        They are not there.
    """
    partial = partial_folder(output)
    layout = Layout.from_json(dict(job.layout))
    try:
        store = BlockStore(output if isinstance(output, RemotePath) else partial / VOLUME, layout)
        if not job.stored_as.stretch:
            return store, None
        return store, BlockStore(partial / SCRATCH, drafted(layout))
    except (OSError, ValueError) as error:
        raise ResumeError(
            f"{output}: what was begun cannot be opened ({error}); mend that, or start again with "
            "--overwrite"
        ) from error


def drafted(layout: Layout) -> Layout:
    """Return how the draft of an output is laid out."""
    return replace(layout, dtype=np.dtype(np.float32))


def writer(name: str, device: str) -> dict[str, Any]:
    """Return who writes, for whoever asks, as JSON types.

    Parameters
    ----------
    name : str
        As that of its slot.
    device : str
        A torch device.
    """
    return {
        "name": name,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "device": device,
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _draft(destination: Destination, job: Job) -> BlockStore:
    layout = Layout.from_json(dict(job.layout))
    return BlockStore.create(destination.partial / SCRATCH, drafted(layout))
