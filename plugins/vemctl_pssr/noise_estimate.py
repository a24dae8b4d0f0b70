"""How noisy and how blurred a real poor image is, in the terms of a crappifier. Imports no torch.

Noise and blur are those with which the crappifier makes of good images what is most like the real
one in two respects that do not need the same field of view: the power spectrum, in rings, and the
size of what is left where all straight structures are removed. The spectrum tells blur from noise
because noise is white; the remainder, taken from the middle of its distribution in small blocks,
is nearly noise alone. Contrast may differ: only ratios of noise to structure count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vemctl.errors import InputError, OptionError
from vemctl_pssr.architecture import SCALE
from vemctl_pssr.crappifiers import WHITE, Crappifier, Noise
from vemctl_pssr.likeness import FLOOR, Doubles, Measured, remainder, ring_weights, spectrum

LEAST = 32
"""Pixels of a poor image along y and x."""
MOST_PIXELS = 1_000_000
"""Of all good images together: a fit takes seconds."""
BLURS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0)
"""Where the search for the best blur begins, in pixels of the good image."""
MOST_SPREAD = 2.0
"""Of noise, in intensities of 0..1; more is hardly more, for it is clipped."""
NEAR = 0.15
"""By how much the noise of one blur may spread otherwise than that of another."""
TILE = 64
"""Edge, in pixels of the poor image, of what a spectrum is averaged over."""
REMAINDER_WEIGHT = 0.05
"""Against the spectrum: as precise as each is, given as many pixels."""
SAME_CONTRAST = 0.12
"""Contrasts that differ by less are taken to be the same: blur is then better known."""


@dataclass(frozen=True)
class NoiseEstimate:
    """What was found; unpacks to level and blur.

    Attributes
    ----------
    level : float
        What the crappifier's `strength` names.
    blur : float
        Standard deviation, in pixels of the good image.
    contrast : float
        Of the poor image, as a multiple of that of the good ones; 1 if it was taken as it is.
    misfit : float
        Root mean square of what is left between both spectra, as a natural logarithm; about 0.1
        where the noise is as the crappifier's. Above 0.5 the poor image is of another kind: its
        noise is not white, or its structures are others.
    """

    level: float
    blur: float
    contrast: float
    misfit: float

    def __iter__(self) -> Iterator[float]:
        return iter((self.level, self.blur))


def estimate(
    poor: npt.NDArray[np.floating],
    good: Sequence[npt.NDArray[np.floating]],
    crappifier: Crappifier,
    noise: Noise | None = None,
    *,
    match_contrast: bool = True,
) -> NoiseEstimate:
    """Fit the strength of a crappifier's noise, and the blur before it, to a real poor image.

    Parameters
    ----------
    poor : ndarray, (y, x)
        Intensities 0..1.
    good : sequence of ndarray, (4 y, 4 x)
        The same kind of tissue, in intensities 0..1; at least one, and the more of it, the better.
    crappifier : Crappifier
    noise : Noise, optional
        The rest of the noise, which is not fitted. Default: the published one.
    match_contrast : bool
        Let the contrast of the poor image be another one; the level is then that of good images
        in which structures stand out from the noise as they do in the poor one. Without, levels
        are surer where grey values of both mean the same.

    Returns
    -------
    NoiseEstimate

    Raises
    ------
    OptionError
        The crappifier has no noise of which there may be more or less.
    InputError
        An image is too small, constant, or not a number somewhere.
    """
    if crappifier.strength is None:
        raise OptionError(
            f"--crappifier {crappifier.name}: has no level of noise to fit; use em_AG, for instance"
        )
    _check(poor, LEAST, "the poor image")
    real: Doubles = poor.astype(np.float64)
    for image in good:
        _check(image, LEAST * SCALE, "a good image")
    used = [_middle(image, len(good)) for image in good]
    fit = _Fit(real, used, crappifier, noise or crappifier.noise, contrast=match_contrast)
    nearly = min(BLURS, key=fit.distance)
    if abs(np.log(fit.contrast(nearly))) < SAME_CONTRAST:
        fit.keep_contrast()
    index = BLURS.index(nearly)
    blur = _least(fit.distance, BLURS[max(index - 1, 0) : index + 2], tolerance=0.03)
    level = fit.level(fit.at(blur)[1])
    return NoiseEstimate(level, blur, fit.contrast(blur), fit.misfit(blur))


class _Fit:
    """Compares a poor image with what becomes of good ones, at a blur and a spread of the noise."""

    def __init__(
        self,
        poor: Doubles,
        good: Sequence[npt.NDArray[np.float32]],
        crappifier: Crappifier,
        noise: Noise,
        *,
        contrast: bool,
    ) -> None:
        sides = [*poor.shape, *(side // SCALE for image in good for side in image.shape)]
        self._tile = min(TILE, *sides)
        self._weights = ring_weights(self._tile)
        self._poor = Measured(spectrum(poor, self._tile), remainder(poor))
        self._good = good
        self._crappifier, self._noise = crappifier, noise
        self._contrast = contrast
        self._clean: tuple[float, list[npt.NDArray[np.float32]], list[Doubles]] | None = None
        self._found: dict[float, tuple[float, float]] = {}
        self._near: float | None = None

    def keep_contrast(self) -> None:
        """From now on, let the contrast of the poor image be that of good ones."""
        if self._contrast:
            self._near = min(self._found.values())[1]
            self._contrast, self._found = False, {}

    def level(self, spread: float) -> float:
        """Return the strength of a noise of about this standard deviation."""
        return spread**2 if self._crappifier.strength == "gaussian_level" else spread

    def distance(self, blur: float) -> float:
        """Return how unlike the poor image is what has this blur, and the best noise."""
        return self.at(blur)[0]

    def contrast(self, blur: float) -> float:
        """Return by how much more contrast the poor image has."""
        made = self._made(blur, self.at(blur)[1])
        return float(np.exp(self._compare(made)[1] / 2))

    def misfit(self, blur: float) -> float:
        """Return what is left between the spectra, as a natural logarithm."""
        made = self._made(blur, self.at(blur)[1])
        left = np.log(self._poor.spectrum / made.spectrum) - self._compare(made)[1]
        return float(np.sqrt(np.sum(self._weights * left**2)))

    def at(self, blur: float) -> tuple[float, float]:
        """Return the distance at a blur, and the spread of the noise with which it is least."""
        if blur not in self._found:
            from scipy import optimize

            low, high = 0.0, MOST_SPREAD
            near = min(self._found.values())[1] if self._found else self._near
            if near is not None:  # blur makes little difference to the noise
                low, high = max(0.0, near - NEAR), min(MOST_SPREAD, near + NEAR)

            def distance(spread: float) -> float:
                return self._compare(self._made(blur, spread))[0]

            best = optimize.minimize_scalar(
                distance, bounds=(low, high), method="bounded", options={"xatol": 1e-3}
            )
            self._found[blur] = float(best.fun), float(best.x)
        return self._found[blur]

    def _compare(self, made: Measured) -> tuple[float, float]:
        """Return the distance to what was made, and the logarithm of how many times its power."""
        from scipy import optimize

        ratio = self._poor.spectrum / made.spectrum
        left = np.log(self._poor.remainder / made.remainder)

        def distance(gain: float) -> float:
            power = ratio * np.exp(-gain)  # the likelihood of a spectrum of Gaussian numbers
            unlikely = np.sum(self._weights * (power - 1 - np.log(power)))
            return float(unlikely + REMAINDER_WEIGHT * (left - gain) ** 2)

        if not self._contrast:
            return distance(0.0), 0.0
        best = optimize.minimize_scalar(
            distance, bounds=(-5, 5), method="bounded", options={"xatol": 1e-4}
        )
        return float(best.fun), float(best.x)

    def _made(self, blur: float, spread: float) -> Measured:
        """Measure what is made of good images, always with the same random numbers.

        Signal and noise are told apart, by regression on what is made without noise, so that the
        noise is known by its mean power, and not by one draw in each ring.
        """
        blurred, clean = self._without_noise(blur)
        spectra, remainders = [], []
        for number, (image, signal) in enumerate(zip(blurred, clean, strict=True)):
            noisy = self._crappify(image, number, spread)
            centred = signal - signal.mean()
            kept = float(np.sum(centred * noisy) / max(np.sum(centred**2), FLOOR))
            white = np.sum(self._weights * spectrum(noisy - kept * signal, self._tile))
            spectra.append(kept**2 * spectrum(signal, self._tile) + white)
            remainders.append(remainder(noisy))
        return Measured(np.mean(spectra, axis=0), float(np.mean(remainders)))

    def _without_noise(self, blur: float) -> tuple[list[npt.NDArray[np.float32]], list[Doubles]]:
        from scipy import ndimage

        if self._clean is None or self._clean[0] != blur:
            blurred = [ndimage.gaussian_filter(each, blur, mode="nearest") for each in self._good]
            made = [self._crappify(image, number, 0.0) for number, image in enumerate(blurred)]
            self._clean = blur, blurred, made
        return self._clean[1], self._clean[2]

    def _crappify(self, image: npt.NDArray[np.float32], number: int, spread: float) -> Doubles:
        changes = {self._crappifier.strength or "": self.level(spread), "blur": 0.0}
        noise = replace(self._noise, **changes)
        made = self._crappifier(image, np.random.default_rng(number), noise)
        return made.astype(np.float64)


def _check(image: npt.NDArray[np.floating], least: int, what: str) -> None:
    text = " x ".join(map(str, image.shape))
    if image.ndim != 2 or min(image.shape) < least:
        raise InputError(
            f"--emulate-noise: {what} has {text} pixels; expected at least {least} x {least}"
        )
    if not np.isfinite(image).all():
        raise InputError(f"--emulate-noise: {what} has values that are not numbers; mend them")
    if image.max() == image.min():
        raise InputError(f"--emulate-noise: {what} is the same grey everywhere; use another one")


def _middle(image: npt.NDArray[np.floating], count: int) -> npt.NDArray[np.float32]:
    """Return the middle of a good image, as much of it as is used, in 0..255."""
    most = int((MOST_PIXELS / count) ** 0.5)
    sides = [min(side, max(most, LEAST * SCALE)) // SCALE * SCALE for side in image.shape]
    y, x = ((whole - side) // 2 for whole, side in zip(image.shape, sides, strict=True))
    return (image[y : y + sides[0], x : x + sides[1]] * WHITE).astype(np.float32)


def _least(function: Callable[[float], float], grid: Sequence[float], *, tolerance: float) -> float:
    """Return where a function is least: on a grid, then around the best of its points."""
    from scipy import optimize

    values = {point: function(point) for point in grid}
    index = grid.index(min(values, key=values.__getitem__))
    bounds = grid[max(index - 1, 0)], grid[min(index + 1, len(grid) - 1)]
    best = optimize.minimize_scalar(
        function, bounds=bounds, method="bounded", options={"xatol": tolerance}
    )
    values[float(best.x)] = float(best.fun)
    return min(values, key=values.__getitem__)
