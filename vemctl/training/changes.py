"""What differs between two descriptions of a run."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

DATA = "data"
WHEREABOUTS = ("path", "paths")
"""Keys within the data that may change as long as the fingerprints agree."""
LONGEST = 60


class Change(NamedTuple):
    """One setting that is another now; None stands for nothing."""

    what: str
    recorded: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.what}: recorded {_short(self.recorded)}, now {_short(self.now)}"


def changes(
    recorded: Mapping[str, Any], now: Mapping[str, Any], keys: Collection[str]
) -> list[Change]:
    """Return what differs under some of the keys, leaf by leaf, in the order of the keys.

    Parameters
    ----------
    recorded, now : mapping
        Of JSON types; what is absent is as None.
    keys : collection of str
    """
    return [each for key in keys for each in _changes(recorded.get(key), now.get(key), key)]


def is_within(what: str, names: Collection[str]) -> bool:
    """Tell whether a setting such as ``"options.compute.workers"`` is one of those named.

    Parameters
    ----------
    what : str
    names : collection of str
        Such as ``"workers"``, wherever it stands, or ``"compute.workers"``.
    """
    return any(f".{name}." in f".{what}." for name in names)


def _changes(recorded: Any, now: Any, what: str) -> list[Change]:
    if isinstance(recorded, dict) and isinstance(now, dict):
        apart = WHEREABOUTS if f"{what}.".startswith(f"{DATA}.") else ()
        return [
            each
            for key in {**recorded, **now}
            if key not in apart
            for each in _changes(recorded.get(key), now.get(key), f"{what}.{key}")
        ]
    if isinstance(recorded, list) and isinstance(now, list) and len(recorded) == len(now):
        pairs = list(zip(recorded, now, strict=True))
        if all(isinstance(part, dict | list) for pair in pairs for part in pair):
            return [
                each
                for i, (old, new) in enumerate(pairs)
                for each in _changes(old, new, f"{what}.{i}")
            ]
    return [] if recorded == now else [Change(what, recorded, now)]


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    text = json.dumps(value)
    if isinstance(value, list | dict) and ("{" in text or len(text) > LONGEST):
        return f"{len(value)} {'entry' if len(value) == 1 else 'entries'}"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
