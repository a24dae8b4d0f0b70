"""What the networks of rldfn take on the device, as plain sums. Imports no torch.

Maps are counted in floats; those of a level i of the U-Net have 1 / 8**i of the tile's voxels. A
layer of a map is all that has the same z.
"""

from __future__ import annotations

import itertools
import math

from vemctl.plugin import Triple

FLOAT = 4
FINEST, MIDDLE, COARSEST = WIDTHS = (64, 128, 256)
"""Channels of the U-Net's levels; the feature net has the first."""
JUDGE_WIDTHS = (1, 64, 128, 256, 512, 1)
"""Channels before and behind a discriminator's convolutions."""
JUDGE_KERNEL = 4
SLAB_BYTES = 16 * 2**20
"""Of a map of as many layers as a call makes at a time."""
SLAB_LAYERS = 4
"""As many at least, and multiples of it."""
CALL_WORKSPACE, STEP_WORKSPACE = 1.1, 1.1
"""Times what a call and a step hold: measured, with what convolutions on a CPU arrange anew."""
CALL_BYTES, STEP_BYTES = 96 * 2**20, 192 * 2**20
"""Of convolutions, whatever the tile."""
COPIES_IN_CALLS = 3
"""Of parameters: themselves, what pairs of layers are made with, and as convolutions want them."""
COPIES_IN_TRAINING = 4
"""Of parameters: themselves, gradients, and Adam's two moments."""
LOSS_FLOATS = 40
"""Per voxel: views, ratios, what is fused and blurred again, and their gradients."""
JUDGEMENTS = 4
"""Sections that the generator's losses see at once: two by each discriminator."""


def slab_layers(height: int, width: int, channels: int) -> int:
    """Return how many layers of a map a call makes at a time; it depends on the shape only.

    Parameters
    ----------
    height, width : int
        Of a layer.
    channels : int
        Of the map.
    """
    least = FLOAT * channels * height * width * SLAB_LAYERS
    return SLAB_LAYERS * max(1, SLAB_BYTES // least)


def call_bytes(tile: Triple, batch: int) -> int:
    """Return the bytes of a float32 call of the fused network.

    Parameters and both tiles are included. Samples of a batch are fused one after the other.

    Parameters
    ----------
    tile : (z, y, x)
        Multiples of 4.
    batch : int
        Samples at once.
    """
    z, y, x = tile
    fine, middle, coarse = (
        width * y * x // 4**level for level, width in enumerate(WIDTHS)
    )  # floats of a layer of each level's maps
    slab = min(slab_layers(y, x, FINEST), z)
    slab_below = min(slab_layers(y // 2, x // 2, MIDDLE), z // 2)
    skip, skip_below, bottom = fine * z, middle * (z // 2), coarse * (z // 4 + 2)
    pooled = fine // 4 * (z // 2 + 2)
    pooled_below = middle // 4 * (z // 4 + 2)
    # Windows of convolutions, and what is made anew within the last of them.
    finding = fine * (6 * slab + 18)
    going_down = middle * (slab_below + 7)
    coming_up = middle * (3 * slab_below + 13)
    joining = fine * (3 * slab + 10)
    held = skip + max(
        pooled + finding,
        pooled + skip_below + pooled_below + going_down,
        skip_below + pooled_below + 2 * bottom + 5 * coarse,
        skip_below + bottom + middle * (z // 2) + coming_up,
        middle * (z // 2) + joining,
    )
    given = 3 * batch * math.prod(tile)  # and made
    parameters = COPIES_IN_CALLS * fusion_parameters()
    return int(FLOAT * (CALL_WORKSPACE * held + given + parameters)) + CALL_BYTES


def step_bytes(samples: int, patch: Triple, section: tuple[int, int], *, checkpointed: bool) -> int:
    """Return the bytes of a float32 training step, discriminators and optimisers included.

    Parameters
    ----------
    samples : int
        Patches at once.
    patch : (z, y, x)
        Multiples of 4.
    section : (height, width)
        Of what the discriminators see.
    checkpointed : bool
        Whether activations are computed again for the gradients.
    """
    held = _spared() if checkpointed else _kept()
    floats = STEP_WORKSPACE * held + LOSS_FLOATS
    judged = JUDGEMENTS * _judged() * math.prod(section)
    parameters = fusion_parameters() + feature_parameters() + 2 * discriminator_parameters()
    total = samples * (floats * math.prod(patch) + judged) + COPIES_IN_TRAINING * parameters
    return int(FLOAT * total) + STEP_BYTES


def feature_parameters() -> int:
    """Return how many parameters the feature net has."""
    block = 2 * _normed(FINEST, FINEST)
    return _layer(1, FINEST, 1) + block + _layer(FINEST, FINEST, 1)


def fusion_parameters() -> int:
    """Return how many parameters the feature net and the U-Net have together."""
    down = [FINEST, FINEST, FINEST, MIDDLE, MIDDLE, COARSEST, COARSEST, COARSEST]
    convolutions = sum(_normed(before, own) for before, own in itertools.pairwise(down))
    convolutions += _normed(2 * MIDDLE, MIDDLE) + _normed(MIDDLE, MIDDLE)
    convolutions += _normed(2 * FINEST, FINEST)
    doubling = _layer(COARSEST, MIDDLE, 8) + _layer(MIDDLE, FINEST, 8)
    return feature_parameters() + convolutions + doubling + _layer(FINEST, 1, 1) + _layer(1, 1, 1)


def discriminator_parameters() -> int:
    """Return how many parameters a discriminator has."""
    convolutions = sum(
        _layer(before, own, JUDGE_KERNEL**2) for before, own in itertools.pairwise(JUDGE_WIDTHS)
    )
    return convolutions + 2 * sum(JUDGE_WIDTHS[2:-1])


def _kept() -> float:
    """Return floats per voxel that a step holds where the way back begins."""
    features = 2 * 6 * FINEST  # the first layer, two of each block, and what they are in the end
    fine = (1 + 4 + 2 + 2) * FINEST  # the product, both blocks, and what is joined
    middle = (4 + 2 + 4) * MIDDLE / 8
    coarse = 6 * COARSEST / 64
    pooled = 3 * (FINEST / 8 + MIDDLE / 64)  # and their places, which are of eight bytes
    gradients = 3 * FINEST
    return features + fine + middle + coarse + pooled + gradients


def _spared() -> float:
    """Return the same where only what goes from step to step is kept: of the last step, the most.

    They are both views' features, skips, and what comes from the level below. Within the step there
    are what is joined, both layers of its block, and the gradients of all that.
    """
    between = 3 * FINEST + 2 * MIDDLE / 8 + COARSEST / 64
    within = (2 + 2) * FINEST
    gradients = (2 + 2) * FINEST
    return between + within + gradients


def _judged() -> float:
    """Return floats per pixel of a section that a discriminator keeps for its gradients."""
    return sum((2 if place else 1) * width for place, width in enumerate(JUDGE_WIDTHS[1:])) / 4


def _normed(channels_in: int, channels_out: int) -> int:
    return _layer(channels_in, channels_out, 27) + 2 * channels_out


def _layer(channels_in: int, channels_out: int, taps: int) -> int:
    return channels_out * (channels_in * taps + 1)
