"""Which tiles views are cut into. Imports no torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from vemctl.errors import OptionError
from vemctl.plugin import Footprint, Request, Triple
from vemctl_rldfn.predict_options import PredictOptions

MARGIN, ORIGINAL_MARGIN = 32, 8
"""Beside a tile: what the network and the point spread functions see, and as published."""
END_MARGIN = 8
"""Beyond either end of an axis that is not cut, for blurs are circular."""
MULTIPLE = 4
"""Of which the network wants tiles to be."""
MOST_PLANES = 208
"""Of a tile that is not cut along z, margins included."""
THICK: Triple = (192, 256, 256)
"""A tile of stacks that are cut along z."""
MOST_VOXELS = 320 * 320 * 128
LEAST_SIDE, MOST_SIDE, SIDE_STEP = 192, 320, 32
ORIGINAL_PATCH: Triple = (108, 256, 256)


def footprint_of(options: PredictOptions, request: Request) -> Footprint:
    """Return the geometry: whole axes where they fit into a tile, and margins where they are cut.

    It depends on the shape of the views and on the user's wishes, never on the machine.

    Raises
    ------
    OptionError
        Margins leave nothing of a tile.
    """
    margin = MARGIN if options.margin is None else options.margin
    shape, wishes = request.inputs[0].shape, request.tiling
    sides, halo = [], []
    for name, size, side in zip("zyx", shape, wishes.tile or _usual_tile(shape[0]), strict=True):
        is_whole = side >= size
        sides.append(max(side, _upwards(size + 2 * END_MARGIN)) if is_whole else side)
        halo.append(END_MARGIN if is_whole else margin)
        if side <= 2 * halo[-1] and not is_whole:
            raise OptionError(
                f"--tile {_text(wishes.tile or sides)}: nothing is left of {side} voxels along "
                f"{name} between margins of {margin}; expected more than {2 * margin}, or a "
                f"smaller --margin"
            )
    aligned = dataclasses.replace(wishes, tile=(sides[0], sides[1], sides[2]))
    return aligned.applied_to(
        Footprint(
            tile=(sides[0], sides[1], sides[2]),
            halo=(halo[0], halo[1], halo[2]),
            multiple_of=(MULTIPLE, MULTIPLE, MULTIPLE),
            aligned=(MULTIPLE, MULTIPLE, MULTIPLE),
            padding="edge",  # mirror images would be blurred the other way round
        )
    )


def published_patch(options: PredictOptions, request: Request) -> tuple[Triple, int]:
    """Return the published program's tile without margins, and the margin.

    Raises
    ------
    OptionError
        The network cannot take it, or what else the user wants of the tiling has no effect.
    """
    _refuse_blending(request)
    patch = request.tiling.tile or ORIGINAL_PATCH
    margin = ORIGINAL_MARGIN if options.margin is None else options.margin
    if any(n < MULTIPLE or n % MULTIPLE for n in patch):
        raise OptionError(
            f"--tile {_text(patch)}: expected multiples of {MULTIPLE}, for with "
            f"--as-original it is the published program's patch, without margins"
        )
    _, height, width = request.inputs[0].shape
    if height < patch[1] or width < patch[2]:
        raise OptionError(
            f"--tile {_text(patch)}: the views have planes of {height} x {width}, of "
            f"which the published program makes nothing; expected a smaller --tile, or leave out "
            f"--as-original"
        )
    return patch, margin


def refuse_tiling(options: PredictOptions, request: Request) -> None:
    """Refuse what has no effect where the views are not cut.

    Raises
    ------
    OptionError
        The user wants something of the tiling.
    """
    _refuse_blending(request)
    for flag, wish in (("--tile", request.tiling.tile), ("--margin", options.margin)):
        if wish is not None:
            raise OptionError(
                f"{flag}: with --mode rl the published program takes whole views; leave it out"
            )


def _refuse_blending(request: Request) -> None:
    wishes = request.tiling
    if wishes.overlap is not None or wishes.window is not None:
        flag = "--overlap" if wishes.overlap is not None else "--blend"
        raise OptionError(f"{flag}: the published program's tiles do not overlap; leave it out")


def _usual_tile(depth: int) -> Triple:
    """Return a tile of about `MOST_VOXELS`, with all planes if there are not too many."""
    planes = _upwards(depth + 2 * END_MARGIN)
    if planes > MOST_PLANES:
        return THICK
    side = math.isqrt(MOST_VOXELS // planes) // SIDE_STEP * SIDE_STEP
    side = max(LEAST_SIDE, min(side, MOST_SIDE))
    return planes, side, side


def _upwards(length: int) -> int:
    """Return the next multiple that the network takes."""
    return -(-length // MULTIPLE) * MULTIPLE


def _text(sizes: Sequence[int]) -> str:
    return ",".join(map(str, sizes))
