"""What a file of weights says: network, normalisation, sizes. Imports no torch.

Source: the specification, 3.3 and 6.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vemctl.errors import OptionError, WeightsError
from vemctl_pssr.architecture import SCALE, Architecture, recognise
from vemctl_pssr.ranges import finite

if TYPE_CHECKING:
    from torch import Tensor, nn

EM_NANOMETRES = 8.0
"""Pixels that the published model for electron microscopy was trained to enlarge."""


@dataclass(frozen=True)
class Normalisation:
    """What is subtracted from images in [0, 1], and by what they are divided.

    Attributes
    ----------
    mean, std : tuple of float
        One for all channels, or one for each.
    inputs, outputs : bool
        Whether of what goes in, and undone of what comes out.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    inputs: bool = True
    outputs: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON types, as exports of fastai are told too."""
        return {
            "mean": list(self.mean),
            "std": list(self.std),
            "input": self.inputs,
            "target": self.outputs,
        }


@dataclass(frozen=True)
class Checkpoint:
    """A network and what is known of it.

    Attributes
    ----------
    path : Path
    tensors : mapping of str to tensor
    facts : mapping
        What the file tells.
    architecture : Architecture
    """

    path: Path
    tensors: Mapping[str, Tensor] = field(repr=False)
    facts: Mapping[str, Any]
    architecture: Architecture

    @property
    def is_own(self) -> bool:
        """Whether vemctl has trained it: on poor images as they are, not enlarged before."""
        return "resample" in self.facts

    @property
    def from_notebook(self) -> bool:
        """Whether the published program for it is the notebook for electron microscopy."""
        is_resnet = self.architecture.encoder == "resnet"
        return is_resnet and not self.architecture.wrapped and not self.is_own

    @property
    def size(self) -> int | None:
        """Edge of the tiles that it gives, in enlarged pixels, if the file tells."""
        tile = self.facts.get("tile")
        if isinstance(tile, Mapping):  # of an export
            for side, scale in (("target", 1), ("input", self.scale_within)):
                edge = tile.get(side)
                edge = max(edge) if isinstance(edge, list) and edge else edge
                if isinstance(edge, int) and edge > 0:
                    return edge * scale
        if isinstance(tile, list) and tile and isinstance(tile[-1], int) and tile[-1] > 0:
            return tile[-1] * SCALE
        return None

    @property
    def scale_within(self) -> int:
        """By what the network itself enlarges."""
        return SCALE if self.architecture.upsamples else 1

    @property
    def voxel_size(self) -> tuple[float, float] | None:
        """Of the images (y, x) that it enlarges, in nanometres, if known."""
        stored = self.facts.get("voxel_size")
        if isinstance(stored, list) and len(stored) == 3:
            return float(stored[1]), float(stored[2])
        if self.from_notebook:
            return EM_NANOMETRES, EM_NANOMETRES
        return None

    def normalisation(self, mean: str | None = None, std: str | None = None) -> Normalisation:
        """Return the statistics of the training: as given, or as stored.

        Parameters
        ----------
        mean, std : str, optional
            One number, or one per channel.

        Raises
        ------
        OptionError
            They are no numbers, or one is given without the other.
        WeightsError
            Neither is there.
        """
        if (mean is None) != (std is None):
            raise OptionError("--mean and --std belong together: expected both, or neither")
        if mean is not None and std is not None:
            means, stds = self._numbers("--mean", mean), self._numbers("--std", std)
            if len(means) != len(stds):
                raise OptionError(
                    f"--mean {mean} and --std {std}: expected as many numbers in both"
                )
            if min(stds) <= 0:
                raise OptionError(
                    f"--std {std}: expected numbers above 0, in units of images in [0, 1]"
                )
            return Normalisation(means, stds)
        stored = self.facts.get("normalisation")
        if not isinstance(stored, Mapping):
            if self.facts.get("classes"):  # an export of a training without normalisation
                return Normalisation(inputs=False, outputs=False)
            raise WeightsError(
                f"{self.path}: without the mean and standard deviation of its training; expected "
                f"an export (.pkl), or --mean and --std"
            )
        found = Normalisation(
            tuple(stored["mean"]),
            tuple(stored["std"]),
            bool(stored.get("input", True)),
            bool(stored.get("target", True)),
        )
        channels = self.architecture.in_channels
        if {len(found.mean), len(found.std)} - {1, channels}:
            raise WeightsError(
                f"{self.path}: a normalisation of {len(found.mean)} channels, and a network that "
                f"takes {channels}; expected --mean and --std of its training"
            )
        if min(found.std) <= 0:
            raise WeightsError(
                f"{self.path}: a standard deviation of {min(found.std)}; expected --mean and --std "
                f"of its training, or an undamaged file"
            )
        return found

    def network(self, *, detach_skips: bool = False) -> nn.Module:
        """Return the network with these parameters, in float32 on the CPU.

        Raises
        ------
        WeightsError
            Parameters are missing or do not fit.
        """
        from vemctl.nn.state_dict import load
        from vemctl_pssr.network import build

        network = build(self.architecture, detach_skips=detach_skips)
        load(network, dict(self.tensors), self.path, name=self.architecture.name)
        return network

    def _numbers(self, flag: str, text: str) -> tuple[float, ...]:
        try:
            numbers = tuple(finite(part) for part in text.split(","))
        except ValueError:
            raise OptionError(f"{flag} {text}: expected a number, or one per channel") from None
        channels = self.architecture.in_channels
        if len(numbers) not in {1, channels}:
            raise OptionError(
                f"{flag} {text}: has {len(numbers)} numbers, and the network takes {channels} "
                f"channels; expected one number, or as many"
            )
        return numbers


def read_checkpoint(path: Path) -> Checkpoint:
    """Return the network in a file; the last one read is remembered.

    Raises
    ------
    WeightsError
        The file is damaged, or of another method.
    """
    return _read(path, path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=1)
def _read(path: Path, _: int) -> Checkpoint:
    from vemctl.nn.state_dict import read_weights

    loaded = read_weights(path)
    return Checkpoint(path, loaded.tensors, loaded.facts, recognise(loaded.tensors, path))


def forget() -> None:
    """Let go of the file that was read last: its network is made."""
    _read.cache_clear()
