"""The four networks of exem in files: ours, which hold all of them, and the published program's.

Ours have the published keys behind the name of the network and a dot: ``G_AB.first_conv.weight``.
The published program has one file for each: ``G_AB_6000.pth``, ``G_BA_6000.pth``, and so on.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vemctl.errors import OptionError, WeightsError
from vemctl.nn.state_dict import LoadedWeights, load, read_weights
from vemctl_exem.discriminator import Discriminator
from vemctl_exem.network import GROUPS, Generator

if TYPE_CHECKING:
    import torch

GENERATORS = ("G_AB", "G_BA")
DISCRIMINATORS = ("D_A", "D_B")
NETWORKS = (*GENERATORS, *DISCRIMINATORS)
DIRECTIONS = {"lm-to-em": "G_AB", "em-to-lm": "G_BA"}
LEVELS = ("first_conv.weight", *(f"tripleconv{level}.conv1.weight" for level in range(2, 6)))

Tensors = Mapping[str, "torch.Tensor"]


def read(path: Path) -> LoadedWeights:
    """Return what a file holds: `vemctl.nn.state_dict.read_weights` of what is one.

    Raises
    ------
    WeightsError
        It is a folder of several, or no file of weights.
    """
    if path.is_dir():
        raise WeightsError(
            f"{path}: several files; exem takes one: make it of them by vemctl weights import "
            f"FOLDER@N exem.safetensors --method exem"
        )
    return read_weights(path)


def networks_in(tensors: Tensors, path: Path, generator: str = "G_AB") -> dict[str, Tensors]:
    """Return the networks of a file by their names.

    A network by itself has the name that its file begins with.

    Parameters
    ----------
    tensors : mapping of str to tensor
    path : Path
        Where they are from; its name counts.
    generator : {"G_AB", "G_BA"}
        Which generator it is if its file does not begin with a name.

    Raises
    ------
    WeightsError
        They are of no network of this method.
    """
    found: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
    for key, value in tensors.items():
        name, _, rest = key.partition(".")
        found[name if name in NETWORKS else ""][rest if name in NETWORKS else key] = value
    alone = found.pop("", {})
    if alone and found:
        raise _foreign(path)
    if alone:
        found[_name_of(alone, path, generator)] = alone
    return {name: found[name] for name in NETWORKS if name in found}


def _name_of(tensors: Tensors, path: Path, generator: str) -> str:
    names = GENERATORS if LEVELS[0] in tensors else DISCRIMINATORS
    if names is DISCRIMINATORS and not any(key.startswith("models.disc_") for key in tensors):
        raise _foreign(path)
    called = re.match("|".join(NETWORKS), path.name)
    if called and called[0] not in names:
        raise WeightsError(
            f"{path}: by its name {called[0]}, but its tensors are of a "
            f"{'generator' if names is GENERATORS else 'discriminator'}; give the right file, or "
            f"rename it"
        )
    if called:
        return called[0]
    return generator if names is GENERATORS else names[0]


def _foreign(path: Path) -> WeightsError:
    return WeightsError(
        f"{path}: weights of another network; expected a generator or discriminator of exem, or "
        f"what vemctl trained. Give a file made for this method"
    )


def generator_for(direction: str, tensors: Tensors, path: Path) -> Generator:
    """Return the generator of a direction.

    Parameters
    ----------
    direction : {"lm-to-em", "em-to-lm"}
    tensors : mapping of str to tensor
    path : Path
        Where they are from.

    Raises
    ------
    WeightsError
        It is not among them, or they are damaged.
    """
    name = DIRECTIONS[direction]
    found = networks_in(tensors, path, name)
    if name not in found:
        other = next((d for d, g in DIRECTIONS.items() if g in found), None)
        cure = f"give {name}, or use --direction {other}" if other else f"give the file of {name}"
        raise WeightsError(
            f"{path}: holds {', '.join(found)}, but --direction {direction} needs {name}; {cure}"
        )
    return load_generator(found[name], path)


def load_generator(tensors: Tensors, path: Path) -> Generator:
    """Return a generator with these parameters, as wide as they are.

    Raises
    ------
    WeightsError
        They are of another network.
    """
    if any(key not in tensors or tensors[key].ndim != 5 for key in LEVELS):
        raise _foreign(path)
    channels = [int(tensors[key].shape[0]) for key in LEVELS]
    if any(count not in GROUPS for count in channels):
        raise _foreign(path)
    network = Generator(channels)
    load(network, dict(tensors), path)
    return network


def load_discriminator(tensors: Tensors, path: Path) -> Discriminator:
    """Return a discriminator with these parameters.

    Raises
    ------
    WeightsError
        They are of another network.
    """
    first = tensors.get("models.disc_0.0.weight")
    if first is None or first.ndim != 5:
        raise _foreign(path)
    scales = {key.split(".")[1] for key in tensors if key.startswith("models.")}
    network = Discriminator(len(scales), int(first.shape[0]))
    load(network, dict(tensors), path)
    return network


def load_networks(tensors: Tensors, path: Path) -> dict[str, Generator | Discriminator]:
    """Return all networks that are there, by their names, in the published order.

    Raises
    ------
    WeightsError
        One is of another network, or two that should be alike are not.
    """
    networks: dict[str, Generator | Discriminator] = {
        name: load_generator(part, path) if name in GENERATORS else load_discriminator(part, path)
        for name, part in networks_in(tensors, path).items()
    }
    for pair in (GENERATORS, DISCRIMINATORS):
        one, other = (networks.get(name) for name in pair)
        if one and other and one.configuration != other.configuration:
            raise WeightsError(
                f"{path}: {' and '.join(pair)} of different sizes ({one.configuration} and "
                f"{other.configuration}); expected networks of one training"
            )
    return networks


def describe(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return which networks these are, as JSON types; all are loaded to see that they fit.

    Raises
    ------
    WeightsError
        One does not.
    """
    networks = load_networks(tensors, path)
    facts: dict[str, Any] = {"name": "ExEM", "networks": list(networks)}
    for network in networks.values():
        facts |= network.configuration
    return facts


def check_channels(channels: tuple[int, ...]) -> None:
    """Refuse channels for which the published normalisation has no groups.

    Raises
    ------
    OptionError
        There are such.
    """
    unknown = [count for count in channels if count not in GROUPS]
    if unknown:
        raise OptionError(
            f"--generator-channels {','.join(map(str, channels))}: {unknown[0]} channels have no "
            f"groups of normalisation; expected each out of {', '.join(map(str, GROUPS))}"
        )
