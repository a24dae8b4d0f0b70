"""What `predict` and `rerun` share: plan or carry out a request and show what happens."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from vemctl.cli.progress import reporter
from vemctl.cli.render import print_json, print_plan
from vemctl.errors import Interrupted, OptionError, VemctlError
from vemctl.events import Listener, Noted
from vemctl.workflows.options import PredictRequest


def carry_out(
    request: PredictRequest,
    *,
    dry_run: bool = False,
    json: bool = False,
    quiet: bool = False,
    verbose: bool = False,
    no_progress: bool = False,
    report: bool = False,
) -> None:
    """Carry a request out, or show its plan.

    Parameters
    ----------
    request : PredictRequest
    dry_run : bool
        Show the plan and stop.
    json : bool
        Print one JSON object on standard output.
    quiet, verbose, no_progress : bool
        How much is told on standard error.
    report : bool
        Write a report of the output in the end.
    """
    from vemctl.workflows.predict import plan_prediction, predict

    try:
        with reporter(quiet=quiet, verbose=verbose, progress=not no_progress) as listen:
            if report and request.spread.shard:
                raise OptionError(
                    "--report and --shard: a report is of the whole output; vemctl finish has it"
                )
            if report:
                from vemctl.workflows.report import check_place, default_place

                check_place(default_place(request.output), overwrite=False)
            if dry_run:
                plan = plan_prediction(request, listen)
            else:
                with stop_by_signal(listen) as stop:
                    result = predict(request, listen, stop)
                facts = {"output": str(result.output), **result.facts}
                if report:
                    facts["report"] = str(write_report(result.output, listen))
    except Interrupted as stopped:
        raise Interrupted(f"{stopped}{_continuation()}") from None
    except VemctlError:
        if verbose:
            traceback.print_exc(file=sys.stderr)
        raise
    if dry_run and json:
        print_json(plan)
    elif dry_run:
        print_plan(plan)
    elif json:
        print_json(facts)


def write_report(made: Path, listen: Listener) -> Path:
    """Write the report of a run or an output to its usual place, and tell where that is.

    Parameters
    ----------
    made : Path
    listen : Listener
    """
    from vemctl.workflows.report import report

    place = report(made, listen=listen)
    listen(Noted(f"wrote {place}"))
    return place


def _continuation() -> str:
    """Return how to continue the command that was typed, if it can be."""
    words = sys.argv[1:]
    if words[:1] not in (["predict"], ["rerun"]):
        return ""
    command = ["vemctl", *words, *([] if "--resume" in words else ["--resume"])]
    return f"; continue with: {shlex.join(command)}"


@contextmanager
def stop_by_signal(
    listen: Listener,
    signals: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
    *,
    stopping: str = "stopping where the run can be resumed",
) -> Iterator[threading.Event]:
    """Return an event that signals set, such that a run ends where it can be resumed.

    A second signal ends the process as usual.

    Parameters
    ----------
    listen : Listener
        Is told that the run is about to stop.
    signals : sequence of Signals
        Ctrl-C and SIGTERM by default.
    stopping : str
        What the listener is told.
    """
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in signals}

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        for each in signals:
            signal.signal(each, before[each])
        stop.set()
        listen(Noted(f"{signal.Signals(number).name}: {stopping}"))

    for number in signals:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number in signals:
            signal.signal(number, before[number])
