"""The geometry of calls, for both ways of tiling. Imports no torch."""

from __future__ import annotations

from fractions import Fraction

from vemctl.plugin import Footprint, Triple
from vemctl_pssr.architecture import SCALE
from vemctl_pssr.published_tiling import macro_core, macro_halo

MACRO_PIXELS = 2048
"""Edge of what is made in one call under the published tiling, about, in enlarged pixels."""
MARGIN = 1
"""Input pixels beside a tile that enlarging it may look at."""
SCALES = (Fraction(1), Fraction(SCALE), Fraction(SCALE))


def even_footprint(frames: int, tile: Triple, overlap: Triple) -> Footprint:
    """Return the geometry of `vemctl_pssr.restorer.EvenTiles` for tiles of (1, y, x) input pixels.

    Parameters
    ----------
    frames : int
        Slices that a call sees; 1 where they are time points.
    tile, overlap : (z, y, x)
        Input pixels.
    """
    return Footprint(
        tile=(frames, tile[1] + 2 * MARGIN, tile[2] + 2 * MARGIN),
        overlap=(0, *overlap[1:]),
        halo=(frames // 2, MARGIN, MARGIN),
        scale=SCALES,
        window="linear",
        padding="reflect",
        fit=False,
    )


def published_footprint(frames: int, size: int, overlap: int, *, lost: int) -> Footprint:
    """Return the geometry of `vemctl_pssr.restorer.PublishedTiles`.

    Parameters
    ----------
    frames : int
        Slices that a call sees; 1 where they are time points.
    size, overlap : int
        Of tiles, in enlarged pixels.
    lost : int
        Slices at each end that get no result.
    """
    core = macro_core(size, overlap, SCALE, MACRO_PIXELS)
    halo = macro_halo(size, SCALE)
    return Footprint(
        tile=(frames, core + 2 * halo, core + 2 * halo),
        halo=(frames // 2, halo, halo),
        lost=(lost, 0, 0),
        scale=SCALES,
        padding="clip",
        batched=False,
    )
