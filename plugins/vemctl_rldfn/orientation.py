"""Tell whether two views fit their point spread functions, or rather each the other's.

Where views are exchanged, or mirrored along z or x, every later step still gives a volume, only a
worse one. A few iterations of plain Richardson-Lucy deconvolution show it: blurred again, what they
restore is like the views only if each was blurred the way it is said to be.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vemctl.plugin import Triple
from vemctl_rldfn.psfs import lost_energy

if TYPE_CHECKING:
    from torch import Tensor

    from vemctl_rldfn.deconvolving import DualViewDeconvolution

ITERATIONS = 3
CLEAR = 0.9
"""How many times the other residual the lesser must be at most.

Noise alone gives 0.99 to 1.01. Points, lines, textures and shells whose brightest voxel has ten
photons over a background of ten give 0.4 to 0.85 the right way round, also if the views are six
voxels apart, the tilt is 10 degrees off, or the functions are up to 1.7 times too wide. Smooth
spots of 20 voxels give 0.8 to 0.95, which may remain undecided.
"""
SMOOTHING = 5
"""Voxels over which noise is averaged before residuals are taken."""
MOST_TILES = 8
"""With something in them that are looked at before it is given up."""
MOST_VOXELS = 2_000_000
"""Of a tile; of larger ones the brightest part is looked at."""
MOST_LOST = 0.2
"""Of a point spread function, outside what is looked at."""
MULTIPLE = 4
SWAPPED = (
    "the views fit better with their point spread functions swapped (what is restored and blurred "
    "again differs from the views by {swapped:.0%}, against {given:.0%} as they are): exchange the "
    "views or the point spread functions, or, if z does not grow towards the mirror, flip both "
    "views along z"
)


def residuals(
    deconvolution: DualViewDeconvolution,
    view_a: Tensor,
    view_b: Tensor,
    iterations: int = ITERATIONS,
    *,
    smoothing: int = 1,
) -> tuple[float, float]:
    """Return how far a volume restored from two views, blurred again, is from each of them.

    Parameters
    ----------
    deconvolution : DualViewDeconvolution
    view_a, view_b : tensor, (z, y, x)
        Each divided by its maximum.
    iterations : int
        Of plain Richardson-Lucy deconvolution.
    smoothing : int
        Odd edge of the cubes over which both are averaged before they are compared.

    Returns
    -------
    residual_a, residual_b : float
        Norms of the differences at the best gain, relative to the views': from 0 to 1.
    """
    volume = deconvolution.restored(view_a, view_b, iterations, normalised=True)
    residual_a = _misfit(deconvolution.blurred(volume, "a"), view_a, smoothing)
    return residual_a, _misfit(deconvolution.blurred(volume, "b"), view_b, smoothing)


class OrientationCheck:
    """Looks at tile after tile until the views' orientation is clear.

    Parameters
    ----------
    psf_a, psf_b : tensor or ndarray, (z, y, x)

    Attributes
    ----------
    verdict : {"given", "swapped", None}
        Which way round the point spread functions fit; None while that is not clear.
    """

    def __init__(self, psf_a: Tensor | npt.NDArray[Any], psf_b: Tensor | npt.NDArray[Any]) -> None:
        self.verdict: str | None = None
        self._psfs = psf_a, psf_b
        self._left = MOST_TILES
        self._last: DualViewDeconvolution | None = None

    def check(self, view_a: Tensor, view_b: Tensor) -> str | None:
        """Look at a tile of both views.

        Parameters
        ----------
        view_a, view_b : tensor, (z, y, x) or (n, 1, z, y, x)
            Of any scale. Of several tiles the brightest is looked at.

        Returns
        -------
        str or None
            One sentence of warning, once, if the views clearly fit better the other way round.
        """
        if self.verdict is not None or not self._left:
            return None
        if min(view_a.shape[-3:]) < SMOOTHING:  # of so little nothing can be told
            return None
        part = _brightest(view_a, view_b)
        if part is None:
            return None
        z, y, x = part[0].shape
        if max(lost_energy(np.asarray(psf), (z, y, x)) for psf in self._psfs) > MOST_LOST:
            return None  # too little is seen of a blur
        self._left -= 1
        deconvolution = self._deconvolution(*part)
        given, swapped = (
            math.hypot(*residuals(each, *part, smoothing=SMOOTHING)) / math.sqrt(2)
            for each in (deconvolution, deconvolution.swapped())
        )
        if given < CLEAR * swapped:
            self.verdict = "given"
        elif swapped < CLEAR * given:
            self.verdict = "swapped"
        if self.verdict is not None or not self._left:
            self._last = None
        return SWAPPED.format(swapped=swapped, given=given) if self.verdict == "swapped" else None

    def _deconvolution(self, view_a: Tensor, _: Tensor) -> DualViewDeconvolution:
        from vemctl_rldfn.deconvolving import DualViewDeconvolution

        z, y, x = view_a.shape
        if self._last is None or self._last.shape != (z, y, x):
            self._last = DualViewDeconvolution(*self._psfs, (z, y, x), view_a.device)
        return self._last


def _misfit(blurred: Tensor, view: Tensor, smoothing: int) -> float:
    x, y = _smoothed(blurred, smoothing), _smoothed(view, smoothing)
    gain = float(x @ y) / max(float(x @ x), 1e-300)
    return float((gain * x - y).norm() / y.norm())


def _smoothed(volume: Tensor, edge: int) -> Tensor:
    """Return means over cubes as one row, in double precision, which not every device has."""
    from torch.nn import functional

    step = (edge + 1) // 2  # less far apart they would tell the same again
    means = functional.avg_pool3d(volume[None].float(), edge, step, edge // 2)
    return means.cpu().double().flatten()


def _brightest(view_a: Tensor, view_b: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the brightest part of both views, each divided by its maximum; None of empty ones."""
    views = [view.detach().reshape(-1, *view.shape[-3:]).float() for view in (view_a, view_b)]
    lights = [view.sum((1, 2, 3), dtype=views[0].dtype) for view in views]
    item = int((lights[0] + lights[1]).nan_to_num(0).argmax())
    first, second = (view[item] for view in views)
    z, y, x = first.shape
    for axis, wanted in enumerate(_part((z, y, x))):
        if wanted < first.shape[axis]:
            start = _brightest_start(first + second, axis, wanted)
            first, second = (view.narrow(axis, start, wanted) for view in (first, second))
    highest = [float(view.max()) for view in (first, second)]
    if not all(0 < each < math.inf for each in highest):
        return None
    return first / highest[0], second / highest[1]


def _brightest_start(light: Tensor, axis: int, wanted: int) -> int:
    """Return where the stretch along an axis begins in which there is most light."""
    others = tuple({0, 1, 2} - {axis})
    summed = light.sum(others).cpu().double().cumsum(0)
    before = summed.new_zeros(len(summed) - wanted + 1)
    before[1:] = summed[:-wanted]
    return int((summed[wanted - 1 :] - before).argmax())


def _part(shape: Triple) -> Triple:
    """Return what of a tile is looked at: less along y first, which tells nothing of a tilt."""
    sizes = list(shape)
    for axis, least in ((1, 64), (2, 128), (0, 64), (2, 64)):
        rest = math.prod(sizes) / sizes[axis]
        fitting = int(MOST_VOXELS / rest) // MULTIPLE * MULTIPLE
        sizes[axis] = min(sizes[axis], max(least, fitting))
    z, y, x = sizes
    return z, y, x
