"""Which slices are trained on and which are kept to validate on."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Literal

from vemctl.errors import InputError, OptionError
from vemctl.geometry import ONE, Triple
from vemctl.restoring import VolumeFacts
from vemctl.sampling import Sampler, TrainingData
from vemctl.training.chunk_cache import ChunkCache
from vemctl.training.data import DataDescription, Part, show_triple
from vemctl.training.volume_patches import VolumePatches, VolumeSource


def split(
    description: DataDescription,
    sampler: Sampler,
    fraction: float,
    cache: ChunkCache | None = None,
) -> tuple[VolumePatches, VolumePatches | None]:
    """Divide the data into what is trained on and what is validated on.

    Parameters
    ----------
    description : DataDescription
    sampler : Sampler
        Whose patches must fit into both.
    fraction : float
        Of every volume's slices, the last ones, to validate on, but at least a patch of them; 0
        for no validation. Without effect where there are volumes of their own for it.
    cache : ChunkCache, optional
        Of both.

    Returns
    -------
    training : VolumePatches
    validation : VolumePatches, optional

    Raises
    ------
    InputError
        A volume is too small.
    OptionError
        The fraction is not in [0, 1).
    """
    if not 0 <= fraction < 1:
        raise OptionError(f"--validation-fraction {fraction}: expected a number from 0 to below 1")
    cache = ChunkCache() if cache is None else cache
    whole, own = description.training, description.validation
    data = description.wanted
    if own is None and fraction > 0:
        _check_divisible(whole)
    _check_fits(whole, data, sampler.patch, "a smaller --patch")
    if own is not None:
        cure = "larger validation volumes or a smaller --patch"
        _check_fits(own, data, sampler.validation_patch, cure)
        return _patches(whole, cache), _patches(own, cache)
    if fraction == 0:
        return _patches(whole, cache), None
    _check_fits(
        whole,
        data,
        sampler.validation_patch,
        "a smaller --patch, --validation-fraction 0, or validation volumes of their own",
    )
    _check_thick(whole, data, sampler, fraction)
    return (
        _patches(_cut(whole, data, sampler, fraction, "first"), cache),
        _patches(_cut(whole, data, sampler, fraction, "last"), cache),
    )


def num_kept(
    num_slices: int,
    sampler: Sampler,
    fraction: float,
    scale: Fraction = Fraction(1),
    step: int = 1,
) -> int:
    """Return how many of a volume's slices are kept to validate on.

    Parameters
    ----------
    num_slices : int
    sampler : Sampler
    fraction : float
    scale : Fraction
        Slices of the volume per slice of a patch.
    step : int
        Slices of scale 1 of which every role has a whole number, such that all are cut at one
        place.
    """
    # the fraction as it was typed: 0.07 of 100 slices are 7, not 8
    share = math.ceil(Fraction(repr(fraction)) * (num_slices / scale))
    kept = max(share, sampler.validation_patch[0])
    return math.ceil(-(-kept // step) * step * scale)


def _step(data: TrainingData) -> int:
    return math.lcm(*(scale[0].denominator for scale in data.scale.values()))


def _patches(part: Part, cache: ChunkCache) -> VolumePatches:
    return VolumePatches(part.sources, facts=part.facts, cache=cache)


def _check_divisible(part: Part) -> None:
    """Refuse single planes, whose cure is no smaller patch."""
    for role, sources in part.sources.items():
        for source, facts in zip(sources, part.facts[role], strict=True):
            if facts.shape[0] == 1:
                raise InputError(
                    f"{source.path}: a single plane cannot be divided to train and to validate: "
                    "expected more planes (or several files, for a method that keeps whole ones), "
                    "validation volumes of their own, or --validation-fraction 0"
                )


def _check_fits(part: Part, data: TrainingData, patch: Triple, cure: str) -> None:
    for role, sources in part.sources.items():
        wanted = [math.ceil(length) for length in data.scaled(patch, role)]
        for source, facts in zip(sources, part.facts[role], strict=True):
            if any(length > size for length, size in zip(wanted, facts.shape, strict=True)):
                raise InputError(
                    f"{source.path}: its shape {show_triple(facts.shape)} is smaller than the "
                    f"patch {' x '.join(map(str, wanted))} (z, y, x): expected {cure}"
                )


def _check_thick(part: Part, data: TrainingData, sampler: Sampler, fraction: float) -> None:
    for role, sources in part.sources.items():
        scale = data.scale.get(role, ONE)[0]
        for source, facts in zip(sources, part.facts[role], strict=True):
            kept = num_kept(facts.shape[0], sampler, fraction, scale, _step(data))
            wanted = [math.ceil(length) for length in data.scaled(sampler.patch, role)]
            if facts.shape[0] - kept < wanted[0]:
                raise InputError(
                    f"{source.path}: of its shape {show_triple(facts.shape)} validation takes "
                    f"{kept} slices, which leaves too few for the patch "
                    f"{' x '.join(map(str, wanted))} (z, y, x): expected a smaller --patch, "
                    "--validation-fraction 0, or validation volumes of their own"
                )


def _cut(
    part: Part,
    data: TrainingData,
    sampler: Sampler,
    fraction: float,
    which: Literal["first", "last"],
) -> Part:
    """Return a part without the slices that are kept, or those alone."""
    sources: dict[str, tuple[VolumeSource, ...]] = {}
    facts: dict[str, tuple[VolumeFacts, ...]] = {}
    for role, each in part.sources.items():
        scale = data.scale.get(role, ONE)[0]
        cuts = [
            source.stop - num_kept(source.stop, sampler, fraction, scale, _step(data))
            for source in each
        ]
        sources[role] = tuple(
            replace(source, stop=cut) if which == "first" else replace(source, start=cut)
            for source, cut in zip(each, cuts, strict=True)
        )
        facts[role] = tuple(
            replace(
                one,
                shape=(source.stop - source.start, *one.shape[1:]),
                slices={k: v[source.start : source.stop] for k, v in one.slices.items()},
            )
            for one, source in zip(part.facts[role], sources[role], strict=True)
        )
    return Part(sources, facts)
