"""Finds the mirror of a stack in two projections, and tells what is doubtful about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vemctl.plugin import Progress
from vemctl_rldfn.mirror_search import Found, find_mirror
from vemctl_rldfn.prepare_options import PrepareOptions, askew_angles, tilt_corrections
from vemctl_rldfn.prepare_stacks import Extent, Stack
from vemctl_rldfn.splitting import Split, split_planes

FAR_APART = 3
"""Planes by which the two searches of a mirror do not differ."""


@dataclass(frozen=True)
class Mirror:
    """Where the mirror of a stack is.

    Attributes
    ----------
    along_y : Found
        In the projection along y: gives the angle by which it is askew.
    along_x : Found
        In the projection along x: gives the correction of the tilt, and the shift.
    """

    along_y: Found
    along_x: Found

    def split(self, depth: int, options: PrepareOptions) -> Split:
        """Return the planes of the views of a stack of so many planes."""
        return split_planes(depth, self.along_x.shift + options.fix_split_offset, options.cut_z)

    def in_words(self, options: PrepareOptions) -> str:
        """Return what was found, for people."""
        found = self.along_x
        return (
            f"mirror at a shift of {found.shift} planes and an angle of {self.along_y.angle:g} "
            f"degrees, tilt {options.tilt + found.angle:g}; score {found.score:.6g}, its "
            f"correlation {found.contrast:.2f} above the mean"
        )

    def to_json(self, options: PrepareOptions) -> dict[str, Any]:
        """Return what a record tells of it: degrees, planes, and both searches."""
        return {
            "tilt": options.tilt + self.along_x.angle,
            "tilt_correction": self.along_x.angle,
            "angle": self.along_y.angle,
            "shift": self.along_x.shift,
            "score": self.along_x.score,
            "searches": {"along_y": asdict(self.along_y), "along_x": asdict(self.along_x)},
        }


def find(stack: Stack, options: PrepareOptions, progress: Progress) -> tuple[Mirror, Extent]:
    """Search the mirror of a stack, and measure what the stack is when rotated accordingly.

    Of a stack that is one value nothing is found: the mirror is in its middle.
    """
    top, left = stack.margins
    angles, corrections = askew_angles(options), tilt_corrections(options)
    projection, is_constant = stack.projection_along_y(progress)
    if is_constant:
        nothing = np.zeros(stack.shape[0])
        along_y, along_x = (Found.nothing(tried, stack.shifts) for tried in (angles, corrections))
        return Mirror(along_y, along_x), Extent(nothing, nothing, is_constant=True)
    along_y = find_mirror(
        projection, angles, stack.shifts, left, smoothed=True, advance=progress.pause
    )
    projection, extent = stack.projection_along_x(along_y.angle, progress)
    along_x = find_mirror(
        projection, corrections, stack.shifts, top, smoothed=False, advance=progress.pause
    )
    if along_x.angle:
        extent = stack.extent(stack.rotation(along_y.angle, along_x.angle), progress)
    return Mirror(along_y, along_x), extent


def doubts(mirror: Mirror, options: PrepareOptions) -> list[str]:
    """Return what may be wrong, as parts of a sentence, with what would help."""
    along_y, along_x = mirror.along_y, mirror.along_x
    found = []
    faint = [(axis, search) for axis, search in (("y", along_y), ("x", along_x)) if search.is_faint]
    if faint:
        axis, search = faint[0]
        found.append(
            f"no mirror image stands out in the projection along {axis} (its correlation is "
            f"{search.contrast:.2f} above the mean, and up to {search.threshold:.2f} may be chance)"
        )
    if along_y.angle_at_end:
        found.append(
            f"the angle {along_y.angle:g} is at the end of --angles {options.angles}: search "
            "farther"
        )
    if along_x.angle_at_end:
        found.append(
            f"the correction {along_x.angle:g} is at the end of --tilt-corrections "
            f"{options.tilt_corrections}: search farther"
        )
    if along_x.shift_at_end:
        found.append(
            f"the shift {along_x.shift} is at the end of what was searched for --split-range "
            f"{options.split_range}"
        )
    if abs(along_y.shift - along_x.shift) > FAR_APART:
        found.append(
            f"the two projections tell of different shifts, {along_y.shift} and {along_x.shift}"
        )
    return found
