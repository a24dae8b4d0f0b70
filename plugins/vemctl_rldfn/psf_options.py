"""Options of point spread functions, which prediction and training have in common."""

from __future__ import annotations

from dataclasses import dataclass

from vemctl.errors import OptionError
from vemctl.plugin import option

PSF = "Point spread functions"
WIDTHS = ("fwhm_lateral", "fwhm_axial", "psf_size")
"""What is only of theoretical ones."""
KEYS = ("psf_a", "psf_b")
"""Of files."""
TENSORS = ("psf_A", "psf_B")
"""Beside the networks' in weights of our trainings, whose keys name views so."""


@dataclass(frozen=True)
class PsfOptions:
    """Which point spread functions the views have."""

    psf_a: str | None = option(
        None,
        metavar="NAME|FILE",
        panel=PSF,
        help="Of view A: a TIFF or .npy on the voxels of the views, or a name out of vemctl "
        "weights list, such as rldfn/psf-a. Default: that of the weights where a training of "
        "vemctl made them, else a theoretical one.",
    )
    psf_b: str | None = option(None, metavar="NAME|FILE", panel=PSF, help="The same of view B.")
    tilt: float | None = option(
        None,
        min=1,
        max=89,
        panel=PSF,
        help="Degrees between the axis of detection and the normal of the coverslip. Default: "
        "that of the weights, or 30.8.",
    )
    fwhm_lateral: float | None = option(
        None,
        min=1,
        panel=PSF,
        help="Width at half maximum of a theoretical one across the axis of detection, in "
        "nanometres; about 120 after vsisr. Default: 216.",
    )
    fwhm_axial: float | None = option(
        None, min=1, panel=PSF, help="The same along that axis. Default: 691."
    )
    psf_size: int | None = option(
        None,
        min=5,
        panel=PSF,
        help="Its edge in voxels, of the form 4 k + 1. Default: 33, or more where it is longer.",
    )
    voxel_size: float | None = option(
        None,
        min=1,
        panel=PSF,
        help="Edge of a voxel of the views in nanometres. Default: what the views say.",
    )
    centre_psf: bool = option(
        False,
        panel=PSF,
        help="Pad point spread functions of files such that their peak is in the middle: "
        "those with edges of 4 k + 3 voxels shift what is blurred, as in the published program.",
    )


def files_of(options: PsfOptions) -> dict[str, str]:
    """Return which files of point spread functions are asked for; all or none.

    Raises
    ------
    OptionError
        One without the other, or options that would have no effect.
    """
    given = {key: getattr(options, key) for key in KEYS}
    files = {key: path for key, path in given.items() if path is not None}
    if len(files) == 1:
        ((there, path),) = files.items()
        (missing,) = set(KEYS) - set(files)
        raise OptionError(
            f"{_flag(there)} {path}: the other view's is missing; expected {_flag(missing)} too"
        )
    for name in WIDTHS if files else ():
        if getattr(options, name) is not None:
            raise OptionError(
                f"{_flag(name)}: has no effect with --psf-a and --psf-b; leave it out"
            )
    if options.centre_psf and not files:
        raise OptionError("--centre-psf: is for --psf-a and --psf-b; leave it out, or name both")
    return files


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
