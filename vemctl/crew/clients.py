"""What all ways to a cluster share: the client, the wait for a worker, dask's settings."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vemctl.errors import DeviceError, Interrupted, MissingExtraError
from vemctl.events import Listener, Noted

if TYPE_CHECKING:
    from distributed import Client

TASK_THREADS = 2
"""Tasks that a worker is at: one reads and writes while the other computes."""

# Entries of logs that nobody reads; the defaults would hold a hundred megabytes in the end.
_CONFIGURATION = {
    "distributed.admin.low-level-log-length": 200,
    "distributed.admin.log-length": 200,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.multiprocessing-method": "spawn",  # a fork hangs where torch has threads
}


def import_distributed(purpose: str, extra: str = "dask") -> Any:
    """Return dask.distributed, which is needed for `purpose` and comes with `extra`."""
    try:
        import distributed
    except ImportError:
        raise MissingExtraError(purpose, extra) from None
    return distributed


@contextmanager
def connected(distributed: Any, cluster: Any, timeout: float = 15.0) -> Iterator[Client]:
    """Give a client of a cluster, or of a scheduler's address.

    Dask's table of versions that differ is left out: who gives tasks refuses those that matter.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", distributed.versions.VersionMismatchWarning)
        client = distributed.Client(cluster, timeout=timeout, set_as_default=False)
    try:
        yield client
    finally:
        client.close(timeout=5)


def wait_for_worker(client: Any, text: str, listen: Listener, stop: threading.Event | None) -> None:
    """Wait until there is a worker; `text` says for what, if that takes time."""
    told = False
    while True:
        try:
            if client.status == "running" and client.nthreads():
                return
        except OSError:
            pass  # the client notices too
        if client.status != "running":
            raise DeviceError(
                "the dask scheduler went away while waiting for a worker; start it again"
            )
        if not told:
            listen(Noted(text))
            told = True
        if stop is None:
            time.sleep(0.5)
        elif stop.wait(0.5):
            raise Interrupted("stopped while waiting for a worker; nothing was begun")


def for_threads(count: int) -> dict[str, str]:
    """Return the environment of a process that computes with `count` threads."""
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(count))


@contextmanager
def dask_settings(more: Mapping[str, Any]) -> Iterator[None]:
    """Have settings of dask's that suit a crew, and some more."""
    import dask

    with dask.config.set({**_CONFIGURATION, **more}):
        yield


def one_line(error: BaseException) -> str:
    """Return the text of an error's first cause, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__
