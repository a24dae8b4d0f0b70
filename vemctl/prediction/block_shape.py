"""How large blocks are: few border tiles are computed twice, and all processes have work."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

from vemctl.plugin import Triple
from vemctl.tiles.grid import TileGrid
from vemctl.tiles.memory import computed_along

MOST_SIZES = 24
"""Of a block along one axis that are looked at, where it is shared out."""


def grow(grid: TileGrid, unit: Triple, shape: Triple, allowed: Callable[[Triple], bool]) -> Triple:
    """Return the largest useful block of whole units that is `allowed`.

    Step by step the axis grows on which the block's growth saves the largest share of tiles.
    """
    block = unit
    while True:
        best, best_gain = None, 0.0
        for i in range(3):
            axis, whole = grid.axes[i], math.ceil(shape[i] / unit[i]) * unit[i]
            now = computed_along(axis, block[i], owned=grid.owned)
            for size in {min(n, whole) for n in (block[i] + unit[i], 2 * block[i], whole)}:
                saved = math.log(now / computed_along(axis, size, owned=grid.owned))
                if size == block[i] or saved <= 0:
                    continue
                gain = saved / math.log(size / block[i])
                z, y, x = (size if j == i else n for j, n in enumerate(block))
                if gain > best_gain and allowed((z, y, x)):
                    best, best_gain = (z, y, x), gain
        if best is None:
            return block
        block = best


def share_out(
    grid: TileGrid,
    unit: Triple,
    shape: Triple,
    allowed: Callable[[Triple], bool],
    *,
    series: int,
    processes: int,
) -> Triple:
    """Return the block of whole units with which several processes are done first.

    Small blocks compute border tiles again, large ones let processes wait for the last. In the end
    each waits for half a block, as they never are of one speed.

    Parameters
    ----------
    grid : TileGrid
    unit, shape : (z, y, x)
        Output voxels of a unit and of the volume.
    allowed : callable
        Tells whether a block is small enough.
    series : int
        How many volumes there are, each of such blocks.
    processes : int
        That restore at once.
    """
    best, least = unit, math.inf
    sizes = [_sizes(math.ceil(n / u)) for n, u in zip(shape, unit, strict=True)]
    tiles = [
        {count: computed_along(axis, count * u, owned=grid.owned) for count in counts}
        for axis, u, counts in zip(grid.axes, unit, sizes, strict=True)
    ]
    for counts in itertools.product(*sizes):
        z, y, x = (count * u for count, u in zip(counts, unit, strict=True))
        blocks = series * math.prod(math.ceil(n / b) for n, b in zip(shape, (z, y, x), strict=True))
        computed = series * math.prod(
            known[count] for known, count in zip(tiles, counts, strict=True)
        )
        rounds = max(math.ceil(blocks / processes), blocks / processes + 0.5)
        time = computed / blocks * rounds
        if time < least and ((z, y, x) == unit or allowed((z, y, x))):
            best, least = (z, y, x), time
    return best


def _sizes(most: int) -> list[int]:
    """Return numbers of units up to `most`: those that divide an axis most evenly."""
    found = sorted({math.ceil(most / parts) for parts in range(1, most + 1)})
    if len(found) <= MOST_SIZES:
        return found
    return sorted({found[i * (len(found) - 1) // (MOST_SIZES - 1)] for i in range(MOST_SIZES)})
