"""Published parameters from a file into a network, without running anything the file names."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vemctl.errors import WeightsError

if TYPE_CHECKING:
    import torch

StateDict = dict[str, "torch.Tensor"]
WRAPPERS = ("state_dict", "model", "model_state_dict", "params")
NAMED_IN_ERRORS = 3


def read_state_dict(path: Path) -> StateDict:
    """Return the tensors of a file by their keys.

    A wrapper such as ``{"state_dict": ...}`` is opened, and the prefix ``module.`` of parallel
    training taken off. Files of torch are read with ``weights_only=True``: code in them is
    never run.

    Parameters
    ----------
    path : Path
        safetensors, or what ``torch.save`` writes.

    Raises
    ------
    WeightsError
        The file is missing, damaged, or holds more than tensors.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; expected a file of weights")
    with path.open("rb") as file:
        head = file.read(16)
    loaded = _read_safetensors(path) if head[8:9] == b"{" else _read_torch(path)
    tensors = _unwrap(loaded)
    if tensors is None:
        raise WeightsError(
            f"{path}: no state dict in it; expected tensors by name, bare or under one of "
            f"{', '.join(WRAPPERS)}"
        )
    if all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    return tensors


def load(
    network: torch.nn.Module, tensors: StateDict, path: Path, *, unused: Sequence[str] = ()
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
        raise WeightsError(
            f"{path}: weights of another network than {type(network).__name__}: of "
            f"{len(expected)} tensors {'; '.join(complaints)}. Give a file made for this method"
        )
    network.load_state_dict(tensors, strict=False)


def _some(names: list[str]) -> str:
    more = len(names) - NAMED_IN_ERRORS
    return ", ".join(names[:NAMED_IN_ERRORS]) + (f" and {more} more" if more > 0 else "")


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: damaged safetensors file ({error}); fetch it again") from error


def _read_torch(path: Path) -> Any:
    import torch

    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # of odd pickles, which are refused below
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # Damaged files make torch raise all sorts of errors.
        named = re.search(r"GLOBAL (\S+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and named:
            raise WeightsError(
                f"{path}: refused, the file holds more than tensors and plain values ({named[1]}), "
                f"which could run code; expected a state dict: save the weights alone"
            ) from error
        raise WeightsError(
            f"{path}: not a readable file of weights, or a damaged one ({type(error).__name__}); "
            f"expected safetensors or a torch checkpoint: fetch it again"
        ) from error


def _unwrap(loaded: Any) -> StateDict | None:
    import torch

    if not isinstance(loaded, dict):
        return None
    if loaded and all(isinstance(value, torch.Tensor) for value in loaded.values()):
        return {str(key): value for key, value in loaded.items()}
    found = (_unwrap(loaded[name]) for name in WRAPPERS if name in loaded)
    return next((tensors for tensors in found if tensors is not None), None)
