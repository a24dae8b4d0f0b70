"""What is recorded, looked over before it is shown: anybody may have edited the files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vemctl.errors import InputError

LARGEST = 1e18
"""Of what is counted: bytes, voxels, seconds."""

Check = Callable[[Any], bool]


def is_text(value: Any) -> bool:
    """Tell whether a JSON value is text."""
    return isinstance(value, str)


def is_flag(value: Any) -> bool:
    """Tell whether a JSON value is true or false."""
    return isinstance(value, bool)


def is_amount(value: Any) -> bool:
    """Tell whether a JSON value is a number of something."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < LARGEST


def list_of(check: Check) -> Check:
    """Return the check of a list of such values."""
    return lambda value: isinstance(value, list) and all(map(check, value))


def by_name(check: Check) -> Check:
    """Return the check of an object all values of which are such."""
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def with_keys(required: tuple[str, ...] = (), /, **checks: Check) -> Check:
    """Return the check of an object.

    Parameters
    ----------
    required : tuple of str
        Keys that it must have.
    **checks : callable
        Of values by key; those that are absent or null are right, as are all other keys.
    """
    return lambda value: (
        isinstance(value, dict)
        and {*required} <= value.keys()
        and not any(_is_wrong(value, name, check) for name, check in checks.items())
    )


def usable(recorded: Mapping[str, Any], checks: Mapping[str, Check]) -> dict[str, Any]:
    """Return what is recorded, less the keys that are wrong."""
    wrong = {name for name, check in checks.items() if _is_wrong(recorded, name, check)}
    return {name: value for name, value in recorded.items() if name not in wrong}


def refuse_wrong(
    recorded: Mapping[str, Any], checks: Mapping[str, Check], path: Path, what: str
) -> None:
    """Refuse what is recorded if a key is wrong.

    Parameters
    ----------
    recorded : mapping
    checks : mapping of str to callable
        Of values by key.
    path : Path
        Where it is recorded.
    what : str
        That `path` was expected to hold.

    Raises
    ------
    InputError
        Names the key.
    """
    for name, check in checks.items():
        if _is_wrong(recorded, name, check):
            raise InputError(
                f"{path}: damaged: {name!r} is of another kind than in {what}; put a copy back"
            )


def _is_wrong(recorded: Mapping[str, Any], name: str, check: Check) -> bool:
    return recorded.get(name) is not None and not check(recorded[name])


_OBJECT = by_name(lambda _: True)
_SHAPE = list_of(is_amount)

DESCRIPTION_CHECKS: dict[str, Check] = {
    "command": is_text,
    "options": by_name(_OBJECT),
    "data": with_keys(
        volumes=by_name(list_of(with_keys(shape=_SHAPE))),
        weights=list_of(with_keys(("path", "sha256"))),
        files=by_name(with_keys(("path", "sha256"))),
    ),
    "versions": _OBJECT,
    "changes": list_of(_OBJECT),
}
"""Of the description of a training run, besides what `read_run` checks."""

PROVENANCE_CHECKS: dict[str, Check] = {
    "request": with_keys(inputs=list_of(is_text), input=_OBJECT),
    "input": list_of(with_keys(shape=_SHAPE)),
    "weights": _OBJECT,
    "files": by_name(_OBJECT),
    "versions": _OBJECT,
    "tiling": _OBJECT,
    "settled": _OBJECT,
    "statistics": list_of(_OBJECT),
}
"""Of the provenance of an output."""

PLAN_CHECKS: dict[str, Check] = {
    **dict.fromkeys(
        (
            "block_memory_bytes",
            "network_memory_bytes",
            "tiles",
            "tiles_computed",
            "blocks",
            "batch",
        ),
        is_amount,
    ),
    "block_shape": _SHAPE,
}
"""Of the plan in the record of a run."""

RECORD_CHECKS: dict[str, Check] = {
    **dict.fromkeys(("version", "began", "device_name"), is_text),
    **dict.fromkeys(
        (
            "seconds",
            "network_seconds",
            "estimated_network_seconds",
            "peak_memory_bytes",
            "peak_device_memory_bytes",
            "tiles_computed",
            "batch",
        ),
        is_amount,
    ),
    "resumed": is_flag,
    "plan": _OBJECT,
}
"""Of the record of what a run took."""
