"""Three ways to processes that carry out tasks: here, on a cluster that is there, by SLURM."""

from __future__ import annotations

import asyncio
import importlib
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from vemctl.crew.clients import (
    connected,
    import_distributed,
    one_line,
    wait_for_worker,
)
from vemctl.crew.local import local_workers
from vemctl.crew.quiet import quiet
from vemctl.crew.slurm import slurm_workers
from vemctl.errors import DeviceError, OptionError
from vemctl.events import Listener, ignore

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["existing_cluster", "local_workers", "slurm_workers"]


def check_address(address: str) -> None:
    """Refuse what is no address of a scheduler.

    Raises
    ------
    OptionError
        It is none.
    """
    if not re.fullmatch(r"(tcp|tls)://([^\s/:]+|\[[0-9a-fA-F:]+\]):\d{1,5}", address):
        raise OptionError(
            f"--scheduler {address}: expected tcp://HOST:PORT as the dask scheduler prints it"
        )


@contextmanager
def existing_cluster(
    address: str,
    *,
    listen: Listener = ignore,
    stop: threading.Event | None = None,
    wait_seconds: float = 15.0,
) -> Iterator[Client]:
    """Give a client of a dask cluster that runs already, once it has a worker.

    Parameters
    ----------
    address : str
        Of its scheduler: ``tcp://host:port``; or ``tls://host:port``, where dask's configuration
        (``distributed.comm.tls``) names the certificates.
    listen : Listener
        Is told when there is no worker yet.
    stop : threading.Event, optional
        Ends the wait for one.
    wait_seconds : float
        For the scheduler to answer.

    Raises
    ------
    MissingExtraError
        dask.distributed is not installed.
    OptionError
        That is no such address.
    DeviceError
        No scheduler answers there.
    Interrupted
        `stop` was set.
    """
    check_address(address)
    with ExitStack() as stack:
        distributed = import_distributed("a dask cluster")
        kept = stack.enter_context(quiet())
        try:
            kind = asyncio.run(_kind(address, wait_seconds))
            if kind != "Scheduler":
                raise DeviceError(
                    f"--scheduler {address}: that is a {kind.lower()} of dask; expected the "
                    "address of its scheduler"
                )
            client = stack.enter_context(connected(distributed, address, timeout=wait_seconds))
        except (OSError, TimeoutError, TypeError, ValueError, RuntimeError) as error:
            raise DeviceError(
                f"--scheduler {address}: no dask scheduler answered within {wait_seconds:.0f} s: "
                f"{one_line(error)}{kept.last()}; start one with: dask scheduler"
            ) from error
        wait_for_worker(client, f"{address} has no workers yet; waiting for one", listen, stop)
        yield client


async def _kind(address: str, seconds: float) -> str:
    """Return what answers at an address: a client that is refused cannot be got rid of quietly."""
    distributed: Any = importlib.import_module("distributed")
    arguments = distributed.Security().get_connection_args("client")
    async with distributed.rpc(address, timeout=seconds, connection_args=arguments) as server:
        return str((await asyncio.wait_for(server.identity(), seconds))["type"])
