"""Synthetic microscopy volumes with a known truth, for demonstrations, tests and training.

`synthetic_em`, `add_noise` and `em_pair` give tissue as electron microscopy shows it, clean and as
a fast scan; `light_and_em` gives tissue as expansion microscopy and as electron microscopy show it.
`lattice_pair` and `lattice_raw` give filaments as lattice light-sheet microscopy shows and writes
them, with and without super-resolution. `dual_view`, `reflective_raw` and `reflective_stack` give
them on a mirror: in two blurred views, as raw data and as a stack with the mirror image.

Everything is a pure function of its arguments. Random numbers come from PCG64 and no linear algebra
library is involved, so that a seed gives the same bytes on every machine, short of a rounding of
the mathematical functions that falls on the border between two grey levels.
"""

from vemctl.samples.dual_views import DualView, dual_view
from vemctl.samples.expansion import LightAndEM, light_and_em
from vemctl.samples.lattice import LatticePair, LatticeRaw, lattice_pair, lattice_raw
from vemctl.samples.reflective import (
    ReflectiveRaw,
    ReflectiveStack,
    reflective_raw,
    reflective_stack,
)
from vemctl.samples.tissue import SyntheticPair, add_noise, em_pair, synthetic_em

__all__ = [
    "DualView",
    "LatticePair",
    "LatticeRaw",
    "LightAndEM",
    "ReflectiveRaw",
    "ReflectiveStack",
    "SyntheticPair",
    "add_noise",
    "dual_view",
    "em_pair",
    "lattice_pair",
    "lattice_raw",
    "light_and_em",
    "reflective_raw",
    "reflective_stack",
    "synthetic_em",
]
