"""The processes that a run is spread over: on this machine, on a dask cluster, as SLURM jobs."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vemctl.crew import clusters
from vemctl.crew.asking import ask_one
from vemctl.crew.slurm_text import SlurmJobs
from vemctl.errors import MissingExtraError, OptionError
from vemctl.events import Listener, Noted
from vemctl.nn import device as devices
from vemctl.remote_path import RemotePath
from vemctl.workflows.options import PredictRequest
from vemctl.workflows.preparation import Site

if TYPE_CHECKING:
    from distributed import Client

SECONDS_TO_RESTART = 120.0
"""In which a process of this machine is started again, however busy it is."""


@dataclass(frozen=True)
class Workforce:
    """Processes that can restore blocks.

    Attributes
    ----------
    site : Site
        What they are, as far as the plan depends on it.
    device : str
        What each calls its device.
    hire : callable
        Returns a context manager of a client that is connected to them.
    patience : float
        Seconds without any of them after which the run ends.
    hiring : str
        What to tell while `hire` takes its time.
    """

    site: Site
    device: str
    hire: Callable[[], contextlib.AbstractContextManager[Client]]
    patience: float = math.inf
    hiring: str = ""


@contextlib.contextmanager
def workforce(
    request: PredictRequest, listen: Listener, stop: threading.Event
) -> Iterator[Workforce | None]:
    """Find out on which processes a request runs; None for this one alone.

    Raises
    ------
    OptionError
        Options contradict each other.
    DeviceError
        A device is not there.
    WorkerError
        The cluster is out of reach.
    MissingExtraError
        dask is not installed.
    """
    if is_elsewhere(request):
        with _elsewhere(request, listen, stop) as client:
            yield _cluster(request, client, listen, stop)
        return
    yield _local(request)


def is_elsewhere(request: PredictRequest) -> bool:
    """Return whether a request runs on processes that this one does not start itself.

    Raises
    ------
    OptionError
        Options contradict each other, or cannot be understood.
    """
    spread = request.spread
    asked = [
        flag
        for flag, value in (
            ("--workers", spread.workers),
            ("--scheduler", spread.scheduler),
            ("--slurm", spread.slurm),
        )
        if value
    ]
    if len(asked) > 1 and asked != ["--workers", "--scheduler"]:
        raise OptionError(f"{' and '.join(asked)}: expected one of them; leave the others out")
    if not (spread.scheduler or spread.slurm):
        return False
    if spread.shard:
        raise OptionError(f"--shard and {asked[-1]}: expected one of them; leave the other out")
    if spread.scheduler:
        clusters.check_address(spread.scheduler)
    else:
        SlurmJobs.parse(spread.slurm or "")
    return True


def foreseen(request: PredictRequest) -> tuple[PredictRequest, Site]:
    """Return what a dry run goes by: nobody is hired, and this machine stands for the others.

    Returns
    -------
    request : PredictRequest
        On one device of this machine.
    site : Site

    Raises
    ------
    VemctlError
        As `workforce` does, as far as it can be known.
    """
    if is_elsewhere(request):
        here, site = "auto", Site(at_once=_expected(request, 1))
    else:
        force = _local(request)
        here = devices.resolve_all(request.compute.device)[0]
        site = replace(force.site, device=None) if force else Site()
    return replace(request, compute=replace(request.compute, device=here)), site


def _local(request: PredictRequest) -> Workforce | None:
    named = devices.resolve_all(request.compute.device)
    count = request.spread.workers or len(named)
    if request.spread.workers is None and len(named) == 1:
        return None
    try:
        import distributed  # noqa: F401 - told before anything is begun
    except ImportError:
        raise MissingExtraError("several worker processes", "dask") from None
    kind = named[0].partition(":")[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = request.compute.threads or max(1, (cores or 1) // count)
    environments = [_environment(named[i % len(named)]) for i in range(count)]

    def hire() -> contextlib.AbstractContextManager[Client]:
        return clusters.local_workers(count, threads=threads, environments=environments)

    site = Site(
        device=named[0],
        threads=threads if kind == "cpu" else None,
        processes=count,
        at_once=count,
    )
    hiring = f"starting {count} {'process' if count == 1 else 'processes'}"
    return Workforce(site, kind, hire, SECONDS_TO_RESTART, hiring)


def _environment(device: str) -> Mapping[str, str]:
    """Let a worker see its one device only."""
    kind, _, number = device.partition(":")
    if kind != "cuda":
        return {}
    seen = [each for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
    return {"CUDA_VISIBLE_DEVICES": seen[int(number)] if seen else number}


def _elsewhere(
    request: PredictRequest, listen: Listener, stop: threading.Event
) -> contextlib.AbstractContextManager[Client]:
    spread = request.spread
    if spread.scheduler:
        return clusters.existing_cluster(spread.scheduler, listen=listen, stop=stop)
    assert spread.slurm is not None
    return clusters.slurm_workers(
        spread.slurm, folder=_job_folder(request), listen=listen, stop=stop
    )


def _job_folder(request: PredictRequest) -> Path:
    """Return where SLURM puts what its jobs say: beside the output, or here if that is remote."""
    name = f"{request.output.name}.jobs"
    if isinstance(request.output, RemotePath):
        return Path.cwd() / name
    return request.output.absolute().with_name(name)


def _cluster(
    request: PredictRequest, client: Client, listen: Listener, stop: threading.Event
) -> Workforce:
    """Ask one of the workers of a cluster what it runs on; all others must be like it."""
    asked = request.compute.device
    device, threads = ask_one(client, look_around, asked, listen=listen, stop=stop)
    there = len(client.scheduler_info(n_workers=-1)["workers"])
    expected = _expected(request, there)
    of = "" if expected == there else f"; blocks are cut for {expected}"
    listen(Noted(f"{there} {'worker is' if there == 1 else 'workers are'} there{of}"))
    site = Site(device=device, threads=request.compute.threads or threads, at_once=expected)
    return Workforce(site, asked, lambda: contextlib.nullcontext(client))


def _expected(request: PredictRequest, there: int) -> int:
    """Return for how many workers the blocks are cut: most may come later."""
    spread = request.spread
    if spread.slurm:
        return max(there, SlurmJobs.parse(spread.slurm).jobs)
    return spread.workers or max(there, 1)


def look_around(device: str) -> tuple[str, int | None]:
    """Return, on a worker, its torch device and with how many threads it computes."""
    found = devices.resolve(device)
    return found, devices.num_threads(found)
