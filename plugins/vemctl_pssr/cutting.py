"""How planes are cut: as asked, as trained, or as published. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vemctl.errors import OptionError
from vemctl.plugin import Request, Triple
from vemctl_pssr.architecture import SCALE
from vemctl_pssr.checkpoints import Checkpoint
from vemctl_pssr.method import PredictOptions
from vemctl_pssr.published_tiling import SMALLEST, published_overlap

SIZE = 512
"""Edge of tiles where the weights do not tell, in enlarged pixels."""
EVEN_OVERLAP = 32
"""Input pixels; see the specification, 3.5."""


@dataclass(frozen=True)
class Geometry:
    """How planes are cut.

    Attributes
    ----------
    resample : {"original", "direct"}
    tiling : {"original", "even"}
    tile, overlap : (z, y, x)
        Input pixels.
    published_overlap : int
        Enlarged pixels, of the published tiling.
    """

    resample: Literal["original", "direct"]
    tiling: Literal["original", "even"]
    tile: Triple
    overlap: Triple
    published_overlap: int


def choose_geometry(options: PredictOptions, request: Request, found: Checkpoint) -> Geometry:
    """Return how planes are cut: as asked, as trained, or as published.

    Raises
    ------
    OptionError
        Options contradict each other or the network.
    """
    own = found.is_own and not request.as_original
    resample = options.resample or (
        "direct" if own and options.tiling != "original" else "original"
    )
    tiling = options.tiling or ("even" if resample == "direct" else "original")
    edge = (found.size or SIZE) // SCALE
    tile = request.tiling.tile or (1, edge, edge)
    text = ",".join(map(str, tile))
    if tile[0] not in {1, found.architecture.frames}:
        raise OptionError(f"--tile {text}: planes are enlarged one by one; expected 1 along z")
    if tile[1] != tile[2] and resample == "original":
        raise OptionError(
            f"--tile {text}: expected as many pixels along y as along x, or --resample direct"
        )
    if min(tile[1:]) * SCALE < SMALLEST:
        raise OptionError(f"--tile {text}: expected at least {SMALLEST // SCALE} along y and x")
    wished = request.tiling.overlap
    shared = tuple(min(EVEN_OVERLAP, n // 2) for n in tile[1:])
    if tiling == "original":
        if request.tiling.window is not None:
            raise OptionError("--blend belongs to --tiling even; give that too, or leave it out")
        if wished is not None and (wished[1] != wished[2] or not 2 * wished[1] < tile[1]):
            raise OptionError(
                f"--overlap {','.join(map(str, wished))}: expected as much along y as along x, and "
                f"less than half the tile"
            )
    return Geometry(
        resample,
        tiling,
        (1, tile[1], tile[2]),
        wished or (0, shared[0], shared[1]),
        published_overlap(SCALE * tile[2]) if wished is None else SCALE * wished[2],
    )
