"""`vemctl predict METHOD INPUT... OUTPUT`: one command per installed method."""

from __future__ import annotations

from typing import Any

import typer

from vemctl import registry
from vemctl.cli.config_file import read_config
from vemctl.cli.flags import given, make_request, parameters_for, plain, settings_for
from vemctl.cli.lazy import as_command
from vemctl.cli.method_group import MethodGroup, declare
from vemctl.cli.running import carry_out
from vemctl.cli.switches import CLI_ONLY, use_offline
from vemctl.plugin import Method


class PredictGroup(MethodGroup):
    """`vemctl predict METHOD`."""

    def make_command(self, method: Method) -> Any:
        """Return the command that restores with a method."""
        return command_for(method)


app = typer.Typer(
    cls=PredictGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    subcommand_metavar="METHOD INPUT OUTPUT",
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
        names = ("argument_input", *method.inputs[1:])
        inputs = tuple(values.pop(name) for name in names)
        merged = read_config(config, settings, method) if config else {}
        merged |= given(typer_context, settings, values)
        use_offline(switches.pop("offline"))
        carry_out(make_request(method, inputs, output, merged), **switches)

    parameters = parameters_for(method)
    declare(command, parameters)
    return as_command(
        command,
        method.name,
        help=plain(description(method)),
        short_help=plain(method.summary),
        epilog=plain(_examples(method)),
    )


def description(method: Method) -> str:
    """Return what a method is, whom to cite, and what is published for it."""
    parts = [method.summary]
    paper = " ".join(filter(None, [method.citation, method.doi and f"doi:{method.doi}"]))
    if paper:
        parts.append(f"Please cite: {paper}")
    for title, kind in (("Weights:", "network"), ("Files of microscopes:", "optics")):
        lines = [
            f"  {w.name} ({'default; ' if w.default else ''}licence {w.licence}): {w.note}"
            for w in registry.published(method).values()
            if w.kind == kind
        ]
        if lines:
            parts.append("\n".join([title, *lines]))
    return "\n\n".join(parts)


def _examples(method: Method) -> str:
    first, *others = method.inputs
    further = "".join(f" --{name.replace('_', '-')} {name}.tif" for name in others)
    needed = method.takes_weights and not any(w.default for w in method.weights)
    weights = further + (" -w weights.pth" if needed else "")
    lines = [
        f"restored.zarr{weights}",
        f"restored.zarr{weights} --dry-run",
        f"part.tif{weights} --roi 0:64,0:512,0:512",
        f"restored.zarr{further} --config settings.toml --device cuda",
    ]
    start = f"  vemctl predict {method.name} {first}.tif"
    return "\n".join(["\nExamples:\n", *(f"{start} {line}" for line in lines)])
