"""Lengths as files write them, in nanometres."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vemctl.volumes.volume import VoxelSize

NANOMETRES = {
    "angstrom": 0.1,
    "ångström": 0.1,
    "å": 0.1,
    "picometer": 1e-3,
    "pm": 1e-3,
    "nanometer": 1.0,
    "nanometre": 1.0,
    "nm": 1.0,
    "micrometer": 1e3,
    "micrometre": 1e3,
    "micron": 1e3,
    "microns": 1e3,
    "um": 1e3,
    "µm": 1e3,  # micro sign
    "μm": 1e3,
    "\\u00b5m": 1e3,  # ImageJ escapes it
    "millimeter": 1e6,
    "millimetre": 1e6,
    "mm": 1e6,
    "centimeter": 1e7,
    "cm": 1e7,
    "meter": 1e9,
    "metre": 1e9,
    "m": 1e9,
}


def nanometres(unit: str | None) -> float | None:
    """Return how many nanometres a unit is, or None for no unit or one that is no length.

    Parameters
    ----------
    unit : str, optional
        A name or an abbreviation, in any case.
    """
    return NANOMETRES.get(unit.strip().lower()) if unit else None


def voxel_size(sizes: Sequence[float | None], *, has_z: bool = True) -> VoxelSize | None:
    """Return a voxel size if it is known along every axis that is there.

    Parameters
    ----------
    sizes : (z, y, x)
        Nanometres, None where unknown.
    has_z : bool
        Without z the size along y is repeated.

    Returns
    -------
    (z, y, x) or None
        Nanometres.
    """
    z, y, x = sizes if has_z else (sizes[1], *sizes[1:])
    if z is None or y is None or x is None:
        return None
    if not all(math.isfinite(size) and size > 0 for size in (z, y, x)):
        return None
    return (float(z), float(y), float(x))
