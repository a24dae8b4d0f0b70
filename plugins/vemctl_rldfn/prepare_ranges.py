"""What is known of stacks before they are written: the mirror, and what is stretched."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from vemctl_rldfn.prepare_search import Mirror
from vemctl_rldfn.prepare_stacks import Extent
from vemctl_rldfn.splitting import Split, limits


@dataclass(frozen=True)
class Measured:
    """What is known of a stack before it is written.

    Attributes
    ----------
    mirror : Mirror
    split : Split
    extent : Extent
    doubts : list of str
    """

    mirror: Mirror
    split: Split
    extent: Extent
    doubts: list[str]


@dataclass
class Ranges:
    """What is stretched: of the stack, and of each view.

    Attributes
    ----------
    stack : (low, high)
    views : list of (low, high)
    """

    stack: tuple[float, float] = (math.inf, -math.inf)
    views: list[tuple[float, float]] = field(default_factory=lambda: [(math.inf, -math.inf)] * 2)

    def add(self, measured: Measured) -> None:
        """Widen them by what a stack has; one that is constant has nothing."""
        extent, split = measured.extent, measured.split
        if extent.is_constant:
            return
        everything = range(len(extent.lows))
        self.stack = _wider(self.stack, limits(extent.lows, extent.highs, everything))
        for view, planes in enumerate((split.direct, split.reflected)):
            found = limits(extent.lows, extent.highs, planes)
            self.views[view] = _wider(self.views[view], found)


def _wider(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return min(one[0], float(other[0])), max(one[1], float(other[1]))
