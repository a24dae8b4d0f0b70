"""Noises, and how a poor image is made of a good one with them. Imports no torch.

Source: the specification, sections 7 and 12 (3, 4). Random numbers come from an object of the type
`Draws`, so that tests can say what is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vemctl_pssr.scaling_down import Image

WHITE = 255.0
FLOOR = 1e-10  # of the variance, so that black has some
ORIGINAL_SEED = 1  # of the published Poisson noise: the same for every tile

Shrink = Callable[[Image], Image]


class Draws(Protocol):
    """Where random numbers come from."""

    def normal(self, shape: tuple[int, ...]) -> Image:
        """Return standard normal numbers."""

    def mask(self, shape: tuple[int, ...], probability: float) -> npt.NDArray[np.bool_]:
        """Return which pixels are chosen."""

    def poisson(self, mean: Image) -> Image:
        """Return counts with these means."""


@dataclass(frozen=True)
class GeneratorDraws:
    """Draws of a NumPy generator."""

    rng: np.random.Generator

    def normal(self, shape: tuple[int, ...]) -> Image:
        """Return float32, which is enough for noise and twice as quick in what follows."""
        return self.rng.standard_normal(shape, dtype=np.float32)

    def mask(self, shape: tuple[int, ...], probability: float) -> npt.NDArray[np.bool_]:
        """Return each pixel with this probability, independently of all others."""
        chosen: npt.NDArray[np.bool_] = self.rng.random(shape, dtype=np.float32) < probability
        return chosen

    def poisson(self, mean: Image) -> Image:
        """Return int64 counts."""
        return self.rng.poisson(mean)


@dataclass(frozen=True)
class Noise:
    """How poor an image is made. Each crappifier uses some of these, and has its own defaults.

    Attributes
    ----------
    gaussian_level : float
        Variance of the Gaussian noise, as a multiple of the smoothed image; of intensities 0..1.
    smoothing : float
        Standard deviation, in pixels of the good image, of the Gaussian that smooths it for that.
    salt_pepper : float
        Probability that a pixel becomes white, and that it becomes black.
    sigma : float
        Standard deviation of Gaussian noise that is the same everywhere; of intensities 0..1.
    blur : float
        Standard deviation, in pixels of the good image, of a Gaussian that blurs it before
        anything else; all crappifiers use it, and 0 is none.
    dose : float
        Of counts, as a multiple of the published one.

    Raises
    ------
    ValueError
        One is negative, or a probability above 1.
    """

    gaussian_level: float = 0.5
    smoothing: float = 5.0
    salt_pepper: float = 0.005
    sigma: float = 0.0
    blur: float = 0.0
    dose: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value < np.inf:
                raise ValueError(f"{name}: expected 0 or more, got {value}")
        if self.salt_pepper > 1:
            raise ValueError(f"salt_pepper: expected at most 1, got {self.salt_pepper}")


Step = Callable[[Image, Draws, Noise], Image]
"""Adds noise to an image of intensities 0..1."""


class Recipe(Protocol):
    """What a crappifier does, in the units of the published program; a function, to be pickled."""

    def __call__(self, image: Image, draws: Draws, noise: Noise, shrink: Shrink) -> Image:
        """Return the poor image of one of intensities 0..255."""


def smooth(image: Image, sigma: float) -> Image:
    """Blur by a Gaussian that sees its edges repeated."""
    from scipy import ndimage

    smooth: Image = ndimage.gaussian_filter(image, sigma, mode="nearest")
    return smooth


def _unit(image: Image) -> Image:
    """Return intensities 0..1, float32."""
    return np.divide(image, WHITE, dtype=np.float32, casting="same_kind")


def salt_and_pepper(image: Image, draws: Draws, noise: Noise) -> Image:
    """Make pixels white, and pixels black."""
    salted = np.where(draws.mask(image.shape, noise.salt_pepper), np.float32(1), image)
    np.clip(salted, 0, 1, out=salted)
    salted[draws.mask(image.shape, noise.salt_pepper)] = 0
    return salted


def signal_dependent(image: Image, draws: Draws, noise: Noise) -> Image:
    """Add noise whose variance follows the smoothed image."""
    spread = smooth(image, noise.smoothing)
    spread += FLOOR
    spread *= noise.gaussian_level
    noisy = np.sqrt(spread, out=spread) * draws.normal(image.shape)
    noisy += image
    return np.clip(noisy, 0, 1, out=noisy)


def even(image: Image, draws: Draws, noise: Noise) -> Image:
    """Add noise that is the same everywhere."""
    noisy = draws.normal(image.shape) * noise.sigma
    noisy += image
    return noisy


def even_clipped(image: Image, draws: Draws, noise: Noise) -> Image:
    """Add noise that is the same everywhere, and clip."""
    return np.clip(even(image, draws, noise), 0, 1)


def even_stretched(image: Image, draws: Draws, noise: Noise) -> Image:
    """Add noise, and make the darkest pixel 0 and the brightest 1."""
    noisy = even(image, draws, noise)
    low, high = noisy.min(), noisy.max()
    return (noisy - low) / (high - low) if high > low else np.zeros_like(noisy)


def fluorescence(
    image: Image, draws: Draws, noise: Noise, shrink: Shrink, *, steps: tuple[Step, ...]
) -> Image:
    """Add noise step by step, stretch to the maximum that was, scale down; white is 255."""
    noisy = _unit(image)
    for step in steps:
        noisy = step(noisy, draws, noise)
    highest = noisy.max()
    stretched = noisy / highest * image.max() if highest > 0 else noisy
    shrunk: Image = shrink(stretched)
    return shrunk


def electron(image: Image, draws: Draws, noise: Noise, shrink: Shrink, *, step: Step) -> Image:
    """Add noise, scale down; white is 1."""
    return shrink(step(_unit(image), draws, noise))


def electron_poisson(image: Image, draws: Draws, noise: Noise, shrink: Shrink) -> Image:
    """Count electrons: white is as many as there are grey levels, as a power of two."""
    # Levels of 8 bit are counted for floats too, of which every pixel may have its own.
    levels = np.bincount(np.rint(image).astype(np.intp).ravel().clip(0))
    electrons = noise.dose * float(2 ** np.ceil(np.log2(np.count_nonzero(levels))))
    counts = draws.poisson(image / WHITE * electrons)
    return shrink(np.clip(counts / electrons, 0, 1))


class _OneSeed(GeneratorDraws):
    """The published Poisson noise: the same counts every time."""

    def poisson(self, mean: Image) -> Image:
        legacy = np.random.RandomState(ORIGINAL_SEED)  # gives the published numbers
        return np.asarray(legacy.poisson(mean))


def electron_poisson_original(image: Image, draws: Draws, noise: Noise, shrink: Shrink) -> Image:
    """Count electrons, the same ones in every image."""
    del draws
    rng = np.random.default_rng(ORIGINAL_SEED)
    return electron_poisson(image, _OneSeed(rng), noise, shrink)


def fluorescence_even(image: Image, draws: Draws, noise: Noise, shrink: Shrink) -> Image:
    """Add noise that is the same everywhere, scale down; white is 255."""
    shrunk: Image = WHITE * electron(image, draws, noise, shrink, step=even_clipped)
    return shrunk


def fluorescence_even_original(image: Image, draws: Draws, noise: Noise, shrink: Shrink) -> Image:
    """Clip 0..255 to 0..1: nearly everything is 1."""
    return shrink(even_clipped(image.astype(np.float32), draws, noise))


def shrunk_only(image: Image, draws: Draws, noise: Noise, shrink: Shrink) -> Image:
    """Scale down; white is 255."""
    del draws, noise
    return shrink(image)
