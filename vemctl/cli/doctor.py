"""`vemctl doctor`: what is installed, on what machine, and what is missing."""

from __future__ import annotations

from typing import Any

import typer

from vemctl.cli.render import print_facts, print_json, print_table
from vemctl.cli.switches import PlainJsonFlag
from vemctl.pages.words import size_text
from vemctl.workflows.doctor import diagnose


def command(json: PlainJsonFlag = False) -> None:
    """Check the installation and the machine.

    Shows versions, devices and their memory, optional packages and how to install them, the cache
    of weights, disk space, and whether the hosts that weights come from can be reached. The exit
    code is 2 where something needs mending.
    """
    facts = diagnose()
    if json:
        print_json(facts)
    else:
        _show(facts)
    if facts["problems"]:
        raise typer.Exit(2)


def _show(facts: dict[str, Any]) -> None:
    print_facts(
        {name: facts[name] for name in ("vemctl", "python", "system", "cpu_cores", "memory")}
    )
    _title("packages")
    print_facts(
        {name: version or "missing" for name, version in facts["packages"].items()}, indent=2
    )
    _title("devices")
    print_table([[row["name"], row["model"], _memory(row)] for row in facts["devices"]], indent=2)
    _title("optional packages")
    if not facts["extras"]:
        typer.echo("  unknown, for vemctl runs from a folder and is not installed")
    else:
        print_table(
            [
                [row["name"], "present" if row["present"] else row["install"]]
                for row in facts["extras"]
            ],
            indent=2,
        )
    _title("folders")
    print_table(
        [
            [words, facts[name]["path"], f"{size_text(facts[name]['free_bytes'])} free"]
            for words, name in (("cache of weights", "cache"), ("working folder", "working_folder"))
        ],
        indent=2,
    )
    for row in facts["shared_caches"]:
        state = "readable" if row["readable"] else "not readable"
        print_table([["shared weights", row["path"], state]], indent=2)
    _title("network")
    network = facts["network"]
    if "hosts" in network:
        rows = [[host, "reached" if ok else "not reached"] for host, ok in network["hosts"].items()]
        print_table(rows, indent=2)
        if network["offline"]:
            typer.echo("  Only fetching weights needs the network.")
    else:
        typer.echo(f"  offline: {network['reason']}")
    for problem in facts["problems"]:
        typer.echo(f"problem: {problem}")
    if not facts["problems"]:
        typer.echo("all is well")


def _title(text: str) -> None:
    typer.echo(typer.style(text, bold=True))


def _memory(device: dict[str, Any]) -> str:
    if "total_bytes" not in device:
        return ""
    return f"{size_text(device['free_bytes'])} of {size_text(device['total_bytes'])} free"
