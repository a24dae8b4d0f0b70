"""`vemctl predict METHOD INPUT... OUTPUT`: one command per installed method."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import typer

from vemctl import registry
from vemctl.cli.config_file import read_config
from vemctl.cli.flags import (
    CLI_ONLY,
    given,
    make_request,
    parameters_for,
    plain,
    settings_for,
    use_offline,
)
from vemctl.cli.lazy import LazyGroup, as_command, stub
from vemctl.cli.running import carry_out
from vemctl.errors import MethodError
from vemctl.plugin import Method


class MethodGroup(LazyGroup):
    """The installed methods; a plugin is loaded when its method is named."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return the names of the installed methods; loads none."""
        return list(registry.method_entry_points())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Return the method's command if it is loaded, else what lists show of it."""
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        points = registry.method_entry_points().get(cmd_name)
        if not points:
            return None
        return stub(
            cmd_name, "from " + " and ".join(map(registry.distribution_of, points)), "Methods"
        )

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Load the method that is going to run; completion passes over a broken one."""
        try:
            return super().resolve_command(ctx, args)
        except MethodError:
            if not ctx.resilient_parsing:
                raise
            return None, None, args[1:]

    def load(self, name: str) -> Any:
        """Load the plugin and make its command."""
        return command_for(registry.get(name))

    def unknown(self, name: str, known: Any) -> str:
        """Return the message for a method that is not installed."""
        installed = ", ".join(known) or "none"
        return (
            f"{super().unknown(name, known).replace('command', 'method')} Installed: {installed}."
        )


app = typer.Typer(
    cls=MethodGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    subcommand_metavar="METHOD INPUT... OUTPUT",
    epilog="`vemctl methods` tells what each is for, `vemctl predict METHOD --help` its flags.",
)


@app.callback()
def predict() -> None:
    """Restore a volume with a published method."""


def command_for(method: Method) -> Any:
    """Make the command of a method.

    Parameters
    ----------
    method : Method

    Raises
    ------
    MethodError
        The method's options cannot be flags.
    """
    settings = settings_for(method)

    def command(typer_context: typer.Context, **values: Any) -> None:
        switches = {name: values.pop(name) for name in CLI_ONLY}
        config = switches.pop("config")
        output = values.pop("argument_output")
        inputs = tuple(values.pop(f"argument_{i}") for i in range(len(method.inputs)))
        merged = read_config(config, settings, method) if config else {}
        merged |= given(typer_context, settings, values)
        use_offline(switches.pop("offline"))
        carry_out(make_request(method, inputs, output, merged), **switches)

    parameters = parameters_for(method)
    _declare(command, parameters)
    return as_command(
        command,
        method.name,
        help=plain(_description(method)),
        short_help=plain(method.summary),
        epilog=plain(_examples(method)),
    )


def _declare(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> None:
    context = inspect.Parameter(
        "typer_context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
    )
    function.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
    function.__annotations__ = {p.name: p.annotation for p in (context, *parameters)}


def _description(method: Method) -> str:
    parts = [method.summary]
    paper = " ".join(filter(None, [method.citation, method.doi and f"doi:{method.doi}"]))
    if paper:
        parts.append(f"Please cite: {paper}")
    catalogue = registry.published(method).values()
    if catalogue:
        lines = [
            f"  {w.name} ({'default; ' if w.default else ''}licence {w.licence}): {w.note}"
            for w in catalogue
        ]
        parts.append("\n".join(["Weights:", *lines]))
    return "\n\n".join(parts)


def _examples(method: Method) -> str:
    inputs = " ".join(f"{name}.tif" for name in method.inputs)
    needed = method.takes_weights and not any(w.default for w in method.weights)
    weights = " -w weights.pth" if needed else ""
    lines = [
        f"restored.zarr{weights}",
        f"restored.zarr{weights} --dry-run",
        f"part.tif{weights} --roi 0:64,0:512,0:512",
        "restored.zarr --config settings.toml --device cuda",
    ]
    start = f"  vemctl predict {method.name} {inputs}"
    return "\n".join(["\nExamples:\n", *(f"{start} {line}" for line in lines)])
