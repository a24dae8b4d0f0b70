"""Whether volumes have room for the patches that are learned from. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vemctl.errors import InputError, OptionError
from vemctl.plugin import TrainingRequest, Triple, VolumeFacts
from vemctl_rldfn.data import ROLES, maximum_of, minimum_of, training_data
from vemctl_rldfn.samples import fitting_patch, usable_padding
from vemctl_rldfn.section_plans import check_patch
from vemctl_rldfn.train_options import FusionOptions

MULTIPLE = 4
"""Of which patches are, for the network."""


def check_volumes(options: FusionOptions, request: TrainingRequest, tilt: float) -> None:
    """Refuse patches that the network cannot take, or that volumes have no room for.

    Parameters
    ----------
    options : FusionOptions
    request : TrainingRequest
    tilt : float
        In degrees.

    Raises
    ------
    OptionError
        The patch is no multiple of 4, or too small for sections.
    InputError
        A volume is smaller, or has nothing in it.
    """
    if any(length % MULTIPLE for length in options.patch):
        raise OptionError(f"--patch {text_of(options.patch)}: expected multiples of {MULTIPLE}")
    check_patch(options.patch, options.sections, tilt)
    data = training_data(options, request.volumes)
    for facts, paths in ((request.data, data.volumes), (request.validation, data.validation)):
        for role, each in ((name, one) for name in ROLES for one in facts.get(name, ())):
            path, highest = paths[role][each.file_index], maximum_of(each)
            if not highest > 0:
                raise InputError(
                    f"{path}: its largest value is {highest:g}; expected intensities above 0: "
                    f"export it again, or leave it out"
                )
            if minimum_of(each) < 0:
                request.warn(
                    f"{path}: has negative values, which count as 0; add what was subtracted, or "
                    f"keep the background"
                )
            _check_room(options, [one.shape for one in facts[role]], each.shape, path, tilt)


def thinnest(data: Mapping[str, Sequence[VolumeFacts]], planes: int) -> int:
    """Return how many planes the thinnest volume has, at most `planes`."""
    return min(planes, *(each.shape[0] for role in ROLES for each in data[role]))


def text_of(triple: Triple) -> str:
    """Write a triple as options have it."""
    return ",".join(map(str, triple))


def _check_room(
    options: FusionOptions, shapes: Sequence[Triple], shape: Triple, path: Path, tilt: float
) -> None:
    """Refuse a volume without room for a patch; name one for which all volumes have."""
    patch, padding = options.patch, options.end_padding
    if fitting_patch(shape, patch, padding, 1) == patch:
        return
    z, y, x = (min(sizes) for sizes in zip(*shapes, strict=True))
    fitting = fitting_patch((z, y, x), patch, padding, MULTIPLE)
    small = (
        f"{path}: its shape {text_of(shape)} (z, y, x), with {usable_padding(padding, patch[0])} "
        f"empty planes after the last, has no room for the patch {text_of(patch)}"
    )
    try:
        check_patch(fitting, options.sections, tilt)
    except OptionError as error:
        raise InputError(
            f"{small}, and smaller ones have none for oblique sections: expected larger volumes"
        ) from error
    raise InputError(f"{small}: expected a smaller one, such as --patch {text_of(fitting)}")
