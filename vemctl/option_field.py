"""Fields of option dataclasses, which become flags, keys of configuration files and records."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,  # noqa: A002 - the word that authors expect
    panel: str = "Method",
    min: float | None = None,  # noqa: A002
    max: float | None = None,  # noqa: A002
    metavar: str | None = None,
    short: str | None = None,
) -> Any:
    """Declare a field of an option dataclass; it becomes a real, typed flag.

    Parameters
    ----------
    default : object, optional
        The default value; without one the flag is required.
    help : str
        One sentence for ``--help``; give units.
    panel : str
        The group of flags under which the help shows it.
    min, max : float, optional
        Allowed range, both ends included.
    metavar : str, optional
        How the value is written in the help, for instance ``"Z,Y,X"``.
    short : str, optional
        A one-letter flag such as ``"-b"``.

    Returns
    -------
    dataclasses.Field
    """
    facts = {
        "help": help,
        "panel": panel,
        "min": min,
        "max": max,
        "metavar": metavar,
        "short": short,
    }
    return field(default=default, metadata={k: v for k, v in facts.items() if v is not None})


@dataclass(frozen=True)
class NoOptions:
    """A method without options of its own."""
