"""What a device computes and the copies to and from it: side by side where it can do both.

On CUDA the network works on the current stream, and copies go on streams of their own; events keep
the order. Elsewhere the same calls do one thing after the other.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from vemctl.tiles.memory import calls_in_flight

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PIECE_BYTES = 8 * 2**20
"""What is copied back at once, into one of two pinned buffers."""


class Moment(Protocol):
    """A point in the work of a device."""

    def wait(self) -> None:
        """Wait until the device has come to it."""

    def seconds_since(self, earlier: Any) -> float:
        """Return the time between two moments, both of which have passed."""


class Fetch(Protocol):
    """Values on their way to main memory."""

    def wait(self) -> Tensor:
        """Return them as soon as they are there; any thread may ask, once."""


@dataclass(frozen=True)
class Passed:
    """A moment that has passed, by the clock."""

    at: float

    def wait(self) -> None:
        """Return at once."""

    def seconds_since(self, earlier: Passed) -> float:
        """Return the time between two moments."""
        return self.at - earlier.at


@dataclass(frozen=True)
class Arrived:
    """Values that are in main memory already."""

    values: Tensor

    def wait(self) -> Tensor:
        """Return them."""
        return self.values


class Lanes:
    """One lane: all is done when it is asked for.

    Parameters
    ----------
    device : str
        A torch device.

    Attributes
    ----------
    depth : int
        Calls of a network that are under way at once, at most.
    apart : bool
        Whether the device's memory is another than the main memory.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self.depth = calls_in_flight(device)
        self.apart = device != "cpu"

    def room(self, count: int) -> Tensor:
        """Return so many bytes of main memory, from and to which copies are quick."""
        import torch

        return torch.empty(count, dtype=torch.uint8)

    def beside(self, host: Tensor) -> Tensor:
        """Return what `upload` is to copy `host` to: the same memory, where there is one only."""
        import torch

        return torch.empty_like(host, device=self._device) if self.apart else host

    def upload(self, host: Tensor, there: Tensor) -> None:
        """Copy to the device; what is computed next finds it there.

        `host` may not be changed before a moment that is marked later has passed, nor may this be
        asked for again before what is computed of `there` is done.
        """
        if self.apart:
            there.copy_(host)

    def download(self, values: Tensor, host: Tensor) -> None:
        """Copy small results; they are there when a moment that is marked later has passed."""
        host.copy_(values)

    def fetch(self, values: Tensor) -> Fetch:
        """Begin to copy a large result; nothing may change it any more."""
        return Arrived(values.cpu())

    def mark(self) -> Moment:
        """Return the moment at which all that was asked for so far is done."""
        if self._device == "mps":
            import torch

            torch.mps.synchronize()
        return Passed(time.perf_counter())


class CudaLanes(Lanes):
    """Three lanes: copies there, work, and copies back."""

    def __init__(self, device: str) -> None:
        import torch

        super().__init__(device)
        self._up = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._down = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pieces: list[Tensor] = []
        self._fetching = threading.Lock()

    def room(self, count: int) -> Tensor:
        """Return pinned memory."""
        import torch

        return torch.empty(count, dtype=torch.uint8, pin_memory=True)

    def beside(self, host: Tensor) -> Tensor:
        """Return memory of the device for copies of `host`."""
        import torch

        there = torch.empty(host.shape, dtype=host.dtype, device=self._device)
        # Whatever had this memory before may not be done with it.
        self._up.wait_stream(self._work())
        there.record_stream(self._up)
        return there

    def upload(self, host: Tensor, there: Tensor) -> None:
        """Copy beside what is being computed."""
        import torch

        with torch.cuda.stream(self._up):
            there.copy_(host, non_blocking=True)
        self._work().wait_stream(self._up)

    def download(self, values: Tensor, host: Tensor) -> None:
        """Copy behind what is being computed."""
        host.copy_(values.contiguous(), non_blocking=True)

    def fetch(self, values: Tensor) -> Fetch:
        """Copy beside what is computed next, as soon as somebody waits for it."""
        if values.device.type == "cpu":
            return Arrived(values)
        self._down.wait_stream(self._work())
        values.record_stream(self._down)
        return _Fetch(values, self)

    def mark(self) -> Moment:
        """Note an event."""
        import torch

        # Who waits sleeps, so that other threads may have the core.
        event = torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]
        event.record(self._work())
        return _CudaMoment(event)

    def bring(self, values: Tensor) -> Tensor:
        """Copy values piece by piece through pinned buffers, for pinning all would take as much."""
        import torch

        made = torch.empty(values.shape, dtype=values.dtype)
        source, target = (t.view(-1).view(torch.uint8) for t in (values, made))
        with self._fetching, torch.cuda.stream(self._down):
            self._pieces = self._pieces or [self.room(PIECE_BYTES) for _ in range(2)]
            before: tuple[torch.cuda.Event, Tensor, Tensor] | None = None
            for number, part in enumerate(torch.split(source, PIECE_BYTES)):
                piece = self._pieces[number % 2][: len(part)]
                piece.copy_(part, non_blocking=True)
                there = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
                there.record(self._down)
                if before:
                    _store(*before)
                start = number * PIECE_BYTES
                before = there, piece, target[start : start + len(part)]
            if before:
                _store(*before)
        return made

    def _work(self) -> torch.cuda.Stream:
        import torch

        return torch.cuda.current_stream(self._device)


@dataclass(frozen=True)
class _CudaMoment:
    event: torch.cuda.Event

    def wait(self) -> None:
        self.event.synchronize()

    def seconds_since(self, earlier: _CudaMoment) -> float:
        return float(earlier.event.elapsed_time(self.event)) / 1000


@dataclass(frozen=True)
class _Fetch:
    values: Tensor
    lanes: CudaLanes

    def wait(self) -> Tensor:
        return self.lanes.bring(self.values)


def _store(there: torch.cuda.Event, piece: Tensor, target: Tensor) -> None:
    there.synchronize()
    target.copy_(piece)


def lanes_of(device: str) -> Lanes:
    """Return the lanes of a torch device."""
    return CudaLanes(device) if device.startswith("cuda") else Lanes(device)
