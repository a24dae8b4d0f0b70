"""Average the phases of raw structured-illumination data. Imports no torch.

Raw data of the lattice light-sheet structured-illumination microscope hold, for each slice, one
section for each phase of the illumination, one after the other. Their mean is the slice as a
microscope without structured illumination shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

ReadSections = Callable[[int, int], npt.NDArray[Any]]
"""Of the first section and how many, (count, y, x)."""


def phase_means(
    read: ReadSections, first: int, count: int, num_phases: int
) -> npt.NDArray[np.generic]:
    """Read slices as the means of the sections that they were taken in.

    Parameters
    ----------
    read : callable
        ``read(first_section, count) -> ndarray, (count, y, x)``.
    first, count : int
        Slices.
    num_phases : int
        Sections of one slice; with 1 each section is a slice.

    Returns
    -------
    ndarray, (count, y, x)
        Of float64; with one phase, of the type of the raw data.
    """
    if num_phases == 1:
        return read(first, count)
    return np.stack(
        [
            read(index * num_phases, num_phases).mean(axis=0, dtype=np.float64)
            for index in range(first, first + count)
        ]
    )
