"""Parameters into GShiftNet, and out of it as the published program keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vemctl.nn.state_dict import load
from vemctl_denoise.layers import Temporal
from vemctl_denoise.network import UNUSED_PREFIXES, GShiftNet

if TYPE_CHECKING:
    import torch

ORIGINAL_PREFIX = "module."
"""Of every key in the published checkpoints: they come from torch's DataParallel."""


def load_network(
    tensors: Mapping[str, torch.Tensor], path: Path, temporal: Temporal = "cyclic"
) -> GShiftNet:
    """Return GShiftNet with these parameters.

    Parameters
    ----------
    tensors : mapping of str to tensor
        By published key without prefix; the networks that are never used may be absent.
    path : Path
        Where they are from, for errors.
    temporal : {"cyclic", "repeat"}
        See `GShiftNet`.

    Raises
    ------
    WeightsError
        They are of another network.
    """
    network = GShiftNet(temporal=temporal)
    load(network, dict(tensors), path, unused=UNUSED_PREFIXES)
    return network


def original_checkpoint(tensors: Mapping[str, torch.Tensor], path: Path) -> dict[str, Any]:
    """Return a checkpoint that the published program loads.

    It demands all parameters, also of the networks that it never uses: where they are absent,
    they are drawn at random, as they are in its own checkpoints. There is no state of an
    optimiser, so that it serves for inference and as its ``pretrained``, not to continue a
    training (the specification, section 3.3).
    """
    complete = load_network(tensors, path).state_dict()
    return {
        "epoch": 0,
        "state_dict": {f"{ORIGINAL_PREFIX}{key}": value for key, value in complete.items()},
        "best_psnr": 0.0,
    }
