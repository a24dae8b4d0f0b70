"""Settings from outside: flags, TOML files and provenance become option dataclasses by one path.

`settings_of` reads the fields of an option dataclass; a `Setting` turns text (a flag) or data
(TOML, JSON) into a checked value. Types, ranges and choices are therefore the same everywhere.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vemctl.errors import MethodError, OptionError, nearest
from vemctl.remote_path import as_path

T = TypeVar("T")
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
}
_METAVARS = {bool: "", int: "INT", float: "NUMBER", str: "TEXT", Path: "PATH"}
_COUNTS = {2: "two", 3: "three", 4: "four"}
ANY_NUMBER = 0
"""The length of a setting whose flag may be repeated."""


@dataclass(frozen=True)
class Setting:
    """One field of an option dataclass.

    Attributes
    ----------
    name : str
        Of the field; the flag is the same with dashes.
    kind : type
        bool, int, float, str or Path; of the elements where `length` is not 1.
    length : int
        Number of elements; more than one is a tuple such as ``(z, y, x)``, `ANY_NUMBER` a tuple
        of as many as there are flags.
    choices : tuple
        The only values allowed, if not empty.
    optional : bool
        Whether None is a value.
    default : object
        `dataclasses.MISSING` where the setting is required.
    help, panel, metavar : str
        As the help shows them.
    minimum, maximum : float, optional
        Both included; of every element.
    short : str, optional
        One-letter flag.
    """

    name: str
    kind: type[Any]
    length: int
    choices: tuple[Any, ...]
    optional: bool
    default: Any
    help: str
    panel: str
    metavar: str
    minimum: float | None
    maximum: float | None
    short: str | None

    @property
    def flag(self) -> str:
        """The long flag, for instance ``"--chunk-shape"``."""
        return "--" + self.name.replace("_", "-")

    @property
    def required(self) -> bool:
        """Whether a value must be given."""
        return self.default is dataclasses.MISSING

    @property
    def repeatable(self) -> bool:
        """Whether the flag may be given several times, each with one element."""
        return self.length == ANY_NUMBER

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        if self.choices:
            return "one of " + ", ".join(str(choice) for choice in self.choices)
        if self.repeatable:
            return f"{'paths' if self.kind is Path else 'texts'}, one per flag or in a list"
        if self.length > 1:
            count = _COUNTS.get(self.length, str(self.length))
            words = f"{count} {'whole ' if self.kind is int else ''}numbers"
            words += (
                f" {self.metavar}, such as {','.join(['16', '256', '256', '1'][: self.length])}"
            )
        else:
            words = _WORDS[self.kind]
        if self.minimum is not None and self.maximum is not None:
            return f"{words} from {self.minimum:g} to {self.maximum:g}"
        if self.minimum is not None:
            return f"{words}, at least {self.minimum:g}"
        if self.maximum is not None:
            return f"{words}, at most {self.maximum:g}"
        return words

    def from_text(self, text: str) -> Any:
        """Return the value that `text` means; of a repeatable setting it is the only element.

        Raises
        ------
        ValueError
            It means none.
        """
        if self.choices:
            return self.from_data({str(choice): choice for choice in self.choices}.get(text, text))
        if self.length > 1:
            return self.from_data(
                [self._number(part) for part in re.split("[,x\N{MULTIPLICATION SIGN}]", text)]
            )
        return self.from_data(self._number(text) if self.kind in (int, float) else text)

    def from_data(self, value: Any) -> Any:
        """Return `value`, as TOML or JSON hold it, checked and in its own type.

        Raises
        ------
        ValueError
            It is of the wrong type, out of range, or no choice.
        """
        if value is None and self.optional:
            return None
        if self.choices:
            if not any(value == choice and type(value) is type(choice) for choice in self.choices):
                raise ValueError(self.expected)
            return value
        if self.length > 1:
            if isinstance(value, str):
                return self.from_text(value)
            if not isinstance(value, list | tuple) or len(value) != self.length:
                raise ValueError(self.expected)
            return tuple(self._element(part) for part in value)
        if self.repeatable:
            return self._elements(value)
        return self._element(value)

    def _elements(self, value: Any) -> tuple[Any, ...]:
        parts = [value] if isinstance(value, str | Path) else value
        if not isinstance(parts, list | tuple) or (self.required and not parts):
            raise ValueError(self.expected)
        return tuple(self._element(part) for part in parts)

    def _number(self, text: str) -> int | float:
        try:
            return self.kind(text)  # type: ignore[no-any-return]
        except ValueError:
            raise ValueError(self.expected) from None

    def _element(self, value: Any) -> Any:
        if self.kind is float and type(value) is int:
            value = float(value)
        if self.kind is Path and isinstance(value, str | Path):
            return as_path(value)
        if type(value) is not self.kind:
            raise ValueError(self.expected)
        if self.kind in (int, float) and not (
            math.isfinite(value)
            and (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
        ):
            raise ValueError(self.expected)
        return value


def settings_of(options: type[Any]) -> tuple[Setting, ...]:
    """Return the settings of an option dataclass, in the order of its fields.

    Raises
    ------
    MethodError
        A field has a type that no flag can have; only a plugin can cause it.
    """
    hints = typing.get_type_hints(options)
    return tuple(
        _setting(options, field, hints[field.name]) for field in dataclasses.fields(options)
    )


def _setting(options: type[Any], field: dataclasses.Field[Any], hint: Any) -> Setting:
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [part for part in typing.get_args(hint) if part is not type(None)]
        optional = len(rest) < len(typing.get_args(hint))
        hint = rest[0] if len(rest) == 1 else hint
    kind, length = hint, 1
    choices: tuple[Any, ...] = ()
    if typing.get_origin(hint) is typing.Literal:
        choices = typing.get_args(hint)
        kind = type(choices[0])
    elif typing.get_origin(hint) is tuple:
        parts: tuple[Any, ...] = typing.get_args(hint)
        if set(parts) in ({int}, {float}):
            kind, length = parts[0], len(parts)
        elif parts in ((Path, ...), (str, ...)):
            kind, length = parts[0], ANY_NUMBER
    if kind not in _WORDS:
        raise MethodError(
            f"{options.__module__}.{options.__qualname__}: option {field.name!r} is a {hint}, "
            "expected bool, int, float, str, Path, Literal, a tuple of ints or floats, "
            "tuple[Path, ...] or tuple[str, ...]"
        )
    facts = field.metadata
    usual = "|".join(str(choice) for choice in choices) or ",".join(
        [_METAVARS[kind]] * max(length, 1)
    )
    return Setting(
        name=field.name,
        kind=kind,
        length=length,
        choices=choices,
        optional=optional,
        default=field.default,
        help=facts.get("help", ""),
        panel=facts.get("panel", "Method"),
        metavar=facts.get("metavar", usual),
        minimum=facts.get("min"),
        maximum=facts.get("max"),
        short=facts.get("short"),
    )


def values_from_mapping(
    settings: Iterable[Setting], mapping: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Return checked values by field name; only of the keys that are there.

    Parameters
    ----------
    settings : iterable of Setting
        What is known.
    mapping : mapping
        Keys are field names, with dashes or underscores.
    where : str
        Where the mapping comes from, for messages.

    Raises
    ------
    OptionError
        A key is unknown or twice there, or a value is unusable.
    """
    known = {setting.name: setting for setting in settings}
    values: dict[str, Any] = {}
    for key, value in mapping.items():
        name = key.replace("-", "_")
        if name not in known:
            raise OptionError(
                f"{where}: unknown key {key!r}.{nearest(name, known).replace('_', '-')}"
            )
        if name in values:
            raise OptionError(
                f"{where}: {key!r} is there twice, with a dash and with an underscore"
            )
        try:
            values[name] = known[name].from_data(value)
        except ValueError as error:
            raise OptionError(f"{where}: {key} is {value!r}, expected {error}") from None
    return values


def options_from_mapping(dataclass_type: type[T], mapping: Mapping[str, Any], where: str) -> T:
    """Make an option dataclass of a mapping; absent keys keep their defaults.

    Parameters
    ----------
    dataclass_type : type
        A dataclass whose fields are made by `vemctl.plugin.option`.
    mapping : mapping
        Keys are field names, with dashes or underscores.
    where : str
        Where the mapping comes from, for messages.

    Raises
    ------
    OptionError
        A key is unknown, a value is unusable, or a required one is missing.
    """
    settings = settings_of(dataclass_type)
    values = values_from_mapping(settings, mapping, where)
    for setting in settings:
        if setting.required and setting.name not in values:
            raise OptionError(
                f"{where}: {setting.flag[2:]} is missing, expected {setting.expected}"
            )
    return dataclass_type(**values)
