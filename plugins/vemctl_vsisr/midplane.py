"""Remove the glow of a reflecting plane from raw volumes, section by section. Imports no torch.

In reflected lattice light-sheet data a mirror gives a bright line across each section, about
perpendicular to x. Before it lies the image, behind it its dimmer reflection. The line is damped,
and the reflection is made as bright as the image. Sections are (y, x), as they are in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl_vsisr.counts import BACKGROUND, round_half_up
from vemctl_vsisr.midplane_masks import Doubles, middle
from vemctl_vsisr.midplane_presets import MidplanePreset
from vemctl_vsisr.midplane_search import Alignment, DriftTracking, align, drift_along_z
from vemctl_vsisr.phases import ReadSections

Section = npt.NDArray[Any]


@dataclass(frozen=True)
class _Overlay:
    """What is laid over a section: its masks, (y, x) with x longer than the section's."""

    damping: Doubles
    boost: Doubles
    rows: slice

    @classmethod
    def of(cls, alignment: Alignment, preset: MidplanePreset, plane: tuple[int, int]) -> _Overlay:
        width, length = plane
        masks = alignment.masks
        columns = middle(masks.step.shape[1], width)
        return cls(
            np.ascontiguousarray(masks.damping(preset)[:, columns].T),
            np.ascontiguousarray(masks.boost(preset)[:, columns].T),
            middle(masks.step.shape[0], length),
        )

    def at(self, drift: int) -> tuple[Doubles, Doubles]:
        """Return damping and boost of a section whose plane has drifted, (y, x)."""
        rows = np.arange(self.rows.start, self.rows.stop) + drift
        damping, boost = (
            each.take(rows, axis=1, mode="wrap") for each in (self.damping, self.boost)
        )
        return damping, boost


class MidplaneRemoval:
    """Removes the reflecting plane from the sections of one volume; made by `fit`.

    Attributes
    ----------
    shift : int
        Pixels from the middle of x, or the half before it, to the plane in the mean section,
        towards larger x.
    tilt : float
        Degrees by which it is tilted, counter-clockwise as displayed with x down.
    drift : ndarray of int, (z,)
        Pixels by which the plane lies nearer to x = 0 than in the middle section.
    ratio : float
        By how much the image is brighter than its reflection, at least 1.
    """

    def __init__(
        self,
        overlay: _Overlay,
        alignment: Alignment,
        drift: npt.NDArray[np.intp],
        ratio: float,
        background: float,
    ) -> None:
        self.shift = alignment.shift
        self.tilt = alignment.tilt
        self.drift = drift
        self.ratio = ratio
        self._overlay = overlay
        self._background = background
        self._factor: tuple[int, Doubles] | None = None

    @classmethod
    def fit(
        cls,
        read: ReadSections,
        shape: tuple[int, int, int],
        preset: MidplanePreset,
        *,
        background: float = BACKGROUND,
        drift_tracking: DriftTracking = "original",
    ) -> MidplaneRemoval:
        """Find the plane and how bright the reflection is; sections are read one by one.

        All are read once, those that make two groups or more a second time, and the middle half
        once more. A volume that is one grey has no plane: the masks stay in the middle. Kept in
        memory are a few sections.

        Parameters
        ----------
        read : callable
            ``read(first_section, count) -> ndarray, (count, y, x)``.
        shape : (z, y, x)
        preset : MidplanePreset
        background : float
            Counts of the camera in the dark. Unsigned data do not go below 0 without it.
        drift_tracking : {"original", "corrected"}
            As published; or following the plane where that does not, see `midplane_search`.
        """
        mean = _mean(read, shape, background)
        alignment = align(mean.T, preset, drift_tracking)
        overlay = _Overlay.of(alignment, preset, shape[1:])
        masks = alignment.masks
        window = tuple(
            middle(*sizes) for sizes in zip(masks.narrow.shape, mean.T.shape, strict=True)
        )
        drift = drift_along_z(
            (group.T for group in _groups(read, shape, preset.num_average, background)),
            masks.narrow[window],
            shape[0],
            preset.num_average,
            drift_tracking,
        )
        ratio = _ratio(read, shape[0], background, lambda z: overlay.at(int(drift[z])))
        return cls(overlay, alignment, drift, ratio, background)

    def masks(self, index: int) -> tuple[Doubles, Doubles]:
        """Return the masks of a section.

        Parameters
        ----------
        index : int

        Returns
        -------
        damping : ndarray, (y, x)
            Which share is taken away.
        boost : ndarray, (y, x)
            0 in the image, 1 in its reflection.
        """
        return self._overlay.at(int(self.drift[index]))

    def apply(self, plane: Section, index: int) -> Doubles:
        """Return a section without the plane, its reflection as bright as the image.

        Parameters
        ----------
        plane : ndarray, (y, x)
            As it was read.
        index : int
            Of the section.

        Returns
        -------
        ndarray of float64, (y, x)
            In counts; the background is still there.
        """
        drift = int(self.drift[index])
        if self._factor is None or self._factor[0] != drift:  # mostly that of the section before
            damping, boost = self._overlay.at(drift)
            self._factor = drift, (1 - damping) * (1 + boost * (self.ratio - 1))
        return _signal(plane, self._background) * self._factor[1] + self._background


def _signal(plane: Section, background: float) -> Doubles:
    """Subtract the background; unsigned integers stop at 0, as they do in MATLAB."""
    signal = plane.astype(np.float64) - background
    return np.maximum(signal, 0) if plane.dtype.kind == "u" else signal


def _mean(read: ReadSections, shape: tuple[int, int, int], background: float) -> Doubles:
    mean = np.zeros(shape[1:])
    for z in range(shape[0]):
        mean += _signal(read(z, 1)[0], background)
    return mean / shape[0]


def _groups(
    read: ReadSections, shape: tuple[int, int, int], num_average: int, background: float
) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the sum of each group of consecutive sections; a group alone shows no drift."""
    count = shape[0] // num_average  # sections at the end that make no group are left out
    for group in range(count if count > 1 else 0):
        total = np.zeros(shape[1:], np.float32)  # exact for sums of 16-bit counts
        for z in range(group * num_average, (group + 1) * num_average):
            total += _signal(read(z, 1)[0], background).astype(np.float32)
        yield total


def _ratio(
    read: ReadSections,
    num_slices: int,
    background: float,
    masks: Callable[[int], tuple[Doubles, Doubles]],
) -> float:
    """Return how much brighter the image is than its reflection, over the middle half of z."""
    above = below = 0.0
    first = max(1, round_half_up(num_slices / 4)) - 1
    for z in range(first, round_half_up(3 * num_slices / 4)):
        damping, boost = masks(z)
        damped = _signal(read(z, 1)[0], background) * (1 - damping)
        above += float(np.vdot(damped, 1 - np.where(boost > 0.9, 1, boost)))
        below += float(np.vdot(damped, np.where(boost < 0.1, 0, boost)))
    # Where there is nothing to see of a reflection, there is nothing to make brighter.
    return max(1.0, above / below) if below > 0 else 1.0
