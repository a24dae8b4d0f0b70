"""From weights and options to a restorer: network, point spread functions, geometry."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vemctl.errors import OptionError
from vemctl.plugin import Footprint, Output, Request, Triple, by_series
from vemctl.tiles.grid import tile_grid
from vemctl_rldfn.optics import choose_optics
from vemctl_rldfn.predict_options import ITERATIONS, PredictOptions, check_options

if TYPE_CHECKING:
    from vemctl_rldfn.restorer import RldfnRestorer, Scaling

Kind = Literal["volume", "tile", "none"]
Values = Literal["input", "unit"]
MARGIN, ORIGINAL_MARGIN = 32, 8
"""Beside a tile: what the network and the point spread functions see, and as published."""
END_MARGIN = 8
"""Beyond the first and the last plane where z is not cut, for blurs are circular."""
MULTIPLE = 4
"""Of which the network wants tiles to be."""
MOST_PLANES = 208
"""Of a tile that is not cut along z, margins included."""
THICK: Triple = (192, 256, 256)
"""A tile of stacks that are cut along z."""
MOST_VOXELS = 320 * 320 * 128
LEAST_SIDE, MOST_SIDE, SIDE_STEP = 192, 320, 32
ORIGINAL_PATCH: Triple = (108, 256, 256)


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

    check_options(options)
    loaded = None if weights is None else read_networks(weights)
    optics = choose_optics(
        options,
        request.files,
        loaded.tensors if loaded else {},
        loaded.facts if loaded else {},
        request.inputs,
        request.warn,
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
        if not plain:
            patch, margin = _published_patch(options, request)
            by_tile = scaling.kind == "tile"
            tiling = PublishedTiling(solver, patch, margin, own_maximum=by_tile)
            solver, tile = tiling, tiling.tile
            scaling = dataclasses.replace(scaling, kind="none") if by_tile else scaling
    else:
        footprint = _footprint(options, request)
        tile = tile_grid(request.inputs[0].shape, footprint).tile_shape
    optics.warn_of_cuts(tile, request.warn)
    return RldfnRestorer(
        solver,
        OrientationCheck(optics.psf_a, optics.psf_b) if options.check_orientation else None,
        scaling,
        footprint,
        Output(
            dtype="float32" if request.as_original else None,
            usual_dtype="float32",
            unit_range=scaling.values == "unit",
        ),
        request.warn,
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


def _footprint(options: PredictOptions, request: Request) -> Footprint:
    """Return the geometry: all planes where they fit, and the margins beside."""
    margin = MARGIN if options.margin is None else options.margin
    depth = request.inputs[0].shape[0]
    wishes = request.tiling
    tile = wishes.tile or _usual_tile(depth)
    if min(tile[1:]) <= 2 * margin:
        raise OptionError(
            f"--tile {','.join(map(str, tile))}: nothing of it is left between margins of {margin} "
            f"voxels; expected more than {2 * margin} along y and x, or a smaller --margin"
        )
    # Where z is not cut the blur needs but a gap between the last plane and the first.
    spare = (tile[0] - depth) // 2
    along_z = min(spare, END_MARGIN) if spare >= 0 else margin
    return wishes.applied_to(
        Footprint(
            tile=tile,
            halo=(along_z, margin, margin),
            multiple_of=(MULTIPLE, MULTIPLE, MULTIPLE),
            padding="edge",  # mirror images would be blurred the other way round
        )
    )


def _usual_tile(depth: int) -> Triple:
    """Return a tile of about `MOST_VOXELS`, with all planes if there are not too many."""
    planes = -(-(depth + 2 * END_MARGIN) // MULTIPLE) * MULTIPLE
    if planes > MOST_PLANES:
        return THICK
    side = math.isqrt(MOST_VOXELS // planes) // SIDE_STEP * SIDE_STEP
    side = max(LEAST_SIDE, min(side, MOST_SIDE))
    return planes, side, side


def _published_patch(options: PredictOptions, request: Request) -> tuple[Triple, int]:
    """Return the published program's tile without margins, and the margin.

    Raises
    ------
    OptionError
        The network cannot take it, or what else the user wants of the tiling has no effect.
    """
    wishes = request.tiling
    if wishes.overlap is not None or wishes.window is not None:
        flag = "--overlap" if wishes.overlap is not None else "--blend"
        raise OptionError(f"{flag}: the published program's tiles do not overlap; leave it out")
    patch = wishes.tile or ORIGINAL_PATCH
    margin = ORIGINAL_MARGIN if options.margin is None else options.margin
    if any(n < MULTIPLE or n % MULTIPLE for n in patch):
        raise OptionError(
            f"--tile {','.join(map(str, patch))}: expected multiples of {MULTIPLE}, for with "
            f"--as-original it is the published program's patch, without margins"
        )
    _, height, width = request.inputs[0].shape
    if height < patch[1] or width < patch[2]:
        raise OptionError(
            f"--tile {','.join(map(str, patch))}: the views have planes of {height} x {width}, of "
            f"which the published program makes nothing; expected a smaller --tile, or leave out "
            f"--as-original"
        )
    return patch, margin
