"""What rldfn reckons that its networks take."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from vemctl_rldfn.discriminator import Discriminator
from vemctl_rldfn.memory import (
    CALL_BYTES,
    COPIES_IN_TRAINING,
    FLOAT,
    LOSS_FLOATS,
    STEP_BYTES,
    STEP_WORKSPACE,
    call_bytes,
    discriminator_parameters,
    feature_parameters,
    fusion_parameters,
    slab_layers,
    step_bytes,
)
from vemctl_rldfn.network import FeatureNet, FusionNetwork

GIB = 2**30
SECTION = (60, 120)
MEASURED = """
import torch
from vemctl_rldfn.discriminator import Discriminator
from vemctl_rldfn.fusing import fused
from vemctl_rldfn.network import FusionNetwork

def most():
    with open("/proc/self/status") as file:
        return 1024 * next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))

torch.set_num_threads(1)
before = most()
views = [torch.rand(1, 1, *{shape}) for _ in range(2)]
if "{kind}" == "call":
    network = fused(FusionNetwork())
    with torch.inference_mode():
        network(*views)
else:
    networks = [FusionNetwork(checkpointed="{kind}" == "spared"), Discriminator(), Discriminator()]
    optimizers = [torch.optim.Adam(network.parameters()) for network in networks]
    made = networks[0](*views)
    judged = sum(judge(made[:, :, z, :16, :20]).mean() for judge in networks[1:] for z in (1, 2))
    (made.square().mean() + judged).backward()
    for optimizer in optimizers:
        optimizer.step()
print(most() - before)
"""


def count(network: torch.nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameters_are_counted() -> None:
    """As many as the networks have."""
    with torch.device("meta"):
        networks = FeatureNet(), FusionNetwork(), Discriminator()
    told = feature_parameters(), fusion_parameters(), discriminator_parameters()
    assert told == tuple(map(count, networks))


@pytest.mark.parametrize(
    ("kind", "shape"), [("call", (16, 96, 96)), ("kept", (8, 48, 48)), ("spared", (8, 48, 48))]
)
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="asks Linux for the most")
def test_no_more_is_taken_than_told(
    kind: str, shape: tuple[int, int, int], alone: Callable[[str], str]
) -> None:
    """By a process of its own; what is told is not far from what is taken either."""
    code = MEASURED.format(kind=kind, shape=shape)
    taken = int(alone(code))
    if kind == "call":
        told, rest = call_bytes(shape, 1), CALL_BYTES
    else:
        told, rest = step_bytes(1, shape, (16, 20), checkpointed=kind == "spared"), STEP_BYTES
    assert taken <= told < 1.5 * taken + rest


@pytest.mark.parametrize(
    "tile", [(108, 272, 272), (128, 320, 320), (192, 256, 256), (64, 128, 128)]
)
def test_a_call_is_far_from_the_network_as_written(tile: tuple[int, int, int]) -> None:
    """Which takes 2,700 bytes per voxel: a fifth, apart from what any tile takes."""
    voxels = math.prod(tile)
    beside = CALL_BYTES + 3 * FLOAT * fusion_parameters()
    per_voxel = (call_bytes(tile, 1) - beside) / voxels
    assert 64 * FLOAT + 3 * FLOAT < per_voxel < 560
    assert call_bytes(tile, 2) - call_bytes(tile, 1) == 3 * FLOAT * voxels
    z, y, x = tile
    assert call_bytes((z, y, 2 * x), 1) > call_bytes((z + 4, y, x), 1) > call_bytes(tile, 1)


def test_slabs_are_thin_where_layers_are_large() -> None:
    """Multiples of four, and four at least."""
    assert slab_layers(272, 272, 64) == slab_layers(4096, 4096, 64) == 4
    layers = [slab_layers(side, side, 64) for side in (16, 32, 64, 96)]
    assert layers == sorted(layers, reverse=True)
    assert layers[0] > 100
    assert all(count % 4 == 0 for count in layers)


def test_a_step_grows_with_everything() -> None:
    """Patches, their size, sections; checkpointing spares more than half."""
    patch = (64, 128, 128)
    sizes = [step_bytes(samples, patch, SECTION, checkpointed=False) for samples in (1, 2, 3)]
    assert sizes[2] - sizes[1] == pytest.approx(sizes[1] - sizes[0], rel=1e-6)
    assert step_bytes(1, (64, 128, 124), SECTION, checkpointed=False) < sizes[0]
    assert step_bytes(1, patch, (60, 110), checkpointed=False) < sizes[0]
    assert step_bytes(1, patch, SECTION, checkpointed=True) < 0.5 * sizes[0]
    parameters = fusion_parameters() + feature_parameters() + 2 * discriminator_parameters()
    states = FLOAT * COPIES_IN_TRAINING * parameters
    assert (
        states < step_bytes(1, (4, 16, 16), (10, 10), checkpointed=True) < states + 2 * STEP_BYTES
    )


def test_published_patches_can_be_trained_on() -> None:
    """With 16 GB a quarter of the published patch, and the whole where it is checkpointed."""
    assert step_bytes(1, (64, 128, 128), SECTION, checkpointed=False) < 0.6 * 16e9
    assert step_bytes(1, (64, 256, 256), SECTION, checkpointed=True) < 16 * GIB
    assert step_bytes(1, (64, 256, 256), SECTION, checkpointed=False) > 24 * GIB


@pytest.mark.parametrize("checkpointed", [False, True])
def test_activations_are_about_what_is_kept(checkpointed: bool) -> None:
    """Counted by what torch saves for the way back, of which each step is computed again."""
    network, patch = FusionNetwork(checkpointed=checkpointed), (4, 32, 32)
    own = {parameter.data_ptr() for parameter in network.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        made = network(*(torch.rand(1, 1, *patch) for _ in range(2)))
    del made
    parameters = fusion_parameters() + feature_parameters() + 2 * discriminator_parameters()
    told = step_bytes(1, patch, (0, 0), checkpointed=checkpointed) - STEP_BYTES
    told -= FLOAT * COPIES_IN_TRAINING * parameters
    voxels = math.prod(patch)
    per_voxel = (told / FLOAT / voxels - LOSS_FLOATS) / STEP_WORKSPACE
    measured = sum(kept.values()) / FLOAT / voxels
    # Beside there are a few gradients, and where steps are computed again the last of them.
    more = 8 * 64 if checkpointed else 3 * 64
    assert measured <= per_voxel <= 1.05 * measured + more
