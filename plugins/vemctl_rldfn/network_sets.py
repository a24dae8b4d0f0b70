"""Which networks of rldfn are among tensors of a file, by their names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vemctl.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

PSFS = ("psf_A", "psf_B")
REQUIRED = ("net_FA", "net_G")
DISCRIMINATORS = ("netD_A", "netD_B")
NETWORKS = ("net_FA", "net_FB", "net_G", *DISCRIMINATORS)
KINDS = {
    "net_FA": "feature net",
    "net_FB": "feature net",
    "net_G": "U-Net",
    "netD_A": "discriminator",
    "netD_B": "discriminator",
}
FIRST_KEYS = {
    "feature net": "first_conv.weight",
    "U-Net": "double_conv1.convolution.0.weight",
    "discriminator": "model.0.weight",
}
CURE = "Give net_G.pth with net_FA.pth beside it, or a file that vemctl trained for this method"

Tensors = Mapping[str, "Tensor"]


def networks_in(tensors: Tensors, path: Path) -> dict[str, dict[str, Tensor]]:
    """Return the networks of a file by their names, in the published order.

    Parameters
    ----------
    tensors : mapping of str to tensor
    path : Path
        Where they are from, for errors.

    Raises
    ------
    WeightsError
        They are not of rldfn, what fuses is not among them, or one goes by another's name.
    """
    found: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, value in tensors.items():
        name, _, rest = key.partition(".")
        if name in NETWORKS:
            found[name][rest] = value
        elif key not in PSFS:
            raise WeightsError(f"{path}: {_told(tensors, key)}. {CURE}")
        elif value.ndim != 3 or not value.numel():
            raise WeightsError(
                f"{path}: {key} has shape {tuple(value.shape)}; expected a point spread function "
                f"(z, y, x). Make the file again"
            )
    for name in REQUIRED:
        if name not in found:
            there = ", ".join([*found, *(key for key in PSFS if key in tensors)]) or "no tensors"
            raise WeightsError(f"{path}: has no {name}, only {there}; both fuse. {CURE}")
    for name, part in found.items():
        kind = _kind_of(part)
        if kind not in (None, KINDS[name]):
            raise WeightsError(
                f"{file_of(path, name)}: weights of a {kind} by the name of {name}; expected those "
                f"of a {KINDS[name]}. Give the right file by that name"
            )
    return {name: found[name] for name in NETWORKS if name in found}


def file_of(path: Path, name: str) -> Path:
    """Return the file of a network, where each has its own, for errors."""
    folder = path if path.is_dir() else path.parent
    own = folder / f"{name}.pth"
    apart = path.is_dir() or path.name.removesuffix(".pth") in NETWORKS
    return own if apart and own.is_file() else path


def _kind_of(part: Mapping[str, Tensor]) -> str | None:
    return next((kind for kind, key in FIRST_KEYS.items() if key in part), None)


def _told(tensors: Tensors, key: str) -> str:
    """Return what is wrong with a file that has a tensor of no network of ours."""
    kind = _kind_of(tensors)
    if kind == "discriminator":
        return "weights of a discriminator, which only judges in training; expected what fuses"
    if kind is not None:
        return f"weights of a {kind} by itself; expected the feature net and the U-Net together"
    return f"weights of another network: {key} is of none of rldfn; expected net_FA and net_G"
