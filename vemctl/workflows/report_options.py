"""Options as tables, beside their defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from vemctl.pages.page import heading, paragraph
from vemctl.pages.tables import Markup, code, table
from vemctl.pages.words import value_text

UNKNOWN = "unknown"


def option_tables(
    options: Mapping[str, Mapping[str, Any]], classes: Mapping[str, type[Any] | None]
) -> list[str]:
    """Return a table for each group of options; what is not the default stands out.

    Parameters
    ----------
    options : mapping of str to mapping
        By title of the group, values of JSON types by name.
    classes : mapping of str to type, optional
        By title, the dataclass with the defaults; None where nobody knows them.
    """
    parts = []
    for title, values in options.items():
        if not values:
            continue
        known = defaults_of(classes.get(title))
        rows = [
            (_flag(name), _text(value), _text(known[name]) if name in known else UNKNOWN)
            for name, value in values.items()
        ]
        marked = [
            row
            for row, (name, value) in enumerate(values.items())
            if name in known and value != known[name]
        ]
        caption = f"{title}: options and their defaults"
        shown = table(
            rows,
            ("Option", "Value", "Default"),
            caption=caption,
            marked=marked,
            caption_shown=False,
        )
        parts.append(f"<div>{heading(title)}{shown}</div>")
    return ['<div class="columns">', *parts, "</div>"] if parts else []


def changed_options(
    options: Mapping[str, Mapping[str, Any]], classes: Mapping[str, type[Any] | None]
) -> str:
    """Return the options that are not the defaults as one table, or that there are none."""
    rows: list[tuple[object, ...]] = []
    for title, values in options.items():
        known = defaults_of(classes.get(title))
        rows += [
            (_flag(name), _text(value), _text(known[name]), title)
            for name, value in values.items()
            if name in known and value != known[name]
        ]
    if not rows:
        return paragraph("Every option whose default is known has it.")
    header = ("Option", "Value", "Default", "Group")
    return table(rows, header, caption="Options that differ from their defaults")


def defaults_of(options: type[Any] | None) -> dict[str, Any]:
    """Return the defaults of an option dataclass as JSON types; empty where nobody knows them."""
    if options is None:
        return {}
    return {
        each.name: list(each.default) if isinstance(each.default, tuple) else each.default
        for each in dataclasses.fields(options)
        if each.default is not dataclasses.MISSING
    }


def _flag(name: str) -> Markup:
    return code("--" + name.replace("_", "-"))


def _text(value: Any) -> str:
    """Return a value as text, so that all are aligned alike; nothing is a dash."""
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list) and all(isinstance(each, int | float) for each in value):
        return ",".join(f"{each:g}" for each in value) or "none"
    return value_text(value)
