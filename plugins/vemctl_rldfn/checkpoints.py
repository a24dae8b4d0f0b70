"""The networks of rldfn in files: ours, which hold all of them, and the published program's five.

Ours have the published keys behind the name of the published file and a dot, such as
``net_G.t_conv1.bias``, and may have the point spread functions ``psf_A`` and ``psf_B``. The
published program has a folder ``iteration<N>`` with a file for each network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vemctl.errors import WeightsError
from vemctl.nn.state_dict import LoadedWeights, load, read_weights
from vemctl.plugin import FileSet
from vemctl_rldfn.network_sets import (
    CURE,
    DISCRIMINATORS,
    KINDS,
    NETWORKS,
    PSFS,
    REQUIRED,
    Tensors,
    file_of,
    networks_in,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vemctl_rldfn.discriminator import Discriminator
    from vemctl_rldfn.network import FusionNetwork

NAMED = 5


def read_networks(path: Path) -> LoadedWeights:
    """Return the networks of a file or a folder; nothing in it is ever run.

    Parameters
    ----------
    path : Path
        A file with all networks, as vemctl writes it; a folder of the published program, see
        `files_of_checkpoint`; or one of the published files, such as ``net_G.pth``, which stands
        for its whole folder.

    Returns
    -------
    LoadedWeights
        By keys such as ``net_G.t_conv1.bias``; facts are what a file of ours tells.

    Raises
    ------
    WeightsError
        A file is missing or damaged, or holds a network by itself.
    """
    named = path.name.removesuffix(".pth")
    if path.is_file() and named not in NETWORKS:
        loaded = read_weights(path)
        networks_in(loaded.tensors, path)
        return loaded
    if named in DISCRIMINATORS and not path.is_dir():
        raise WeightsError(
            f"{path}: weights of a discriminator, which only judges in training; expected those "
            f"that fuse. {CURE}"
        )
    if not path.exists():
        raise WeightsError(f"{path}: no such file; expected one of weights. {CURE}")
    files = files_of_checkpoint(path if path.is_dir() else path.parent, None)
    tensors = {
        f"{prefix}{key}": value
        for prefix, file in files.items()
        for key, value in read_weights(file).tensors.items()
    }
    return LoadedWeights(tensors, {})


def build_fusion(tensors: Tensors, path: Path) -> FusionNetwork:
    """Return the fusion network with these parameters, in float32 on the CPU.

    Parameters
    ----------
    tensors : mapping of str to tensor
        As `read_networks` returns them.
    path : Path
        Where they are from, for errors.

    Raises
    ------
    WeightsError
        They are of another network, or parameters are missing or of another shape.
    """
    from vemctl_rldfn.network import FusionNetwork

    parts, network = networks_in(tensors, path), FusionNetwork()
    _load(network.net_FA, parts, "net_FA", path)
    _load(network.net_G, parts, "net_G", path)
    return network


def build_discriminators(
    tensors: Tensors, path: Path
) -> tuple[Discriminator, Discriminator] | None:
    """Return the discriminators of views A and B; None where there are none.

    Parameters
    ----------
    tensors : mapping of str to tensor
        As `read_networks` returns them.
    path : Path
        Where they are from, for errors.

    Raises
    ------
    WeightsError
        There is but one, or they do not fit.
    """
    from vemctl_rldfn.discriminator import Discriminator

    parts = networks_in(tensors, path)
    there = [name for name in DISCRIMINATORS if name in parts]
    if not there:
        return None
    if len(there) == 1:
        (lacking,) = set(DISCRIMINATORS) - set(there)
        raise WeightsError(
            f"{path}: has {there[0]} but no {lacking}; expected both discriminators or none. "
            f"Add the other, or take this one away"
        )
    networks = Discriminator(), Discriminator()
    for name, network in zip(DISCRIMINATORS, networks, strict=True):
        _load(network, parts, name, path)
    return networks


def check(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return which networks these are, as JSON types; all are loaded to see that they fit.

    Parameters
    ----------
    tensors : mapping of str to tensor
        As `read_networks` returns them.
    path : Path
        Where they are from, for errors.

    Raises
    ------
    WeightsError
        One does not.
    """
    _published(tensors, path)
    facts: dict[str, Any] = {"name": "RL-DFN", "networks": list(networks_in(tensors, path))}
    return facts | {key: list(tensors[key].shape) for key in PSFS if key in tensors}


