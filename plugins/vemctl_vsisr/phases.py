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

from vemctl.errors import InputError, OptionError

NUM_PHASES = 3
"""Of the published microscope."""

ReadSections = Callable[[int, int], npt.NDArray[Any]]
"""Of the first section and how many, (count, y, x)."""


class PhaseMean:
    """Reads slices as the means of the sections that they were taken in.

    Parameters
    ----------
    read : callable
        ``read(first_section, count) -> ndarray, (count, y, x)``.
    num_sections : int
        Of the raw volume.
    num_phases : int
        Sections of one slice; with 1 each section is a slice.

    Attributes
    ----------
    num_slices : int
        Whole ones.
    num_surplus : int
        Sections at the end that make no whole slice and are left out; the caller should warn.

    Raises
    ------
    OptionError
        A slice has less than one section.
    InputError
        There are too few sections for one slice.
    """

    def __init__(self, read: ReadSections, num_sections: int, num_phases: int = NUM_PHASES) -> None:
        if num_phases < 1:
            raise OptionError(f"{num_phases} phases; expected at least 1")
        self.num_slices, self.num_surplus = divmod(num_sections, num_phases)
        if self.num_slices == 0:
            raise InputError(
                f"{num_sections} sections for slices of {num_phases} phases; expected at least "
                f"{num_phases}: check the number of phases, or the order of the axes"
            )
        self._read = read
        self._num_phases = num_phases

    def read(self, first: int, count: int) -> npt.NDArray[Any]:
        """Read slices.

        Parameters
        ----------
        first, count : int

        Returns
        -------
        ndarray, (count, y, x)
            Of float64; with one phase, of the type of the raw data.
        """
        if self._num_phases == 1:
            return self._read(first, count)
        return np.stack([self._slice(index) for index in range(first, first + count)])

    def _slice(self, index: int) -> npt.NDArray[np.float64]:
        sections = self._read(index * self._num_phases, self._num_phases)
        mean: npt.NDArray[np.float64] = sections.mean(axis=0, dtype=np.float64)
        return mean
