"""What a tile and a training step take on the device, as plain sums. Imports no torch.

Activations are counted in floats per pixel of the restored tile; block i of the way up, counted
from the last, has 1 / 4**i of these pixels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from vemctl_pssr.structure import SCALE, Architecture, UpBlock

FLOAT = 4
LARGE = 300_000_000
"""Parameters beyond which a network is slow and hungry enough to be told of."""
CALL_BYTES, STEP_BYTES = 64 * 2**20, 128 * 2**20
"""Of convolutions, whatever the tile."""
CALL_WORKSPACE = 1.45
"""Times what a call holds: measured, with what convolutions on a CPU arrange anew."""
STEP_WORKSPACE = 1.1
COPIES_IN_TRAINING = 6
"""Of parameters: themselves, gradients, Adam's two moments, normed kernels and their gradients."""
ATTENTION_BYTES = 64 * 2**20
"""Of the weights of an attention at once, in float32; a 512 x 512 tile fits in one go."""
CUDNN_UP_TO = 128
"""Channels that cuDNN convolves in float32; torch's own way, for more, is as quick or quicker, but
unfolds a tile."""
DENSE_CONVS = 5  # of a dense block; three of these are a block of an RRDB


def call_bytes(
    architecture: Architecture, tile_hw: tuple[int, int], batch: int, *, device: str = "cuda"
) -> int:
    """Return the bytes of a float32 call of the fused network, parameters included.

    Parameters
    ----------
    architecture : Architecture
    tile_hw : (y, x)
        Pixels of a tile as the network takes it.
    batch : int
        Tiles at once.
    device : str
        A torch device; only on CUDA some convolutions unfold a tile.
    """
    pixels = _restored_pixels(architecture, tile_hw)
    if architecture.encoder == "rrdb":
        floats = _dense_call(architecture) * pixels * batch
    else:
        unfolds = device.startswith("cuda")
        floats = max(_unet_call(architecture, pixels, batch, unfolds=unfolds))
    total = CALL_WORKSPACE * floats + num_parameters(architecture)
    return int(FLOAT * total) + CALL_BYTES


def step_bytes(architecture: Architecture, tile_hw: tuple[int, int], samples: int) -> int:
    """Return the bytes of a float32 training step, parameters and optimiser included.

    Parameters
    ----------
    architecture : Architecture
    tile_hw : (y, x)
        Pixels of a tile as the network takes it.
    samples : int
        Tiles at once.
    """
    pixels = _restored_pixels(architecture, tile_hw)
    if architecture.encoder == "rrdb":
        floats = _dense_step(architecture) * pixels * samples
    else:
        floats = _unet_step(architecture) * pixels * samples
        index = architecture.attention_index
        if index is not None:  # weights, and on the way back their gradients
            floats += (samples + 2) * (pixels * _share(architecture, index)) ** 2
    total = STEP_WORKSPACE * floats + COPIES_IN_TRAINING * num_parameters(architecture)
    return int(FLOAT * total) + STEP_BYTES


