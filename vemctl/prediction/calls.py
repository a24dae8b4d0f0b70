"""Run a restorer on batches of tiles: to the device, through the network, and to who joins them."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vemctl.errors import DeviceError, VemctlError
from vemctl.events import Listener, Noted
from vemctl.nn.device import be_exact
from vemctl.nn.streams import Fetch, Moment, lanes_of
from vemctl.plugin import Place, Restorer, Triple
from vemctl.prediction.shortage import (
    empty_cache,
    is_shortage,
    making_room,
    too_large,
    unused_memory,
)
from vemctl.prediction.sinks import Nowhere, Sink
from vemctl.prediction.slots import Slot
from vemctl.tiles.grid import Region

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[Any]
Job = tuple[Triple, Place, Region, tuple[Array, ...]]
"""Index of a tile, its place, the part of its core that is wanted, and one array per input."""
AUTOCAST = {"bf16": "bfloat16", "fp16": "float16"}
WARM = 2
"""Calls after which a time can be believed."""
LONG_CALL = 5.0
"""Seconds of a call, against which what is done once does not count."""


@dataclass(frozen=True)
class _Flight:
    """A call that is under way: what was asked of it, and when what is there."""

    jobs: list[Job]
    ends: Tensor
    """Smallest and largest value of each piece, (n, 2)."""
    cores: Tensor | None
    """The results in main memory, for a sink that is there."""
    began: Moment
    ended: Moment
    done: Moment


class Caller:
    """Calls a restorer on batches of one fixed size.

    A run of fewer tiles is filled up with copies of its last, so that the network always sees
    the same shape. The last bits of a tile may still depend on its place among the others: only
    with a batch of one is the result the same however the volume is cut.

    On CUDA a few calls are under way at once: while the network computes, the next tiles are cut
    and copied, and nothing waits for a result before the call after the next is on its way.

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
        Spent in the network's own calls so far, by the clock of the device.
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
        self._lanes = lanes_of(device)
        self._slots = deque(Slot(self._lanes, device) for _ in range(self._lanes.depth))
        self._joins_here = device.startswith("cuda")
        self.batch = batch
        self.seconds = self.seconds_at_first = 0.0
        self.calls = self.tiles = 0
        if device.startswith("cuda"):
            be_exact()

    def run(self, jobs: Iterable[Job], sink: Sink) -> Iterator[int]:
        """Restore tiles and give them to `sink`, in their order; yield how many more are done.

        Raises
        ------
        DeviceError
            Not even one tile fits the device.
        VemctlError
            The network returned values that are not finite. The sink may have some of them.
        """
        flying: deque[_Flight] = deque()
        for _, same in itertools.groupby(jobs, key=lambda job: _signature(job[1])):
            for waiting in self._batches(same):
                todo = waiting
                while todo:
                    now = todo[: self.batch]
                    if not self._launch(now, sink, flying):
                        continue  # with fewer
                    todo = todo[len(now) :]
                    if len(flying) == self._lanes.depth:
                        yield self._land(flying.popleft(), sink)
        while flying:
            yield self._land(flying.popleft(), sink)

    def home(self, needed: int) -> str:
        """Return the device that is to hold a block: the network's own, or "cpu".

        Parameters
        ----------
        needed : int
            Bytes of the block, and of the network beside it.
        """
        if self._joins_here and needed > unused_memory(self._device):
            self.withdraw()
        return self._device if self._joins_here else "cpu"

    def withdraw(self) -> None:
        """Join blocks in main memory from now on."""
        if self._joins_here:
            self._joins_here = False
            text = f"blocks do not fit {self._device} beside the network: joined in main memory"
            self._listen(Noted(text))

    def fetch(self, values: Tensor) -> Fetch:
        """Begin to copy a block to main memory, beside the calls that follow."""
        return self._lanes.fetch(values)

    def _batches(self, jobs: Iterable[Job]) -> Iterator[list[Job]]:
        waiting: list[Job] = []
        for job in jobs:
            waiting.append(job)
            if len(waiting) >= self.batch:
                yield waiting
                waiting = []
        if waiting:
            yield waiting

    def _launch(self, jobs: list[Job], sink: Sink, flying: deque[_Flight]) -> bool:
        """Set a call going, unless memory runs out; less of it is needed from then on."""
        try:
            flight, cores = self._call(jobs, self._slots[0], sink)
        except RuntimeError as error:  # such as torch.OutOfMemoryError
            if not is_shortage(error):
                raise
            shortage = error.with_traceback(None)  # whose frames hold what is to be freed
        else:
            self._slots.rotate(-1)
            flying.append(flight)
            if flight.cores is None:
                self._add(jobs, cores, sink)
            return True
        self._make_room(jobs[0], sink, shortage)
        return False

    def _call(self, jobs: list[Job], slot: Slot, sink: Sink) -> tuple[_Flight, Tensor]:
        import torch

        tiles = slot.send([job[3] for job in jobs], self.batch)
        places = [job[1] for job in jobs]
        places += places[-1:] * (self.batch - len(jobs))
        began = self._lanes.mark()
        with torch.inference_mode(), self._autocast():
            cores = self._restorer(tiles, places)
        ended = self._lanes.mark()
        # Neither of them is finite where any value is not; nobody waits for them here.
        ends = [torch.stack(torch.aminmax(cores[i, 0][job[2]])) for i, job in enumerate(jobs)]
        fetched = slot.fetch("ends", torch.stack(ends).float())
        kept = slot.fetch("cores", cores.float()) if sink.device == "cpu" else None
        done = self._lanes.mark()
        slot.occupy(done)
        return _Flight(jobs, fetched, kept, began, ended, done), cores

    def _land(self, flight: _Flight, sink: Sink) -> int:
        """Wait for a call, and return how many tiles it restored."""
        flight.done.wait()
        self._note(flight.ended.seconds_since(flight.began), len(flight.jobs))
        finite = np.isfinite(flight.ends.numpy()).all(axis=1)
        if not finite.all():
            index = flight.jobs[int(finite.argmin())][0]
            raise VemctlError(
                f"the network returned values that are not finite for tile {index}: expected "
                f"numbers; {self._cure()}"
            )
        if flight.cores is not None:
            self._add(flight.jobs, flight.cores, sink)
        return len(flight.jobs)

    def _add(self, jobs: list[Job], cores: Tensor, sink: Sink) -> None:
        for i, (index, _, part, _) in enumerate(jobs):
            piece = cores[i, 0][part].float()
            here = sink.device
            making_room(sink, partial(sink.add, index, part, piece))
            if sink.device != here:
                self.withdraw()

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

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        import torch

        if self._precision == "fp32":
            return contextlib.nullcontext()
        dtype = getattr(torch, AUTOCAST[self._precision])
        return torch.autocast(self._device.partition(":")[0], dtype)

    def _make_room(self, job: Job, sink: Sink, error: BaseException) -> None:
        """Let the next call take less memory.

        Raises
        ------
        DeviceError
            There is nothing left to save.
        """
        empty_cache(self._device)
        if self.batch > 1:
            self.batch //= 2
            text = f"out of memory on {self._device}: going on with --batch {self.batch}"
            self._listen(Noted(text, "warning"))
        elif sink.device != "cpu":
            sink.move("cpu")
            self.withdraw()
        else:
            z, y, x = job[3][0].shape
            raise DeviceError(too_large(self._restorer, (z, y, x), self._device)) from error


def _signature(place: Place) -> tuple[Triple, Triple, Triple]:
    return place.core, place.halo_low, place.halo_high


def seconds_per_tile(
    restorer: Restorer,
    device: str,
    precision: str,
    batch: int,
    jobs: Sequence[Job],
    *,
    compiles: bool = False,
) -> float:
    """Return the time that a tile takes, measured on `jobs` after one call to warm up.

    Where that call was so long that warming up cannot have mattered, it is taken itself, but if the
    network compiles in it.
    """
    caller = Caller(restorer, device, precision, batch, lambda _: None)
    began = time.perf_counter()
    for _ in caller.run(jobs[:1], Nowhere(device)):
        pass
    if (seconds := time.perf_counter() - began) > LONG_CALL and not compiles:
        return seconds / caller.batch
    began = time.perf_counter()
    for _ in caller.run(jobs, Nowhere(device)):
        pass
    calls = math.ceil(len(jobs) / caller.batch) * caller.batch
    return (time.perf_counter() - began) / calls
