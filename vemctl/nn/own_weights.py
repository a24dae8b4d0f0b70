"""Our own files of weights: safetensors that say what they are of and how to use them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vemctl.durable import replacing
from vemctl.errors import WeightsError

if TYPE_CHECKING:
    import torch

METADATA = "vemctl"
FORMAT = 1


def write_weights(
    path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]
) -> None:
    """Write tensors and what is known about them; the file is whole or not there.

    Equal content gives equal bytes, whatever the order of names.

    Parameters
    ----------
    path : Path
        A file there is replaced.
    tensors : mapping of str to tensor
        Of any layout; memory that several share is written for each.
    facts : mapping
        Of JSON types: method, network, normalisation, tile, provenance.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    text = json.dumps({**facts, "format": FORMAT}, sort_keys=True, allow_nan=False)
    with replacing(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        try:
            save_file(_alone(tensors), temporary, metadata={METADATA: text})
        except SafetensorError as error:
            raise OSError(f"{path}: {error}") from error
        temporary.chmod(mode)  # safetensors lets nobody else read it, whatever the umask


def read_own_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors of a safetensors file, and what it says about them.

    Parameters
    ----------
    path : Path
        Also of others, which say nothing.

    Raises
    ------
    WeightsError
        The file is damaged, or of a newer vemctl.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = load_file(path)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError, MemoryError) as error:
        # Types that torch does not have, and sizes that do not fit into memory.
        reason = " ".join(str(error).split())
        raise WeightsError(
            f"{path}: damaged safetensors file ({reason}); fetch it again"
        ) from error
    return tensors, _facts(metadata[METADATA], path) if METADATA in metadata else {}


def read_facts(path: Path) -> dict[str, Any]:
    """Return what a file of our own says about its tensors, without reading these.

    Parameters
    ----------
    path : Path
        Empty for files of others, also for damaged ones.

    Raises
    ------
    WeightsError
        The file is of a newer vemctl.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError):
        return {}
    return _facts(metadata[METADATA], path) if METADATA in metadata else {}


def _facts(text: str, path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(
            f"{path}: its metadata {METADATA!r} is no JSON; expected a file of 'vemctl weights "
            f"import': make it again"
        ) from error
    if not isinstance(facts, dict) or facts.pop("format", None) != FORMAT:
        raise WeightsError(
            f"{path}: its metadata {METADATA!r} is of another format than {FORMAT}; update vemctl, "
            f"or make the file again"
        )
    return facts


def _alone(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors of which none shares memory with another; only those are copied."""
    import torch

    alone: dict[str, torch.Tensor] = {}
    taken: set[int] = set()
    for name in sorted(tensors):
        tensor = tensors[name].detach().to("cpu").resolve_conj().resolve_neg()
        if not tensor.is_contiguous() or tensor.untyped_storage().data_ptr() in taken:
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        taken.add(tensor.untyped_storage().data_ptr())
        alone[name] = tensor
    return alone
