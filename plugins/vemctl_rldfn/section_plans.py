"""Where oblique sections lie: their sizes and angles, and where they begin.

Source: the published program. Random numbers are drawn from generators that callers give, in the
published order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from vemctl.errors import OptionError

if TYPE_CHECKING:
    import numpy as np

    from vemctl.plugin import Triple

VIEW_A, VIEW_B, FUSED_LIKE_A, FUSED_LIKE_B, FUSED_ACROSS = range(5)
"""The published numbers of the axes."""
GENERATOR_AXES = (FUSED_LIKE_A, FUSED_LIKE_B, FUSED_ACROSS, FUSED_ACROSS)
"""In the order of draws, judged by A, B, A, B."""
DISCRIMINATOR_AXES = (VIEW_A, FUSED_LIKE_A, VIEW_B, FUSED_LIKE_B)
"""In the order of draws, judged by A, A, B, B."""
PUBLISHED_TILT = 30.8
PUBLISHED_HEIGHT, PUBLISHED_WIDTH = 60, 120
LARGEST_DEVIATION = 30.0
SMALLEST_SIDE = 10
"""Of a section: of less, discriminators have no output."""
END = 10
"""Voxels that offsets leave free at the far end along x."""
LEAST_Z, LEAST_Y = 4, 3
"""By so much is a patch larger than its sections, at least."""
FIRST_LESS_Z, FIRST_LESS_Y = 6, 8
"""By so much is a patch larger than the published sections of the first step."""


class Offset(NamedTuple):
    """Where the section of one item of a batch begins, in voxels."""

    x: int
    z: int
    y: int = 0


class StepOffsets(NamedTuple):
    """The offsets of all sections of a step; those of a section are one per item of the batch.

    Attributes
    ----------
    generator, discriminators : tuple of tuple of Offset
        Of the axes `GENERATOR_AXES` and `DISCRIMINATOR_AXES`.
    """

    generator: tuple[tuple[Offset, ...], ...]
    discriminators: tuple[tuple[Offset, ...], ...]


@dataclass(frozen=True)
class SectionPlan:
    """The size and the angles of sections.

    Attributes
    ----------
    height, width : int
        Voxels along the slope, and along y.
    tilt : float
        Of the detection axis of either view from the z axis, in degrees, 0 to 90.
    deviation : float
        Added to the angle of the sections of a fused volume, in degrees.
    shift : float
        Along x, in voxels, 0 to 1.
    """

    height: int
    width: int
    tilt: float
    deviation: float = 0.0
    shift: float = 0.0

    def angle(self, axis: int) -> float:
        """Return the angle of a section's slope from the x axis, in radians."""
        tilt, deviation = math.radians(self.tilt), math.radians(self.deviation)
        mirrored = math.pi - tilt
        return (mirrored, tilt, tilt + deviation, mirrored + deviation, math.pi / 2)[axis]


def largest_offset(axis: int, plan: SectionPlan, patch: Triple) -> int:
    """Return the largest offset along x that is drawn.

    Raises
    ------
    ValueError
        The patch is too short along x for the sections of views.
    """
    reach = 0.0 if axis == FUSED_ACROSS else plan.height * abs(math.cos(plan.angle(axis)))
    largest = math.floor(patch[2] - reach) - END
    if axis in (VIEW_A, VIEW_B) and largest < 0:
        raise ValueError(f"sections of height {plan.height} need more than {patch[2]} along x")
    return max(largest, 0)


def draw_offsets(
    axis: int,
    plan: SectionPlan,
    patch: Triple,
    count: int,
    rng: np.random.Generator,
    *,
    y: bool = False,
) -> tuple[Offset, ...]:
    """Return random offsets for as many items.

    Parameters
    ----------
    axis : int
    plan : SectionPlan
    patch : (z, y, x)
    count : int
    rng : numpy.random.Generator
    y : bool
        Draw offsets along y, too; published ones are 0, so that nothing is seen of one end.
    """
    largest = largest_offset(axis, plan, patch)
    spare = max(patch[1] - LEAST_Y - plan.width, 0) if y else 0
    offsets = []
    for _ in range(count):
        along_x, along_z = int(rng.integers(0, largest, endpoint=True)), int(rng.integers(0, 2))
        along_y = int(rng.integers(0, spare, endpoint=True)) if y else 0
        offsets.append(Offset(along_x, along_z, along_y))
    return tuple(offsets)


