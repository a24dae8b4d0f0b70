"""A device that does everything as late as it may, for tests of who asks for what and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from vemctl.nn.streams import Arrived, Fetch, Lanes

DEVICE = "cuda:0"
GARBAGE = 77


class LateLanes(Lanes):
    """Copies arrive when somebody waits for them; what comes from may not have changed till then.

    Attributes
    ----------
    late : list of callable
        What is still to be done, in its order.
    """

    def __init__(self, device: str = DEVICE, depth: int = 3) -> None:
        super().__init__(device)
        self.depth = depth
        self.late: list[Callable[[], None]] = []
        self.marks = self.passed = 0

    def beside(self, host: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(host)

    def upload(self, host: torch.Tensor, there: torch.Tensor) -> None:
        there.copy_(host)
        sent = host.clone()

        def check() -> None:
            assert torch.equal(host, sent), "changed before it was sent"

        self.late.append(check)

    def download(self, values: torch.Tensor, host: torch.Tensor) -> None:
        sent = values.clone()
        host.fill_(GARBAGE)
        self.late.append(lambda: host.copy_(sent))

    def fetch(self, values: torch.Tensor) -> Fetch:
        return Arrived(values)

    def mark(self) -> LateMoment:
        self.marks += 1
        moment = LateMoment(self, self.marks)
        self.late.append(lambda: setattr(self, "passed", moment.number))
        return moment


@dataclass
class LateMoment:
    """It passes when somebody waits for it or for a later one."""

    lanes: LateLanes
    number: int

    def wait(self) -> None:
        while self.lanes.passed < self.number:
            self.lanes.late.pop(0)()

    def seconds_since(self, earlier: LateMoment) -> float:
        assert earlier.number <= self.number <= self.lanes.passed
        return float(self.number - earlier.number)
