"""Which point spread functions are used: files, those that weights bring, or theoretical ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vemctl.errors import InputError, OptionError
from vemctl.plugin import Triple, VolumeFacts, Warn
from vemctl_rldfn import psfs
from vemctl_rldfn.psf_options import KEYS, TENSORS, PsfOptions

if TYPE_CHECKING:
    from torch import Tensor

Floats = npt.NDArray[np.float32]
VIEWS = ("a", "b")
MOST_CUT = 0.05
"""The same of the kernels of a training."""
ALIKE = 0.01
"""Relative difference of edges up to which voxels are called isotropic, or the same."""
PEDESTAL = 0.01
"""Of the peak of a point spread function: what its outermost voxels may have unsaid."""
CUT = 0.01
"""Share of a point spread function that may lie outside a tile unsaid."""


@dataclass(frozen=True)
class Optics:
    """The point spread functions of both views.

    Attributes
    ----------
    psf_a, psf_b : ndarray, (z, y, x) float32
        On the voxels of the views.
    source : {"files", "weights", "theoretical"}
    told : mapping of str to object
        How they came about, as JSON types.
    """

    psf_a: Floats
    psf_b: Floats
    source: str
    told: Mapping[str, Any]

    def warn_of_cuts(self, tile: Triple, warn: Warn) -> None:
        """Tell where a tile is too small for one of them, which is then cut off."""
        lost = max(psfs.lost_energy(psf, tile) for psf in (self.psf_a, self.psf_b))
        if lost > CUT:
            warn(
                f"{lost:.0%} of a point spread function of {_times(self.psf_a.shape)} voxels lie "
                f"outside tiles of {_times(tile)} and are cut off; use larger tiles or smaller "
                f"point spread functions"
            )

    def warn_of_kernels(self, warn: Warn) -> None:
        """Tell where one is longer than what a training blurs with."""
        side = psfs.DEGRADING_SIDE
        lost = max(psfs.lost_energy(psf, (side, side, side)) for psf in (self.psf_a, self.psf_b))
        if lost > MOST_CUT:
            warn(
                f"{lost:.0%} of a point spread function lie outside the {side} x {side} x {side} "
                f"voxels by which the fused volume is blurred, as published: it is trained for a "
                f"shorter one; use larger voxels"
            )


def choose_optics(
    options: PsfOptions,
    files: Mapping[str, Path],
    tensors: Mapping[str, Tensor],
    known: Mapping[str, Any],
    views: Sequence[VolumeFacts],
    warn: Warn,
    *,
    replacing: Sequence[str],
) -> Optics:
    """Return the point spread functions that are to be used.

    Parameters
    ----------
    options : PsfOptions
    files : mapping of str to Path
        That the user named, by `KEYS`; all or none.
    tensors : mapping of str to tensor
        Of the weights; may have `TENSORS`.
    known : mapping
        What the weights say of themselves.
    views : sequence of VolumeFacts
    warn : callable
    replacing : sequence of str
        Options that ask for theoretical ones where the weights bring others.

    Raises
    ------
    InputError
        A file is no point spread function, or the voxels of the views differ.
    OptionError
        The voxels are not known, or no cubes.
    """
    if files:
        found = [_from_file(files[key], options, warn) for key in KEYS]
        told: dict[str, Any] = {key: files[key].name for key in KEYS}
        return Optics(found[0], found[1], "files", told)
    edge = edge_of(options, views)
    _warn_of_contradiction(options, views, warn)
    if all(key in tensors for key in TENSORS):
        asked = [name for name in replacing if getattr(options, name) is not None]
        if not asked:
            _warn_of_voxels(known.get("voxel_size"), edge, warn)
            first, second = (tensors[key].float().numpy() for key in TENSORS)
            return Optics(first, second, "weights", {})
        warn(
            f"--{asked[0].replace('_', '-')}: theoretical point spread functions are used instead "
            f"of those that the weights were trained with"
        )
    if edge is None:
        raise OptionError(
            "--voxel-size: missing, and the views do not tell theirs; expected the edge of a voxel "
            "in nanometres, or --psf-a and --psf-b"
        )
    lateral, axial = psfs.default_fwhms()
    settings: dict[str, Any] = {
        "tilt": tilt_of(options, known),
        "fwhm_lateral": options.fwhm_lateral or lateral,
        "fwhm_axial": options.fwhm_axial or axial,
        "voxel_size": edge,
    }
    settings["size"] = options.psf_size or _usual_size(settings["fwhm_axial"] / edge)
    if settings["size"] % 4 != 1:
        raise OptionError(f"--psf-size {settings['size']}: expected 4 k + 1, such as 33 or 37")
    first, second = (psfs.theoretical_psf(view, **settings) for view in VIEWS)  # type: ignore[arg-type]
    return Optics(first, second, "theoretical", settings)


def tilt_of(options: PsfOptions, known: Mapping[str, Any]) -> float:
    """Return the tilt in degrees: as the user says, as the weights say, or as published."""
    trained = known.get("tilt")
    usual = float(trained) if isinstance(trained, int | float) else psfs.TILT
    return options.tilt if options.tilt is not None else usual


def edge_of(options: PsfOptions, views: Sequence[VolumeFacts]) -> float | None:
    """Return the edge of a voxel in nanometres, None where nobody says it.

    Raises
    ------
    OptionError
        Voxels are no cubes.
    InputError
        Those of the views differ.
    """
    if options.voxel_size is not None:
        return options.voxel_size
    sizes = [each.voxel_size for each in views if each.voxel_size is not None]
    if not sizes:
        return None
    edges = [edge for size in sizes for edge in size]
    for size in sizes:
        if max(size) > (1 + ALIKE) * min(size):
            raise OptionError(
                f"--voxel-size: the voxels of the views have edges of {_times(size, 'g')} nm; "
                f"expected cubes, such as vemctl prepare rldfn makes, or their true edge"
            )
    if max(edges) > (1 + ALIKE) * min(edges):
        raise InputError(
            f"the voxels of the views differ: {min(edges):g} and {max(edges):g} nm; expected "
            f"views of one voxel size, or --voxel-size"
        )
    return sum(edges) / len(edges)


def _from_file(path: Path, options: PsfOptions, warn: Warn) -> Floats:
    psf = psfs.read_psf(path)
    background = psfs.background_of(psf)
    if background > PEDESTAL:
        warn(
            f"{path}: has a background of {background:.1%} of its peak, which counts as blur; "
            f"subtract it, and save the file again"
        )
    if options.centre_psf:
        return psfs.centred(psf)
    if psfs.is_misplaced(psf):
        warn(
            f"{path}: of {_times(psf.shape)} voxels, so that the published way of placing it "
            f"shifts what is blurred; --centre-psf puts its peak in the middle"
        )
    return psf


def _warn_of_contradiction(options: PsfOptions, views: Sequence[VolumeFacts], warn: Warn) -> None:
    """Tell where the user says another voxel size than the views do."""
    stated = options.voxel_size
    sizes = [each.voxel_size for each in views if each.voxel_size is not None]
    if stated is None or not sizes:
        return
    edges = [edge for size in sizes for edge in size]
    if max(abs(edge / stated - 1) for edge in edges) > ALIKE:
        warn(
            f"--voxel-size {stated:g}: the views say {_times(sizes[0], 'g')} nm; it is taken as "
            f"you say, for point spread functions only"
        )


def _warn_of_voxels(known: object, edge: float | None, warn: Warn) -> None:
    """Tell where point spread functions of the weights are on other voxels than the views."""
    if edge is None or not known:
        return
    trained = max(known) if isinstance(known, list | tuple) else known
    if isinstance(trained, int | float) and abs(trained / edge - 1) > ALIKE:
        warn(
            f"the weights were trained on voxels of {trained:g} nm, and the views have {edge:g} "
            f"nm; expected the same, for the point spread functions are those of the training"
        )


def _usual_size(length: float) -> int:
    """Return how large a theoretical one is whose long axis has so many voxels."""
    return max(psfs.SIZE, int(2.9 * length / 4) * 4 + 1)


def _times(sizes: Sequence[float], form: str = "") -> str:
    return " x ".join(format(size, form) for size in sizes)
