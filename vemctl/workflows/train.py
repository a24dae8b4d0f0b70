"""Train: open the data, make the trainer, run the loop in a folder."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vemctl.errors import Interrupted
from vemctl.events import Finished, Listener, Noted, ignore
from vemctl.locks.exclusive import exclusive
from vemctl.method import Method
from vemctl.nn import device as devices
from vemctl.training.keeper import NothingKept, RunKeeper
from vemctl.training.loop import Loop
from vemctl.training.metrics import gained
from vemctl.training.run_folder import METRICS
from vemctl.training.schedule import Keeper, Outcome
from vemctl.training.world import World, joined
from vemctl.workflows.places import check_local
from vemctl.workflows.train_description import describe, settings_that_may_change
from vemctl.workflows.train_options import TrainRequest
from vemctl.workflows.train_session import (
    Session,
    make_batches,
    make_samples,
    method_of,
    no_memory,
    session,
)


@dataclass(frozen=True)
class TrainResult:
    """What a training did.

    Attributes
    ----------
    output : Path
        The folder of the run.
    facts : dict
        JSON types: step, best validation, why it ended, seconds, and what was gained since before
        the first step, where the trainer was judged then.
    """

    output: Path
    facts: dict[str, Any]


def train(
    request: TrainRequest, listen: Listener = ignore, stop: threading.Event | None = None
) -> TrainResult:
    """Carry `request` out; with several processes, one of them tells and writes.

    Parameters
    ----------
    request : TrainRequest
    listen : Listener
    stop : threading.Event, optional
        Set it to end with a checkpoint.

    Raises
    ------
    VemctlError
        Whatever the user can mend.
    Interrupted
        `stop` was set; the run can be continued.
    """
    began = time.monotonic()
    stop = stop or threading.Event()
    check_local(request.output)
    method = method_of(request)
    device = devices.resolve(request.compute.device)
    with joined(device) as world:
        tell = listen if world.is_first else ignore
        with session(request, method, world, device, tell, stop) as ready:
            outcome = _run(request, method, ready, world, tell, stop)
    seconds = time.monotonic() - began
    gain = gained(request.output / METRICS, _kept_step(outcome)) if world.is_first else {}
    facts = {
        "step": outcome.step,
        "best": outcome.best,
        "ended_by": outcome.reason,
        "seconds": round(seconds, 1),
        "gained": gain,
    }
    if outcome.reason == "stopped":
        raise Interrupted(f"stopped after step {outcome.step}, with a checkpoint")
    tell(Finished(request.output, seconds, gain))
    return TrainResult(request.output, facts)


def _kept_step(outcome: Outcome) -> int:
    """Return the step whose weights a run keeps: of the best, else the last."""
    return outcome.step if outcome.best is None else int(outcome.best["step"])


def _run(
    request: TrainRequest,
    method: Method,
    ready: Session,
    world: World,
    listen: Listener,
    stop: threading.Event,
) -> Outcome:
    with contextlib.ExitStack() as stack:
        keeper: Keeper = NothingKept()
        state = None
        if world.is_first:
            stack.enter_context(exclusive(request.output, listen, stop=stop, lost=stop))
            kept = RunKeeper(
                request.output,
                describe(
                    request,
                    method,
                    ready.data,
                    ready.weights,
                    ready.files,
                    ready.device,
                    "best" if ready.trainer.best and ready.validation else "last",
                ),
                listen,
                keep=request.saving.keep,
                resume=request.run.resume,
                allow_changes=request.run.allow_changes,
                free=settings_that_may_change(),
            )
            stack.callback(kept.close)
            keeper, listen, state = kept, kept.listen, kept.state
        state = world.share(state)
        if not request.run.resume:
            _warn(method, request, ready, listen)
        loop = Loop(
            ready.trainer,
            ready.gradients,
            ready.schedule,
            keeper,
            world,
            ready.device,
            listen,
            stop,
        )
        if state is not None:
            loop.load_state_dict(state)
            if isinstance(keeper, RunKeeper):
                keeper.complete(loop.progress.step, ready.trainer)
            listen(Noted(f"{request.output}: continuing after step {loop.progress.step}"))
        samples = make_samples(ready, request.compute.seed)
        try:
            outcome = loop.run(make_batches(request, ready, world), samples)
        except (MemoryError, RuntimeError) as error:
            better = no_memory(error, ready, request.schedule.accumulate, world)
            if better is None:
                raise
            raise better from error
        listen(Noted(_ending(outcome)))
        return outcome


def _ending(outcome: Outcome) -> str:
    reasons = {
        "steps": "all steps are done",
        "time": "the time is up; --resume goes on",
        "patience": "no validation was better for as long as --patience allows",
        "stopped": "stopped",
    }
    text = f"ended after step {outcome.step}: {reasons[outcome.reason]}"
    if outcome.best is not None:
        best = outcome.best
        text += f"; best {best['metric']} {best['score']:.4g} at step {best['step']}"
    return text


def _warn(method: Method, request: TrainRequest, ready: Session, listen: Listener) -> None:
    for text in method.data_warnings(request.method_options, ready.training):
        listen(Noted(text, "warning"))
    if ready.validation is None:
        listen(Noted("nothing is kept for validation: the run's weights are the last", "warning"))
