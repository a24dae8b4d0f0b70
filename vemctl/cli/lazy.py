"""Command groups that import a command's module only when the command is named."""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from vemctl.errors import nearest
from vemctl.remote_path import as_path

HELP_PANEL = "Run control"


class Command(TyperCommand):
    """A command whose help is as plain as the others': no braces, `--help` beside its like."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line."""
        pieces = super().collect_usage_pieces(ctx)
        return [re.sub(r"^\{(.+)\}(\.\.\.)?$", r"\1", piece) for piece in pieces]

    def get_help_option(self, ctx: Any) -> Any:
        """Return the help option, with its panel set."""
        option = super().get_help_option(ctx)
        if option is not None:
            panels = {getattr(param, "rich_help_panel", None) for param in self.params}
            option.metavar = ""
            option.rich_help_panel = HELP_PANEL if HELP_PANEL in panels else None
        return option


@dataclass(frozen=True)
class Target:
    """Where a lazy command is found.

    Attributes
    ----------
    module : str
        That has a function ``command`` or a Typer app ``app``.
    summary : str
        One line for lists.
    panel : str
        Of the help.
    """

    module: str
    summary: str
    panel: str


def stub(name: str, summary: str, panel: str | None = None) -> TyperCommand:
    """Return what help and completion show of a command that is not loaded."""
    return Command(
        name=name, help=summary, short_help=summary, rich_help_panel=panel, add_help_option=False
    )


def as_command(function: Callable[..., Any], name: str, **facts: Any) -> Any:
    """Make a command of a function with Typer's annotations.

    Parameters
    ----------
    function : callable
    name : str
        Of the command.
    **facts
        For `typer.Typer.command`: ``help``, ``short_help``, ``epilog``.
    """
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command(name, cls=Command, **facts)(_with_places(function))
    return typer.main.get_command(app)


def _with_places(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let paths be places in object stores too, of which Typer knows nothing."""

    @functools.wraps(function)
    def called(*arguments: Any, **values: Any) -> Any:
        return function(*arguments, **{name: _place(value) for name, value in values.items()})

    return called


def _place(value: Any) -> Any:
    if isinstance(value, list):
        return [_place(each) for each in value]
    return as_path(value) if isinstance(value, Path) else value


class LazyGroup(TyperGroup):
    """A group of commands that are named in advance and loaded on demand."""

    panel: ClassVar[str | None] = None
    targets: ClassVar[dict[str, Target]] = {}

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return the names of all commands; loads none."""
        return list(self.targets)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Return the command if it is loaded, else what lists show of it."""
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        target = self.targets.get(cmd_name)
        return stub(cmd_name, target.summary, target.panel) if target else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Load the command that is going to run, or to be completed."""
        name = args[0]
        if not name.startswith("-") and name not in self.commands:
            if name in self.list_commands(ctx):
                self.commands[name] = self.load(name)
            elif not ctx.resilient_parsing:
                ctx.fail(self.unknown(name, self.list_commands(ctx)))
        return super().resolve_command(ctx, args)

    def load(self, name: str) -> Any:
        """Import and return the command called `name`."""
        target = self.targets[name]
        module = importlib.import_module(target.module)
        if hasattr(module, "app"):
            loaded = typer.main.get_command(module.app)
            loaded.name = name
            return loaded
        return as_command(
            module.command, name, short_help=target.summary, epilog=getattr(module, "EPILOG", None)
        )

    def unknown(self, name: str, known: Iterable[str]) -> str:
        """Return the message for a command that is not there."""
        return f"No such command {name!r}.{nearest(name, known)}"
