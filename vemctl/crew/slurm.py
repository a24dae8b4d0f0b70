"""Workers that SLURM starts."""

from __future__ import annotations

import asyncio
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vemctl.crew.clients import (
    TASK_THREADS,
    connected,
    dask_settings,
    for_threads,
    import_distributed,
    one_line,
    wait_for_worker,
)
from vemctl.crew.quiet import Kept, quiet
from vemctl.crew.slurm_text import SlurmJobs
from vemctl.errors import DeviceError, MissingExtraError
from vemctl.events import Listener, ignore

if TYPE_CHECKING:
    from distributed import Client


@contextmanager
def slurm_workers(
    text: str,
    *,
    folder: Path,
    listen: Listener = ignore,
    stop: threading.Event | None = None,
) -> Iterator[Client]:
    """Give a client of workers that SLURM starts, once the first is there.

    The jobs are cancelled in the end. If this process is killed, they end by themselves within a
    minute or two.

    Parameters
    ----------
    text : str
        See `SlurmJobs`.
    folder : Path
        Where the jobs' own output goes; the nodes must see it too.
    listen : Listener
    stop : threading.Event, optional
        Ends the wait for the first job to start.

    Raises
    ------
    MissingExtraError
        dask-jobqueue is not installed.
    OptionError
        The text asks for nothing that can be done.
    DeviceError
        There is no SLURM here, or it refused the jobs.
    Interrupted
        `stop` was set.
    """
    asked = SlurmJobs.parse(text)
    with ExitStack() as stack:
        distributed = import_distributed("workers by SLURM", "slurm")
        try:
            from dask_jobqueue.slurm import SLURMCluster
        except ImportError:
            raise MissingExtraError("workers by SLURM", "slurm") from None
        kept = stack.enter_context(quiet())
        for command in ("sbatch", "scancel"):
            if shutil.which(command) is None:
                raise DeviceError(
                    f"--slurm: {command} is not on PATH: run this on a machine that submits SLURM "
                    "jobs, or use --workers or --shard"
                )
        stack.enter_context(dask_settings({}))
        try:
            cluster = SLURMCluster(**_job_options(asked, folder))
        except (RuntimeError, OSError, ValueError) as error:
            raise DeviceError(f"--slurm: cannot ask for jobs: {one_line(error)}") from error
        stack.callback(_cancel, cluster)
        _submit(cluster, asked.jobs, kept)
        client = stack.enter_context(connected(distributed, cluster))
        wait_for_worker(
            client, f"{asked.jobs} jobs are submitted; waiting for the first to start", listen, stop
        )
        yield client


def _cancel(cluster: Any) -> None:
    """Have SLURM end the jobs, and end the scheduler."""
    from distributed.core import Status

    async def end() -> None:
        jobs = list(cluster.workers.values())
        await asyncio.gather(*(job.close() for job in jobs), return_exceptions=True)
        for job in jobs:
            job.job_id = None  # so that it is cancelled once
            job.status = Status.closed  # dask-jobqueue forgets it, and dask is picky about it

    cluster.sync(end, callback_timeout=60)
    cluster.close(timeout=10)


def _job_options(asked: SlurmJobs, folder: Path) -> dict[str, Any]:
    import dask

    cores = asked.cores or dask.config.get("jobqueue.slurm.cores", None) or 1
    memory = asked.memory or dask.config.get("jobqueue.slurm.memory", None)
    logs = folder.absolute() / "slurm-%j.log"
    options = {
        "queue": asked.queue,
        "account": asked.account,
        "walltime": asked.walltime,
        "interface": asked.interface,
        "python": asked.python,
        # Of dask's threads; SLURM is asked for `job_cpu`.
        "cores": TASK_THREADS,
        "processes": 1,
        "job_cpu": cores,
        "memory": memory or "1GB",
        "job_directives_skip": [] if memory else ["--mem="],
        "job_extra_directives": [f'--output="{logs}"', *asked.directives],
        "job_script_prologue": [f"export {k}={v}" for k, v in for_threads(cores).items()],
        # SLURM itself minds the memory.
        "worker_extra_args": ["--memory-limit", "0", "--no-dashboard"],
        "scheduler_options": {
            "dashboard": False,
            "dashboard_address": "127.0.0.1:0",
            "allowed_failures": 0,
        },
        "silence_logs": False,
    }
    return {key: value for key, value in options.items() if value is not None}


def _submit(cluster: Any, jobs: int, kept: Kept) -> None:
    """Submit the jobs and wait until SLURM has taken them."""

    async def submitted() -> None:
        cluster.scale(jobs=jobs)
        await cluster._correct_state()  # noqa: SLF001 - or else nobody hears of its errors

    try:
        cluster.sync(submitted)
    except (RuntimeError, OSError) as error:
        said = re.search(r"stderr:\s*(.*)", str(error), re.DOTALL)
        reason = " ".join((said.group(1) if said else str(error)).split())
        raise DeviceError(f"--slurm: sbatch refused a job: {reason}{kept.last()}") from error