def draw_step(
    plan: SectionPlan, patch: Triple, count: int, rng: np.random.Generator, *, y: bool = False
) -> StepOffsets:
    """Return random offsets of all sections of a step, drawn in the published order.

    Parameters
    ----------
    plan, patch, count, rng, y
        As of `draw_offsets`.
    """
    generator, discriminators = (
        tuple(draw_offsets(axis, plan, patch, count, rng, y=y) for axis in axes)
        for axes in (GENERATOR_AXES, DISCRIMINATOR_AXES)
    )
    return StepOffsets(generator, discriminators)


def published_plan(
    patch: Triple, rng: np.random.Generator, *, first: bool, tilt: float = PUBLISHED_TILT
) -> SectionPlan:
    """Return the published plan, of which only that of the first step heeds patch and tilt.

    Parameters
    ----------
    patch : (z, y, x)
    rng : numpy.random.Generator
    first : bool
        The plan is for the first step of all.
    tilt : float
        In degrees.
    """
    shift = float(rng.random())
    if first:
        return SectionPlan(patch[0] - FIRST_LESS_Z, patch[1] - FIRST_LESS_Y, tilt, 0.0, shift)
    deviation = float(rng.uniform(-LARGEST_DEVIATION, LARGEST_DEVIATION))
    return SectionPlan(PUBLISHED_HEIGHT, PUBLISHED_WIDTH, PUBLISHED_TILT, deviation, shift)


def fitted_plan(patch: Triple, tilt: float, rng: np.random.Generator) -> SectionPlan:
    """Return a plan that heeds patch and tilt: no section of it leaves a volume.

    Parameters
    ----------
    patch : (z, y, x)
    tilt : float
        In degrees.
    rng : numpy.random.Generator

    Raises
    ------
    OptionError
        The patch is too small.
    """
    height, width = largest_section(patch, tilt)
    shift = float(rng.random())
    limit = deviation_limit(tilt)
    return SectionPlan(height, width, tilt, float(rng.uniform(-limit, limit)), shift)


def deviation_limit(tilt: float) -> float:
    """Return the largest deviation of fitted plans in degrees, below the tilt."""
    return min(LARGEST_DEVIATION, 0.99 * tilt)


def largest_section(patch: Triple, tilt: float) -> tuple[int, int]:
    """Return the height and the width of the sections of fitted plans.

    Parameters
    ----------
    patch : (z, y, x)
    tilt : float
        In degrees.

    Raises
    ------
    OptionError
        The patch is too small.
    """
    check_patch(patch, "fitted", tilt)
    height = min(PUBLISHED_HEIGHT, patch[0] - LEAST_Z)
    while _least_x(height, tilt, deviation_limit(tilt)) > patch[2]:
        height -= 1
    return height, min(PUBLISHED_WIDTH, patch[1] - LEAST_Y)


def check_patch(patch: Triple, sections: str, tilt: float) -> None:
    """Refuse a patch that sections do not fit into.

    Parameters
    ----------
    patch : (z, y, x)
    sections : {"fitted", "original"}
    tilt : float
        In degrees.

    Raises
    ------
    OptionError
        The patch is too small.
    """
    if sections == "original":
        height, width, remedy = PUBLISHED_HEIGHT, PUBLISHED_WIDTH, ", or --sections fitted"
        first = max(patch[0], height + LEAST_Z) - FIRST_LESS_Z
        x = max(_least_x(height, PUBLISHED_TILT, LARGEST_DEVIATION), _least_x(first, tilt, 0.0))
    else:
        height, width, remedy = SMALLEST_SIDE, SMALLEST_SIDE, ""
        x = _least_x(height, tilt, deviation_limit(tilt))
    least = (height + LEAST_Z, width + LEAST_Y, x)
    if any(size < needed for size, needed in zip(patch, least, strict=True)):
        texts = [",".join(map(str, sizes)) for sizes in (patch, least)]
        raise OptionError(
            f"--patch {texts[0]}: {sections} sections at a tilt of {tilt:g} degrees "
            f"need at least {texts[1]}{remedy}"
        )


def _least_x(height: int, tilt: float, limit: float) -> int:
    """Return how long along x a patch is in which sections up to a deviation find their place."""
    of_views = END + math.ceil(height * math.cos(math.radians(tilt)))
    flattest = math.cos(math.radians(tilt - limit))
    of_fused = 3 + math.ceil((height - 1) * flattest)  # begins at up to 2, ends at size - 1
    return max(of_views, of_fused)
