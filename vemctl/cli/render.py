"""Facts for people and for programs, on standard output."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer

from vemctl.pages.words import duration_text, size_text


def print_json(facts: Any) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(facts, indent=2, allow_nan=False, default=str))


def words(name: str, others: Iterable[str] = ()) -> str:
    """Return the name of a fact as people read it.

    Parameters
    ----------
    name : str
    others : iterable of str
        Names beside it; a unit is dropped only where that leaves it distinct.
    """
    if name.startswith("bytes_"):
        return "size " + words(name.removeprefix("bytes_"))
    for unit, noun in (("_bytes", "size"), ("_seconds", "time")):
        stem = name.removesuffix(unit)
        if stem != name:
            return words(stem) + (f" {noun}" if stem in others or noun == "time" else "")
    return name.removeprefix("num_").replace("_", " ")


def value_text(name: str, value: Any) -> str:
    """Return the value of a fact as people read it.

    Parameters
    ----------
    name : str
        With ``bytes`` in it, it is a size; if it ends with ``seconds``, a duration.
    value : object
        Of a JSON type.
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) and "bytes" in name.split("_"):
        return size_text(value)
    if isinstance(value, int | float) and name.endswith("seconds"):
        return duration_text(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        if all(isinstance(part, int | float) for part in value):
            return " x ".join(value_text("", part) for part in value)
        return ", ".join(value_text("", part) for part in value)
    return str(value)


def print_facts(facts: Mapping[str, Any], indent: int = 0) -> None:
    """Print facts in two aligned columns; a group of facts stands indented under its name.

    Parameters
    ----------
    facts : mapping
        Of JSON types.
    indent : int
        In spaces.
    """
    margin = " " * indent
    labels = {name: words(name, facts) for name in facts}
    width = max(map(len, labels.values()), default=0)
    for name, value in facts.items():
        if isinstance(value, Mapping):
            _print_group(labels[name], value, indent)
        elif isinstance(value, Sequence) and value and isinstance(value[0], Mapping):
            for number, part in enumerate(value):
                _print_group(f"{labels[name]} {number}", part, indent)
        else:
            typer.echo(f"{margin}{labels[name]:<{width}}  {value_text(name, value)}".rstrip())


def _print_group(title: str, facts: Mapping[str, Any], indent: int) -> None:
    if facts:
        typer.echo(" " * indent + typer.style(title, bold=True))
        print_facts(facts, indent + 2)


def print_plan(plan: Mapping[str, Any]) -> None:
    """Print the plan of a prediction."""
    print_facts(plan)


def print_table(rows: Sequence[Sequence[str]], indent: int = 0) -> None:
    """Print rows in aligned columns.

    Parameters
    ----------
    rows : sequence of sequence of str
        All of one length.
    indent : int
        In spaces.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        typer.echo(" " * indent + "  ".join(cells).rstrip())