def num_parameters(architecture: Architecture) -> int:
    """Return how many parameters a network has."""
    if architecture.encoder == "rrdb":
        return _dense_parameters(architecture)
    blocks = architecture.up_blocks
    bottom, top, merged = blocks[0].up, blocks[-1].out, architecture.merged
    inner = merged // 2 if architecture.bottle else merged
    total = _encoder_parameters(architecture) + 2 * bottom
    total += _normed(bottom, 2 * bottom, 3) + _normed(2 * bottom, bottom, 3)
    for index, block in enumerate(blocks):
        total += _normed(block.up, 4 * (block.up // 2), 1) + 2 * block.skip
        total += _normed(block.joined, block.out, 3) + _normed(block.out, block.out, 3)
        if index == architecture.attention_index:
            total += 1 + block.out * (block.out + 2 * (block.out // 8))
    total += _normed(top, 4 * top, 1)
    total += _normed(merged, inner, 3) + _normed(inner, merged, 3)
    return total + _normed(merged, architecture.out_channels, 1)


def _restored_pixels(architecture: Architecture, tile_hw: tuple[int, int]) -> int:
    return math.prod(tile_hw) * (SCALE**2 if architecture.upsamples else 1)


def _share(architecture: Architecture, index: int) -> float:
    """Return for how many of the pixels a block on the way up has one."""
    return 0.25 ** (len(architecture.up_blocks) - index)


def _unet_call(
    architecture: Architecture, pixels: int, batch: int, *, unfolds: bool
) -> Iterator[float]:
    """Yield what is held at the moments that may be the most, in floats."""
    blocks, all_pixels = architecture.up_blocks, pixels * batch
    for index, block in enumerate(blocks):
        share = _share(architecture, index)
        skips = sum(
            each.skip * _share(architecture, number)
            for number, each in enumerate(blocks)
            if number >= index
        )
        held = architecture.in_channels + skips + block.up * share / 4
        doubling = share * (2 * (block.up // 2) + block.joined)
        yield (held + doubling) * all_pixels
        for before, after in ((block.joined, block.out), (block.out, block.out)):
            unfolded = 9 * before * share * pixels if unfolds and before > CUDNN_UP_TO else 0
            yield (held + share * (before + after)) * all_pixels + unfolded
        if index == architecture.attention_index:
            own = share * pixels
            limit = ATTENTION_BYTES / FLOAT
            weights = 2 * max(own, min(batch * own**2, limit))
            yield (held + 3.25 * share * block.out) * all_pixels + weights
    top, merged = blocks[-1].out, architecture.merged
    inner = merged // 2 if architecture.bottle else merged
    held = architecture.in_channels
    yield (held + 2.25 * top + merged) * all_pixels
    yield (held + 2 * merged + inner) * all_pixels


def _unet_step(architecture: Architecture) -> float:
    """Return what is kept for the gradients, and the most that these take beside it."""
    blocks = architecture.up_blocks
    top, merged = blocks[-1].out, architecture.merged
    inner = merged // 2 if architecture.bottle else merged
    kept = architecture.in_channels + _encoder_step(architecture)
    for index, block in enumerate(blocks):
        kept += _share(architecture, index) * _up_step(block)
        if index == architecture.attention_index:
            kept += _share(architecture, index) * 4 * block.out
    kept += 3 * top + 3 * merged + inner
    return kept + 2 * merged


def _up_step(block: UpBlock) -> float:
    return 3 * (block.up // 2) + block.joined + 2 * block.out


def _encoder_step(architecture: Architecture) -> float:
    stem = architecture.stem
    share, before = 1 / 16, stem[-1]
    # The pooling keeps the places of the maxima, in whole numbers of twice the size.
    kept = (sum(stem) if len(stem) > 1 else 3 * before) / 4 + 3 * before * share
    for stage, (width, count) in enumerate(
        zip(architecture.widths, architecture.counts, strict=True)
    ):
        finer, share = share, share / 4 if stage else share
        out = width * architecture.expansion
        if architecture.encoder == "resnet":
            kept += share * out * (4 * count + 1)
        else:
            deeper = width if architecture.expansion > 1 else 0
            kept += finer * width + share * (count - 1) * width
            kept += share * (count * (deeper + out) + before)
        before = out
    return kept


def _dense_call(architecture: Architecture) -> float:
    filters, growth = architecture.filters, architecture.growth
    blocks = 3 * filters + 2 * (filters + (DENSE_CONVS - 1) * growth)
    return max(blocks / SCALE**2, architecture.in_channels / SCALE**2 + 2.25 * filters)


def _dense_step(architecture: Architecture) -> float:
    filters, growth = architecture.filters, architecture.growth
    joined = sum(filters + index * growth for index in range(1, DENSE_CONVS))
    blocks = 3 * architecture.blocks * (joined + (DENSE_CONVS - 1) * growth + filters)
    doublings = 3 * filters * (1 + 1 / 4) + filters / 4
    return (blocks + 3 * filters) / SCALE**2 + doublings + 4 * filters


def _dense_parameters(architecture: Architecture) -> int:
    filters, growth = architecture.filters, architecture.growth
    block = sum(
        _normed(filters + index * growth, growth if index < DENSE_CONVS - 1 else filters, 3)
        for index in range(DENSE_CONVS)
    )
    total = _normed(architecture.in_channels, filters, 3) + 3 * architecture.blocks * block
    total += 9 * filters**2 + 2 * filters
    total += 2 * _normed(filters, 4 * filters, 1) + _normed(filters, filters, 3)
    return total + _normed(filters, architecture.out_channels, 3)


def _encoder_parameters(architecture: Architecture) -> int:
    before, total = architecture.stem[-1], 0
    plain = architecture.encoder == "resnet"
    if plain:
        total += _batch_normed(architecture.in_channels, before, 7)
    else:
        channels = (architecture.in_channels, *architecture.stem)
        total += sum(_bare(i, o, 3) for i, o in itertools.pairwise(channels))
    for stage, (width, count) in enumerate(
        zip(architecture.widths, architecture.counts, strict=True)
    ):
        out = width * architecture.expansion
        for index in range(count):
            strided = stage > 0 and index == 0
            if plain:
                total += _batch_normed(before, width, 3) + _batch_normed(width, width, 3)
                if strided or before != out:
                    total += _batch_normed(before, out, 1)
            else:
                total += _bare(before, width, 1) + _bare(width, width, 3)
                total += _bare(width, out, 1) if architecture.expansion > 1 else 0
                total += _bare(before, out, 1) if before != out else 0
            before = out
    return total


def _normed(channels_in: int, channels_out: int, kernel: int) -> int:
    return _bare(channels_in, channels_out, kernel) + channels_out


def _bare(channels_in: int, channels_out: int, kernel: int) -> int:
    return channels_out * (channels_in * kernel**2 + 1)


def _batch_normed(channels_in: int, channels_out: int, kernel: int) -> int:
    return channels_out * (channels_in * kernel**2 + 2)
