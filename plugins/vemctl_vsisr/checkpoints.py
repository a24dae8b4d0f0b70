"""Which generator or discriminator a file of weights is of, and that network with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vemctl.errors import WeightsError
from vemctl_vsisr.memory import CHANNELS, NUM_BLOCKS, WIDTHS
from vemctl_vsisr.proportions import FRAMES, PLANES

if TYPE_CHECKING:
    from torch import Tensor

    from vemctl_vsisr.discriminator import Discriminator
    from vemctl_vsisr.network import Generator

PARALLEL_PREFIX = "module."
"""Of every key where several devices trained the network."""
TENSORS_PER_BLOCK = 8
TENSORS_AT_ENDS = 6
FIRST_KEY = "vars.0"
CURE = "Give the file of a generator of vsisr, such as F-actin.pth"


@dataclass(frozen=True)
class GeneratorConfiguration:
    """What a generator's parameters are of.

    Attributes
    ----------
    in_channels : int
        Slices of a window.
    num_blocks : int
        Residual blocks; how they are grouped changes nothing and is not told by a file.
    out_channels : int
        Planes that are made.
    """

    in_channels: int = FRAMES
    num_blocks: int = NUM_BLOCKS
    out_channels: int = PLANES

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return asdict(self)

    def build(self) -> Generator:
        """Return such a generator with parameters drawn at random."""
        from vemctl_vsisr.network import Generator

        return Generator(self.in_channels, 1, self.num_blocks, self.out_channels)


def recognise(tensors: Mapping[str, Tensor], path: Path) -> GeneratorConfiguration:
    """Return which generator a state dict is of, from its keys and shapes alone.

    Parameters
    ----------
    tensors : mapping of str to tensor
        By their published keys, bare or with `PARALLEL_PREFIX`.
    path : Path
        Where they are from, for errors.

    Raises
    ------
    WeightsError
        They are of a discriminator, or of no network of vsisr. Single tensors that are missing or
        of another shape are told by `build_generator`.
    """
    tensors = bare(tensors)
    if is_discriminator(tensors):
        raise WeightsError(
            f"{path}: weights of a discriminator, which only judges in training; expected those of "
            f"the generator of the same training, such as gmodel_100000.pth instead of "
            f"dmodel_100000.pth"
        )
    first = _shape(tensors, FIRST_KEY)
    if len(first) != 4 or first[0] != CHANNELS:
        found = f"has {FIRST_KEY} of shape {first}" if first else f"has no {FIRST_KEY}"
        raise WeightsError(
            f"{path}: weights of another network than a generator of vsisr: {found}, expected "
            f"({CHANNELS}, slices, 3, 3). {CURE}"
        )
    # Rounded, so that a few lost tensors are told as what they are.
    num_tensors = sum(map(_is_listed, tensors))
    num_blocks = max(1, round((num_tensors - TENSORS_AT_ENDS) / TENSORS_PER_BLOCK))
    places = TENSORS_AT_ENDS + num_blocks * TENSORS_PER_BLOCK
    output = _shape(tensors, f"vars.{places - 2}") or _shape(tensors, f"vars.{places - 1}")
    return GeneratorConfiguration(
        in_channels=first[1], num_blocks=num_blocks, out_channels=output[0] if output else PLANES
    )


def build_generator(tensors: Mapping[str, Tensor], path: Path) -> Generator:
    """Return the generator with these parameters, in float32 on the CPU.

    Parameters
    ----------
    tensors : mapping of str to tensor
        By their published keys, bare or with `PARALLEL_PREFIX`.
    path : Path
        Where they are from, for errors.

    Raises
    ------
    WeightsError
        They are of another network, or parameters are missing or of another shape.
    """
    from vemctl.nn.state_dict import load

    tensors = bare(tensors)
    network = recognise(tensors, path).build()
    load(network, tensors, path, name="the generator of vsisr")
    return network


def check(tensors: Mapping[str, Tensor], path: Path) -> GeneratorConfiguration:
    """Return which generator these parameters are of, having loaded them to see that they fit.

    Raises
    ------
    WeightsError
        They do not.
    """
    build_generator(tensors, path)
    return recognise(tensors, path)


def build_discriminator(tensors: Mapping[str, Tensor], path: Path) -> Discriminator:
    """Return the discriminator with these parameters, in float32 on the CPU.

    Parameters
    ----------
    tensors : mapping of str to tensor
        By their published keys, bare or with `PARALLEL_PREFIX`; the keys that name a tensor once
        more may be there or not.
    path : Path
        Where they are from, for errors.

    Raises
    ------
    WeightsError
        They are of another network, parameters are missing or of another shape, or a tensor's two
        names have different values.
    """
    from vemctl.nn.state_dict import load
    from vemctl_vsisr.discriminator import Discriminator, with_aliases

    tensors = bare(tensors)
    first = _shape(tensors, FIRST_KEY)
    if len(first) != 4 or first[0] != WIDTHS[0]:
        what = "a generator" if first[:1] == (CHANNELS,) else "another network"
        raise WeightsError(
            f"{path}: weights of {what}; expected those of a discriminator of vsisr, such as "
            f"dmodel_100000.pth"
        )
    network = Discriminator(first[1])
    load(network, with_aliases(tensors, str(path)), path, name="the discriminator of vsisr")
    return network


def is_discriminator(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether a state dict is of a discriminator, as far as its first keys tell."""
    tensors = bare(tensors)
    named_twice = any(key.startswith("conv2d") for key in tensors)
    return named_twice or _shape(tensors, FIRST_KEY)[:1] == (WIDTHS[0],)


def bare(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by their keys without what training on several devices puts before them."""
    if tensors and all(key.startswith(PARALLEL_PREFIX) for key in tensors):
        return {key.removeprefix(PARALLEL_PREFIX): value for key, value in tensors.items()}
    return dict(tensors)


def _is_listed(key: str) -> bool:
    place = key.removeprefix("vars.")
    return place != key and place.isdecimal()


def _shape(tensors: Mapping[str, Tensor], key: str) -> tuple[int, ...]:
    tensor = tensors.get(key)
    return () if tensor is None else tuple(tensor.shape)
