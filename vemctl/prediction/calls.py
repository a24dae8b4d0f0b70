"""Run a restorer on batches of tiles: to the device, through the network, and back."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vemctl.errors import DeviceError, VemctlError
from vemctl.events import Listener, Noted
from vemctl.nn.device import be_exact, free_memory
from vemctl.plugin import Footprint, Place, Restorer, Triple
from vemctl.tiles.grid import Region

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float32]
Job = tuple[Triple, Place, Region, tuple[Floats, ...]]
"""Index of a tile, its place, the part of its core that is wanted, and one array per input."""
AUTOCAST = {"bf16": "bfloat16", "fp16": "float16"}
SMALLEST_TILE = 32
WARM = 2
"""Calls after which a time can be believed."""
LONG_CALL = 5.0
"""Seconds of a call, against which what is done once does not count."""


class Caller:
    """Calls a restorer on batches of one fixed size.

    A run of fewer tiles is filled up with copies of its last, so that the network always sees
    the same shape. The last bits of a tile may still depend on its place among the others: only
    with a batch of one is the result the same however the volume is cut.

    Parameters
    ----------
    restorer : Restorer
    device : str
        A torch device.
    precision : {"fp32", "bf16", "fp16"}
    batch : int
        Tiles per call; halved when the device's memory runs out.
    listen : Listener

    Attributes
    ----------
    seconds : float
        Spent in the network's own calls so far.
    calls, tiles : int
        How many there were, and on how many tiles.
    seconds_at_first : float
        What an early call took: the second, since the first one warms up, if there was one.
    """

    def __init__(
        self, restorer: Restorer, device: str, precision: str, batch: int, listen: Listener
    ) -> None:
        self._restorer = restorer
        self._device = device
        self._precision = precision
        self._listen = listen
        self.batch = batch
        self.seconds = self.seconds_at_first = 0.0
        self.calls = self.tiles = 0
        if device.startswith("cuda"):
            be_exact()

    def run(self, jobs: Iterable[Job]) -> Iterator[list[tuple[Triple, Region, Floats]]]:
        """Restore tiles, in their order; yield batches of (index, wanted, that part of the core).

        Raises
        ------
        DeviceError
            Not even one tile fits the device.
        VemctlError
            The network returned values that are not finite.
        """
        for _, same in itertools.groupby(jobs, key=lambda job: _signature(job[1])):
            waiting: list[Job] = []
            for job in same:
                waiting.append(job)
                if len(waiting) == self.batch:
                    yield from self._restore(waiting)
                    waiting = []
            if waiting:
                yield from self._restore(waiting)

    def _restore(self, jobs: list[Job]) -> Iterator[list[tuple[Triple, Region, Floats]]]:
        import torch

        while jobs:
            now = jobs[: self.batch]
            try:
                pieces = self._call(now)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _is_memory_shortage(error):
                    raise
                self._shrink(now[0], error)
                continue
            yield pieces
            jobs = jobs[len(now) :]

    def _call(self, jobs: list[Job]) -> list[tuple[Triple, Region, Floats]]:
        import torch

        filled = [*jobs, *[jobs[-1]] * (self.batch - len(jobs))]
        tiles = [
            self._send(np.stack([job[3][i] for job in filled])[:, None])
            for i in range(len(filled[0][3]))
        ]
        began = time.perf_counter()
        with torch.inference_mode(), self._autocast():
            cores = self._restorer(tiles, [job[1] for job in filled])
        wanted = [
            (index, part, cores[i, 0][part].float().cpu().numpy())
            for i, (index, _, part, _) in enumerate(jobs)
        ]
        self._note(time.perf_counter() - began, len(jobs))  # fetching waited for the device
        for index, _, piece in wanted:
            if not np.isfinite(piece).all():
                raise VemctlError(
                    f"the network returned values that are not finite for tile {index}: expected "
                    f"numbers; {self._cure()}"
                )
        return wanted

    def _note(self, seconds: float, tiles: int) -> None:
        self.seconds += seconds
        self.calls += 1
        self.tiles += tiles
        if self.calls <= WARM:
            self.seconds_at_first = seconds

    def _cure(self) -> str:
        if self._precision == "fp16":
            return "fp16 may have overflowed: use --precision bf16 or fp32"
        return "check the weights and the range of the input"

    def _send(self, tiles: Floats) -> torch.Tensor:
        import torch

        tensor = torch.from_numpy(tiles)
        if self._device.startswith("cuda"):
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor.to(self._device)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        import torch

        if self._precision == "fp32":
            return contextlib.nullcontext()
        dtype = getattr(torch, AUTOCAST[self._precision])
        return torch.autocast(self._device.partition(":")[0], dtype)

    def _shrink(self, job: Job, error: Exception) -> None:
        import torch

        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()
        if self.batch == 1:
            raise DeviceError(self._too_large(job)) from error
        self.batch //= 2
        self._listen(
            Noted(f"out of memory on {self._device}: going on with --batch {self.batch}", "warning")
        )

    def _too_large(self, job: Job) -> str:
        """Say which tile would fit: sides are halved, once at least, until it should."""
        z, y, x = failed = job[3][0].shape
        needed, free = self._restorer.memory((z, y, x), 1), free_memory(self._device)
        while (z, y, x) == failed or self._restorer.memory((z, y, x), 1) > free:
            smaller = _smaller((z, y, x), self._restorer.footprint)
            if smaller == (z, y, x):
                break
            z, y, x = smaller
        return (
            f"out of memory on {self._device}: one tile takes about {needed / 2**30:.1f} GiB, "
            f"{free / 2**30:.1f} GiB are free; use a smaller tile, such as --tile {z},{y},{x}"
        )


def _smaller(tile: Triple, footprint: Footprint) -> Triple:
    """Halve y and x or, where these are small already, z, as far as the footprint allows."""
    z, y, x = (
        half if 2 * halo < (half := math.ceil(n / 2 / multiple) * multiple) < n else n
        for n, multiple, halo in zip(tile, footprint.multiple_of, footprint.halo, strict=True)
    )
    y, x = (half if n > SMALLEST_TILE else n for half, n in ((y, tile[1]), (x, tile[2])))
    if (y, x) != tile[1:] or footprint.tile[0] is None:
        return tile[0], y, x
    return z, y, x


def _signature(place: Place) -> tuple[Triple, Triple, Triple]:
    return place.core, place.halo_low, place.halo_high


def _is_memory_shortage(error: Exception) -> bool:
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text


def seconds_per_tile(
    restorer: Restorer, device: str, precision: str, batch: int, jobs: Sequence[Job]
) -> float:
    """Return the time that a tile takes, measured on `jobs` after one call to warm up.

    Where that call was so long that warming up cannot have mattered, it is taken itself.
    """
    caller = Caller(restorer, device, precision, batch, lambda _: None)
    began = time.perf_counter()
    for _ in caller.run(jobs[:1]):
        pass
    if (seconds := time.perf_counter() - began) > LONG_CALL:
        return seconds / caller.batch
    began = time.perf_counter()
    for _ in caller.run(jobs):
        pass
    calls = math.ceil(len(jobs) / caller.batch) * caller.batch
    return (time.perf_counter() - began) / calls
