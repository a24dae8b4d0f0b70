"""What makes the poor image of a good one, to learn from, under the published names.

Imports no torch. Source: the specification, sections 7, 8 and 12 (3, 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from vemctl.errors import OptionError, nearest
from vemctl_pssr.architecture import SCALE
from vemctl_pssr.recipes import (
    WHITE,
    Draws,
    GeneratorDraws,
    Noise,
    Recipe,
    Shrink,
    Step,
    electron,
    electron_poisson,
    electron_poisson_original,
    even_clipped,
    even_stretched,
    fluorescence,
    fluorescence_even,
    fluorescence_even_original,
    salt_and_pepper,
    shrunk_only,
    signal_dependent,
    smooth,
)
from vemctl_pssr.scaling_down import Image, mean_of_middle, rescale, zoom

__all__ = [
    "ALIASES",
    "BROKEN",
    "CRAPPIFIERS",
    "WHITE",
    "Crappifier",
    "Draws",
    "GeneratorDraws",
    "Noise",
    "get",
]

BROKEN = "em_AG_P_D_001"
ZOOMED_VARIANCE, MEAN_VARIANCE = 4 / 9, 1 / 4
"""What is left of white noise between pixels at any places, on average, and in the mean of four."""


@dataclass(frozen=True)
class Crappifier:
    """Makes the poor image of a good one.

    Attributes
    ----------
    name : str
        As published.
    recipe : Recipe
    shrink : callable
        Takes a quarter of the pixels along each axis.
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
    shrink: Shrink = zoom
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

    def centred(self) -> Crappifier:
        """Return the same on a grid that does not depend on the size of the image.

        The published sampling has its corners on the corners of the image, so that a poor pixel
        lies elsewhere in a large image than in a tile of it, and a network that has learned from
        tiles shifts what it enlarges. Here a poor pixel is the mean of the four middle ones of
        those that it stands for. As that averages more noise, the noise is stronger: on average
        over the image a poor one is as noisy.
        """
        if self.shrink is not zoom:
            return self
        noise, more = self.noise, ZOOMED_VARIANCE / MEAN_VARIANCE
        if self.strength == "gaussian_level":
            noise = replace(noise, gaussian_level=noise.gaussian_level * more)
        elif self.strength == "sigma":
            noise = replace(noise, sigma=noise.sigma * more**0.5)
        elif self.recipe is electron_poisson:
            noise = replace(noise, dose=noise.dose / more)
        return replace(self, shrink=mean_of_middle, noise=noise)

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
            image = smooth(image.astype(np.float32), noise.blur)
        return self.recipe(image, draws, noise, self.shrink)


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


def _fluo(
    name: str, *steps: Step, shrink: Shrink = zoom, strength: str | None = "gaussian_level"
) -> Crappifier:
    return Crappifier(name, partial(fluorescence, steps=steps), shrink, strength=strength)


def _em(name: str, step: Step, noise: Noise, strength: str) -> Crappifier:
    return Crappifier(name, partial(electron, step=step), zoom, 1.0, noise, strength)


_SP, _AG = salt_and_pepper, signal_dependent

CRAPPIFIERS: Mapping[str, Crappifier] = MappingProxyType(
    {
        each.name: each
        for each in (
            Crappifier("no_crap", shrunk_only, rescale),
            _fluo("fluo_downsampleonly", strength=None),
            _fluo("fluo_SP_D", _SP, strength=None),
            _fluo("fluo_AG_D", _AG),
            _fluo("fluo_SP_AG_D_sameas_preprint", _SP, _AG),
            _fluo("fluo_SP_AG_D_sameas_preprint_rescale", _SP, _AG, shrink=rescale),
            _fluo("new_crap", _SP, _AG, shrink=rescale),
            _fluo("new_crap_AG_SP", _AG, _SP, shrink=rescale),
            Crappifier(
                "fluo_G_D",
                fluorescence_even,
                noise=Noise(sigma=0.25),
                strength="sigma",
                original=fluorescence_even_original,
            ),
            _em(
                "em_AG_D_sameas_preprint",
                _AG,
                Noise(gaussian_level=0.05, smoothing=3.0),
                "gaussian_level",
            ),
            Crappifier("em_downsampleonly", shrunk_only),
            _em("em_G_D_001", even_stretched, Noise(sigma=3 / WHITE), "sigma"),
            _em("em_G_D_002", even_clipped, Noise(sigma=0.15), "sigma"),
            Crappifier(
                "em_P_D_001", electron_poisson, white=1.0, original=electron_poisson_original
            ),
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
