"""Processes on this machine that carry out tasks."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
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
)
from vemctl.crew.quiet import quiet
from vemctl.errors import DeviceError

if TYPE_CHECKING:
    from distributed import Client


@contextmanager
def local_workers(
    count: int,
    *,
    threads: int,
    environments: Sequence[Mapping[str, str]],
    folder: Path | None = None,
) -> Iterator[Client]:
    """Give a client of `count` processes on this machine; they end with the block.

    A process that dies is started again. If this process is killed, they end with it. They take
    no notice of Ctrl-C, which is for this process to handle.

    Parameters
    ----------
    count : int
    threads : int
        With which each computes (BLAS, OpenMP); set before numpy and torch are imported there.
    environments : sequence of mappings
        One per process, set before torch is imported there: ``CUDA_VISIBLE_DEVICES``.
    folder : Path, optional
        Where they may write for themselves; a temporary one by default.

    Raises
    ------
    MissingExtraError
        dask.distributed is not installed.
    DeviceError
        They do not start.
    """
    with ExitStack() as stack:
        distributed = import_distributed("several worker processes")
        kept = stack.enter_context(quiet())
        scratch = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="vemctl-workers-", dir=folder)
        )
        stack.enter_context(dask_settings({"distributed.deploy.lost-worker-timeout": "1 hour"}))
        stack.enter_context(_environment(for_threads(threads)))
        worker = {
            "nthreads": TASK_THREADS,
            "host": "127.0.0.1",
            "memory_limit": 0,  # a worker over a guessed limit would be killed: its block is lost
            "local_directory": scratch,
            "dashboard": False,
            "silence_logs": logging.CRITICAL,
            "extensions": _lean("distributed.worker"),
        }
        scheduler = {
            "host": "127.0.0.1",
            "port": 0,
            "dashboard": False,
            "dashboard_address": "127.0.0.1:0",
            "allowed_failures": 0,  # of a death all that ran there is told at once
            "extensions": _lean("distributed.scheduler"),
        }
        try:
            with _deaf_to_interrupts():
                cluster = distributed.SpecCluster(
                    workers={
                        i: {"cls": distributed.Nanny, "options": {**worker, "env": dict(each)}}
                        for i, each in zip(range(count), environments, strict=True)
                    },
                    scheduler={"cls": distributed.Scheduler, "options": scheduler},
                    silence_logs=False,
                    name="vemctl",
                )
        except (RuntimeError, OSError, TimeoutError) as error:
            raise DeviceError(
                f"the {count} worker processes do not start: {one_line(error)}{kept.last()}"
            ) from error
        stack.callback(_close, cluster)
        yield stack.enter_context(connected(distributed, cluster))


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set what new processes inherit: what a Nanny sets comes after numpy is imported there."""
    values = {**values, "DASK_LOGGING__DISTRIBUTED": "critical"}
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _lean(module: str) -> dict[str, Any]:
    """Return the extensions of dask's without those that only cost.

    ``spans`` keeps a few hundred bytes of every task for ever; nothing is there for ``stealing``,
    as every task is bound to its worker.
    """
    extensions = importlib.import_module(module).DEFAULT_EXTENSIONS
    return {name: each for name, each in extensions.items() if name not in {"spans", "stealing"}}


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let threads begin that ignore SIGINT, and so do the processes that they start.

    Ctrl-C reaches every process of a terminal, and only this one knows what to do with it.
    """
    if not hasattr(signal, "pthread_sigmask"):  # not on Windows
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # or else the thread that needs it first hears them again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _close(cluster: Any) -> None:
    """End the workers at once, whatever they are at, and the scheduler."""

    async def end() -> None:
        await asyncio.gather(
            *(nanny.close(timeout=1) for nanny in cluster.workers.values()),
            return_exceptions=True,
        )

    cluster.sync(end)
    cluster.close(timeout=10)
