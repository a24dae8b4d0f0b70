"""Fill one block: cut its tiles, run the network on them, join what comes back.

The block lies in the memory of the device, if that has room, until it is finished.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.errors import Interrupted
from vemctl.nn.streams import Fetch
from vemctl.prediction.calls import Caller, Job
from vemctl.prediction.plan import Plan
from vemctl.prediction.shortage import is_shortage, making_room
from vemctl.tiles.blend import Block
from vemctl.tiles.grid import Region
from vemctl.tiles.memory import sums_bytes
from vemctl.tiles.padding import cut_stored
from vemctl.tiles.tensors import as_array
from vemctl.tiles.windows import Window

Array = npt.NDArray[Any]


def tile_jobs(
    plan: Plan, block: Block | None, region: Region, sources: Sequence[Array], series: int = 0
) -> Iterator[Job]:
    """Yield the tiles of `region` in global order, cut out of what was read for it.

    They are in the type in which they were read, and may share its memory.

    Parameters
    ----------
    plan : Plan
    block : Block, optional
        Says which part of a core is wanted; None for the whole core.
    region : Region
        Output voxels.
    sources : sequence of ndarray
        Per input, the voxels of ``plan.grid.source(region)``.
    series : int
        Which of the plan's it is.
    """
    read = plan.grid.source(region)
    whole = (slice(None), slice(None), slice(None))
    for index in plan.grid.touching(region):
        place = replace(plan.grid.place(index), series=series)
        tiles = tuple(cut_stored(s, read, place, plan.footprint.padding) for s in sources)
        yield index, place, block.wanted(index) if block else whole, tiles


@dataclass(frozen=True)
class Filled:
    """A block that is computed, on its way to main memory.

    Attributes
    ----------
    fetch : Fetch
    dtype : numpy.dtype
    """

    fetch: Fetch
    dtype: np.dtype[Any]

    def wait(self) -> Array:
        """Return the stored values, (z, y, x), as soon as they are there; ask once.

        Any thread may: while it waits the next block can be filled.
        """
        return as_array(self.fetch.wait(), self.dtype)


def fill(
    plan: Plan,
    caller: Caller,
    window: Window,
    series: int,
    region: Region,
    sources: Sequence[Array],
    *,
    advanced: Callable[[int], None],
    stop: threading.Event,
) -> Filled:
    """Compute a block, of which all tiles are done; only its way to main memory may take longer.

    Parameters
    ----------
    plan : Plan
    caller : Caller
    window : Window
        The weights of the plan's grid, shared by the blocks of a run.
    series : int
        Which of the plan's.
    region : Region
        Output voxels of the block.
    sources : sequence of ndarray
        Per input, the voxels of ``plan.grid.source(region)``.
    advanced : callable
        Told how many tiles more are done, as they are.
    stop : threading.Event

    Raises
    ------
    Interrupted
        `stop` was set; ends as soon as a network call returns.
    DeviceError
        Not even one tile fits the device.
    VemctlError
        The network returned values that are not finite.
    """
    dtype = np.dtype(np.float32) if plan.output.stretch else plan.layout.dtype
    block = _empty_block(plan, caller, window, region, dtype)
    for tiles in caller.run(tile_jobs(plan, block, region, sources, series), block):
        advanced(tiles)
        if stop.is_set():
            raise Interrupted("stopped")
    return Filled(caller.fetch(making_room(block, block.finish)), dtype)


def _empty_block(
    plan: Plan, caller: Caller, window: Window, region: Region, dtype: np.dtype[Any]
) -> Block:
    """Return a block in the memory of the device, or in main memory where it does not fit."""
    z, y, x = (part.stop - part.start for part in region)
    # The block before may still be on its way to main memory.
    stored = 2 * z * y * x * dtype.itemsize
    device = caller.home(stored + sums_bytes(plan.grid, (z, y, x)) + plan.network_bytes)
    make = partial(Block, region, plan.grid, plan.footprint, window, dtype, plan.output)
    try:
        return make(device)
    except RuntimeError as error:  # such as torch.OutOfMemoryError
        if device == "cpu" or not is_shortage(error):
            raise
    caller.withdraw()
    return make("cpu")
