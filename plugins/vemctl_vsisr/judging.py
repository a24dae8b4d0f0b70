"""How near restored slices come to true ones, as the published fine-tuning measures it.

The network's values have no scale: a restored plane is fitted to the true one by the straight line
of least squares. It is then averaged with the same plane of neighbouring windows, and compared
within a mask of structures. All in double precision, with numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from torch import Tensor

from vemctl.plugin import Batch, Validation
from vemctl_vsisr.proportions import FRAMES, PLANES

FINE = (11, 11.0)
COARSE = (101, 50.0)
"""Lengths and widths, in pixels, of the two Gaussians of which the mask is the difference."""
FLOOR = 1e-7
EQUAL = 100.0
"""Decibels of equal images."""
SCALED_AS = {"input": "input", "output": "target", "target": "target"}
"""Panels of a preview, in their order, and whose contrast they have."""

Array = npt.NDArray[Any]
Restore = Callable[[Tensor], Tensor]
"""Input slices (n, 7, y, x) to restored ones (n, 3, 1.5 y, 1.5 x)."""


def to_unit(values: Array) -> Array:
    """Map the smallest value to 0 and the largest to 1; what is constant becomes 0."""
    low, high = values.min(), values.max()
    unit: Array = np.clip((values - low) / (high - low + FLOOR), 0, 1)
    return unit


def fitted(values: Array, target: Array) -> Array:
    """Return a x values + b with the least mean squared difference from the target.

    Parameters
    ----------
    values, target : ndarray, any shape
        Constant values become the target's mean.
    """
    x, y = values.astype(np.float64), target.astype(np.float64)
    centred = x - x.mean()
    spread = (centred * centred).sum()
    slope = (centred * (y - y.mean())).sum() / spread if spread > 0 else 0.0
    line: Array = slope * centred + y.mean()
    return line


def blurred(plane: Array, length: int, sigma: float) -> Array:
    """Correlate a plane (y, x) with a Gaussian of so many taps, mirrored at its edge pixels."""
    places = np.arange(length) - (length - 1) / 2
    taps = np.exp(-(places**2) / (2 * sigma**2))
    taps /= taps.sum()
    rows = ndimage.correlate1d(plane.astype(np.float64), taps, axis=0, mode="mirror")
    smooth: Array = ndimage.correlate1d(rows, taps, axis=1, mode="mirror")
    return smooth


def foreground(plane: Array, threshold: float) -> npt.NDArray[np.bool_]:
    """Return where a true plane (y, x) stands out of its surroundings.

    Parameters
    ----------
    plane : ndarray, (y, x)
    threshold : float
        How far, in parts of the plane's range.
    """
    unit = to_unit(plane.astype(np.float64))
    found: npt.NDArray[np.bool_] = blurred(unit, *FINE) - blurred(unit, *COARSE) >= threshold
    return found


class Score:
    """Differences of restored planes from true ones, which come one after another.

    Attributes
    ----------
    error : float
        Sum of squared differences.
    count : int
        Pixels.
    peak : float
        The largest restored value of those that count, or 0 where there is one that does not.
    """

    def __init__(self) -> None:
        self.error, self.count, self.peak = 0.0, 0, -math.inf

    def add(self, restored: Array, truth: Array, mask: Array) -> None:
        """Take note of planes, of one shape; only pixels in the mask count."""
        inside = mask.astype(bool)
        self.error += float((((restored - truth) ** 2)[inside]).sum())
        self.count += int(inside.sum())
        self.peak = max(self.peak, float((restored * inside).max()))

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio in decibels, 100 for equal images; NaN without a pixel.

        The peak is 1, or the largest restored value where that is more.
        """
        if not self.count:
            return math.nan
        if self.error == 0:
            return EQUAL
        return 20 * math.log10(max(1.0, self.peak) / math.sqrt(self.error / self.count))


@dataclass(frozen=True)
class Slice:
    """A slice that is restored.

    Attributes
    ----------
    cell : int
        Whose it is.
    seen : ndarray, (y, x)
        Of the input.
    restored, truth : ndarray, (1.5 y, 1.5 x)
    mask : ndarray, (1.5 y, 1.5 x)
    shown : bool
        Whether it is a good one to show.
    """

    cell: int
    seen: Array
    restored: Array
    truth: Array
    mask: Array
    shown: bool


