"""Up to which frequencies a single image is more than noise: correlation of its own quarters.

Source: Koho et al., "Fourier ring correlation simplifies image restoration in fluorescence
microscopy", Nature Communications 10, 2019, with two corrections where it calibrates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.errors import InputError
from vemctl.quality.fourier import Curve, RingSums, Unit, check_shape
from vemctl.quality.rings import Double, Rings, Spectrum, Window

QUARTERS = 4
"""Images that one is split into: every other row, of these every other column."""


class SelfCorrelation:
    """Correlates interleaved quarters of many planes ring by ring.

    The pixels of each two by two are dealt to four quarter images, of which both pairs of diagonal
    neighbours are correlated; noise that is correlated along the lines of a scan stays out. Nothing
    finer than four pixels can be found, the Nyquist period of the quarters; what is finer comes
    back as coarser structures and lowers the curve.

    Diagonal neighbours are a pixel apart along both axes. The paper makes up for it by a function
    of frequency that was fitted to its own microscopes' images; here the shift is undone exactly,
    by a ramp of phase, and the plane is windowed before it is split, so that quarters of an image
    without noise and without anything finer than four pixels correlate to 1.

    A quarter image has the noise of the plane, but a quarter of its pixels, so that against the
    object its noise has four times the power at each frequency: quarters correlate as
    ``r = S / (S + 4 N)``. The curve is that of two such planes with noise of their own, ``S / (S +
    N) = 4 r / (1 + 3 r)``: the formula of Spearman and Brown, as cryo-electron microscopy has it
    for two halves of the data (Rosenthal & Henderson 2003).

    It all presumes noise that is independent from pixel to pixel. That of a network's output is
    not, nor is that of images that were resampled, filtered or compressed: of these the curve tells
    down to which period structures have been kept with contrast, not whether they are true.

    Parameters
    ----------
    shape : (y, x)
        Of each plane; even.
    spacing : (y, x), optional
        Of the pixels, in nm; without, frequencies are per pixel.

    Attributes
    ----------
    added, skipped : int
        Planes that count, and those that do not since not all of their values are finite.

    Raises
    ------
    InputError
        The shape is not that of a plane with even edges.
    """

    def __init__(self, shape: Sequence[int], spacing: Sequence[float] | None) -> None:
        self._shape = tuple(shape)
        if len(self._shape) != 2 or any(n % 2 for n in self._shape):
            raise InputError(
                f"images of the shape {self._shape} cannot be split into quarters; expected planes "
                "(y, x) with even edges, so crop them"
            )
        self._unit: Unit = "1/voxel" if spacing is None else "1/nm"
        height, width = (n // 2 for n in self._shape)
        self._sums = RingSums(Rings((height, width), [2 * d for d in spacing or (1.0, 1.0)]))
        self._window = Window(self._shape)
        y = np.fft.fftfreq(height)[:, np.newaxis] / 2  # cycles per pixel of the plane
        x = np.fft.rfftfreq(width) / 2
        self._falling: Spectrum = np.exp(-2j * np.pi * (y + x))
        self._rising: Spectrum = np.exp(-2j * np.pi * (y - x))
        self.added = self.skipped = 0

    def add(self, plane: npt.NDArray[Any]) -> None:
        """Add a plane.

        Raises
        ------
        InputError
            It is not of the shape.
        """
        from scipy import fft

        check_shape(plane, self._shape)
        image = self._window.apply(plane)
        if image is None:
            self.skipped += 1
            return
        (top_left, top_right), (bottom_left, bottom_right) = (
            [fft.rfft2(image[row::2, column::2]) for column in (0, 1)] for row in (0, 1)
        )
        self._sums.add(top_left, bottom_right * self._falling)
        self._sums.add(top_right, bottom_left * self._rising)
        self.added += 1

    def curve(self) -> Curve:
        """Return what two planes with noise of their own would correlate, as far as added."""
        # Near 0 the correlation of quarters is multiplied by 4, and so is its standard deviation.
        counts = self._sums.counts * self._window.efficiency / QUARTERS**2
        correlation = of_two_planes(self._sums.correlation)
        return Curve(self._sums.rings.frequency, correlation, counts, self._unit)


def of_two_planes(correlation: Double) -> Double:
    """Return what two whole planes would correlate, from the correlation of quarters of one.

    Parameters
    ----------
    correlation : ndarray
        In [-1, 1].

    Returns
    -------
    ndarray
        Likewise. Negative ones, which are noise, are as far from 0 as positive ones, for there they
        would be scattered further.
    """
    size = np.abs(correlation)
    scaled: Double = np.copysign(QUARTERS * size / (1 + (QUARTERS - 1) * size), correlation)
    return scaled
