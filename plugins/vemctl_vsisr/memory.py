"""What the networks of vsisr take on the device, as plain sums. Imports no torch.

Activations are counted in floats per pixel of the network's input; an enlarged plane has
`AREA` times as many pixels.
"""

from __future__ import annotations

import itertools
import math

from vemctl_vsisr.proportions import ENLARGED, FRAMES, PLANES, enlarged_size

CHANNELS, GATE_CHANNELS, TAIL_CHANNELS = 64, 4, 256
"""Of the generator's blocks, within their gates, and between its last two convolutions."""
WIDTHS = (32, 32, 32, 64, 64, 128, 128, 256, 256, 512, 512)
"""Channels of the discriminator's convolutions, one after the other."""
DENSE_CHANNELS = 256
"""Between the discriminator's two linear layers."""
NUM_BLOCKS = 16
"""Residual blocks of the published generator."""
AREA = ENLARGED**2
FLOAT = 4
STRIP_BYTES = 128 * 2**20
"""Of the widest map of a call, which is made in strips of rows where it would be larger."""
STRIP_HALO = 4
"""Rows of a strip that only its neighbours need: two for each of two convolutions."""
LEAST_ROWS = 8
"""Of a strip, however wide the plane is: fewer would be mostly halo."""
CALL_WORKSPACE, STEP_WORKSPACE = 1.1, 1.1
"""Times what a call and a step hold: measured, with what convolutions on a CPU arrange anew."""
CALL_BYTES, STEP_BYTES = 64 * 2**20, 128 * 2**20
"""Of convolutions, whatever the planes."""
COPIES_IN_TRAINING = 6
"""Of parameters: themselves, adapted ones, two sets of gradients, and Adam's two moments."""
LOSS_FLOATS = 60
"""Of the reconstruction loss, for each pixel of an enlarged plane: complex spectra, moments."""


def strip_rows(batch: int, height: int, width: int) -> int:
    """Return how many rows of enlarged planes a call makes at a time; it depends on the shape only.

    Parameters
    ----------
    batch : int
        Samples at once.
    height, width : int
        Of an enlarged plane, in pixels.

    Returns
    -------
    int
        At most `height`, which means all of them at once.
    """
    row_bytes = FLOAT * TAIL_CHANNELS * batch * width
    if row_bytes * height <= STRIP_BYTES:
        return height
    return min(height, max(LEAST_ROWS, STRIP_BYTES // row_bytes - STRIP_HALO))


def call_bytes(
    batch: int,
    height: int,
    width: int,
    *,
    frames: int = FRAMES,
    planes: int = PLANES,
    num_blocks: int = NUM_BLOCKS,
) -> int:
    """Return the bytes of a float32 call of a generator without gradients, parameters included.

    Parameters
    ----------
    batch : int
        Windows at once.
    height, width : int
        Of what goes in, in pixels.
    frames, planes : int
        Slices that go in, and planes that come out.
    num_blocks : int
        Residual blocks of the generator.
    """
    pixels = batch * height * width
    rows, columns = enlarged_size(height, width)
    all_at_once = strip_rows(batch, rows, columns) == rows
    together = batch if all_at_once else 1  # strips are of one sample
    strip = strip_rows(together, rows, columns)
    strip_pixels = together * min(rows, strip + STRIP_HALO) * columns
    result = planes * AREA * pixels
    inputs = 2 * frames * pixels  # as given, and arranged
    trunk = inputs + 3 * CHANNELS * pixels  # a block's input and both its convolutions
    joined = 1 if all_at_once else 2
    tail = inputs + CHANNELS * pixels + joined * result
    tail += (CHANNELS + TAIL_CHANNELS + planes) * strip_pixels
    parameters = generator_parameters(frames=frames, planes=planes, num_blocks=num_blocks)
    return int(FLOAT * (CALL_WORKSPACE * max(trunk, tail) + 2 * parameters)) + CALL_BYTES


def step_bytes(
    samples: int,
    height: int,
    width: int,
    *,
    judged: bool,
    frames: int = FRAMES,
    planes: int = PLANES,
    num_blocks: int = NUM_BLOCKS,
) -> int:
    """Return the bytes of a float32 training step of first order, optimisers included.

    The networks learn one after the other, so that what one keeps is gone when the other begins.

    Parameters
    ----------
    samples : int
        Patches at once.
    height, width : int
        Of the poor patches, in pixels.
    judged : bool
        Whether a discriminator takes part.
    frames, planes : int
        Slices that go in, and planes that come out.
    num_blocks : int
        Residual blocks of the generator.
    """
    pixels = samples * height * width
    block = 4 * CHANNELS  # two convolutions, what the gate let pass, and the sum
    made: float = frames + CHANNELS + num_blocks * block
    made += AREA * (CHANNELS + TAIL_CHANNELS + (2 + LOSS_FLOATS) * planes)
    held = made + AREA * (CHANNELS + TAIL_CHANNELS)  # and the first gradients on the way back
    parameters = generator_parameters(frames=frames, planes=planes, num_blocks=num_blocks)
    if judged:
        once = AREA * (sum(WIDTHS) + planes)
        gradients = AREA * sum(WIDTHS[-2:])
        # The generator learns through one judgement, the discriminator from two.
        held = max(held, made + once + gradients, 2 * once + gradients)
        parameters += discriminator_parameters(planes=planes)
    floats = STEP_WORKSPACE * held * pixels + COPIES_IN_TRAINING * parameters
    return int(FLOAT * floats) + STEP_BYTES


def generator_parameters(
    *, frames: int = FRAMES, planes: int = PLANES, num_blocks: int = NUM_BLOCKS
) -> int:
    """Return how many parameters a generator has."""
    block = 2 * _layer(CHANNELS, CHANNELS, 3)
    block += _layer(CHANNELS, GATE_CHANNELS, 1) + _layer(GATE_CHANNELS, CHANNELS, 1)
    ends = _layer(frames, CHANNELS, 3) + _layer(CHANNELS, TAIL_CHANNELS, 3)
    return ends + num_blocks * block + _layer(TAIL_CHANNELS, planes, 3)


def discriminator_parameters(*, planes: int = PLANES) -> int:
    """Return how many parameters a discriminator has."""
    convolutions = itertools.pairwise((planes, *WIDTHS))
    dense = _layer(WIDTHS[-1], DENSE_CHANNELS, 1) + _layer(DENSE_CHANNELS, 1, 1)
    return sum(_layer(before, own, 3) for before, own in convolutions) + dense


def _layer(channels_in: int, channels_out: int, kernel: int) -> int:
    return channels_out * (math.prod((channels_in, kernel, kernel)) + 1)
