"""What makes poor images of good ones, as options ask for it. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from vemctl.plugin import Peek, Warn
from vemctl_pssr.constants import constants_of, crappifier_of
from vemctl_pssr.crappifiers import WHITE, Crappifier, Noise
from vemctl_pssr.noise_estimate import estimate
from vemctl_pssr.ranges import rule_for
from vemctl_pssr.train_options import PoorOptions

Floats = npt.NDArray[np.float32]
GOOD_LOOKED_AT = 4
SLICES_LOOKED_AT = 3
UNLIKE = 0.5
"""Misfit from which an image is of another kind."""


@dataclass(frozen=True)
class PoorMaker:
    """Makes poor images of good ones.

    Attributes
    ----------
    crappifier : Crappifier
    noise : Noise
    as_published : bool
        Whether it is the published one, defects included.
    """

    crappifier: Crappifier
    noise: Noise
    as_published: bool = False

    @classmethod
    def of(cls, options: PoorOptions, peek: Peek, good: Sequence[Path], tell: Warn) -> PoorMaker:
        """Return what options ask for.

        Parameters
        ----------
        options : PoorOptions
        peek : callable
            Reads some of a volume.
        good : sequence of Path
            Good images, whose noise is to become that of a real poor one.
        tell : callable
            Told what was fitted.

        Raises
        ------
        OptionError
            There is no such crappifier, or it has no such noise.
        InputError
            An image that noise is fitted to cannot be read.
        """
        crappifier, noise = crappifier_of(options)
        if options.emulate_noise:
            noise = _fitted(crappifier, noise, options, peek, good, tell)
        return cls(crappifier, noise, options.as_published)

    @property
    def name(self) -> str:
        """The crappifier's."""
        return self.crappifier.name

    def to_json(self) -> dict[str, Any]:
        """Return what the noise is like, by option, as JSON types."""
        known = constants_of(self.crappifier)
        constants = {option: getattr(self.noise, known[option]) for option in sorted(known)}
        return {"as_published": self.as_published, **constants}

    def __call__(self, image: Floats, rng: np.random.Generator) -> Floats:
        """Return a poor image, (y / 4, x / 4) in [0, 1], of a good one, (y, x) in [0, 1]."""
        poor = self.crappifier(image * np.float32(WHITE), rng, self.noise)
        return poor.clip(0, 1)


def _fitted(
    crappifier: Crappifier,
    noise: Noise,
    options: PoorOptions,
    peek: Peek,
    good: Sequence[Path],
    tell: Warn,
) -> Noise:
    """Return noise and blur of real poor images, the median of several."""
    seen = [peek(path) for path in good[:GOOD_LOOKED_AT]]
    # In the range in which noise will be added: where it follows brightness, it depends on that.
    references = [image for each in seen for image in _slices(each, _ends(each, options))[:1]]
    # Real ones may be in other units, and their contrast another one: only about as bright.
    brightest = max((float(image.max()) for image in references), default=1.0) or 1.0
    found = [
        estimate(image, references, crappifier, noise)
        for path in options.emulate_noise
        for values in [peek(path)]
        for image in _slices(values, (0.0, float(values.max()) / brightest))
    ]
    level, blur = (median(each) for each in zip(*found, strict=True))
    names = ", ".join(path.name for path in options.emulate_noise)
    tell(
        f"fitted to {names}: --noise-level {level:.4g} --blur {blur:.3g} (of {crappifier.name}); "
        f"give these to have the same without the fit"
    )
    if median(each.misfit for each in found) > UNLIKE:
        tell(
            f"{names} is unlike what {crappifier.name} makes of the good images at any noise and "
            f"blur: its noise or its structures are of another kind; look at samples of "
            f"vemctl prepare pssr before you train"
        )
    return replace(noise, **{constants_of(crappifier)["noise_level"]: level}, blur=blur)


def _slices(values: npt.NDArray[Any], ends: tuple[float, float]) -> list[Floats]:
    """Return some slices of a volume in [0, 1]."""
    low, high = ends
    span = (high - low) or 1.0
    count = min(SLICES_LOOKED_AT, len(values))
    chosen = [(2 * i + 1) * len(values) // (2 * count) for i in range(count)]
    return [((values[z] - low) / span).astype(np.float32).clip(0, 1) for z in chosen]


def _ends(values: npt.NDArray[Any], options: PoorOptions) -> tuple[float, float]:
    """Return what becomes 0 and 1 of a good image, as far as what was read of it tells."""
    rule = rule_for(getattr(options, "hr_range", None), "--hr-range", values.dtype.name)
    if rule.kind == "values":
        return rule.ends
    if rule.kind == "percentiles":
        low, high = np.percentile(values, rule.ends)
        return float(low), float(high)
    if rule.kind == "max":
        return 0.0, float(values.max())
    return 0.0, 1.0 if values.dtype.kind == "f" else float(np.iinfo(values.dtype).max)
