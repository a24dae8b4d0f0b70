"""Published parameters from a file into a network, without running anything the file names."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vemctl.errors import WeightsError
from vemctl.nn import inert
from vemctl.nn.own_weights import read_own_weights

if TYPE_CHECKING:
    import torch

Kind = TypeVar("Kind")
StateDict = dict[str, "torch.Tensor"]
WRAPPERS = ("state_dict", "model", "model_state_dict", "params")
NAMED_IN_ERRORS = 3
DAMAGED_SHARE = 0.1
"""Of the tensors of a network: as many may be amiss in a file that is damaged, not another's."""


@dataclass(frozen=True)
class LoadedWeights:
    """What a file of weights holds.

    Attributes
    ----------
    tensors : dict of str to tensor
        As stored, also in half precision; on the CPU.
    facts : dict
        What the file tells about them, of JSON types; empty where it tells nothing. Our own files
        tell what `vemctl.nn.own_weights.write_weights` was given, exports of fastai
        `vemctl.nn.inert.Content.facts`.
    """

    tensors: StateDict
    facts: dict[str, Any]


def read_weights(path: Path) -> LoadedWeights:
    """Return the tensors of a file by their keys, and what else it tells.

    A wrapper such as ``{"state_dict": ...}`` is opened, a pickled network taken apart, and the
    prefix ``module.`` of parallel training taken off. Nothing that a file names is ever looked up
    or run: what torch does not read with ``weights_only=True`` is read by `vemctl.nn.inert`.

    Parameters
    ----------
    path : Path
        safetensors, what ``torch.save`` writes, or an export of fastai 1.

    Raises
    ------
    WeightsError
        The file is missing, damaged, holds no weights, or was made to do harm.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; expected a file of weights")
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}; mend that") from error
    tensors: StateDict | None
    if head[8:9] == b"{":
        loaded, facts = read_own_weights(path)
        tensors = _named_tensors(loaded)
        known: tuple[str, ...] = ()
    else:
        content = inert.read(path)
        tensors, facts, known = _read_pickled(content), content.facts(), content.foreign
    if tensors is None:
        others = f"; it holds {_some([*known])}" if known else ""
        raise WeightsError(
            f"{path}: no state dict in it; expected tensors by name or a network, bare or under "
            f"one of {', '.join(WRAPPERS)}{others}"
        )
    if all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    return LoadedWeights(tensors, facts)


def read_state_dict(path: Path) -> StateDict:
    """Return only the tensors of `read_weights`, which see."""
    return read_weights(path).tensors


def load(
    network: torch.nn.Module,
    tensors: StateDict,
    path: Path,
    *,
    unused: Sequence[str] = (),
    name: str | None = None,
) -> None:
    """Copy `tensors` into `network`, whose keys they must have.

    Parameters
    ----------
    network : torch.nn.Module
    tensors : mapping of str to tensor
        Floating tensors of any precision; they take the network's.
    path : Path
        Where they are from, for errors.
    unused : sequence of str
        Prefixes of keys that may be absent, because the network never uses them.
    name : str, optional
        What people call the network, for errors; by default what its class is called.

    Raises
    ------
    WeightsError
        Keys are missing, unknown, or of another shape; names the first of them.
    """
    expected = network.state_dict()
    missing = [key for key in expected if key not in tensors and not key.startswith(tuple(unused))]
    unknown = [key for key in tensors if key not in expected]
    shapes = [
        f"{key} {tuple(tensors[key].shape)} for {tuple(value.shape)}"
        for key, value in expected.items()
        if key in tensors and tensors[key].shape != value.shape
    ]
    complaints = [
        f"{len(names)} {what} ({_some(names)})"
        for what, names in (("missing", missing), ("unknown", unknown), ("of wrong shape", shapes))
        if names
    ]
    if complaints:
        few = len(missing) + len(shapes) <= max(1, DAMAGED_SHARE * len(expected))
        cure = "Fetch it again, or give" if few and not unknown else "Give"
        raise WeightsError(
            f"{path}: weights of another network than {name or type(network).__name__}: of "
            f"{len(expected)} tensors {'; '.join(complaints)}. {cure} a file made for this method"
        )
    network.load_state_dict(tensors, strict=False)


def _some(names: list[str]) -> str:
    more = len(names) - NAMED_IN_ERRORS
    return ", ".join(map(inert.shown, names[:NAMED_IN_ERRORS])) + (
        f" and {more} more" if more > 0 else ""
    )


def _read_pickled(content: inert.Content) -> StateDict | None:
    found = None
    for value in _candidates(content.root):
        found = content.network(value) or _all_of(value, inert.TensorReference)
        if found:
            break
    if not found:
        return None
    # Ordinary files get what torch makes of them; that they are harmless to it has been seen.
    loaded = None if content.foreign else _named_tensors(_load_with_torch(content.path))
    return content.materialise(found) if loaded is None else loaded


def _load_with_torch(path: Path) -> Any:
    """Return what torch reads safely, or None."""
    import torch

    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # of pickle protocols
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - torch raises all sorts of errors for what it does not read
        return None


def _named_tensors(loaded: Any) -> StateDict | None:
    import torch

    found = (_all_of(value, torch.Tensor) for value in _candidates(loaded))
    return next((tensors for tensors in found if tensors), None)


def _candidates(loaded: Any) -> Iterator[Any]:
    """Yield what was read and what is in its wrappers, the outer first, each once."""
    waiting, seen = [loaded], set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        if isinstance(value, dict):
            waiting.extend(value[name] for name in reversed(WRAPPERS) if name in value)


def _all_of(value: Any, kind: type[Kind]) -> dict[str, Kind] | None:
    """Return `value` if it is a dict of nothing but `kind` by name."""
    if not isinstance(value, dict) or not all(isinstance(item, kind) for item in value.values()):
        return None
    return dict(value) if all(isinstance(key, str) for key in value) else None
