"""`vemctl prepare METHOD INPUT... OUTPUT`, for methods whose raw data must be prepared."""

from __future__ import annotations

import inspect
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from vemctl import registry
from vemctl.cli.config_file import read_config
from vemctl.cli.flags import checked, filled, flag_for, foreign, given, plain, switch_parameters
from vemctl.cli.lazy import as_command
from vemctl.cli.method_group import MethodGroup, declare
from vemctl.cli.predict import description
from vemctl.cli.progress import reporter
from vemctl.cli.render import print_facts, print_json
from vemctl.cli.running import stop_by_signal
from vemctl.cli.switches import CLI_ONLY
from vemctl.errors import MethodError, OptionError, VemctlError
from vemctl.plugin import Method
from vemctl.workflows.prepare_options import PREPARE_GROUPS, PrepareRequest
from vemctl.workflows.settings import Setting, settings_of

COMMON = tuple(setting for group in PREPARE_GROUPS.values() for setting in settings_of(group))
SWITCHES = {name: flag for name, flag in CLI_ONLY.items() if name not in ("offline", "report")}
KIND = inspect.Parameter.KEYWORD_ONLY


class PrepareGroup(MethodGroup):
    """`vemctl prepare METHOD`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the methods that have something to prepare."""
        return [name for name in super().list_commands(ctx) if _prepares(name)]

    def unknown(self, name: str, known: Any) -> str:
        """Return the message for a method without, or for one that is not installed."""
        if name in registry.method_entry_points():
            command_for(registry.get(name))
        return super().unknown(name, known)

    def make_command(self, method: Method) -> Any:
        """Return the command that prepares a method's data."""
        return command_for(method)


def _prepares(name: str) -> bool:
    try:
        return registry.get(name).prepare_options is not None
    except MethodError:
        return False  # `vemctl methods` tells what is wrong with it


app = typer.Typer(
    cls=PrepareGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    subcommand_metavar="METHOD INPUT... OUTPUT",
    epilog="`vemctl prepare METHOD --help` shows a method's flags.",
)


@app.callback()
def root() -> None:
    """Make a training set of raw volumes, for methods that want one."""


def command_for(method: Method) -> Any:
    """Make the command of a method.

    Raises
    ------
    MethodError
        The method has nothing to prepare, or its options cannot be flags.
    """
    options = method.prepare_options
    if options is None:
        raise MethodError(
            f"{method.name} has no prepare: its training reads volumes as they are; see vemctl "
            f"train {method.name} --help"
        )
    own = checked(COMMON, options, SWITCHES, method)
    settings = (*COMMON, *own)

    def command(typer_context: typer.Context, **values: Any) -> None:
        switches = {key: values.pop(key) for key in SWITCHES}
        *inputs, output = values.pop("argument_paths")
        if not inputs:
            raise OptionError(f"{output}: one path only; expected inputs and then the new folder")
        config = switches.pop("config")
        merged = read_config(config, settings, method) if config else {}
        merged |= given(typer_context, settings, values)
        request = PrepareRequest(
            method=method.name,
            inputs=tuple(inputs),
            output=output,
            method_options=filled(options, merged),
            **{key: filled(kind, merged) for key, kind in PREPARE_GROUPS.items()},
        )
        carry_out(request, **switches)

    declare(command, parameters_for(method, settings))
    return as_command(
        command,
        method.name,
        help=plain(description(method)),
        short_help=plain(method.summary),
        epilog=plain(
            f"\nExamples:\n\n  vemctl prepare {method.name} RAW DATA\n"
            f"  vemctl prepare {method.name} RAW DATA --dry-run"
        ),
    )


def parameters_for(method: Method, settings: tuple[Setting, ...]) -> list[inspect.Parameter]:
    """Return the parameters of a method's command: paths, settings, switches."""
    paths = Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT... OUTPUT", help="Raw volumes or folders of them, then the new folder."
        ),
    ]
    rest = settings[len(COMMON) :]
    return [
        inspect.Parameter("argument_paths", KIND, annotation=paths),
        *(flag_for(setting, method) for setting in COMMON),
        *switch_parameters(SWITCHES),
        *(flag_for(setting, method) for setting in sorted(rest, key=foreign)),
    ]


def carry_out(
    request: PrepareRequest,
    *,
    dry_run: bool,
    json: bool,
    quiet: bool,
    verbose: bool,
    no_progress: bool,
) -> None:
    """Carry a request out, or show what it will make."""
    from vemctl.workflows.prepare import plan_preparation, prepare

    told = "stopping; nothing of the output stays"
    try:
        with reporter(quiet=quiet, verbose=verbose, progress=not no_progress) as listen:
            if dry_run:
                facts = plan_preparation(request, listen)
            else:
                with stop_by_signal(listen, stopping=told) as stop:
                    result = prepare(request, listen, stop)
                facts = {"output": str(result.output), **result.facts}
    except VemctlError:
        if verbose:
            traceback.print_exc(file=sys.stderr)
        raise
    if json:
        print_json(facts)
    elif dry_run:
        print_facts(facts)
