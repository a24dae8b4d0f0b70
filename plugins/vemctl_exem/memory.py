"""What a tile and a training step take on the device, as plain sums. Imports no torch.

Everything is counted in floats per voxel of the tile: level i has 1 / 4**i of its voxels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from vemctl.plugin import Triple

FLOAT = 4
CALL_WORKSPACE = 1.05
"""Times what a call keeps: measured with what the convolutions take beside it, on a CPU."""
CALL_BYTES, STEP_BYTES = 48 * 2**20, 96 * 2**20
"""Of convolutions, whatever the tile."""
COPIES_IN_TRAINING = 4  # of parameters: themselves, gradients, and Adam's two moments
CONV_SIZES = (9, 27, 27)  # weights per pair of channels in the three convolutions of a block


def call_bytes(channels: Sequence[int], tile: Triple, batch: int) -> int:
    """Return the bytes of a float32 call of a generator, parameters included.

    Parameters
    ----------
    channels : sequence of five int
    tile : (z, y, x)
    batch : int
    """
    skips = _by_level(channels[:4])
    ups = (
        channels[i + 1] / 4 ** (i + 1) + (4 * channels[i] + channels[i + 1]) / 4**i
        for i in range(4)
    )
    floats = (2 + skips + max(ups)) * CALL_WORKSPACE
    voxels = batch * math.prod(tile)
    return int(FLOAT * (floats * voxels + generator_parameters(channels))) + CALL_BYTES


def step_bytes(
    channels: Sequence[int],
    scales: int,
    filters: int,
    patch: Triple,
    samples: int,
    *,
    checkpointing: bool,
) -> int:
    """Return the bytes of a float32 training step, parameters and optimisers included.

    The most is taken when the way there and back through both generators, judged by a
    discriminator, begins its way back.

    Parameters
    ----------
    channels : sequence of five int
        Of the generators.
    scales, filters : int
        Of the discriminators.
    patch : (z, y, x)
    samples : int
        At once.
    checkpointing : bool
    """
    c0, c1 = channels[:2]
    within = 8 * c0 + c1  # the finest block on the way up, with what comes into it
    gradients = 3 * c0 + c1
    held = 2 * (_boundaries(channels) + within / 2 if checkpointing else _activations(channels))
    judged = _judged(scales, filters)
    grey = 20  # volumes, their groups, and what the losses make of them
    floats = max(held + judged + gradients, 2 * judged + filters) + grey
    parameters = 2 * (generator_parameters(channels) + discriminator_parameters(scales, filters))
    voxels = samples * math.prod(patch)
    return int(FLOAT * (floats * voxels + COPIES_IN_TRAINING * parameters)) + STEP_BYTES


def generator_parameters(channels: Sequence[int]) -> int:
    """Return how many parameters a generator has."""
    c0 = channels[0]
    ways_down = zip((c0, *channels[:4]), channels, strict=True)
    ways_up = ((channels[i + 1] + channels[i], channels[i]) for i in range(4))
    blocks = sum(
        CONV_SIZES[0] * before * own + sum(CONV_SIZES[1:]) * own**2 + 6 * own
        for before, own in (*ways_down, *ways_up)
    )
    return blocks + (25 * c0 + c0) + (25 * c0**2 + c0) + (c0 + 1)


def discriminator_parameters(scales: int, filters: int) -> int:
    """Return how many parameters a discriminator has."""
    widths = [1, *(filters << level for level in range(4))]
    halving = sum(48 * before * own + own for before, own in itertools.pairwise(widths))
    return scales * (halving + 9 * widths[-1] + 1)


def _activations(channels: Sequence[int]) -> float:
    """Return what a generator keeps for its gradients; a block keeps seven times its channels."""
    before = channels[:4]
    pooled = math.fsum(
        3 * count * 0.25 ** (i + 1) for i, count in enumerate(before)
    )  # and their places
    joined = math.fsum((channels[i] + channels[i + 1]) * 0.25**i for i in range(4))
    blocks: float = 7 * (_by_level(channels) + _by_level(before))
    return 2 + 2 * channels[0] + blocks + pooled + joined


def _boundaries(channels: Sequence[int]) -> float:
    """Return what it keeps where levels are computed again: what goes from block to block."""
    return 2 + 2 * channels[0] + _by_level(channels) + _by_level(channels[:4])


def _judged(scales: int, filters: int) -> float:
    """Return what a discriminator keeps for its gradients."""
    levels = math.fsum(filters * 0.5**level for level in (2, 3, 4))
    per_scale = filters / 4 + levels
    return math.fsum((per_scale + 1) * 0.25**scale for scale in range(scales))


def _by_level(channels: Sequence[int]) -> float:
    return math.fsum(count * 0.25**level for level, count in enumerate(channels))
