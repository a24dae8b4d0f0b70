"""A request as JSON, as outputs record it, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vemctl import registry
from vemctl.errors import OptionError
from vemctl.remote_path import as_path
from vemctl.weights import absolute
from vemctl.workflows.options import OPTION_GROUPS, PredictRequest
from vemctl.workflows.settings import options_from_mapping, settings_of


def request_to_json(request: PredictRequest) -> dict[str, Any]:
    """Return `request` without its output, of JSON types only; paths are absolute.

    Parameters
    ----------
    request : PredictRequest
    """
    weights = request.weights
    if weights is not None:
        weights = absolute(weights, registry.published(registry.get(request.method)))
    return {
        "method": request.method,
        "inputs": [str(path.absolute()) for path in request.inputs],
        "weights": weights,
        "method_options": options_to_json(request.method_options),
        **{group: options_to_json(getattr(request, group)) for group in OPTION_GROUPS},
    }


def request_from_json(
    form: Mapping[str, Any], output: Path, where: str = "the recorded request"
) -> PredictRequest:
    """Return the request that `request_to_json` wrote.

    Parameters
    ----------
    form : mapping
        What `request_to_json` returned, perhaps of an older version.
    output : Path
        Where the new output goes.
    where : str
        Where `form` comes from, for messages.

    Raises
    ------
    OptionError
        `form` is no such form, or names settings that are no longer there.
    MethodError
        Its method is not installed.
    """
    method = form.get("method")
    inputs = form.get("inputs")
    weights = form.get("weights")
    groups = {name: form.get(name, {}) for name in ("method_options", *OPTION_GROUPS)}
    if not (
        isinstance(method, str)
        and isinstance(inputs, list)
        and all(isinstance(path, str) for path in inputs)
        and isinstance(weights, str | None)
        and all(isinstance(group, Mapping) for group in groups.values())
    ):
        raise OptionError(
            f"{where} is damaged: expected method, inputs, weights and groups of options"
        )
    loaded = registry.get(method)
    if len(inputs) != len(loaded.inputs):
        raise OptionError(
            f"{where} names {len(inputs)} inputs, but {method} takes {len(loaded.inputs)}: "
            f"{', '.join(loaded.inputs)}"
        )
    return PredictRequest(
        method=method,
        inputs=tuple(as_path(path) for path in inputs),
        output=output,
        weights=weights,
        method_options=options_from_mapping(
            loaded.predict_options, groups["method_options"], f"{where}, method_options"
        ),
        **{
            name: options_from_mapping(options, groups[name], f"{where}, {name}")
            for name, options in OPTION_GROUPS.items()
        },
    )


def options_to_json(options: Any) -> dict[str, Any]:
    """Return an option dataclass of JSON types only; paths are absolute."""
    form: dict[str, Any] = {}
    for setting in settings_of(type(options)):
        value = getattr(options, setting.name)
        form[setting.name] = (
            [_plain(part) for part in value] if isinstance(value, tuple) else _plain(value)
        )
    return form


def _plain(value: Any) -> Any:
    return str(value.absolute()) if isinstance(value, Path) else value
