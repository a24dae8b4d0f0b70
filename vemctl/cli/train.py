"""`vemctl train METHOD` and `vemctl finetune METHOD`, for methods that can be trained."""

from __future__ import annotations

import inspect
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vemctl.cli.config_file import read_config
from vemctl.cli.flags import (
    WEIGHTS,
    checked,
    filled,
    flag_for,
    foreign,
    given,
    plain,
    switch_parameters,
)
from vemctl.cli.lazy import as_command
from vemctl.cli.method_group import MethodGroup, declare
from vemctl.cli.predict import description
from vemctl.cli.progress import reporter
from vemctl.cli.render import print_facts, print_json
from vemctl.cli.running import stop_by_signal, write_report
from vemctl.cli.switches import CLI_ONLY, switch, use_offline
from vemctl.cli.training_lines import JsonLines, print_gain
from vemctl.errors import Interrupted, MethodError, OptionError, VemctlError
from vemctl.plugin import Method
from vemctl.workflows.settings import Setting, settings_of
from vemctl.workflows.train_options import TRAIN_GROUPS, TrainRequest

Name = Literal["train", "finetune"]
COMMON = tuple(setting for group in TRAIN_GROUPS.values() for setting in settings_of(group))
OUT = Annotated[
    Path | None, switch("--out", "-o", metavar="RUN", help="The folder of the run. [required]")
]
JSON = Annotated[bool, switch("--json", help="Print events as JSON lines, and the plan as JSON.")]
SECONDS_FOR_THE_FIRST = 3.0
TRAINING_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
)
"""That end a training with a checkpoint; SLURM can send SIGUSR1 before its time limit."""
SWITCHES: dict[str, Any] = {**CLI_ONLY, "json": JSON}


class TrainGroup(MethodGroup):
    """`vemctl train METHOD`."""

    name_of_command: Name = "train"

    def make_command(self, method: Method) -> Any:
        """Return the command that trains a method."""
        return command_for(method, self.name_of_command)


class FinetuneGroup(TrainGroup):
    """`vemctl finetune METHOD`."""

    name_of_command: Name = "finetune"


def group(cls: type[TrainGroup], what: str) -> typer.Typer:
    """Return the app of a group of commands."""
    made = typer.Typer(
        cls=cls,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        subcommand_metavar="METHOD [VOLUME]... -o RUN",
        epilog=f"`vemctl {cls.name_of_command} METHOD --help` shows a method's flags.",
    )

    @made.callback(help=what)
    def root() -> None:
        """Do nothing by itself."""

    return made


app = group(TrainGroup, "Train a method on volumes.")


def options_of(method: Method, name: Name) -> type[Any]:
    """Return the dataclass of a method's options for a command.

    Raises
    ------
    MethodError
        The method has no such command.
    """
    options = method.train_options if name == "train" else method.finetune_options
    if options is None:
        raise MethodError(f"{method.name} has no {name}; see vemctl predict {method.name} --help")
    return options


def command_for(method: Method, name: Name) -> Any:
    """Make the command of a method.

    Raises
    ------
    MethodError
        The method cannot be trained, or its options cannot be flags.
    """
    options = options_of(method, name)
    own = checked(COMMON, options, SWITCHES | {"out": OUT}, method)
    weights = (WEIGHTS,) if name == "finetune" else ()
    settings = (*COMMON, *weights, *own)

    def command(typer_context: typer.Context, **values: Any) -> None:
        switches = {key: values.pop(key) for key in SWITCHES}
        volumes, output = tuple(values.pop("argument_volumes") or ()), values.pop("out")
        if output is None:
            raise OptionError("--out is missing; expected the folder of the run, such as -o runs/a")
        use_offline(switches.pop("offline"))
        config = switches.pop("config")
        merged = read_config(config, settings, method) if config else {}
        merged |= given(typer_context, settings, values)
        request = TrainRequest(
            command=name,
            method=method.name,
            volumes=volumes,
            output=output,
            weights=merged.get("weights"),
            method_options=filled(options, merged),
            **{key: filled(kind, merged) for key, kind in TRAIN_GROUPS.items()},
        )
        carry_out(request, **switches)

    declare(command, parameters_for(method, settings))
    return as_command(
        command,
        method.name,
        help=plain(description(method)),
        short_help=plain(method.summary),
        epilog=plain(_examples(method, name)),
    )


