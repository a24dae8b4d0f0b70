"""What makes the poor image of a good one, to learn from: noise, and every fourth pixel.

Imports no torch. Source: specification, sections 7, 8 and 12 (3, 4), under the published names.
Random numbers come from an object of the type `Draws`, so that tests can say what is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vemctl.errors import OptionError, nearest
from vemctl_pssr.architecture import SCALE
from vemctl_pssr.scaling_down import Image, rescale, zoom

WHITE = 255.0
BROKEN = "em_AG_P_D_001"
FLOOR = 1e-10  # of the variance, so that black has some
ORIGINAL_SEED = 1  # of the published Poisson noise: the same for every tile


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

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value < np.inf:
                raise ValueError(f"{name}: expected 0 or more, got {value}")
        if self.salt_pepper > 1:
            raise ValueError(f"salt_pepper: expected at most 1, got {self.salt_pepper}")


class Recipe(Protocol):
    """What a crappifier does, in the units of the published program; a function, to be pickled."""

    def __call__(self, image: Image, draws: Draws, noise: Noise) -> Image:
        """Return the poor image of one of intensities 0..255."""


@dataclass(frozen=True)
class Crappifier:
    """Makes the poor image of a good one.

    Attributes
    ----------
    name : str
        As published.
    recipe : Recipe
    white : {255, 1}
        Which value of the recipe is white.
    noise : Noise
        The published one.
    strength : {"gaussian_level", "sigma"}, optional
        Which number of `noise` says how strong it is; None if none does.
    original : Recipe, optional
        The published recipe, where ours is another one.
    """

    name: str
    recipe: Recipe
    white: float = WHITE
    noise: Noise = field(default_factory=Noise)
    strength: str | None = None
    original: Recipe | None = None

    def __call__(
        self, image: Image, draws: Draws | np.random.Generator, noise: Noise | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the poor image of a good one, as it is.

        Parameters
        ----------
        image : ndarray, (4 y, 4 x)
            Intensities 0..255: 8 bit, as in the original, or floats.
        draws : Draws or Generator
        noise : Noise, optional
            Instead of the published one.

        Returns
        -------
        ndarray of float32, (y, x)
            Intensities 0..1.

        Raises
        ------
        ValueError
            The image is no plane, or a side of it no multiple of 4.
        """
        values = self.published(image, draws, noise)
        return (values / self.white).astype(np.float32)

    def eight_bit(
        self, image: Image, draws: Draws | np.random.Generator, noise: Noise | None = None
    ) -> npt.NDArray[np.uint8]:
        """Return the poor image of a good one in 8 bit, as the published training sets have it.

        The parameters are those of a call.

        Returns
        -------
        ndarray of uint8, (y, x)
            Truncated as in the original. The original leaves ``em_*`` as floats of 0..1: they are
            rounded to the nearest.
        """
        values = self.published(image, draws, noise)
        if self.white != WHITE:
            values = np.rint(values * WHITE)
        bytes_: npt.NDArray[np.uint8] = values.astype(np.uint8)
        return bytes_

    def published(
        self, image: Image, draws: Draws | np.random.Generator, noise: Noise | None = None
    ) -> Image:
        """Return what the published program computes, before it truncates: `white` is white.

        The parameters are those of a call.
        """
        if image.ndim != 2 or 0 in image.shape or any(length % SCALE for length in image.shape):
            raise ValueError(f"expected a plane with sides that {SCALE} divides, got {image.shape}")
        noise = self.noise if noise is None else noise
        if isinstance(draws, np.random.Generator):
            draws = GeneratorDraws(draws)
        if noise.blur:
            image = _smooth(image.astype(np.float32), noise.blur)
        return self.recipe(image, draws, noise)


def get(name: str, *, as_original: bool = False) -> Crappifier:
    """Return the crappifier of a published name, or of a short one.

    Parameters
    ----------
    name : str
    as_original : bool
        With the defects of the published one: ``fluo_G_D`` gives black images, ``em_P_D_001`` the
        same noise in all of them.

    Raises
    ------
    OptionError
        There is none.
    """
    known = (*CRAPPIFIERS, *ALIASES)
    if name == BROKEN:
        raise OptionError(
            f"--crappifier {BROKEN}: the published function cannot run (it uses what it never "
            f"made); use em_AG or em_P_D_001"
        )
    found = CRAPPIFIERS.get(ALIASES.get(name, name))
    if found is None:
        raise OptionError(
            f"--crappifier {name}: there is no such crappifier.{nearest(name, known)} Expected one "
            f"of {', '.join(known)}"
        )
    if as_original and found.original is not None:
        return replace(found, recipe=found.original)
    return found


def _smooth(image: Image, sigma: float) -> Image:
    from scipy import ndimage

    smooth: Image = ndimage.gaussian_filter(image, sigma, mode="nearest")
    return smooth


def _unit(image: Image) -> Image:
    """Return intensities 0..1, float32."""
    return np.divide(image, WHITE, dtype=np.float32, casting="same_kind")


def _salt_and_pepper(image: Image, draws: Draws, noise: Noise) -> Image:
    salted = np.where(draws.mask(image.shape, noise.salt_pepper), np.float32(1), image)
    np.clip(salted, 0, 1, out=salted)
    salted[draws.mask(image.shape, noise.salt_pepper)] = 0
    return salted


def _signal_dependent(image: Image, draws: Draws, noise: Noise) -> Image:
    spread = _smooth(image, noise.smoothing)
    spread += FLOOR
    spread *= noise.gaussian_level
    noisy = np.sqrt(spread, out=spread) * draws.normal(image.shape)
    noisy += image
    return np.clip(noisy, 0, 1, out=noisy)


