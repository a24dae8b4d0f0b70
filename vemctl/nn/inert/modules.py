"""Pickled networks, and what a fastai export tells beside one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vemctl.nn.inert.values import DamagedError, Inert, TensorReference, shown

if TYPE_CHECKING:
    import torch

DEEPEST = 100
MOST_PARTS = 100_000
LONGEST_KEY = 500
MOST_CHANNELS = 64

Materialise = Callable[[Mapping[str, TensorReference]], dict[str, "torch.Tensor"]]


def is_module(value: Any) -> bool:
    """Return whether `value` is the record of a ``torch.nn.Module``."""
    return (
        isinstance(value, Inert)
        and isinstance(value.state, dict)
        and all(isinstance(value.state.get(name), dict) for name in ("_modules", "_parameters"))
    )


def walk_module(module: Inert) -> dict[str, TensorReference]:
    """Return the parameters and buffers of a network, named and in the order of torch.

    Only what it registered: plain attributes such as the ``weight`` that weight normalisation
    leaves behind are stale.

    Raises
    ------
    DamagedError
        It contains itself or is deeper than 100, or what it registered is no tensor.
    """
    tensors: dict[str, TensorReference] = {}
    waiting = [("", 0, module)]
    visited = 0
    while waiting:
        prefix, depth, part = waiting.pop()
        children, parameters = part.state["_modules"], part.state["_parameters"]
        buffers = part.state.get("_buffers") or {}
        passing = part.state.get("_non_persistent_buffers_set") or ()
        if not isinstance(buffers, dict) or not isinstance(passing, (set, tuple)):
            raise DamagedError("a network whose buffers are none")
        visited += 1 + len(children) + len(parameters) + len(buffers)
        if depth > DEEPEST or visited > MOST_PARTS or len(prefix) > LONGEST_KEY:
            raise DamagedError("a network that is too large, or contains itself")
        for name, value in _named(parameters):
            tensors[prefix + name] = _checked(value, prefix + name)
        for name, value in _named(buffers):
            if name not in passing:
                tensors[prefix + name] = _checked(value, prefix + name)
        # Networks that occur twice have their tensors under both names, as in torch.
        found = [(f"{prefix}{name}.", depth + 1, child) for name, child in _named(children)]
        if not all(is_module(child) for _, _, child in found):
            raise DamagedError("a network with a part that is none")
        waiting.extend(reversed(found))
    return tensors


def export_facts(root: Any, materialise: Materialise) -> dict[str, Any]:
    """Return what a fastai export tells, as plain values; nothing where `root` is none.

    Parameters
    ----------
    root : Any
        What the file holds.
    materialise : callable
        Reads tensors by name.

    Raises
    ------
    DamagedError
        The statistics are no finite numbers.
    """
    if not isinstance(root, dict) or not is_module(root.get("model")):
        return {}
    data = root.get("data")
    if not isinstance(data, dict):
        return {}
    classes = {"input": _class_name(data.get("x_cls")), "target": _class_name(data.get("y_cls"))}
    sizes = {"input": _size(data.get("tfmargs")), "target": _size(data.get("tfmargs_y"))}
    facts: dict[str, Any] = {}
    normalisation = data.get("normalize")
    if isinstance(normalisation, dict):
        facts["normalisation"] = {
            "mean": _channels(normalisation, "mean", materialise),
            "std": _channels(normalisation, "std", materialise),
            "input": normalisation.get("do_x") is not False,
            "target": normalisation.get("do_y") is True,
        }
    if any(size is not None for size in sizes.values()):
        facts["tile"] = {side: size for side, size in sizes.items() if size is not None}
    facts["classes"] = classes
    facts["multi_frame"] = any(
        "multi" in name.rpartition(".")[2].lower() for name in classes.values()
    )
    return facts


def _named(entries: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in entries.items():
        if type(name) is not str or len(name) > LONGEST_KEY:
            raise DamagedError("a part of a network without a name")
        if value is not None:
            yield name, value


def _checked(value: Any, name: str) -> TensorReference:
    if not isinstance(value, TensorReference):
        raise DamagedError(f"a network whose {shown(name)} is no tensor")
    return value


def _class_name(value: Any) -> str:
    return value.name if isinstance(value, Inert) else ""


def _size(arguments: Any) -> Any:
    """Return the size to which tiles are resampled, one number or two."""
    size = arguments.get("size") if isinstance(arguments, dict) else None
    if isinstance(size, (tuple, list)) and size and all(type(n) is int for n in size):
        return list(size)
    return size if type(size) is int else None


def _channels(normalisation: Mapping[Any, Any], name: str, materialise: Materialise) -> list[float]:
    reference = normalisation.get(name)
    if not isinstance(reference, TensorReference) or not 1 <= reference.count <= MOST_CHANNELS:
        raise DamagedError(f"a normalisation whose {name} is no list of numbers")
    values = [float(value) for value in materialise({name: reference})[name].flatten()]
    if not all(math.isfinite(value) for value in values):
        raise DamagedError(f"a normalisation whose {name} is not finite")
    return values
