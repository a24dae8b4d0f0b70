"""Run GShiftNet on tiles, as the published program does or as it should."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from vemctl.errors import OptionError
from vemctl.nn.compiling import compiled
from vemctl.nn.state_dict import read_weights
from vemctl.plugin import Footprint, Output, Place, Request, Triple, VolumeFacts, percentile
from vemctl_denoise.as_trained import options_as_trained, tile_as_trained
from vemctl_denoise.checkpoints import load_network
from vemctl_denoise.layers import AttentionBlock, Fusion, ShiftFusion
from vemctl_denoise.method import PredictOptions
from vemctl_denoise.scaling import Scaling, scaling_of

TILE = (5, 256, 256)
ORIGINAL_OVERLAP = 0.1
CYCLIC = ("z_edge", "cyclic")
"""An option that says what the original does anyway."""
REPEATED = (AttentionBlock, ShiftFusion, Fusion)
"""Of which the network consists; all of it at once takes more than ten minutes to compile."""
BYTES_PER_VOXEL = 1500
"""Activations of a float32 call per voxel of its tile; 1275 to 1375 were measured on a CPU."""


class DenoiseRestorer:
    """GShiftNet on blocks of slices.

    Parameters
    ----------
    network : callable
        GShiftNet, on its device and in evaluation mode; it may be compiled.
    footprint : Footprint
    output : Output
    scaling : Scaling
    kept : (z, y, x) of int, optional
        Output voxels beyond which the original writes nothing, so that they stay 0; 0 on any
        axis is an empty output. None keeps everything.
    """

    def __init__(
        self,
        network: Callable[[torch.Tensor], torch.Tensor],
        footprint: Footprint,
        output: Output,
        scaling: Scaling,
        kept: Triple | None,
    ) -> None:
        self.footprint = footprint
        self.output = output
        self._network = network
        self._scaling = scaling
        self._kept = kept

    def __call__(
        self,
        tiles: Sequence[torch.Tensor],
        places: Sequence[Place],  # noqa: ARG002
    ) -> torch.Tensor:
        """Restore blocks of slices, (n, 1, z, y, x) float32 in the volume's units."""
        (blocks,) = tiles
        if self._kept is not None and 0 in self._kept:
            return torch.zeros_like(blocks)
        restored: torch.Tensor = self._network(self._scaling.to_network(blocks))  # (n, 1, z, y, x)
        restored = self._scaling.from_network(restored.float())
        if self._kept is not None:
            for axis, kept in enumerate(self._kept, start=2):
                length = restored.shape[axis]
                restored.narrow(axis, min(kept, length), max(0, length - kept)).zero_()
        return restored

    def memory(self, tile: Triple, batch: int) -> int:
        """Return the bytes of activations; the parameters' 19 MB are small beside them."""
        return batch * math.prod(tile) * BYTES_PER_VOXEL


def make_restorer(weights: Path, options: PredictOptions, request: Request) -> DenoiseRestorer:
    """Load the network and settle the geometry.

    Parameters
    ----------
    weights : Path
        A checkpoint of the published program, bare or wrapped, or safetensors.
    options : PredictOptions
    request : Request

    Raises
    ------
    WeightsError
        The file belongs to another network.
    OptionError
        The options contradict each other, or the original fails on this volume.
    """
    (facts,) = request.inputs
    if request.as_original:
        _refuse_ours(options, request)
    loaded = read_weights(weights)
    told = {} if request.as_original else loaded.facts
    options = options_as_trained(options, told)
    tile = request.tiling.tile or tile_as_trained(TILE, told)
    footprint = request.tiling.applied_to(
        Footprint(tile=tile, overlap=original_overlap(tile), multiple_of=(1, 4, 4))
    )
    if request.as_original:
        kept: Triple | None = original_extent(facts.shape, tile)
        scaling, output = Scaling(0.0, 255.0), Output("truncate", dtype="uint8")
    else:
        kept, scaling = None, choose_scaling(options, facts)
        output = Output("round" if options.round else "truncate")
    network = load_network(loaded.tensors, weights, options.z_edge or "cyclic")
    network.eval().requires_grad_(requires_grad=False).to(request.device)
    call = compiled(network, wanted=request.compile, parts=REPEATED)
    return DenoiseRestorer(call, footprint, output, scaling, kept)


def original_overlap(tile: Triple) -> Triple:
    """Return the overlap of the published program: its stride is ``int(tile * (1 - 0.1))``.

    A tile of one voxel, which the original cannot have, gets a stride of one.
    """
    z, y, x = (min(n - int(n * (1 - ORIGINAL_OVERLAP)), n - 1) for n in tile)
    return z, y, x


def original_extent(shape: Triple, tile: Triple) -> Triple:
    """Return up to which voxel of each axis the published program writes.

    An axis not longer than the overlap gets no tile at all: the output is empty. One of exactly
    a tile loses what a first tile loses at its high side. Between half a tile and a tile the
    program fails (the specification, sections 6 and 12.1).

    Raises
    ------
    OptionError
        The original fails on this volume.
    """
    kept = []
    overlap = original_overlap(tile)
    if overlap[0] // 2 and shape[0] > overlap[0]:
        raise OptionError(
            f"--as-original: the original fails with blocks of {tile[0]} slices; expected at most "
            f"10 in --tile, or leave out --as-original"
        )
    for name, size, length, shared in zip("zyx", shape, tile, overlap, strict=True):
        if size <= shared:
            kept.append(0)
        elif length // 2 < size < length:
            raise OptionError(
                f"--as-original: the original fails on {size} voxels along {name} (more than half "
                f"a tile of {length}, less than one); leave out --as-original"
            )
        else:
            kept.append(size - shared // 2 if size == length else size)
    small = [n for n, length in zip(shape[1:], tile[1:], strict=True) if n < length]
    if 0 not in kept and any(size % 4 for size in small):
        raise OptionError(
            f"--as-original: the original fails on {shape[1]} x {shape[2]} pixels, expected "
            f"multiples of 4 where the volume is smaller than a tile; leave out --as-original"
        )
    z, y, x = kept
    return z, y, x


def choose_scaling(options: PredictOptions, facts: VolumeFacts) -> Scaling:
    """Return the range that becomes [0, 1]: given, measured, or that of the type."""
    low = _end("low", options.low, options.low_percentile, facts)
    high = _end("high", options.high, options.high_percentile, facts)
    return scaling_of(low, high, facts.dtype)


def _end(name: str, value: float | None, percent: float | None, facts: VolumeFacts) -> float | None:
    if value is not None and percent is not None:
        raise OptionError(f"--{name} and --{name}-percentile: expected one of them; leave one out")
    return value if percent is None else facts.statistics[percentile(percent)]


def _refuse_ours(options: PredictOptions, request: Request) -> None:
    ours = [
        f"--{name.replace('_', '-')}"
        for name, default in PredictOptions().__dict__.items()
        if getattr(options, name) != default and (name, getattr(options, name)) != CYCLIC
    ]
    if request.tiling.overlap is not None:
        ours.append("--overlap")
    if request.tiling.window not in {None, "crop"}:
        ours.append("--blend")
    if ours:
        raise OptionError(
            f"--as-original with {', '.join(ours)}: the original has no such option; leave out one "
            f"or the other"
        )
