"""How many tiles a call of the network should take: found by trial."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

from vemctl.events import ignore
from vemctl.nn.device import free_memory
from vemctl.plugin import Restorer
from vemctl.prediction.calls import LONG_CALL, Caller, Job
from vemctl.prediction.shortage import empty_cache
from vemctl.prediction.sinks import Nowhere

MOST = 64
GAIN = 1.05
"""By which tiles per second must rise for more of them at once: more memory, longer calls."""
MARGIN = 0.1
"""Of the memory, which stays free: calls do not all take the same."""
CALLS = 3
"""That are timed, after one to warm up."""


def largest_batch(
    restorer: Restorer,
    device: str,
    precision: str,
    jobs: Sequence[Job],
    *,
    most: int = MOST,
    spare: int = 0,
) -> int:
    """Return as many tiles per call as fit and help, by calls that are made and timed.

    Powers of two are tried until memory runs out or tiles per second rise no more; where it was
    the memory, what lies between is tried as well.

    Parameters
    ----------
    restorer : Restorer
    device : str
        A torch device.
    precision : {"fp32", "bf16", "fp16"}
    jobs : sequence of Job
        One tile at least, alike in shape; they are used again and again.
    most : int
    spare : int
        Bytes of the device that are to stay free for blocks.

    Returns
    -------
    int
        1 for a restorer that batches its network's calls itself. Which it is may differ from time
        to time, and on it the last bits of results may depend: keep it with them.

    Raises
    ------
    DeviceError
        Not even one tile fits.
    """
    if not restorer.footprint.batched:
        return 1
    best, fastest = 1, _tiles_per_second(restorer, device, precision, jobs, 1, 0)
    assert fastest is not None, "one tile fits, or an error says what would"
    size, beyond = 2, 0
    while size <= most:
        rate = _tiles_per_second(restorer, device, precision, jobs, size, spare)
        if rate is None:
            beyond = size
            break
        if rate < GAIN * fastest:
            break
        best, fastest, size = size, rate, 2 * size
    while beyond - best > max(1, best // 4):
        size = (best + beyond) // 2
        rate = _tiles_per_second(restorer, device, precision, jobs, size, spare)
        if rate is None:
            beyond = size
        elif rate > fastest:
            best, fastest = size, rate
        else:
            break
    return best


def _tiles_per_second(
    restorer: Restorer, device: str, precision: str, jobs: Sequence[Job], size: int, spare: int
) -> float | None:
    """Return how fast calls of `size` tiles are; None where they do not fit, unless it is one."""
    if size > 1 and not _may_fit(restorer, device, jobs, size):
        return None
    empty_cache(device)
    caller = Caller(restorer, device, precision, size, ignore)
    taken = 0.0
    for calls in (1, CALLS):
        tiles = itertools.islice(itertools.cycle(jobs), calls * size)
        began = time.perf_counter()
        for _ in caller.run(tiles, Nowhere(device)):
            if caller.batch < size:
                return None
        taken = (time.perf_counter() - began) / calls
        if taken > LONG_CALL:  # warming up cannot have mattered
            break
    if size > 1 and not _leaves_enough(device, spare):
        return None
    return size / taken


def _may_fit(restorer: Restorer, device: str, jobs: Sequence[Job], size: int) -> bool:
    """Tell whether it may be tried: a CPU without memory ends processes instead of refusing it."""
    if device.startswith("cuda"):
        return True
    z, y, x = jobs[0][3][0].shape
    return restorer.memory((z, y, x), size) <= (1 - MARGIN) * free_memory(device)


def _leaves_enough(device: str, spare: int) -> bool:
    """Tell whether a device has some memory left, with what torch has taken at most for calls."""
    if not device.startswith("cuda"):
        return True
    import torch

    free, total = torch.cuda.mem_get_info(device)
    return bool(free >= MARGIN * total + spare)