def original_layout(tensors: Tensors, path: Path) -> FileSet:
    """Return the five files that the published program reads, all of which it wants.

    What is not there is drawn at random, the same every time: the second feature net, which the
    published program reads but never uses, and discriminators, which only train.

    Parameters
    ----------
    tensors : mapping of str to tensor
        As `read_networks` returns them; point spread functions are left out.
    path : Path
        Where they are from, for errors.

    Raises
    ------
    WeightsError
        One does not fit.
    """
    import torch

    from vemctl_rldfn.discriminator import Discriminator
    from vemctl_rldfn.network import FeatureNet

    with torch.random.fork_rng(devices=[]):
        networks = _published(tensors, path)
        torch.manual_seed(0)
        fresh = {"net_FB": FeatureNet()} | {name: Discriminator() for name in DISCRIMINATORS}
    networks = fresh | networks
    return FileSet({f"{name}.pth": dict(networks[name].state_dict()) for name in NETWORKS})


def files_of_checkpoint(folder: Path, choice: str | None) -> dict[str, Path]:
    """Return the published program's networks of one iteration; opens none.

    Parameters
    ----------
    folder : Path
        Of an iteration, such as ``checkpoints/iteration17000``; or of a run, which has such.
    choice : str, optional
        The iteration of a run; the last by default.

    Returns
    -------
    dict of str to Path
        By what comes before their keys in one file, such as ``"net_G."``.

    Raises
    ------
    WeightsError
        There is no such iteration, or one of its files that fuse is missing.
    """
    if not any((folder / f"{name}.pth").is_file() for name in NETWORKS):
        folder = _iteration(folder, choice)
    elif choice is not None and folder.name != f"iteration{choice}":
        raise WeightsError(
            f"{folder}@{choice}: has the files of one iteration, not of several; leave out "
            f"@{choice}"
        )
    files = {name: folder / f"{name}.pth" for name in NETWORKS}
    there = {f"{name}.": file for name, file in files.items() if file.is_file()}
    for name in REQUIRED:
        if f"{name}." not in there:
            others = ", ".join(file.name for file in there.values()) or "none of its files"
            raise WeightsError(
                f"{folder}: has no {name}.pth, only {others}; expected net_FA.pth and net_G.pth "
                f"side by side. Copy it there"
            )
    return there


def _iteration(folder: Path, choice: str | None) -> Path:
    """Return the folder of an iteration of a run."""
    inner = folder / "checkpoints"
    places = list((inner if inner.is_dir() else folder).iterdir()) if folder.is_dir() else []
    matches = ((re.fullmatch(r"iteration(\d+)", place.name), place) for place in places)
    found = {int(match[1]): place for match, place in matches if match and place.is_dir()}
    if not found:
        raise WeightsError(
            f"{folder}: no networks of rldfn; expected net_FA.pth and net_G.pth in it, or "
            f"checkpoints/iteration<N> with these. {CURE}"
        )
    wanted = max(found) if choice is None else int(choice) if choice.isdecimal() else -1
    if wanted not in found:
        there = ", ".join(f"{folder}@{number}" for number in sorted(found)[-NAMED:])
        raise WeightsError(f"{folder}@{choice}: no such iteration; choose one, such as {there}")
    return found[wanted]


def _published(tensors: Tensors, path: Path) -> dict[str, nn.Module]:
    """Return all networks that are there, by their names, with their parameters."""
    from vemctl_rldfn.network import FeatureNet

    parts, fusion = networks_in(tensors, path), build_fusion(tensors, path)
    networks: dict[str, nn.Module] = {"net_FA": fusion.net_FA, "net_G": fusion.net_G}
    if "net_FB" in parts:
        networks["net_FB"] = FeatureNet()
        _load(networks["net_FB"], parts, "net_FB", path)
    judges = build_discriminators(tensors, path)
    return networks | dict(zip(DISCRIMINATORS, judges or (), strict=False))


def _load(
    network: nn.Module, parts: Mapping[str, dict[str, Tensor]], name: str, path: Path
) -> None:
    load(network, parts[name], file_of(path, name), name=f"the {KINDS[name]} {name} of rldfn")
