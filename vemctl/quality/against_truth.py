"""Scores of a predicted volume against the true one, gathered slab by slab.

Every score is a sum over voxels or slices before it is a number, so that it does not depend on how
the volume was cut. The peak signal-to-noise ratio is that of the total error, not a mean of
decibels; similarities are means over all voxels whose window fits into the volume.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vemctl.quality.agreement import Mean, Moments
from vemctl.quality.comparison import SSIM_WINDOW, scores_after_normalising
from vemctl.quality.similarity import HALO, SLICES, VOLUME, similarity_parts
from vemctl.quality.slabs import Slab
from vemctl.volumes.volume import Array, Region

WINDOW = 2 * HALO + 1
"""Voxels that the similarity needs along each axis."""
NAMES = ("psnr", "ssim_2d", "ssim_3d", "nrmse", "pearson", "psnr_scaled", "ssim_scaled")

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SliceScores:
    """How closely one slice follows the true one; not a number where a score is undefined.

    Attributes
    ----------
    timepoint, channel, z : int
    y, x : (int, int)
        First row and the one behind the last, columns likewise: parts of planes that are too
        large to be read at once are slices of their own.
    psnr, ssim, nrmse, pearson : float
        As the values are.
    psnr_scaled, ssim_scaled : float
        `vemctl.quality.comparison.scores_after_normalising`.
    """

    timepoint: int
    channel: int
    z: int
    y: tuple[int, int]
    x: tuple[int, int]
    psnr: float
    ssim: float
    nrmse: float
    pearson: float
    psnr_scaled: float
    ssim_scaled: float


@dataclass(frozen=True)
class _Tally:
    """What the scores of some voxels are computed from."""

    moments: Moments = field(default_factory=Moments)
    ssim_2d: Mean = field(default_factory=Mean)
    ssim_3d: Mean = field(default_factory=Mean)
    psnr_scaled: Mean = field(default_factory=Mean)
    ssim_scaled: Mean = field(default_factory=Mean)

    def __add__(self, other: _Tally) -> _Tally:
        return _Tally(
            self.moments + other.moments,
            self.ssim_2d + other.ssim_2d,
            self.ssim_3d + other.ssim_3d,
            self.psnr_scaled + other.psnr_scaled,
            self.ssim_scaled + other.ssim_scaled,
        )

    def scores(self, data_range: float) -> dict[str, float]:
        """Return the scores by name, in the order of `NAMES`."""
        return {
            "psnr": self.moments.psnr(data_range),
            "ssim_2d": self.ssim_2d.value,
            "ssim_3d": self.ssim_3d.value,
            "nrmse": self.moments.nrmse,
            "pearson": self.moments.pearson,
            "psnr_scaled": self.psnr_scaled.value,
            "ssim_scaled": self.ssim_scaled.value,
        }


@dataclass
class AgainstTruth:
    """Scores of a prediction against the truth; it holds sums, and a few numbers of each slice.

    Parameters
    ----------
    data_range : float
        From the smallest possible value to the largest. If it is not a positive number, scores
        that need it are undefined.

    Attributes
    ----------
    nonfinite : int
        Voxels that were not counted as either volume has no finite number there.
    """

    data_range: float
    nonfinite: int = 0
    _tallies: dict[int, _Tally] = field(default_factory=dict)
    _slices: list[SliceScores] = field(default_factory=list)
    _read: tuple[int, ...] = (0, 0, 0)
    _counted: tuple[int, ...] = (0, 0, 0)

    def add(
        self,
        slab: Slab,
        truth: Array,
        prediction: Array,
        inner: Region,
        mask: Mask | None = None,
    ) -> None:
        """Take one slab into account.

        Parameters
        ----------
        slab : Slab
        truth, prediction : ndarray, (z, y, x)
            Of any real type, read for ``slab.grown(HALO, shape)``: windows that reach out of the
            slab find their context there, and where the arrays end they do not fit.
        inner : Region
            Where the slab lies in the arrays.
        mask : ndarray of bool, (z, y, x), optional
            Of the shape of the arrays. Only voxels where it is true are counted, among whatever
            context. By default all.
        """
        self._read = tuple(map(max, self._read, truth.shape))
        self._counted = tuple(map(max, self._counted, (part.stop - part.start for part in inner)))
        where = self._where(truth[inner], prediction[inner], None if mask is None else mask[inner])
        flat, solid = self._similarities(truth, prediction, inner, where)
        tally = self._tallies.get(slab.channel, _Tally()) + _Tally(ssim_3d=solid)
        z, y, x = slab.region
        for number, ssim in enumerate(flat):
            pair = truth[inner][number], prediction[inner][number]
            within = None if where is None else where[number]
            plane = _plane(*pair, within, ssim)
            tally += plane
            scores = plane.scores(self.data_range)
            self._slices.append(
                SliceScores(
                    slab.timepoint,
                    slab.channel,
                    z.start + number,
                    (y.start, y.stop),
                    (x.start, x.stop),
                    psnr=scores["psnr"],
                    ssim=scores["ssim_2d"],
                    nrmse=scores["nrmse"],
                    pearson=scores["pearson"],
                    psnr_scaled=scores["psnr_scaled"],
                    ssim_scaled=scores["ssim_scaled"],
                )
            )
        self._tallies[slab.channel] = tally

    def overall(self) -> dict[str, float]:
        """Return the scores of all channels together, by `NAMES`; NaN where undefined."""
        return self._total().scores(self.data_range)

    def channels(self) -> dict[int, dict[str, float]]:
        """Return the scores of each channel, all time points together."""
        return {
            channel: self._tallies[channel].scores(self.data_range)
            for channel in sorted(self._tallies)
        }

    def slices(self) -> list[SliceScores]:
        """Return the scores of each slice, by time point, channel and place."""
        return sorted(
            self._slices, key=lambda each: (each.timepoint, each.channel, each.z, each.y, each.x)
        )

    @property
    def reasons(self) -> dict[str, str]:
        """Why scores of `overall` are undefined, by name; of those only."""
        total = self._total()
        scores = total.scores(self.data_range)
        return {name: self._reason(name, total) for name in NAMES if math.isnan(scores[name])}

    @property
    def notes(self) -> list[str]:
        """What a reader of the scores should know: `reasons`, and how much was not counted."""
        names: dict[str, list[str]] = {}
        for name, reason in self.reasons.items():
            names.setdefault(reason, []).append(name)
        notes = [f"{', '.join(them)}: {reason}" for reason, them in names.items()]
        if self.nonfinite:
            notes.append(
                f"{self.nonfinite} voxels are not compared: NaN or infinite in either volume"
            )
        return notes

    @property
    def _has_range(self) -> bool:
        return math.isfinite(self.data_range) and self.data_range > 0

    def _total(self) -> _Tally:
        return sum((self._tallies[channel] for channel in sorted(self._tallies)), _Tally())

    def _where(self, truth: Array, prediction: Array, mask: Mask | None) -> Mask | None:
        """Return which voxels of a slab are counted, None for all, and count the others."""
        where = mask
        for values in (truth, prediction):
            if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
                where = finite if where is None else where & finite
        if where is not None:
            asked = truth.size if mask is None else np.count_nonzero(mask)
            self.nonfinite += int(asked - np.count_nonzero(where))
        return where

    def _similarities(
        self, truth: Array, prediction: Array, inner: Region, where: Mask | None
    ) -> tuple[list[Mean], Mean]:
        """Return the mean similarity of each slice of the slab, and that in three dimensions."""
        depth = inner[0].stop - inner[0].start
        flat, solid = [Mean()] * depth, Mean()
        if not self._has_range:
            return flat, solid
        for axes, region, values in similarity_parts(
            truth, prediction, data_range=self.data_range, within=inner
        ):
            z, y, x = (
                slice(part.start - own.start, part.stop - own.start)
                for part, own in zip(region, inner, strict=True)
            )
            planes = range(z.start, z.stop)
            masks: Iterable[Mask | None] = [None] * len(planes) if where is None else where[z, y, x]
            for plane, similarity, counted in zip(planes, values, masks, strict=True):
                mean = _mean(similarity, counted)
                if axes == SLICES:
                    flat[plane] += mean
                elif axes == VOLUME:
                    solid += mean
        return flat, solid

    def _reason(self, name: str, total: _Tally) -> str:
        if not total.moments.count:
            return "no voxel is counted"
        if name in {"psnr", "ssim_2d", "ssim_3d"} and not self._has_range:
            return f"the data range is {self.data_range:g}, expected a number above 0"
        if name == "nrmse":
            return "the truth is 0 everywhere"
        if name == "pearson":
            constant = "truth" if total.moments.truth_is_constant else "prediction"
            return f"the {constant} is constant"
        if name == "ssim_3d" and self._read[0] < WINDOW:
            return f"too few planes ({self._read[0]}), the window needs {WINDOW}"
        scaled = name in {"psnr_scaled", "ssim_scaled"}
        sizes, window = (self._counted, SSIM_WINDOW) if scaled else (self._read, WINDOW)
        if min(sizes[1:]) < window:
            size = f"{sizes[1]} x {sizes[2]}"
            return f"the slices have {size} pixels, the window needs {window} x {window}"
        if scaled and not total.psnr_scaled.count:
            return "no slice of the truth has contrast"
        return "the window fits around no voxel that is counted"


def _plane(truth: Array, prediction: Array, where: Mask | None, ssim: Mean) -> _Tally:
    """Return what the scores of one slice are computed from."""
    psnr_scaled = ssim_scaled = Mean()
    if min(truth.shape) >= SSIM_WINDOW:
        scaled = scores_after_normalising(truth, prediction, where)
        psnr_scaled, ssim_scaled = Mean.of(scaled.psnr), Mean.of(scaled.ssim)
    return _Tally(
        Moments.of(truth, prediction, where),
        ssim_2d=ssim,
        psnr_scaled=psnr_scaled,
        ssim_scaled=ssim_scaled,
    )


def _mean(similarity: npt.NDArray[np.float64], counted: Mask | None) -> Mean:
    """Return the mean of the voxels that are counted, and whose window has numbers only."""
    if counted is None:
        total = float(similarity.sum())
        if not math.isnan(total):
            return Mean(total, similarity.size)
    finite = np.isfinite(similarity)
    chosen = similarity[finite if counted is None else finite & counted]
    return Mean(float(chosen.sum()), chosen.size)
