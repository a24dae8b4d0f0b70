"""`vemctl methods`: what is installed."""

from __future__ import annotations

from typing import Any

import typer

from vemctl import registry
from vemctl.cli.flags import settings_for
from vemctl.cli.render import print_facts, print_json
from vemctl.cli.switches import PlainJsonFlag
from vemctl.errors import MethodError
from vemctl.plugin import Method


def command(json: PlainJsonFlag = False) -> None:
    """List the installed methods.

    A method whose plugin does not load is listed with the reason.
    """
    rows = [_facts(listed) for listed in registry.listing()]
    if json:
        print_json(rows)
        return
    if not rows:
        typer.echo("no methods are installed")
    for row in rows:
        usable = "" if row["usable"] else " (unusable)"
        typer.echo(typer.style(f"{row['name']}{usable}", bold=True))
        shown = {key: row[key] for key in row if key not in ("name", "usable") and row[key]}
        print_facts(shown, indent=2)


def _commands(method: Method) -> list[str]:
    """Return the commands that exist for a method."""
    options = {
        "train": method.train_options,
        "finetune": method.finetune_options,
        "prepare": method.prepare_options,
    }
    return ["predict", *(name for name, kind in options.items() if kind is not None)]


def _names(method: Method | None, kind: str) -> list[str]:
    published = registry.published(method).values() if method else ()
    return [weights.name for weights in published if weights.kind == kind]


def _facts(listed: registry.Listed) -> dict[str, Any]:
    method, reason = listed.method, listed.reason
    if method is not None:
        try:
            settings_for(method)
        except MethodError as error:
            reason = str(error)
    return {
        "name": listed.name,
        "usable": not reason,
        "summary": method.summary if method else "",
        "commands": _commands(method) if method else [],
        "inputs": list(method.inputs) if method else [],
        "weights": _names(method, "network"),
        "optics": _names(method, "optics"),
        "paper": method.citation if method else "",
        "doi": method.doi if method else "",
        "distribution": listed.distribution,
        "reason": reason,
    }
