"""`--config FILE.toml`: a flat file whose keys are flags."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from vemctl.cli.switches import CLI_ONLY
from vemctl.errors import OptionError
from vemctl.plugin import Method
from vemctl.workflows.settings import Setting, values_from_mapping


def read_config(path: Path, settings: tuple[Setting, ...], method: Method) -> dict[str, Any]:
    """Return the checked values of a configuration file by name of the setting.

    Parameters
    ----------
    path : Path
    settings : tuple of Setting
        What the file may set.
    method : Method
        Its inputs belong to a run and cannot be set.

    Raises
    ------
    OptionError
        The file cannot be read, is not TOML, or has an unknown key or an unusable value.
    """
    text = ""
    try:
        text = path.read_text(encoding="utf-8")
        mapping = tomllib.loads(text)
    except OSError as error:
        raise OptionError(f"--config {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"--config {path} is no UTF-8 text: {error.reason}") from error
    except tomllib.TOMLDecodeError as error:
        last = f"at line {len(text.splitlines())}, the last"
        words = str(error).replace("at end of document", last)
        raise OptionError(f"--config {path} is not TOML: {words}") from error
    known = {setting.name for setting in settings}
    for key in mapping:
        name = key.replace("-", "_")
        if name not in known and name in {*method.inputs, "method", "inputs", "output", *CLI_ONLY}:
            raise OptionError(f"{path}: {key!r} is set on the command line only")
    return values_from_mapping(settings, mapping, str(path))
