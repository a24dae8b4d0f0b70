"""What is told of the seams in a volume, and from when on they count as seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

AXES = "zyx"
MEASURES = ("jump", "step", "line")
SIGNIFICANT = 4.0
"""Standard errors from which on a difference is no chance. Of 40,000 comparisons in volumes without
seams, of 14 kinds of noise and structure, the largest had 3.7; their standard deviation is 0.4 to
1.1. A brightness that scatters by a fifth of the noise from tile to tile is above in 4 of 5 small
volumes (a quarter of a million voxels), half of the noise in all."""
SMALLEST = 1.05
"""Times the usual below which nothing is reported, however sure."""


@dataclass(frozen=True)
class Measure:
    """One thing that was measured where tiles meet and elsewhere.

    Attributes
    ----------
    ratio : float, optional
        Where tiles meet, over what is usual near by; None where that is 0.
    significance : float
        How many standard errors it is from usual, by the spread of the other positions; corrected
        for few of them as Student's t is. Negative if it is less.
    size : float
        In grey values: of a jump, its mean where tiles meet; of a step or line, the root mean
        square over faces after what is usual was taken off.
    worst : int
        The position along the axis at which it exceeds the usual most.
    """

    ratio: float | None
    significance: float
    size: float
    worst: int

    @property
    def found(self) -> bool:
        """Whether it is surely more than usual, and not only by a trifle."""
        return self.significance >= SIGNIFICANT and not (
            self.ratio is not None and self.ratio < SMALLEST
        )

    @property
    def lacking(self) -> bool:
        """Whether it is surely less than usual, and not only by a trifle."""
        return (
            self.significance <= -SIGNIFICANT
            and self.ratio is not None
            and self.ratio * SMALLEST <= 1
        )


@dataclass(frozen=True)
class AxisSeams:
    """The seams along one axis.

    Attributes
    ----------
    axis : {"z", "y", "x"}
    borders : int
        How many were judged.
    jump, step, line : Measure
    """

    axis: str
    borders: int
    jump: Measure
    step: Measure
    line: Measure

    @property
    def found(self) -> str | None:
        """What is seen of seams, for people; None if nothing is."""
        measures: dict[str, Measure] = {name: getattr(self, name) for name in MEASURES}
        surest = max(measures, key=lambda name: (measures[name].found, measures[name].significance))
        measure = measures[surest]
        if not measure.found:
            return None
        often = "where the volume has none" if measure.ratio is None else _times(measure.ratio)
        said = {"jump": "jumps", "step": "steps", "line": "lines"}[surest]
        return (
            f"{said} along {self.axis} of {measure.size:.3g} grey values, {often}, worst at "
            f"{self.axis} = {measure.worst}"
        )


@dataclass(frozen=True)
class SeamScore:
    """Whether the places where tiles meet can be told from the rest of a volume.

    Attributes
    ----------
    axes : tuple of AxisSeams
        Those along which borders were seen and could be compared.
    """

    axes: tuple[AxisSeams, ...]

    @property
    def visible(self) -> bool:
        """Whether there are seams."""
        return any(axis.found for axis in self.axes)

    @property
    def verdict(self) -> str:
        """What is seen of seams, for people."""
        found = [text for axis in self.axes if (text := axis.found)]
        if found:
            return f"seams where tiles meet: {'; '.join(found)}"
        *first, last = (axis.axis for axis in self.axes)
        nothing = f"no seam is found along {' and '.join(filter(None, (', '.join(first), last)))}"
        smooth = [axis for axis in self.axes if axis.jump.lacking]
        if smooth:
            what = (f"along {each.axis} {_times(each.jump.ratio or 0)}" for each in smooth)
            return f"{nothing}, but jumps are smaller where tiles meet: {', '.join(what)}"
        return nothing

    def to_json(self) -> dict[str, Any]:
        """Return the score as JSON types, by axis."""
        return {
            "verdict": self.verdict,
            "visible": self.visible,
            **dict.fromkeys(AXES),
            **{each.axis: asdict(each) for each in self.axes},
        }


def _times(ratio: float) -> str:
    return f"{ratio:.3g} times the usual"
