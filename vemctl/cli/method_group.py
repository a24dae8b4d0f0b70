"""Commands that exist once for every installed method."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import typer

from vemctl import registry
from vemctl.cli.lazy import LazyGroup, stub
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
        return self.make_command(registry.get(name))

    def make_command(self, method: Method) -> Any:
        """Return the command for a method."""
        raise NotImplementedError

    def unknown(self, name: str, known: Any) -> str:
        """Return the message for a method that is not installed."""
        installed = ", ".join(known) or "none"
        return (
            f"{super().unknown(name, known).replace('command', 'method')} Installed: {installed}."
        )


def declare(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> None:
    """Let Typer see these parameters of a function, behind its context."""
    context = inspect.Parameter(
        "typer_context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
    )
    function.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
    function.__annotations__ = {p.name: p.annotation for p in (context, *parameters)}
