"""What exem reckons that its networks take."""

from __future__ import annotations

import math

import pytest
import torch
from vemctl_exem.discriminator import NUM_FILTERS, NUM_SCALES, Discriminator
from vemctl_exem.memory import (
    CALL_BYTES,
    FLOAT,
    STEP_BYTES,
    call_bytes,
    discriminator_parameters,
    generator_parameters,
    step_bytes,
)
from vemctl_exem.network import CHANNELS, Generator

TILE = (16, 256, 256)
SMALL = (4, 8, 8, 16, 32)


def count(network: torch.nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def of_step(patch=TILE, samples: int = 1, *, channels=CHANNELS, checkpointing: bool = False) -> int:
    """Return the bytes of a step."""
    return step_bytes(
        channels, NUM_SCALES, NUM_FILTERS, patch, samples, checkpointing=checkpointing
    )


@pytest.mark.parametrize("channels", [CHANNELS, SMALL, (1, 2, 4, 8, 16), (64, 32, 16, 8, 4)])
def test_parameters_of_a_generator_are_counted(channels) -> None:
    """As many as the network has."""
    with torch.device("meta"):
        network = Generator(channels)
    assert generator_parameters(channels) == count(network)


@pytest.mark.parametrize(("scales", "filters"), [(2, 64), (1, 8), (3, 5)])
def test_parameters_of_a_discriminator_are_counted(scales: int, filters: int) -> None:
    """As many as the network has."""
    with torch.device("meta"):
        network = Discriminator(scales, filters)
    assert discriminator_parameters(scales, filters) == count(network)


def test_a_call_grows_with_its_voxels() -> None:
    """Twice the tile or twice the batch is the same, on top of the parameters."""
    one = call_bytes(CHANNELS, TILE, 1)
    fixed = FLOAT * generator_parameters(CHANNELS) + CALL_BYTES
    assert call_bytes(CHANNELS, (32, 256, 256), 1) == call_bytes(CHANNELS, TILE, 2)
    assert call_bytes(CHANNELS, TILE, 2) - fixed == pytest.approx(2 * (one - fixed), rel=1e-6)
    assert call_bytes(SMALL, TILE, 1) < one
    assert 0.2e9 < one < 2e9


def test_a_step_grows_with_everything() -> None:
    """Patch, samples, channels, scales and filters."""
    sizes = [of_step(samples=samples) for samples in (1, 2, 3)]
    assert sizes[2] - sizes[1] == pytest.approx(sizes[1] - sizes[0], rel=1e-6)
    assert of_step((16, 128, 128)) < of_step((16, 128, 256)) < sizes[0]
    assert of_step((32, 256, 256)) == sizes[1] > sizes[0]
    assert of_step(channels=SMALL) < sizes[0]
    rest = {"patch": TILE, "samples": 1, "checkpointing": True}
    assert step_bytes(CHANNELS, 1, 64, **rest) <= step_bytes(CHANNELS, 2, 64, **rest)
    assert step_bytes(CHANNELS, 2, 32, **rest) < step_bytes(CHANNELS, 2, 64, **rest)


def test_checkpointing_takes_less() -> None:
    """Less than half of the activations, never less than the parameters' states."""
    assert of_step(checkpointing=True) < 0.6 * of_step()
    states = 4 * FLOAT * 2 * (27_517_441 + 16_532_354)
    tiny = of_step((1, 64, 64), checkpointing=True)
    assert states < tiny < of_step((1, 64, 64)) < states + 1e9


def test_a_step_takes_more_than_calls() -> None:
    """Even where activations are spared; the published patch asks for a device of 16 GB."""
    assert of_step(checkpointing=True) > 2 * call_bytes(CHANNELS, TILE, 1)
    assert 8e9 < of_step() < 16e9


@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_about_what_is_kept(checkpointing: bool) -> None:
    """Both generators one after the other, counted by what torch saves for the way back."""
    kept: dict[int, int] = {}
    patch = (2, 64, 64)

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    networks = [Generator(SMALL, checkpointing=checkpointing) for _ in range(2)]
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        made = networks[1](networks[0](torch.rand(1, 1, *patch)))
    for network in networks:
        for parameter in network.parameters():
            kept.pop(parameter.untyped_storage().data_ptr(), None)
    made.sum().backward()
    told = step_bytes(SMALL, 1, 1, patch, 1, checkpointing=checkpointing)
    told -= STEP_BYTES + 8 * FLOAT * (generator_parameters(SMALL) + discriminator_parameters(1, 1))
    per_voxel = sum(kept.values()) / FLOAT / math.prod(patch)
    assert 0.9 * per_voxel < told / FLOAT / math.prod(patch) < 2 * per_voxel + 120
