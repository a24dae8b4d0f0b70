"""Conversion of checkpoints: to our safetensors, or to the layout of a published program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vemctl import __version__, registry
from vemctl.durable import output_errors, replacing
from vemctl.errors import OptionError, OutputError, WeightsError
from vemctl.plugin import Method
from vemctl.weights.digests import sha256_of
from vemctl.weights.resolving import file_of

ORIGINAL = "original"


def convert(
    source: str, target: Path, *, method: str | None, layout: str, overwrite: bool
) -> dict[str, Any]:
    """Convert a checkpoint; nothing in it is executed.

    Parameters
    ----------
    source : str
        A file of any kind that `vemctl.nn.state_dict` reads, or a training run.
    target : Path
        The new file.
    method : str, optional
        Whose network the parameters must fit.
    layout : {"vemctl", "original"}
        safetensors with a description, or what the method's published program reads.
    overwrite : bool
        Replace an existing `target`.

    Returns
    -------
    dict
        Of JSON types: what was written.

    Raises
    ------
    WeightsError
        The source is missing, damaged, or does not fit.
    OptionError
        The layout needs a method that is not known, or the target has another ending.
    OutputError
        The target exists or cannot be written.
    """
    from vemctl.nn.own_weights import write_weights
    from vemctl.nn.state_dict import read_weights

    _check_target(target, layout, overwrite=overwrite)
    path = file_of(source, method)
    if path is None:
        raise WeightsError(f"{source}: no such file; expected a file of weights")
    loaded = read_weights(path)
    facts: dict[str, Any] = dict(loaded.facts)
    known = _method(method or facts.get("method"), layout)
    if known is not None:
        facts |= {"method": known.name, "network": dict(known.check_weights(loaded.tensors, path))}
    facts.setdefault("provenance", {})
    facts["provenance"] |= {
        "converted_from": {"file": path.name, "sha256": sha256_of(path)},
        "vemctl": __version__,
    }
    with output_errors(target):
        if layout == ORIGINAL:
            assert known is not None, "checked above"
            _save_original(known.original_layout(loaded.tensors, path), target)
        else:
            write_weights(target, loaded.tensors, facts)
    return {
        "output": str(target),
        "layout": layout,
        "num_tensors": len(loaded.tensors),
        "bytes": target.stat().st_size,
        "sha256": sha256_of(target),
        **facts,
    }


def _check_target(target: Path, layout: str, *, overwrite: bool) -> None:
    if layout != ORIGINAL and target.suffix != ".safetensors":
        raise OptionError(
            f"{target}: expected a name that ends in .safetensors; --layout original writes .pth"
        )
    if layout == ORIGINAL and target.suffix == ".safetensors":
        raise OptionError(f"{target}: published programs read .pth; choose such a name")
    if target.exists() and not overwrite:
        raise OutputError(f"{target}: exists; use --overwrite, or choose another name")
    if not target.absolute().parent.is_dir():
        raise OutputError(f"{target}: its folder does not exist; make it, or choose another")


def _method(name: str | None, layout: str) -> Method | None:
    if name is not None:
        return registry.get(name)
    if layout == ORIGINAL:
        raise OptionError("--layout original: the file does not tell its method; add --method")
    return None


def _save_original(content: Any, target: Path) -> None:
    import torch

    # Given a file rather than a path, torch does not write the file's passing name into it.
    with replacing(target) as temporary, temporary.open("wb") as file:
        torch.save(content, file)