def _even(image: Image, draws: Draws, noise: Noise) -> Image:
    noisy = draws.normal(image.shape) * noise.sigma
    noisy += image
    return noisy


def _even_clipped(image: Image, draws: Draws, noise: Noise) -> Image:
    return np.clip(_even(image, draws, noise), 0, 1)


def _even_stretched(image: Image, draws: Draws, noise: Noise) -> Image:
    """Add noise, and make the darkest pixel 0 and the brightest 1."""
    noisy = _even(image, draws, noise)
    low, high = noisy.min(), noisy.max()
    return (noisy - low) / (high - low) if high > low else np.zeros_like(noisy)


def _fluorescence(
    image: Image, draws: Draws, noise: Noise, *, steps: tuple[Recipe, ...], shrink: Any
) -> Image:
    """Add noise step by step, stretch to the maximum that was, scale down; white is 255."""
    noisy = _unit(image)
    for step in steps:
        noisy = step(noisy, draws, noise)
    highest = noisy.max()
    stretched = noisy / highest * image.max() if highest > 0 else noisy
    shrunk: Image = shrink(stretched)
    return shrunk


def _electron(image: Image, draws: Draws, noise: Noise, *, step: Recipe) -> Image:
    """Add noise, scale down; white is 1."""
    return zoom(step(_unit(image), draws, noise))


def _electron_poisson(image: Image, draws: Draws, noise: Noise) -> Image:
    """Count electrons: white is as many as there are grey levels, as a power of two."""
    del noise
    # Levels of 8 bit are counted for floats too, of which every pixel may have its own.
    levels = np.bincount(np.rint(image).astype(np.intp).ravel().clip(0))
    electrons = float(2 ** np.ceil(np.log2(np.count_nonzero(levels))))
    counts = draws.poisson(image / WHITE * electrons)
    return zoom(np.clip(counts / electrons, 0, 1))


class _OneSeed:
    """The published Poisson noise."""

    def normal(self, shape: tuple[int, ...]) -> Image:
        raise NotImplementedError

    def mask(self, shape: tuple[int, ...], probability: float) -> npt.NDArray[np.bool_]:
        raise NotImplementedError

    def poisson(self, mean: Image) -> Image:
        legacy = np.random.RandomState(ORIGINAL_SEED)  # gives the published numbers
        return np.asarray(legacy.poisson(mean))


def _electron_poisson_original(image: Image, draws: Draws, noise: Noise) -> Image:
    del draws
    return _electron_poisson(image, _OneSeed(), noise)


def _fluorescence_even(image: Image, draws: Draws, noise: Noise) -> Image:
    shrunk: Image = WHITE * _electron(image, draws, noise, step=_even_clipped)
    return shrunk


def _fluorescence_even_original(image: Image, draws: Draws, noise: Noise) -> Image:
    """Clip 0..255 to 0..1: nearly everything is 1."""
    return zoom(_even_clipped(image.astype(np.float32), draws, noise))


def _smoothed_only(image: Image, draws: Draws, noise: Noise) -> Image:
    del draws, noise
    return rescale(image)


def _every_fourth(image: Image, draws: Draws, noise: Noise) -> Image:
    del draws, noise
    return zoom(image)


def _fluo(
    name: str, *steps: Recipe, shrink: Any = zoom, strength: str | None = "gaussian_level"
) -> Crappifier:
    recipe = partial(_fluorescence, steps=steps, shrink=shrink)
    return Crappifier(name, recipe, strength=strength)


def _em(name: str, step: Recipe, noise: Noise, strength: str) -> Crappifier:
    return Crappifier(name, partial(_electron, step=step), 1.0, noise, strength)


_SP, _AG = _salt_and_pepper, _signal_dependent

CRAPPIFIERS: Mapping[str, Crappifier] = MappingProxyType(
    {
        each.name: each
        for each in (
            Crappifier("no_crap", _smoothed_only),
            _fluo("fluo_downsampleonly", strength=None),
            _fluo("fluo_SP_D", _SP, strength=None),
            _fluo("fluo_AG_D", _AG),
            _fluo("fluo_SP_AG_D_sameas_preprint", _SP, _AG),
            _fluo("fluo_SP_AG_D_sameas_preprint_rescale", _SP, _AG, shrink=rescale),
            _fluo("new_crap", _SP, _AG, shrink=rescale),
            _fluo("new_crap_AG_SP", _AG, _SP, shrink=rescale),
            Crappifier(
                "fluo_G_D",
                _fluorescence_even,
                noise=Noise(sigma=0.25),
                strength="sigma",
                original=_fluorescence_even_original,
            ),
            _em(
                "em_AG_D_sameas_preprint",
                _AG,
                Noise(gaussian_level=0.05, smoothing=3.0),
                "gaussian_level",
            ),
            Crappifier("em_downsampleonly", _every_fourth),
            _em("em_G_D_001", _even_stretched, Noise(sigma=3 / WHITE), "sigma"),
            _em("em_G_D_002", _even_clipped, Noise(sigma=0.15), "sigma"),
            Crappifier("em_P_D_001", _electron_poisson, 1.0, original=_electron_poisson_original),
        )
    }
)
"""By their published names."""

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "em_AG": "em_AG_D_sameas_preprint",
        "em_P": "em_P_D_001",
        "fluo_AG": "fluo_AG_D",
        "fluo_SP": "fluo_SP_D",
        "fluo_SP_AG": "fluo_SP_AG_D_sameas_preprint",
        "fluo_AG_SP": "new_crap_AG_SP",
    }
)
"""Short names."""
