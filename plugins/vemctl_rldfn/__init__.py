"""rldfn: fusion of the two views of a reflective lattice light-sheet (RL-DFN, Meta-rLLS-VSIM)."""

from vemctl_rldfn.method import METHOD

__all__ = ["METHOD"]
