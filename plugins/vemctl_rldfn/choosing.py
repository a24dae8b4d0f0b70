"""From weights and options to a restorer: network, point spread functions, geometry."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vemctl.errors import OptionError
from vemctl.nn.compiling import refuse_compiling
from vemctl.plugin import Footprint, Output, Request, by_series
from vemctl.tiles.grid import tile_grid
from vemctl_rldfn.geometry import footprint_of, published_patch, refuse_tiling
from vemctl_rldfn.optics import choose_optics
from vemctl_rldfn.predict_options import ITERATIONS, PredictOptions, check_options
from vemctl_rldfn.psf_options import WIDTHS

if TYPE_CHECKING:
    from vemctl_rldfn.restorer import RldfnRestorer, Scaling

Kind = Literal["volume", "tile", "none"]
Values = Literal["input", "unit"]


def make_restorer(weights: Path | None, options: PredictOptions, request: Request) -> RldfnRestorer:
    """Load the network and settle everything else.

    Raises
    ------
    WeightsError
        The file belongs to another network.
    OptionError
        The options contradict each other or the views.
    InputError
        The views do not belong together, or a file is no point spread function.
    """
    from vemctl_rldfn.checkpoints import read_networks
    from vemctl_rldfn.orientation import OrientationCheck
    from vemctl_rldfn.restorer import RldfnRestorer
    from vemctl_rldfn.solving import NetworkSolver, PlainSolver, PublishedTiling, Solver

    refuse_compiling("rldfn", wanted=request.compile)
    check_options(options)
    loaded = None if weights is None else read_networks(weights)
    optics = choose_optics(
        options,
        request.files,
        loaded.tensors if loaded else {},
        loaded.facts if loaded else {},
        request.inputs,
        request.warn,
        replacing=("tilt", *WIDTHS),
    )
    plain = options.mode == "rl"
    if plain:
        solver: Solver = PlainSolver(
            optics,
            options.iterations or ITERATIONS,
            request.device,
            normalised=request.as_original,
        )
    else:
        assert loaded is not None, "the network has weights"
        assert weights is not None, "and these are of a file"
        solver = NetworkSolver(loaded.tensors, weights, optics, request.device)
    scaling = _scaling(options, request)
    if request.as_original:
        footprint = Footprint(tile=(None, None, None), padding="zero", batched=False)
        tile = request.inputs[0].shape
        if plain:
            refuse_tiling(options, request)
        else:
            patch, margin = published_patch(options, request)
            by_tile = scaling.kind == "tile"
            tiling = PublishedTiling(solver, patch, margin, own_maximum=by_tile)
            solver, tile = tiling, tiling.tile
            scaling = dataclasses.replace(scaling, kind="none") if by_tile else scaling
    else:
        footprint = footprint_of(options, request)
        tile = tile_grid(request.inputs[0].shape, footprint).tile_shape
    optics.warn_of_cuts(tile, request.warn)
    num_checks = request.inputs[0].num_channels if options.check_orientation else 0
    return RldfnRestorer(
        solver,
        [OrientationCheck(optics.psf_a, optics.psf_b) for _ in range(num_checks)],
        scaling,
        footprint,
        Output(
            dtype="float32" if request.as_original else None,
            usual_dtype="float32",
            unit_range=scaling.values == "unit",
        ),
        request.warn,
        literal=request.as_original,
        settled={
            "psf": optics.source,
            **optics.told,
            "normalize": normalization(options, as_original=request.as_original),
        },
    )


def normalization(options: PredictOptions, *, as_original: bool) -> Kind:
    """Return what becomes 1 of each view."""
    usual: Kind = "tile" if as_original and options.mode == "network" else "volume"
    return options.normalize or usual


def uses_maxima(options: PredictOptions, *, as_original: bool) -> bool:
    """Tell whether the largest values of the views are needed."""
    kind = normalization(options, as_original=as_original)
    return kind == "volume" or (kind == "none" and not as_original)


def _scaling(options: PredictOptions, request: Request) -> Scaling:
    from vemctl_rldfn.restorer import Scaling

    as_original = request.as_original
    if as_original and options.values == "input":
        raise OptionError(
            "--values input: the published program's results are in its own units; leave it out"
        )
    maxima = None
    if uses_maxima(options, as_original=as_original):
        first, second = (each.each_series[by_series("max")] for each in request.inputs)
        maxima = (first, second)
    kind = normalization(options, as_original=as_original)
    usual: Values = "unit" if as_original else "input"
    return Scaling(kind, maxima, options.values or usual)
