"""Conversion of checkpoints: to our safetensors, or to the layout of a published program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vemctl import __version__, registry
from vemctl.durable import output_errors, replacing
from vemctl.errors import OptionError, OutputError, WeightsError
from vemctl.plugin import FileSet, Method
from vemctl.weights.digests import sha256_of
from vemctl.weights.resolving import file_of
from vemctl.weights.runs import is_run, split_choice

if TYPE_CHECKING:
    from vemctl.nn.state_dict import LoadedWeights

ORIGINAL = "original"


def convert(
    source: str, target: Path, *, method: str | None, layout: str, overwrite: bool
) -> dict[str, Any]:
    """Convert a checkpoint; nothing in it is executed.

    Parameters
    ----------
    source : str
        A file of any kind that `vemctl.nn.state_dict` reads, a training run, or a folder of files
        of the published program of `method`, such as ``saved_models/myEXP@6000``.
    target : Path
        The new file; a folder where the published program reads several files.
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

    _check_target(target, layout, overwrite=overwrite)
    path, loaded, origin = _read(source, method)
    facts: dict[str, Any] = dict(loaded.facts)
    known = _method(method or facts.get("method"), layout)
    if known is not None:
        facts |= {"method": known.name, "network": dict(known.check_weights(loaded.tensors, path))}
    facts.setdefault("provenance", {})
    facts["provenance"] |= {"converted_from": origin, "vemctl": __version__}
    with output_errors(target):
        if layout == ORIGINAL:
            assert known is not None, "checked above"
            written = _save_original(known.original_layout(loaded.tensors, path), target)
        else:
            write_weights(target, loaded.tensors, facts)
            written = [target]
    return {
        "output": str(target),
        "layout": layout,
        "num_tensors": len(loaded.tensors),
        "bytes": sum(file.stat().st_size for file in written),
        "sha256": sha256_of(target) if written == [target] else None,
        "files": {file.name: sha256_of(file) for file in written},
        **facts,
    }


def _read(source: str, method: str | None) -> tuple[Path, LoadedWeights, dict[str, Any]]:
    """Return where weights are, what is in them, and which files with which hashes these are."""
    from vemctl.nn.state_dict import LoadedWeights, read_weights

    folder, choice = (Path(source), None) if Path(source).is_dir() else split_choice(source)
    if method is not None and folder.is_dir() and not is_run(folder):
        parts = registry.get(method).original_files(folder, choice)
        tensors = {
            f"{prefix}{key}": value
            for prefix, file in parts.items()
            for key, value in read_weights(file).tensors.items()
        }
        origin = {"files": {file.name: sha256_of(file) for file in parts.values()}}
        facts = {"step": int(choice)} if choice and choice.isdecimal() else {}
        return folder, LoadedWeights(tensors, facts), origin
    if folder.is_dir() and not is_run(folder):
        raise WeightsError(
            f"{folder}: a folder, but no training run; expected a file of weights, or --method, "
            f"which says what belongs together in it"
        )
    path = file_of(source, method)
    if path is None:
        raise WeightsError(f"{source}: no such file; expected a file of weights")
    return path, read_weights(path), {"file": path.name, "sha256": sha256_of(path)}


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


def _save_original(content: Any, target: Path) -> list[Path]:
    """Write what a published program reads: one file, or a folder of several."""
    if not isinstance(content, FileSet):
        _save(content, target)
        return [target]
    if target.suffix == ".pth" or (target.exists() and not target.is_dir()):
        raise OptionError(
            f"{target}: the published program reads {', '.join(content.files)}; name a folder"
        )
    if target.exists():  # and may be overwritten
        for name, part in content.files.items():
            _save(part, target / name)
    else:
        with replacing(target) as temporary:
            temporary.mkdir()
            for name, part in content.files.items():
                _save(part, temporary / name)
    return [target / name for name in content.files]


def _save(content: Any, path: Path) -> None:
    import torch

    # Given a file rather than a path, torch does not write the file's passing name into it.
    with replacing(path) as temporary, temporary.open("wb") as file:
        torch.save(content, file)
