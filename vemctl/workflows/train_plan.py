"""What a training will be and take, from its data and three steps; nothing is written."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

from vemctl.events import Listener, ignore
from vemctl.learning import Batch, Trainer
from vemctl.nn import device as devices
from vemctl.training import loader, run_folder
from vemctl.training.world import World
from vemctl.workflows.places import check_local
from vemctl.workflows.train_options import TrainRequest
from vemctl.workflows.train_session import make_batches, method_of, no_memory, session

STEPS = 3


def plan_training(request: TrainRequest, listen: Listener = ignore) -> dict[str, Any]:
    """Return the plan of `request` as JSON types; makes three steps and writes nothing.

    Raises
    ------
    VemctlError
        Whatever would stop the run itself.
    """
    check_local(request.output)
    method = method_of(request)
    device = devices.resolve(request.compute.device)
    if request.run.resume:
        run_folder.read_run(request.output)
    else:
        run_folder.check_new(request.output)
    with session(request, method, World(), device, listen, threading.Event()) as ready:
        trainer, schedule = ready.trainer, ready.schedule
        # What the first of the processes would do; each has its part of the batch.
        one = World(0, request.compute.devices)
        loader.check_batch(trainer.batch, one.size, request.schedule.accumulate)
        try:
            losses, per_step = _time_steps(trainer, make_batches(request, ready, one)(0))
        except (MemoryError, RuntimeError) as error:
            better = no_memory(error, ready, request.schedule.accumulate, one)
            if better is None:
                raise
            raise better from error
        at_once = trainer.batch // request.compute.devices // request.schedule.accumulate
        return {
            "method": method.name,
            "command": request.command,
            "output": str(request.output),
            "weights": ready.weights.name if ready.weights else None,
            "device": ready.device,
            "devices": request.compute.devices,
            "precision": request.compute.precision,
            "volumes": {
                role: [list(each.shape) for each in facts]
                for role, facts in ready.data.facts.items()
            },
            "patch": list(trainer.sampler.patch),
            "validation_patch": list(trainer.sampler.validation_patch),
            "validation_samples": trainer.num_validation if ready.validation else 0,
            "batch": trainer.batch,
            "samples_at_once": at_once,
            "parameters": {
                name: sum(p.numel() for p in network.parameters())
                for name, network in trainer.networks.items()
            },
            "steps": schedule.steps,
            "steps_per_epoch": trainer.steps_per_epoch,
            "step_memory_bytes": trainer.memory(at_once),
            "free_memory_bytes": devices.free_memory(ready.device),
            "seconds_per_step": round(per_step, 4),
            "estimated_seconds": None
            if schedule.steps is None
            else round(per_step * schedule.steps, 1),
            "first_losses": losses,
        }


def _time_steps(trainer: Trainer, coming: Iterator[list[Batch]]) -> tuple[dict[str, float], float]:
    """Return the losses of the first step, and how long the quickest of a few took."""
    first: dict[str, float] = {}
    seconds = []
    with contextlib.closing(coming):  # type: ignore[type-var]
        began = time.monotonic()
        for batches in itertools.islice(coming, STEPS):
            losses = {name: float(loss) for name, loss in trainer.step(batches).items()}
            first = first or losses
            seconds.append(time.monotonic() - began)
            began = time.monotonic()
    return first, min(seconds)
