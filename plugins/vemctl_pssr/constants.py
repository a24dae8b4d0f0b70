"""From options to a crappifier and its noise. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vemctl.errors import OptionError
from vemctl_pssr.crappifiers import Crappifier, Noise, get
from vemctl_pssr.train_options import PoorOptions

OPTIONS = ("noise_level", "noise_smoothing", "salt_pepper", "blur")
FITTED = ("noise_level", "blur")


def constants_of(crappifier: Crappifier) -> Mapping[str, str]:
    """Return the options that make a difference to a crappifier, and what of `Noise` they set."""
    found = {"blur": "blur"}
    if crappifier.strength is not None:
        found["noise_level"] = crappifier.strength
    if crappifier.strength == "gaussian_level":
        found["noise_smoothing"] = "smoothing"
    if "SP" in crappifier.name or crappifier.name == "new_crap":
        found["salt_pepper"] = "salt_pepper"
    return found


def crappifier_of(options: PoorOptions) -> tuple[Crappifier, Noise]:
    """Return what options ask for, but for what is fitted to real images.

    Raises
    ------
    OptionError
        There is no crappifier of that name, or it has no such noise.
    """
    crappifier = get(options.crappifier, as_original=options.as_published)
    if not options.as_published:
        crappifier = crappifier.centred()
    usual, known = PoorOptions(), constants_of(crappifier)
    given = [o for o in OPTIONS if getattr(options, o) != getattr(usual, o)]
    unused = [option for option in given if option not in known]
    if unused:
        raise OptionError(f"{_flags(unused)}: {crappifier.name} has no such noise; leave it out")
    if options.emulate_noise:
        both = [option for option in given if option in FITTED]
        if both:
            raise OptionError(
                f"--emulate-noise with {_flags(both)}: it is fitted; leave one of them out"
            )
        if "noise_level" not in known:
            raise OptionError(
                f"--emulate-noise: {crappifier.name} has no level of noise to fit; use another "
                f"--crappifier, such as em_AG"
            )
    changes: dict[str, Any] = {known[option]: getattr(options, option) for option in given}
    return crappifier, replace(crappifier.noise, **changes)


def _flags(options: list[str]) -> str:
    return ", ".join(f"--{option.replace('_', '-')}" for option in options)
