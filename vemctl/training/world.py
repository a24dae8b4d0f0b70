"""The processes of a training on several devices: started here, by torchrun, or by SLURM."""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from vemctl.errors import Interrupted

if TYPE_CHECKING:
    import torch

HOURS_OF_PATIENCE = 4
"""How long processes wait for one another, for instance while the first one saves."""


@dataclass(frozen=True)
class World:
    """One process among those of a training.

    Attributes
    ----------
    rank, size : int
        Which of how many.
    local_rank : int
        Which on this machine; on it depends the device.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and tells what happens."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """Return the device of this process, where `name` is what the user chose."""
        import torch

        if self.size == 1 or not name.startswith("cuda"):
            return name
        # A cluster may let each process see one GPU only.
        return f"cuda:{self.local_rank % max(1, torch.cuda.device_count())}"

    def average(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Replace gradients by their mean over all processes, in one exchange."""
        import torch

        if self.size == 1:
            return
        gradients = [
            torch.zeros_like(p) if p.grad is None else p.grad for p in parameters if p.requires_grad
        ]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        torch.distributed.all_reduce(flat)
        flat /= self.size
        start = 0
        for parameter in parameters:
            if parameter.requires_grad:
                end = start + parameter.numel()
                parameter.grad = flat[start:end].view_as(parameter)
                start = end

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean over all processes of a tensor of one shape."""
        import torch

        if self.size == 1:
            return values
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total / self.size

    def share(self, value: Any) -> Any:
        """Return what the first process has."""
        import torch

        if self.size == 1:
            return value
        box = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def any(self, flags: Sequence[bool], device: str) -> list[bool]:
        """Tell of each flag whether any process has it set, in one exchange."""
        import torch

        if self.size == 1:
            return list(flags)
        found = torch.tensor([float(flag) for flag in flags], device=device)
        torch.distributed.all_reduce(found, op=torch.distributed.ReduceOp.MAX)
        return [bool(flag) for flag in found.tolist()]

    def start_alike(self, networks: Sequence[torch.nn.Module]) -> None:
        """Give all processes the parameters and buffers of the first."""
        import torch

        if self.size == 1:
            return
        for network in networks:
            for value in network.state_dict().values():
                torch.distributed.broadcast(value, src=0)


def present() -> World:
    """Return which process this is, from what torchrun, our own start or SLURM say."""
    variables = os.environ
    if "RANK" in variables and "WORLD_SIZE" in variables:
        rank, size = int(variables["RANK"]), int(variables["WORLD_SIZE"])
        return World(rank, size, int(variables.get("LOCAL_RANK", rank)))
    # A batch script has the number of tasks too; only what srun started has a step.
    of_srun = "SLURM_PROCID" in variables and "SLURM_STEP_ID" in variables
    if int(variables.get("SLURM_NTASKS", "1")) > 1 and of_srun:
        rank, size = int(variables["SLURM_PROCID"]), int(variables["SLURM_NTASKS"])
        return World(rank, size, int(variables.get("SLURM_LOCALID", "0")))
    return World()


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the other processes of the training, if there are any.

    Parameters
    ----------
    device : str
        ``"cuda..."`` or another; the processes exchange by NCCL or by gloo.
    """
    world = present()
    if world.size == 1:
        yield world
        return
    import torch

    for name, value in _meeting_point(world).items():
        os.environ.setdefault(name, value)
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(world.device(device))
    torch.distributed.init_process_group(
        "nccl" if on_gpu else "gloo", timeout=timedelta(hours=HOURS_OF_PATIENCE)
    )
    try:
        yield world
    finally:
        torch.distributed.destroy_process_group()


def _meeting_point(world: World) -> dict[str, str]:
    """Return the variables by which torch finds the first process; SLURM sets others."""
    job = int(os.environ.get("SLURM_JOB_ID", "0"))
    return {
        "RANK": str(world.rank),
        "WORLD_SIZE": str(world.size),
        "LOCAL_RANK": str(world.local_rank),
        "MASTER_ADDR": os.environ.get("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1"),
        "MASTER_PORT": str(15000 + job % 20000),
    }


def launch(arguments: Sequence[str], processes: int) -> int:
    """Run vemctl with `arguments` in several processes on this machine, by torch's elastic launch.

    Parameters
    ----------
    arguments : sequence of str
        Of the command line, without the program's name.
    processes : int

    Returns
    -------
    int
        The exit code of the process that failed first, or 0.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # The process that failed has said why, in one line.
    for name in ("torch.distributed.elastic", "torch.distributed.launcher"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (cores or 1) // processes)))
    if hasattr(signal, "SIGUSR1"):
        # torch passes on what ends a process; SLURM may send this one to ask for that.
        signal.signal(signal.SIGUSR1, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    config = LaunchConfig(
        run_id=uuid.uuid4().hex,
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.2,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "vemctl", *arguments)
    except ChildFailedError as error:
        return int(error.get_first_failure()[1].exitcode)
    except SignalException:
        return Interrupted.exit_code  # the processes have saved and said so
    return 0