def parameters_for(method: Method, settings: tuple[Setting, ...]) -> list[inspect.Parameter]:
    """Return the parameters of a method's command: volumes, folder, settings, switches."""
    volumes = Annotated[
        list[Path] | None,
        typer.Argument(metavar="VOLUME...", help="Volumes or folders to learn from."),
    ]
    kind = inspect.Parameter.KEYWORD_ONLY
    rest = settings[len(COMMON) :]
    return [
        inspect.Parameter("argument_volumes", kind, default=None, annotation=volumes),
        *(flag_for(setting, method) for setting in COMMON),
        inspect.Parameter("out", kind, default=None, annotation=OUT),
        *switch_parameters(SWITCHES),
        *(flag_for(setting, method) for setting in sorted(rest, key=foreign)),
    ]


def carry_out(
    request: TrainRequest,
    *,
    dry_run: bool,
    json: bool,
    quiet: bool,
    verbose: bool,
    no_progress: bool,
    report: bool,
) -> None:
    """Train in this process, or in as many as devices are asked for, or show the plan."""
    from vemctl.training import world
    from vemctl.training.loader import check_batch
    from vemctl.workflows.train_plan import plan_training

    if dry_run:
        with reporter(quiet=quiet, verbose=verbose, progress=not no_progress) as listen:
            plan = plan_training(request, listen)
        (print_json if json else print_facts)(plan)
        return
    if request.compute.devices > 1 and world.present().size == 1:
        if request.schedule.batch is not None:  # told once, rather than by each process
            check_batch(
                request.schedule.batch, request.compute.devices, request.schedule.accumulate
            )
        code = world.launch(sys.argv[1:], request.compute.devices)
        if code:
            raise typer.Exit(code)
        return
    train_here(request, json, quiet, verbose, no_progress, report)


def train_here(
    request: TrainRequest, json: bool, quiet: bool, verbose: bool, no_progress: bool, report: bool
) -> None:
    """Train in this process, and tell about it where it is the first."""
    from vemctl.training.world import present
    from vemctl.workflows.train import train

    first = present().is_first
    try:
        with reporter(quiet=quiet or not first, verbose=verbose, progress=not no_progress) as told:
            listen = JsonLines(told) if json and first else told
            with stop_by_signal(listen, TRAINING_SIGNALS) as stop:
                result = train(request, listen, stop)
            if first and report:
                write_report(result.output, told)
        if first and not json and not quiet:
            print_gain(result.facts)
    except Interrupted as stopped:
        if not first:
            raise typer.Exit(Interrupted.exit_code) from None
        raise Interrupted(f"{stopped}{_continuation(request.output)}") from None
    except VemctlError:
        if not first:
            # The first process has most likely found the same, says so, and ends us with it.
            time.sleep(SECONDS_FOR_THE_FIRST)
        raise


def _continuation(run: Path) -> str:
    from vemctl.weights.runs import is_run

    words = [word for word in sys.argv[1:] if word != "--resume"]
    if words[:1] not in (["train"], ["finetune"]):
        return ""
    again = ["--resume"] if is_run(run) else []  # else it had not begun
    return f"; continue with: {shlex.join(['vemctl', *words, *again])}"


def _examples(method: Method, name: Name) -> str:
    start = f"  vemctl {name} {method.name} VOLUME -o runs/a"
    weights = " -w WEIGHTS" if name == "finetune" else ""
    lines = [f"{weights}", f"{weights} --dry-run", f"{weights} --resume"]
    return "\n".join(["\nExamples:\n", *(f"{start}{line}" for line in lines)])
