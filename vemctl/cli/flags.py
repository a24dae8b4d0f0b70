"""Option dataclasses to real, typed flags, and back to a request."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vemctl import registry
from vemctl.cli.switches import CLI_ONLY
from vemctl.errors import MethodError, OptionError
from vemctl.plugin import Method
from vemctl.workflows.options import OPTION_GROUPS, PredictRequest
from vemctl.workflows.settings import Setting, settings_of

METHOD = "Method"
INPUT = "Input"
COMMON = tuple(setting for group in OPTION_GROUPS.values() for setting in settings_of(group))
WEIGHTS = Setting(
    name="weights",
    kind=str,
    length=1,
    choices=(),
    optional=True,
    default=None,
    help="Trained weights: a name (see vemctl weights list), a file, a training run (RUN, "
    "RUN@last), doi:DOI/FILE or https://HOST/FILE#sha256=HEX.",
    panel=METHOD,
    metavar="NAME|FILE|RUN|ADDRESS",
    minimum=None,
    maximum=None,
    short="-w",
)


def spellings(setting: Setting) -> list[str]:
    """Return all flags of a setting: long, negated and short."""
    flags = [setting.flag]
    if setting.kind is bool:
        flags.append(f"--no-{setting.flag[2:]}")
    return [*flags, setting.short] if setting.short else flags


def settings_for(method: Method) -> tuple[Setting, ...]:
    """Return everything that a request to `method` can set, in the order of the help.

    Raises
    ------
    MethodError
        Two settings share a flag; only a plugin can cause it.
    """
    inputs = {name: Annotated[Path, typer.Option(_flag(name))] for name in method.inputs[1:]}
    own = checked(COMMON, method.predict_options, CLI_ONLY | inputs, method)
    weights = (WEIGHTS,) if method.takes_weights else ()
    return (*COMMON, *weights, *own)


def checked(
    common: tuple[Setting, ...],
    options: type[Any],
    switches: Mapping[str, Any],
    method: Method,
) -> tuple[Setting, ...]:
    """Return a method's own settings for a command, whose flags are distinct from all others.

    Parameters
    ----------
    common : tuple of Setting
        That the command has for every method.
    options : type
        The method's dataclass.
    switches : mapping
        Flags of the command that are no settings, annotated.
    method : Method

    Raises
    ------
    MethodError
        Two settings share a flag; only a plugin can cause it.
    """
    own = settings_of(options)
    taken = {"--help": "vemctl", "-h": "vemctl"}
    for annotation in switches.values():
        taken |= dict.fromkeys(annotation.__metadata__[0].param_decls, "vemctl")
    for setting in (*common, WEIGHTS):
        taken |= dict.fromkeys(spellings(setting), "vemctl")
    for setting in own:
        for flag in spellings(setting):
            if flag in taken:
                raise MethodError(
                    f"method {method.name!r}: its option {setting.name!r} is the flag {flag}, "
                    f"which {taken[flag]} has already: the plugin must rename it"
                )
            taken[flag] = f"its option {setting.name!r}"
    return own


def parameters_for(method: Method) -> list[inspect.Parameter]:
    """Return the parameters of the method's command: inputs, output, settings, switches.

    Parameters
    ----------
    method : Method
    """
    settings = settings_for(method)
    first, *others = method.inputs
    return [
        _argument("argument_input", first),
        _argument("argument_output", "output"),
        *(_further_input(name) for name in others),
        *(flag_for(setting, method) for setting in COMMON),
        *switch_parameters(CLI_ONLY),
        *(flag_for(setting, method) for setting in sorted(settings[len(COMMON) :], key=foreign)),
    ]


def switch_parameters(switches: Mapping[str, Any]) -> list[inspect.Parameter]:
    """Return the parameters of flags that are no settings; a configuration file may be absent."""
    return [
        keyword(name, None if name == "config" else False, annotation)
        for name, annotation in switches.items()
    ]


def foreign(setting: Setting) -> bool:
    """Tell whether a setting stands under another panel than the method's."""
    return setting.panel != METHOD


def keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    """Return a parameter that is given by name."""
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _argument(name: str, word: str) -> inspect.Parameter:
    what = (
        "The new volume; its ending tells the format: .zarr, .tif, .mrc or .npy."
        if word == "output"
        else f"The input {word}: OME-Zarr, TIFF, MRC, CZI or NumPy."
        if word != "input"
        else "The volume to restore: OME-Zarr, TIFF, MRC, CZI or NumPy."
    )
    info = typer.Argument(metavar=word.upper(), help=what)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[Path, info])


def _further_input(name: str) -> inspect.Parameter:
    info = typer.Option(
        _flag(name),
        help=plain(f"The input {name}, of the same shape. [required]"),
        rich_help_panel=INPUT,
        metavar="VOLUME",
    )
    return keyword(name, ..., Annotated[Path, info])


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def flag_for(setting: Setting, method: Method) -> inspect.Parameter:
    """Return the parameter of a setting, with its flag."""
    names = "/".join(spellings(setting)[:2]) if setting.kind is bool else setting.flag
    required = " [required]" if setting.required else ""
    default = None if setting.required else setting.default
    if setting.repeatable:
        default = [str(part) for part in default or ()] or None
    elif isinstance(default, tuple):
        default = ",".join(str(part) for part in default)
    # The parser does what Typer would, with our own words and the same checks as for files.
    facts: dict[str, Any] = {} if setting.kind is bool else {"parser": _parser(setting)}
    if setting is WEIGHTS:
        catalogue = [
            name for name, each in registry.published(method).items() if each.kind == "network"
        ]
        facts["autocompletion"] = lambda: catalogue
    if setting.kind in (int, float):
        facts |= {"min": setting.minimum, "max": setting.maximum}
    info = typer.Option(
        names,
        *([setting.short] if setting.short else []),
        help=plain(setting.help + required),
        rich_help_panel=setting.panel,
        show_default=bool(default) or (default is not None and setting.kind is not bool),
        metavar=plain(setting.metavar),
        **facts,
    )
    kind: Any = str if setting.length > 1 else setting.kind
    if setting.repeatable:
        kind = list[setting.kind]  # type: ignore[name-defined]
    elif setting.choices:
        kind = Literal.__getitem__(setting.choices)
    return keyword(setting.name, default, Annotated[kind | None if default is None else kind, info])


def _parser(setting: Setting) -> Callable[[Any], Any]:
    def parse(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            parsed = setting.from_text(value)
        except ValueError as error:
            raise OptionError(f"{setting.flag} is {value!r}, expected {error}") from None
        # The parser sees one flag at a time, and it is Typer that lists them.
        return parsed[0] if setting.repeatable else parsed

    return parse


def plain(text: str) -> str:
    """Return `text` such that the help shows it as it is, not as markup."""
    return re.sub(r"\[(?=[a-zA-Z/#@])", r"\\[", text)


def given(context: Any, settings: tuple[Setting, ...], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the flags that the user typed.

    Parameters
    ----------
    context : typer.Context
    settings : tuple of Setting
    values : mapping
        Of all parameters by name.
    """
    typed = {}
    for setting in settings:
        source = context.get_parameter_source(setting.name)
        if source is not None and source.name == "COMMANDLINE":
            value = values[setting.name]
            typed[setting.name] = tuple(value) if setting.repeatable else value
    return typed


def make_request(
    method: Method, inputs: tuple[Path, ...], output: Path, values: Mapping[str, Any]
) -> PredictRequest:
    """Make a request of checked values; what is absent keeps its default.

    Parameters
    ----------
    method : Method
    inputs : tuple of Path
    output : Path
    values : mapping
        By name of the setting.

    Raises
    ------
    OptionError
        A required option of the method is missing.
    """
    return PredictRequest(
        method=method.name,
        inputs=inputs,
        output=output,
        weights=values.get("weights"),
        method_options=filled(method.predict_options, values),
        **{name: filled(options, values) for name, options in OPTION_GROUPS.items()},
    )


def filled(options: type[Any], values: Mapping[str, Any]) -> Any:
    """Make an option dataclass of checked values; what is absent keeps its default.

    Parameters
    ----------
    options : type
    values : mapping
        By name of the setting; others are passed over.

    Raises
    ------
    OptionError
        A required option is missing.
    """
    settings = settings_of(options)
    for setting in settings:
        if setting.required and setting.name not in values:
            raise OptionError(f"{setting.flag} is missing, expected {setting.expected}")
    return options(**{s.name: values[s.name] for s in settings if s.name in values})
