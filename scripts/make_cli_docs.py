"""Write docs/cli.md, the reference of the command line, from the program itself.

With ``--check`` nothing is written; the exit code is 1 where the file is not current. Of the
methods only those of this distribution are described, whatever else is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from vemctl import registry
from vemctl.cli.app import app
from vemctl.cli.method_group import MethodGroup

TARGET = Path(__file__).parent.parent / "docs" / "cli.md"
HEADER = """\
# The command line

Written by `scripts/make_cli_docs.py`; do not edit. Volumes are named first, the output last; sizes
are in voxels along z, y, x. Results and `--json` go to standard output, everything else to standard
error. Exit codes: 0 done, 2 something that you can mend (one line says what and how), 1 a bug of
ours, 130 interrupted.
"""


def pages() -> str:
    """Return the whole reference as Markdown."""
    root = typer.main.get_command(app)
    context = root.make_context("vemctl", [], resilient_parsing=True, terminal_width=200)
    return "\n".join([HEADER, *_command(root, context)])


def _command(command: Any, context: Any) -> Iterator[str]:
    yield f"## `{context.command_path}`\n"
    yield f"{_plain(command.help)}\n"
    yield f"```text\n{command.get_usage(context).removeprefix('Usage: ').strip()}\n```\n"
    names = [name for name in _names(command, context) if _is_ours(command, name)]
    if names:
        yield "| Command | What it does |\n| --- | --- |"
        for name in names:
            yield _row(f"`{name}`", _loaded(command, context, name).get_short_help_str(limit=200))
        yield ""
    yield from _parameters(command, context)
    if command.epilog:
        yield f"```text\n{_plain(command.epilog)}\n```\n"
    for name in names:
        child = _loaded(command, context, name)
        yield from _command(
            child, child.make_context(name, [], parent=context, resilient_parsing=True)
        )


def _names(command: Any, context: Any) -> list[str]:
    return command.list_commands(context) if hasattr(command, "list_commands") else []


def _is_ours(command: Any, name: str) -> bool:
    if not isinstance(command, MethodGroup):
        return True
    points = registry.method_entry_points().get(name, ())
    return all(point.dist is not None and point.dist.name == "vemctl" for point in points)


def _loaded(command: Any, context: Any, name: str) -> Any:
    return command.resolve_command(context, [name])[1]


def _parameters(command: Any, context: Any) -> Iterator[str]:
    panels: dict[str, list[Any]] = {}
    for parameter in command.get_params(context):
        usual = "Options" if parameter.param_type_name == "option" else "Arguments"
        panels.setdefault(parameter.rich_help_panel or usual, []).append(parameter)
    for panel, parameters in panels.items():
        yield f"**{panel}**\n"
        yield "| Name | Value | What it does |\n| --- | --- | --- |"
        for parameter in parameters:
            yield _row(_spelled(parameter), _value(parameter, context), _told(parameter))
        yield ""


def _spelled(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar}`"
    # click keeps the names of the help flag in a set, hence in no order of its own.
    flags = sorted([*parameter.opts, *parameter.secondary_opts], key=lambda flag: flag[:2] != "--")
    return ", ".join(f"`{flag}`" for flag in flags)


def _value(parameter: Any, context: Any) -> str:
    if parameter.param_type_name == "argument":
        return "path"
    if parameter.is_flag:
        return ""
    text = _plain(parameter.metavar or parameter.display_type(context))
    limits = [
        f"{word} {limit:g}"
        for word, limit in (("at least", parameter.min), ("at most", parameter.max))
        if limit is not None
    ]
    return f"`{text}`" + "".join(f", {limit}" for limit in limits)


def _told(parameter: Any) -> str:
    text = _plain(parameter.help)
    if parameter.is_eager or parameter.default is None or parameter.show_default is False:
        return text
    if parameter.param_type_name == "option" and parameter.is_flag:
        default = "on" if parameter.default else "off"
        return f"{text} Default: {default}." if parameter.secondary_opts else text
    return f"{text} Default: `{parameter.default}`."


def _plain(text: str | None) -> str:
    return (text or "").replace("\\[", "[").strip("\n")


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main() -> int:
    """Write the reference, or check it; return the exit code."""
    text = pages()
    if sys.argv[1:] == ["--check"]:
        if TARGET.exists() and TARGET.read_text(encoding="utf-8") == text:
            return 0
        print(f"{TARGET.name} is not current: run scripts/make_cli_docs.py", file=sys.stderr)
        return 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
