"""How much the positions where tiles meet differ from those near by where none do."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vemctl.quality.seam_score import AxisSeams, Measure

STRIDES = (4, 2, 1)
"""Between positions that are compared: networks that pool or upsample draw patterns of a few
voxels, and tiles begin at one phase of them; positions of other phases differ anyway."""
REACH = 4
"""Strides to either side that count as near by."""
CLEAR = 2
"""Voxels from a border at which what is measured does not contain its step."""
FEWEST = 2
"""Positions near by, without which a border is not judged."""
MANY = 8
"""Positions that tell how far a position is from others by chance."""
RUNS = 3
"""Neighbouring positions share voxels: so many count as one."""

Double = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class AxisSums:
    """What was summed up for the positions along one axis.

    Parameters
    ----------
    size : int
        Voxels along the axis; position `p` lies between the voxels ``p - 1`` and ``p``.

    Attributes
    ----------
    voxels, jumps : ndarray, (size,)
        How many voxels were looked at, and the sum of their jumps without sign.
    faces, area : ndarray, (size,)
        How many faces, and their voxels.
    steps, lines : ndarray, (size,)
        Of all faces: the square of the sum over its voxels, over their number.
    """

    def __init__(self, size: int) -> None:
        self.voxels, self.jumps = np.zeros(size), np.zeros(size)
        self.faces, self.area = np.zeros(size), np.zeros(size)
        self.steps, self.lines = np.zeros(size), np.zeros(size)

    def add_face(self, start: int, face: Double) -> None:
        """Add a face at each of some positions that follow one another.

        Parameters
        ----------
        start : int
            The first position.
        face : ndarray, (3, positions)
            The step and the line, summed over the voxels of the face, and how many these are.
        """
        step, line, area = face
        where = slice(start, start + area.size)
        self.faces[where] += area > 0
        self.area[where] += area
        self.steps[where] += _over(step**2, area)
        self.lines[where] += _over(line**2, area)

    def copy(self) -> AxisSums:
        """Return sums that can be added to without changing these."""
        made = AxisSums(self.voxels.size)
        for name, values in vars(self).items():
            setattr(made, name, values.copy())
        return made


def judge(sums: AxisSums, borders: Sequence[int], axis: str, period: int) -> AxisSeams | None:
    """Compare the borders along an axis with the positions near by.

    Parameters
    ----------
    sums : AxisSums
    borders : sequence of int
    axis : {"z", "y", "x"}
    period : int
        Of a pattern that the volume has anyway.

    Returns
    -------
    AxisSeams or None
        None where no border was looked at, or nothing near by to compare it with.
    """
    size = sums.voxels.size
    at = np.zeros(size, bool)
    at[list(borders)] = True
    near_border = _summed(at.astype(float), range(1 - CLEAR, CLEAR)) > 0
    seen = (sums.voxels > 0) & (sums.faces > 0)
    clear, wanted = seen & ~near_border, seen & at
    offsets, judged, others = _nearby(clear, wanted, period)
    if not judged.any() or not others.any():
        return None
    jumps = _over(sums.jumps, sums.voxels)
    scale = _over(sums.faces, sums.area)  # from a face's sums to its mean, squared

    def usual(values: Double) -> Double:
        return _over(_summed(values * clear, offsets), _summed(clear.astype(float), offsets))

    def measured(values: Double, noise: Double) -> tuple[float | None, float, int]:
        there, elsewhere = float(values[judged].mean()), float(usual(values)[judged].mean())
        ratio = there / elsewhere if elsewhere > 0 else None
        return (ratio, *_significance(values, usual(values), noise, judged, others))

    ratio, significance, worst = measured(jumps, 0.25 / np.sqrt(np.maximum(sums.voxels, 1)))
    found = {"jump": Measure(ratio, significance, float(jumps[judged].mean()), worst)}
    for name, squares in (("step", sums.steps), ("line", sums.lines)):
        powers = _over(squares, sums.faces)
        ratio, significance, worst = measured(powers, np.sqrt(2 / 9 / np.maximum(sums.faces, 1)))
        more = (powers * scale - usual(powers * scale))[judged].mean()
        root = None if ratio is None else math.sqrt(ratio)
        found[name] = Measure(root, significance, math.sqrt(max(0.0, float(more))), worst)
    return AxisSeams(axis, int(judged.sum()), **found)


def _nearby(clear: Mask, wanted: Mask, period: int) -> tuple[list[int], Mask, Mask]:
    """Choose how far away positions are compared.

    Returns
    -------
    offsets : list of int
    judged, others : ndarray of bool
        The borders, and the positions without, that have some positions so far away.
    """
    offsets: list[int] = []
    judged, others = wanted, clear
    for stride in STRIDES:
        steps = (sign * k * stride * period for k in range(1, REACH + 1) for sign in (-1, 1))
        offsets = [step for step in steps if abs(step) >= CLEAR]
        enough = _summed(clear.astype(float), offsets) >= FEWEST
        judged, others = wanted & enough, clear & enough
        if (judged == wanted).all() and others.sum() >= MANY:
            break
    return offsets, judged, others


def _summed(values: Double, offsets: Sequence[int]) -> Double:
    """Return for each position the sum over those that lie at some offsets from it."""
    total = np.zeros(values.size)
    for offset in offsets:
        if abs(offset) < values.size:
            low, high = max(0, -offset), min(values.size, values.size - offset)
            total[low:high] += values[low + offset : high + offset]
    return total


def _over(values: Double, counts: Double) -> Double:
    """Divide, 0 where there is nothing to divide by."""
    return np.divide(values, counts, out=np.zeros(values.size), where=counts > 0)


def _significance(
    values: Double,
    usual: Double,
    noise: Double,
    judged: Mask,
    others: Mask,
) -> tuple[float, int]:
    """Return how sure borders differ from the usual, and the border that exceeds it most.

    Cube roots make mean squares of any number of faces spread nearly like a normal distribution
    (Wilson and Hilferty, PNAS 17, 1931).
    """
    floor = 1e-3 * float(values[judged | others].mean()) or 1.0
    excess = np.cbrt((values + floor) / (usual + floor))
    difference = float(excess[judged].mean() - excess[others].mean())
    worst = int(np.argmax(np.where(judged, excess, -np.inf)))
    count = max(2.0, others.sum() / RUNS)
    spread = max(float(excess[others].std()), float(noise[others].mean()))
    error = spread * math.sqrt(1 / judged.sum() + 1 / count)
    return _as_normal(difference / error, count - 1), worst


def _as_normal(t: float, freedom: float) -> float:
    """Return about how many standard deviations of a normal distribution are as rare as `t`.

    Source: Wallace, "Bounds on normal approximations to Student's and the chi-square
    distributions", Annals of Mathematical Statistics 30, 1959.
    """
    rare = (8 * freedom + 1) / (8 * freedom + 3)
    return math.copysign(rare * math.sqrt(freedom * math.log1p(t * t / freedom)), t)
