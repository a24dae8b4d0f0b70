"""Run a generator on tiles, as the published program does or as it should."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from vemctl.errors import OptionError
from vemctl.nn.compiling import compiled
from vemctl.plugin import Footprint, Output, Place, Request, Triple
from vemctl_exem.memory import call_bytes
from vemctl_exem.method import PredictOptions
from vemctl_exem.network import MULTIPLE_OF
from vemctl_exem.network_sets import generator_for, read
from vemctl_exem.ranges import Range, Rule, parse_rule, rule_of_training

TILE: Triple = (16, 256, 256)
ORIGINAL_RANGE = Range(0.0, 255.0)
DOMAINS = {"lm-to-em": "lm", "em-to-lm": "em"}


class ExemRestorer:
    """A generator on overlapping tiles.

    Parameters
    ----------
    network : callable
        A generator, on its device and in evaluation mode; it may be compiled.
    channels : sequence of int
        Of the generator.
    footprint : Footprint
    output : Output
    scaling : Range
    """

    def __init__(
        self,
        network: Callable[[torch.Tensor], torch.Tensor],
        channels: Sequence[int],
        footprint: Footprint,
        output: Output,
        scaling: Range,
    ) -> None:
        self.footprint = footprint
        self.output = output
        self._network = network
        self._channels = channels
        self._scaling = scaling

    def __call__(
        self,
        tiles: Sequence[torch.Tensor],
        places: Sequence[Place],  # noqa: ARG002
    ) -> torch.Tensor:
        """Translate tiles, (n, 1, z, y, x) in the volume's units to the other kind's [0, 1]."""
        return self._network(self._scaling.to_network(tiles[0])).float()

    def memory(self, tile: Triple, batch: int) -> int:
        """Return the bytes of activations and parameters."""
        return call_bytes(self._channels, tile, batch)


def make_restorer(weights: Path, options: PredictOptions, request: Request) -> ExemRestorer:
    """Load the generator and settle the geometry.

    Parameters
    ----------
    weights : Path
        A generator of the published program, or all networks of ours.
    options : PredictOptions
    request : Request

    Raises
    ------
    WeightsError
        The file belongs to another network, or lacks the direction.
    OptionError
        The options contradict each other, or the original fails on this volume.
    """
    (facts,) = request.inputs
    loaded = read(weights)
    network = generator_for(options.direction, loaded.tensors, weights)
    trained = _trained_tile(loaded.facts)
    tile = request.tiling.tile or trained or TILE
    _check_tile(tile)
    if request.as_original:
        _check_original(options, request, tile)
        scaling, output = ORIGINAL_RANGE, Output(dtype="float32", unit_range=True)
    else:
        rule = range_rule(options, loaded.facts)
        scaling, output = rule.range_of(facts), Output(unit_range=True)
        if trained is not None and tile != trained:
            request.warn(
                f"--tile {_text(tile)}: the weights were trained on patches of {_text(trained)}; "
                f"normalisations average over a tile, so that another one changes the result"
            )
    footprint = request.tiling.applied_to(
        Footprint(
            tile=tile,
            overlap=default_overlap(tile),
            multiple_of=(1, MULTIPLE_OF, MULTIPLE_OF),
            window="bump",
            bump_sigma=options.sigma,
            fit=False,
        )
    )
    ready = network.for_calls(request.device, to_compile=request.compile)
    call = compiled(ready, wanted=request.compile)
    return ExemRestorer(call, network.channels, footprint, output, scaling)


def range_rule(options: PredictOptions, facts: dict[str, object]) -> Rule:
    """Return the rule by which an input is scaled: as asked, or as in the training."""
    if options.input_range is not None:
        return parse_rule(options.input_range, "--input-range")
    return rule_of_training(facts, DOMAINS[options.direction])


def default_overlap(tile: Triple) -> Triple:
    """Return half of a tile along each axis, as the published program has it."""
    z, y, x = (length // 2 for length in tile)
    return z, y, x


def _trained_tile(facts: dict[str, object]) -> Triple | None:
    tile = facts.get("tile")
    if isinstance(tile, list) and len(tile) == 3 and all(isinstance(n, int) for n in tile):
        return tile[0], tile[1], tile[2]
    return None


def _check_tile(tile: Triple) -> None:
    if any(length % MULTIPLE_OF for length in tile[1:]):
        raise OptionError(
            f"--tile {_text(tile)}: expected multiples of {MULTIPLE_OF} along y and x"
        )


def _check_original(options: PredictOptions, request: Request, tile: Triple) -> None:
    """Refuse what the published program has not, and volumes on which it fails."""
    (facts,) = request.inputs
    ours = []
    if options.input_range is not None:
        ours.append("--input-range")
    if request.tiling.window not in {None, "bump"}:
        ours.append("--blend")
    if ours:
        raise OptionError(
            f"--as-original with {', '.join(ours)}: the original has no such option; leave out one "
            f"or the other"
        )
    if any(size < length for size, length in zip(facts.shape, tile, strict=True)):
        raise OptionError(
            f"--as-original: the original fails where the volume {_text(facts.shape)} is smaller "
            f"than the tile {_text(tile)}; leave out --as-original, or use a smaller --tile"
        )


def _text(triple: Triple) -> str:
    return ",".join(map(str, triple))