def judge(restore: Restore, samples: Iterable[Batch], *, cells: bool) -> Validation:
    """Restore samples and compare them.

    Parameters
    ----------
    restore : callable
    samples : iterable of Batch
        ``input``, (1, 7, y, x); ``gt``, (1, 3, 1.5 y, 1.5 x), the truth of its middle slices;
        ``place``, (1, 3): cell, window and number of windows of the cell; ``mask``: of the middle
        slice, (1, 1, 1.5 y, 1.5 x), or of all three.
    cells : bool
        Whether they are all windows of one cell after another, whose planes are averaged.

    Returns
    -------
    Validation
        ``val_psnr_masked`` and ``val_psnr``, means over the cells; of pairs, over their pixels.
    """
    masked: dict[int, Score] = {}
    whole: dict[int, Score] = {}
    panels: dict[str, Array] = {}
    slices = _of_cells(restore, samples) if cells else _of_pairs(restore, samples)
    for each in slices:
        masked.setdefault(each.cell, Score()).add(each.restored, each.truth, each.mask)
        everywhere = np.ones_like(each.mask)
        whole.setdefault(each.cell, Score()).add(each.restored, each.truth, everywhere)
        if each.shown and not panels:
            seen = enlarged_panel(each.seen, each.truth.shape)
            shown = (seen, each.restored, each.truth)
            panels = dict(zip(SCALED_AS, shown, strict=True))
    found = {
        "val_psnr_masked": _mean(score.psnr for score in masked.values()),
        "val_psnr": _mean(score.psnr for score in whole.values()),
    }
    warnings = []
    if any(not score.count for score in masked.values()):
        warnings.append(
            "no structure stands out of a truth to validate on; expected a lower --mask-threshold"
        )
    return Validation(found, panels, SCALED_AS, warnings)


def _of_pairs(restore: Restore, samples: Iterable[Batch]) -> Iterator[Slice]:
    """Yield all planes of each pair."""
    for number, sample in enumerate(samples):
        seen, truth, mask = (_array(sample[name][0]) for name in ("input", "gt", "mask"))
        planes = _fit_planes(restore, sample["input"], truth)
        for p, plane in enumerate(planes):
            middle = seen[(FRAMES - PLANES) // 2 + p]
            yield Slice(0, middle, plane, truth[p], mask[p], number == 0 and p == PLANES // 2)


def _of_cells(restore: Restore, samples: Iterable[Batch]) -> Iterator[Slice]:
    """Yield the middle slice of every window: the mean of what the windows around make of it.

    That is the last plane of the window before, the middle one, and the first of the window after.
    """
    parts: list[Array] = []
    waiting: Slice | None = None  # for the window after
    last: Array | None = None  # of the window before
    for sample in samples:
        cell, window, windows = (int(n) for n in sample["place"][0])
        seen, truth, mask = (_array(sample[name][0]) for name in ("input", "gt", "mask"))
        planes = _fit_planes(restore, sample["input"], truth)
        if window == 0:
            waiting = last = None
        if waiting is not None:
            yield replace(waiting, restored=np.mean([*parts, planes[0]], axis=0))
        parts = [planes[1]] if last is None else [last, planes[1]]
        middle = seen[FRAMES // 2]
        waiting = Slice(cell, middle, planes[1], truth[1], mask[0], window == windows // 2)
        last = planes[2]
        if window == windows - 1:
            yield replace(waiting, restored=np.mean(parts, axis=0))


def _fit_planes(restore: Restore, seen: Tensor, truth: Array) -> Array:
    """Restore a window and fit each plane to its truth, (3, 1.5 y, 1.5 x)."""
    restored = _array(restore(seen)[0])
    return np.stack(
        [fitted(to_unit(one), other) for one, other in zip(restored, truth, strict=True)]
    )


def _array(tensor: Tensor) -> Array:
    array = tensor.detach().cpu().numpy()
    return array if array.dtype.kind in "iub" else array.astype(np.float64)


def enlarged_panel(plane: Array, shape: tuple[int, ...]) -> Array:
    """Repeat pixels until a plane has a shape."""
    rows, columns = (np.arange(n) * old // n for n, old in zip(shape, plane.shape, strict=True))
    larger: Array = plane[rows[:, None], columns]
    return larger


def _mean(values: Iterable[float]) -> float:
    """Return the mean; of several cells, of those that have a value."""
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan
