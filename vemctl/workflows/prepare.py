"""Prepare: raw volumes to a folder that a training reads, whole or not there."""

from __future__ import annotations

import contextlib
import re
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vemctl import registry
from vemctl.durable import TEMPORARY, output_errors, replacing, write_json
from vemctl.errors import OptionError, OutputError
from vemctl.events import Finished, Listener, Noted, ignore
from vemctl.locks.exclusive import exclusive
from vemctl.method import Method
from vemctl.preparing import Preparation, PreparationRequest, Workplace
from vemctl.training import patches
from vemctl.workflows.config import options_to_json
from vemctl.workflows.new_volumes import VolumeMaker
from vemctl.workflows.peek import peek
from vemctl.workflows.phases import Phases
from vemctl.workflows.places import check_local
from vemctl.workflows.prepare_options import PrepareRequest
from vemctl.workflows.train_statistics import with_statistics

RECORD = "prepare.json"
"""In every folder that a preparation made: how it came about."""


@dataclass(frozen=True)
class PrepareResult:
    """What a preparation did.

    Attributes
    ----------
    output : Path
    facts : dict
        JSON types.
    """

    output: Path
    facts: dict[str, Any]


def plan_preparation(request: PrepareRequest, listen: Listener = ignore) -> dict[str, Any]:
    """Return what `request` will make as JSON types; writes nothing.

    Raises
    ------
    VemctlError
        Whatever would stop the run itself.
    """
    _check_output(request)
    with _opened(request, listen, threading.Event()) as preparation:
        return {
            "method": request.method,
            "inputs": [str(path) for path in request.inputs],
            "output": str(request.output),
            **preparation.plan(),
        }


def prepare(
    request: PrepareRequest, listen: Listener = ignore, stop: threading.Event | None = None
) -> PrepareResult:
    """Carry `request` out.

    Parameters
    ----------
    request : PrepareRequest
    listen : Listener
    stop : threading.Event, optional
        Set it to end the run; nothing stays.

    Raises
    ------
    VemctlError
        Whatever the user can mend. The output is then absent, or what it was before.
    Interrupted
        `stop` was set.
    """
    began = time.monotonic()
    stop = stop or threading.Event()
    _check_output(request)
    with (
        _opened(request, listen, stop) as preparation,
        _unwritable(request.output),
        exclusive(request.output, listen),
    ):
        _tidy(request.output)
        _check_output(request)  # once more: another run may have been quicker
        with _new_folder(request.output) as folder:
            make_volume = VolumeMaker(folder)
            facts = dict(preparation.run(Workplace(folder, make_volume, Phases(listen, stop))))
            make_volume.check_closed()
            write_json(folder / RECORD, _record(request) | facts)
    seconds = time.monotonic() - began
    listen(Finished(request.output, seconds))
    return PrepareResult(request.output, facts | {"seconds": round(seconds, 1)})


def method_of(request: PrepareRequest) -> Method:
    """Return the method of a request, which has something to prepare."""
    method = registry.get(request.method)
    if method.prepare_options is None:
        raise OptionError(f"{method.name} has no prepare: its training reads volumes as they are")
    return method


@contextlib.contextmanager
def _opened(
    request: PrepareRequest, listen: Listener, stop: threading.Event
) -> Iterator[Preparation]:
    method = method_of(request)
    wanted = method.preparation_data(request.method_options, request.inputs)
    _refuse_inputs_at(request.output, (p for paths in wanted.volumes.values() for p in paths))
    description = patches.open_data(wanted, **asdict(request.input))
    description = with_statistics(
        method, request.method_options, description, listen, stop, preparing=True
    )
    part = description.training
    with contextlib.closing(patches.VolumePatches(part.sources, facts=part.facts)) as raw:
        yield method.preparation(
            request.method_options,
            PreparationRequest(
                raw,
                {role: tuple(map(str, paths)) for role, paths in wanted.volumes.items()},
                request.run.seed,
                lambda text: listen(Noted(text, "warning")),
                lambda text: listen(Noted(text)),
                peek,
            ),
        )


def _check_output(request: PrepareRequest) -> None:
    output = request.output
    check_local(output)
    _refuse_inputs_at(output, request.inputs)
    if not output.exists():
        return
    if not request.run.overwrite:
        raise OutputError(f"{output}: exists: pass --overwrite or choose another output")
    if not (output / RECORD).is_file():
        raise OutputError(
            f"{output}: not made by vemctl prepare ({RECORD} is not in it), and so not replaced; "
            f"choose another output, or remove it yourself"
        )


def _refuse_inputs_at(output: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output that is in an input, or that an input is in and would vanish with."""
    ours = output.resolve()
    for path in inputs:
        theirs = path.resolve()
        if ours.is_relative_to(theirs):
            raise OutputError(f"{output}: in the input {path}; choose another output")
        if theirs.is_relative_to(ours):
            raise OutputError(f"{output}: the input {path} is in it; choose another output")


def _record(request: PrepareRequest) -> dict[str, Any]:
    """Return what a folder says of how it was made, but for what the method says."""
    return {
        "method": request.method,
        "inputs": [str(path.absolute()) for path in request.inputs],
        "options": options_to_json(request.method_options),
        "input": options_to_json(request.input),
        "seed": request.run.seed,
        "versions": {name: version(name) for name in ("vemctl", "numpy")},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@contextlib.contextmanager
def _unwritable(output: Path) -> Iterator[None]:
    """Say what helps where an output cannot be written: there is nothing to resume."""
    try:
        yield
    except OutputError as error:
        cause = error.__cause__
        if not isinstance(cause, OSError):
            raise
        raise OutputError(
            f"{output}: cannot be written: {cause.strerror or cause}; nothing of it stays: mend "
            f"that, such as by making room, and run the same command again"
        ) from cause


def _aside(output: Path) -> Path:
    """Return where a former output lies for a moment while it is replaced."""
    return output.with_name(f".{output.name}.replaced")


def _tidy(output: Path) -> None:
    """Remove what killed runs left, and put back what they took away; nobody else is writing."""
    aside = _aside(output)
    leftover = re.compile(re.escape(output.name) + r"\.[0-9a-f]{32}" + re.escape(TEMPORARY))
    with output_errors(output):
        if aside.exists() and output.exists():
            shutil.rmtree(aside)
        elif aside.exists():
            aside.rename(output)
        for path in output.absolute().parent.iterdir():
            if leftover.fullmatch(path.name) and path.is_dir():
                shutil.rmtree(path)


@contextlib.contextmanager
def _new_folder(output: Path) -> Iterator[Path]:
    """Give a folder to fill; in the end it is the output, in place of a former one."""
    aside = _aside(output)
    with output_errors(output):
        try:
            with replacing(output) as folder:
                folder.mkdir(parents=True)
                yield folder
                if output.exists():
                    output.rename(aside)
        except BaseException:
            if aside.exists() and not output.exists():
                aside.rename(output)
            raise
        if aside.exists():
            shutil.rmtree(aside)
