"""Which oblique sections discriminators see at a step. Imports no torch.

A plan depends on the seed and the step alone, offsets on what their sample drew: neither the number
of devices nor an interruption changes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vemctl.plugin import Triple
from vemctl_rldfn.section_plans import (
    PUBLISHED_HEIGHT,
    PUBLISHED_WIDTH,
    SectionPlan,
    StepOffsets,
    draw_step,
    fitted_plan,
    largest_section,
    published_plan,
)

PLANS = 0x5EC7
"""In the seeds of plans."""


@dataclass(frozen=True)
class SectionSchedule:
    """Draws plans of sections, a new one every so many steps, and offsets for every sample.

    Attributes
    ----------
    kind : {"fitted", "original"}
    patch : (z, y, x)
    tilt : float
        In degrees.
    every : int
        Steps with one plan. As published, the first plan is for the first step alone.
    seed : int
    y_offset : bool
        Whether sections lie anywhere along y.
    """

    kind: Literal["fitted", "original"]
    patch: Triple
    tilt: float
    every: int
    seed: int
    y_offset: bool = False

    def plan(self, step: int) -> SectionPlan:
        """Return the plan of a step, counted from 0."""
        number = -(-step // self.every)
        rng = np.random.default_rng([self.seed, number, PLANS])
        if self.kind == "original":
            return published_plan(self.patch, rng, first=number == 0, tilt=self.tilt)
        return fitted_plan(self.patch, self.tilt, rng)

    def offsets(self, plan: SectionPlan, seeds: Sequence[int]) -> StepOffsets:
        """Return the offsets of all sections of a step, for samples that drew these seeds."""
        drawn = [
            draw_step(plan, self.patch, 1, np.random.default_rng(seed), y=self.y_offset)
            for seed in seeds
        ]
        generator, discriminators = (
            tuple(tuple(item[0] for item in items) for items in zip(*parts, strict=True))
            for parts in zip(*drawn, strict=True)
        )
        return StepOffsets(generator, discriminators)

    @property
    def largest(self) -> tuple[int, int]:
        """Height and width of the largest sections of all steps."""
        if self.kind == "fitted":
            return largest_section(self.patch, self.tilt)
        first = self.plan(0)
        return max(PUBLISHED_HEIGHT, first.height), max(PUBLISHED_WIDTH, first.width)
