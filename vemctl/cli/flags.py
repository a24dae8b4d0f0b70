"""Option dataclasses to real, typed flags, and back to a request."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vemctl import registry
from vemctl.errors import MethodError, OptionError
from vemctl.plugin import Method
from vemctl.workflows.options import OPTION_GROUPS, RUN, PredictRequest
from vemctl.workflows.settings import Setting, settings_of

METHOD = "Method"
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


def switch(
    *names: str,
    help: str,  # noqa: A002 - Typer's own word
    panel: str | None = RUN,
    metavar: str = "",
) -> Any:
    """Declare a flag of the command line that is no part of a request.

    Parameters
    ----------
    *names : str
        All spellings.
    help : str
        One sentence.
    panel : str, optional
        Of the help.
    metavar : str
        How the value is written; nothing for a mere switch.
    """
    return typer.Option(*names, help=help, rich_help_panel=panel, metavar=metavar)


ConfigFlag = Annotated[
    Path | None,
    switch(
        "--config", metavar="FILE.toml", help="Read flags from a TOML file; flags given here win."
    ),
]
DryRunFlag = Annotated[
    bool, switch("--dry-run", help="Show the plan and stop; nothing is written.")
]
JsonFlag = Annotated[bool, switch("--json", help="Print the result as JSON.")]
PlainJsonFlag = Annotated[bool, switch("--json", help="Print JSON.", panel=None)]
QuietFlag = Annotated[bool, switch("--quiet", "-q", help="Show errors only.")]
VerboseFlag = Annotated[
    bool, switch("--verbose", "-v", help="Show times of stages, and where an error came from.")
]
OfflineFlag = Annotated[
    bool, switch("--offline", help="Open no connection, as with VEMCTL_OFFLINE=1.")
]
NoProgressFlag = Annotated[bool, switch("--no-progress", help="Show no progress, only notes.")]

CLI_ONLY: dict[str, Any] = {
    "config": ConfigFlag,
    "dry_run": DryRunFlag,
    "json": JsonFlag,
    "quiet": QuietFlag,
    "verbose": VerboseFlag,
    "no_progress": NoProgressFlag,
    "offline": OfflineFlag,
}


def use_offline(asked: bool) -> None:
    """Let the flag mean what the variable means, for this process and those that it starts."""
    if asked:
        os.environ["VEMCTL_OFFLINE"] = "1"


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
    own = settings_of(method.predict_options)
    taken = {"--help": "vemctl", "-h": "vemctl"}
    for annotation in CLI_ONLY.values():
        taken |= dict.fromkeys(annotation.__metadata__[0].param_decls, "vemctl")
    for setting in (*COMMON, WEIGHTS):
        taken |= dict.fromkeys(spellings(setting), "vemctl")
    for setting in own:
        for flag in spellings(setting):
            if flag in taken:
                raise MethodError(
                    f"method {method.name!r}: its option {setting.name!r} is the flag {flag}, "
                    f"which {taken[flag]} has already: the plugin must rename it"
                )
            taken[flag] = f"its option {setting.name!r}"
    weights = (WEIGHTS,) if method.takes_weights else ()
    return (*COMMON, *weights, *own)


def parameters_for(method: Method) -> list[inspect.Parameter]:
    """Return the parameters of the method's command: inputs, output, settings, switches.

    Parameters
    ----------
    method : Method
    """
    settings = settings_for(method)
    return [
        *(_argument(f"argument_{i}", name) for i, name in enumerate(method.inputs)),
        _argument("argument_output", "output"),
        *(_flag(setting, method) for setting in COMMON),
        *(
            _keyword(name, None if name == "config" else False, annotation)
            for name, annotation in CLI_ONLY.items()
        ),
        *(_flag(setting, method) for setting in sorted(settings[len(COMMON) :], key=_foreign)),
    ]


def _foreign(setting: Setting) -> bool:
    return setting.panel != METHOD


def _keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _argument(name: str, word: str) -> inspect.Parameter:
    what = (
        "The new volume; its ending tells the format: .zarr, .tif, .mrc or .npy."
        if word == "output"
        else f"The {word.replace('_', ' ')} volume: OME-Zarr, TIFF, MRC or NumPy."
        if word != "input"
        else "The volume to restore: OME-Zarr, TIFF, MRC or NumPy."
    )
    info = typer.Argument(metavar=word.upper(), help=what)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[Path, info])


def _flag(setting: Setting, method: Method) -> inspect.Parameter:
    names = "/".join(spellings(setting)[:2]) if setting.kind is bool else setting.flag
    required = " [required]" if setting.required else ""
    default = None if setting.required else setting.default
    if isinstance(default, tuple):
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
    if setting.choices:
        kind = Literal.__getitem__(setting.choices)
    return _keyword(
        setting.name, default, Annotated[kind | None if default is None else kind, info]
    )


def _parser(setting: Setting) -> Callable[[Any], Any]:
    def parse(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return setting.from_text(value)
        except ValueError as error:
            raise OptionError(f"{setting.flag} is {value!r}, expected {error}") from None

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
            typed[setting.name] = values[setting.name]
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
    for setting in settings_of(method.predict_options):
        if setting.required and setting.name not in values:
            raise OptionError(f"{setting.flag} is missing, expected {setting.expected}")

    def filled(options: type[Any]) -> Any:
        names = [setting.name for setting in settings_of(options)]
        return options(**{name: values[name] for name in names if name in values})

    return PredictRequest(
        method=method.name,
        inputs=inputs,
        output=output,
        weights=values.get("weights"),
        method_options=filled(method.predict_options),
        **{name: filled(options) for name, options in OPTION_GROUPS.items()},
    )
